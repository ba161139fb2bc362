"""Rules that score answers, and how scores are added up."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finetune_api.spec import Precision, RewardFunction
from finetune_trainer.data.chat import Chat
from finetune_trainer.data.turn_end import TurnEnd
from finetune_trainer.data.vocabulary import Vocabulary
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.online.rollouts import Rollouts
from finetune_trainer.rewards.functions import Answered, score_of
from finetune_trainer.rewards.judge import Judge
from finetune_trainer.rewards.model import Scale

from tests.unit.trainer.data.conftest import CHATML, make_tokenizer
from tests.unit.trainer.online.online_support import ShareOf, make_prompts, sampling

NUMBER = r"answer: (\d+)"


@pytest.mark.parametrize(
    ("function", "text", "score"),
    [
        ({"type": "Regex", "pattern": "^yes"}, "yes, it is", 1),
        ({"type": "Regex", "pattern": "^yes"}, "oh yes", 0),
        ({"type": "ExactAnswer"}, " 42\n", 1),
        ({"type": "ExactAnswer"}, "42.", 0),
        ({"type": "ExactAnswer", "pattern": NUMBER}, "answer: 7, no, answer: 42", 1),
        ({"type": "ExactAnswer", "pattern": NUMBER}, "answer: 42, no, answer: 7", 0),
        ({"type": "ExactAnswer", "pattern": NUMBER}, "42", 0),
        ({"type": "JsonValid"}, '{"a": [1, null]}', 1),
        ({"type": "JsonValid"}, '```json\n{"a": 1}\n```', 1),
        ({"type": "JsonValid"}, 'Here: {"a": 1}', 0),
        ({"type": "JsonValid"}, "NaN", 0),
        ({"type": "JsonValid"}, "[" * 100_000, 0),
        ({"type": "JsonValid"}, "", 0),
        ({"type": "Length", "maxTokens": 6}, "", 1),
        ({"type": "Length", "maxTokens": 4}, "", 0.5),
        ({"type": "Length", "maxTokens": 3}, "", 0),
    ],
)
def test_a_rule_scores_an_answer(function: dict[str, Any], text: str, score: float) -> None:
    rule = score_of(RewardFunction.parse_wire(function))
    assert rule(Answered(text, 6, "42")) == score


def test_a_pattern_that_takes_for_ever_scores_nothing_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rule = score_of(RewardFunction.parse_wire({"type": "Regex", "pattern": "^(a|aa)+$"}))
    with caplog.at_level(logging.WARNING):
        assert rule(Answered("a" * 60 + "b", 60, "")) == 0
    assert "took longer than 1 s" in caplog.text


def test_scores_of_model_and_rules_are_added_up_by_their_weights() -> None:
    prompts = make_prompts(2)
    rollouts = Rollouts.of(prompts, np.array([0, 1]), [[5, 6, 2], [50, 2]], sampling())
    rules = [
        RewardFunction.parse_wire({"type": "ExactAnswer", "weight": "3"}),
        RewardFunction.parse_wire({"type": "Length", "maxTokens": 2}),
    ]
    judge = Judge(lambda tokens: "-".join(map(str, tokens)), ShareOf({5}), rules)
    settings = StepSettings(0, 64, True, 1, Precision.FP32)

    verdict = judge.judge(Comm.alone(), rollouts, ["5-6-2", "no"], settings)

    assert verdict.parts["rewardModel"] == pytest.approx([1 / 3, 0])
    assert verdict.parts["ExactAnswer0"].tolist() == [1, 0]
    assert verdict.parts["Length1"] == pytest.approx([0.5, 1])
    assert verdict.total == pytest.approx([1 / 3 + 3 + 0.5, 1])


def test_a_scale_is_what_was_published_and_else_nothing(tmp_path: Path) -> None:
    assert Scale.read(tmp_path) == Scale(0.0, 1.0)
    path = tmp_path / "reward.json"
    path.write_text('{"mean": 2.5, "standardDeviation": 0.5, "answers": 9}')
    assert Scale.read(tmp_path) == Scale(2.5, 0.5)
    path.write_text('{"mean": 2.5, "standardDeviation": 0.0, "answers": 9}')
    assert Scale.read(tmp_path) == Scale(2.5, 1.0)


def test_the_end_of_a_turn_is_what_the_template_writes() -> None:
    tokenizer = make_tokenizer(CHATML)
    vocabulary = Vocabulary(tokenizer)
    end = TurnEnd.of(Chat(tokenizer, vocabulary), vocabulary)
    assert end.token == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.decode(end.tail) == "\n"


def test_a_template_may_write_nothing_after_a_turn() -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
    tokenizer = make_tokenizer(template)
    vocabulary = Vocabulary(tokenizer)
    end = TurnEnd.of(Chat(tokenizer, vocabulary), vocabulary)
    assert end == TurnEnd(tokenizer.eos_token_id, [])
