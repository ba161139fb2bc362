"""What a server would refuse is said before someone tries."""

from typing import Any

import pytest
from finetune_trainer.serving import serving_notes


def config(**changes: Any) -> dict[str, Any]:
    return {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj"], "bias": "none", **changes}


@pytest.mark.parametrize("changes", [{}, {"r": 8}, {"use_rslora": True}, {"rank_pattern": {}}])
def test_a_plain_adapter_needs_no_note(changes: dict[str, Any]) -> None:
    assert serving_notes(config(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"alpha_pattern": {"q_proj": 8}}, "alpha_pattern"),
        ({"trainable_token_indices": [5]}, "tokens that an adapter adds"),
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head"),
        ({"r": 1024}, "Rank 1024 is above 512"),
    ],
)
def test_what_vllm_refuses_is_named_with_the_way_out(changes: dict[str, Any], told: str) -> None:
    (note,) = serving_notes(config(**changes))
    assert told in note
    assert "output.merged" in note


@pytest.mark.parametrize(("rank", "flag"), [(17, 32), (64, 64), (300, 320), (512, 512)])
def test_a_rank_above_the_default_names_the_flag_to_set(rank: int, flag: int) -> None:
    (note,) = serving_notes(config(r=rank))
    assert note.endswith(f"--max-lora-rank {flag}.")


def test_the_largest_rank_of_a_pattern_counts() -> None:
    first, second = serving_notes(config(rank_pattern={"q_proj": 24}))
    assert "--max-lora-rank 32" in first
    assert "rank_pattern" in second
