"""The rows in examples/ are good rows of their method."""

from pathlib import Path
from typing import Any

import pytest
from finetune_api.units import Unit

from tests.unit.trainer.prepare.conftest import ONE_LABEL, World, scoring_model

EXAMPLES = Path(__file__).parents[4] / "examples"


def source(name: str, **options: Any) -> dict[str, Any]:
    return {"uri": (EXAMPLES / name).as_uri(), **options}


@pytest.mark.parametrize(
    ("method", "train", "unit"),
    [
        ("SFT", source("quickstart/data/handbook.jsonl"), Unit.ROW),
        ("SFT", source("sft/data/support.jsonl"), Unit.ROW),
        ("CPT", source("cpt/data/manual.jsonl", template="{{ title }}\n{{ text }}"), Unit.BLOCK),
        ("DPO", source("dpo/data/preferences.jsonl"), Unit.PAIR),
        ("KTO", source("kto/data/feedback.jsonl"), Unit.ROW),
        ("ORPO", source("orpo/data/pairs.jsonl"), Unit.PAIR),
        ("Reward", source("reward/data/rankings.jsonl", format="Ranking"), Unit.COMPARISON),
        ("PPO", source("ppo/data/ppo-questions.jsonl"), Unit.PROMPT),
        ("GRPO", source("grpo/data/grpo-questions.jsonl"), Unit.PROMPT),
    ],
)
def test_every_row_of_an_example_is_used(
    world: World, method: str, train: dict[str, Any], unit: Unit
) -> None:
    settings: dict[str, dict[str, Any]] = {
        "CPT": {"cpt": {"replay": [source("cpt/data/general.jsonl", share="0.2")]}},
        "PPO": {
            "ppo": {"maxNewTokens": 24},
            "rewardModel": {"uri": scoring_model(world, ONE_LABEL).as_uri()},
        },
        "GRPO": {"grpo": {"maxNewTokens": 32, "rewardFunctions": [{"type": "JsonValid"}]}},
    }
    message = world.prepare(
        method=method,
        data={"train": [train]},
        training={"sequenceLength": 1024},
        **settings.get(method, {}),
    )

    assert message.data is not None
    assert message.data.unit is unit
    assert message.data.dropped == 0
    assert message.data.evaluation_rows > 0
    assert message.data.first_errors is None
