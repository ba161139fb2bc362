"""What a job counts: the units that data.rows, globalBatchSize and an epoch are numbers of."""

from enum import StrEnum

from finetune_api.spec import Method


class Unit(StrEnum):
    """What is read whole or not at all."""

    ROW = "Row"
    PAIR = "Pair"
    """A chosen and a rejected answer to one prompt."""
    COMPARISON = "Comparison"
    """Two or more answers to one prompt, from the best to the worst."""
    PROMPT = "Prompt"
    """A prompt that the model answers itself while it is trained."""
    BLOCK = "Block"
    """training.sequenceLength tokens of documents laid one after another."""

    @property
    def plural(self) -> str:
        """For people: rows, pairs, blocks."""
        return f"{self.value.lower()}s"


UNIT_OF: dict[Method, Unit] = {
    Method.CPT: Unit.BLOCK,
    Method.SFT: Unit.ROW,
    Method.DPO: Unit.PAIR,
    Method.KTO: Unit.ROW,
    Method.REWARD: Unit.COMPARISON,
    Method.ORPO: Unit.PAIR,
    Method.PPO: Unit.PROMPT,
    Method.GRPO: Unit.PROMPT,
}
"""The unit of each method."""
