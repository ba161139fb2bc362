"""Blocks that belong to one method."""

from typing import Any

from tests.unit.fields.bench import SHARED
from tests.unit.fields.entry import Effect, Observe, Refusal, Table
from tests.unit.fields.observe.engine import losses, rewards, scores, units_read
from tests.unit.fields.observe.operator import start_of_a_chain
from tests.unit.fields.observe.prepare import epoch, train_rows
from tests.unit.fields.observe.stages import card

GENERAL = f"{SHARED}/general.jsonl"
DOCUMENTS = {
    "method": "CPT",
    "data": {"train": [{"uri": f"{SHARED}/documents.jsonl"}]},
    "cpt": {"replay": [{"uri": GENERAL, "share": "0.25"}]},
}
PAIRS = {"method": "DPO", "data": {"train": [{"uri": f"{SHARED}/pairs.jsonl"}]}}


def _replay(*values: Any, seen: tuple[Observe, ...]) -> Effect:
    return Effect(values, seen, DOCUMENTS)


def _dpo(*values: str) -> Effect:
    return Effect(values, (losses,), PAIRS)


CPT: Table = {
    "cpt.replay.uri": _replay(GENERAL, f"{SHARED}/more-general.jsonl", seen=(train_rows,)),
    "cpt.replay.format": Refusal("Text", "Messages", "replay rows are documents", DOCUMENTS),
    "cpt.replay.fields": _replay(None, {"text": "body"}, seen=(train_rows,)),
    "cpt.replay.template": _replay(None, "{{ title }}: {{ text }}", seen=(train_rows,)),
    "cpt.replay.license": _replay("mit", "cc-by-4.0", seen=(card,)),
    "cpt.replay.share": _replay("0.25", "0.5", seen=(epoch, units_read)),
}
FEEDBACK = {"method": "KTO", "data": {"train": [{"uri": f"{SHARED}/feedback.jsonl"}]}}
KTO: Table = {
    "kto.beta": Effect(("0.1", "0.5"), (losses,), FEEDBACK),
    "kto.desirableWeight": Effect((None, "1", "3"), (losses,), FEEDBACK),
    "kto.undesirableWeight": Effect((None, "1", "3"), (losses,), FEEDBACK),
}
RANKINGS = {
    "method": "Reward",
    "data": {"train": [{"uri": f"{SHARED}/rankings.jsonl", "format": "Ranking"}]},
}
REWARD: Table = {
    "reward.centerCoefficient": Effect(("0", "1"), (losses,), RANKINGS),
    "reward.margin": Effect((False, True), (losses,), RANKINGS),
}
ORPO: Table = {"orpo.beta": Effect(("0.1", "1"), (losses,), {**PAIRS, "method": "ORPO"})}
DPO: Table = {
    "dpo.beta": _dpo("0.1", "0.5"),
    "dpo.loss": _dpo("Sigmoid", "IPO", "Hinge"),
    "dpo.labelSmoothing": _dpo("0", "0.2"),
    "dpo.sftWeight": _dpo("0", "1"),
}
PROMPTS = {"data": {"train": [{"uri": f"{SHARED}/prompts.jsonl"}]}}
GROUPS = {
    "generations": 3,
    "maxNewTokens": 8,
    "rewardFunctions": [{"type": "Length", "maxTokens": 6}, {"type": "Regex", "pattern": "[a-m]"}],
}


def _grpo(*values: Any, seen: Observe = losses, **more: Any) -> Effect:
    within = {"method": "GRPO", **PROMPTS, "grpo": {**GROUPS, **more}}
    return Effect(values, (seen,), within)


def _rule(*values: Any, **function: Any) -> Effect:
    return _grpo(*values, seen=scores, rewardFunctions=[function])


GRPO: Table = {
    "grpo.generations": _grpo(2, 3),
    "grpo.lossType": _grpo("Grpo", "DrGrpo", "Dapo"),
    "grpo.beta": _grpo("0", "0.5"),
    "grpo.scaleRewards": _grpo(False, True),
    "grpo.iterations": _grpo(1, 2),
    "grpo.clipLow": _grpo("0.01", "0.5", iterations=4),
    "grpo.clipHigh": _grpo("0.01", "0.5", iterations=4),
    "grpo.maxNewTokens": _grpo(4, 8),
    "grpo.temperature": _grpo("0.5", "1"),
    "grpo.topP": _grpo("0.5", "1"),
    "grpo.rewardFunctions.type": _rule("ExactAnswer", "JsonValid"),
    "grpo.rewardFunctions.weight": _grpo(None, "3", seen=rewards),
    "grpo.rewardFunctions.pattern": _rule("no", "it is", type="Regex"),
    "grpo.rewardFunctions.maxTokens": _rule(2, 6, type="Length"),
}
JUDGED: dict[str, Any] = {
    "method": "PPO",
    **PROMPTS,
    "rewardModel": {"uri": f"{SHARED}/judge"},
    "ppo": {"maxNewTokens": 8},
}


def _ppo(*values: Any, **more: Any) -> Effect:
    return Effect(values, (losses,), {**JUDGED, "ppo": {**JUDGED["ppo"], **more}})


PPO: Table = {
    "rewardModel.uri": Effect(
        (f"{SHARED}/judge", f"{SHARED}/other-judge"), (rewards, losses), JUDGED
    ),
    "rewardModel.fromJob.name": Effect(
        ("one", "two"), (start_of_a_chain,), {**JUDGED, "rewardModel": {"uri": None}}
    ),
    "ppo.klCoefficient": _ppo("0", "1"),
    "ppo.klController": _ppo("Fixed", "Adaptive"),
    "ppo.klTarget": _ppo("0.001", "100", klController="Adaptive"),
    "ppo.clipRange": _ppo("0.01", "0.9"),
    "ppo.valueClipRange": _ppo("0.001", "10"),
    "ppo.valueCoefficient": _ppo("0.1", "1"),
    "ppo.gamma": _ppo("0.5", "1"),
    "ppo.lambda": _ppo("0", "1"),
    "ppo.epochsPerBatch": _ppo(1, 2),
    "ppo.minibatches": _ppo(1, 2),
    "ppo.maxNewTokens": _ppo(4, 8),
    "ppo.temperature": _ppo("0.5", "1"),
    "ppo.topP": _ppo("0.5", "1"),
    "ppo.missingEosPenalty": _ppo("0", "5"),
    "ppo.whitenRewards": _ppo(False, True),
}
