"""A small policy, prompts, and a reward that is known: the share of an answer's tokens in a set."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from finetune_api.resolve import resolve
from finetune_api.spec import FineTuneJobSpec, Grpo, Ppo, Training
from finetune_trainer.arrays import Float32
from finetune_trainer.data.table import UnitTable
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.plan import Mixture, Plan
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.engine.step import Rows
from finetune_trainer.methods.actor_critic import ActorCritic
from finetune_trainer.online.engine import OnlineEngine
from finetune_trainer.online.generation import Sampling
from finetune_trainer.online.grpo import GroupRelative
from finetune_trainer.online.ppo import ActorAndCritic
from finetune_trainer.online.rollouts import Rollouts
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.rewards.judge import Judge
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

VOCABULARY = 64
EOS = 2
GOOD = frozenset(range(4, 24))
ANSWER = 12


def make_policy(seed: int) -> Any:
    """A Llama of about 10^5 parameters."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=EOS,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


def make_prompts(count: int = 32) -> PreparedSplit:
    """Prompts of 3 to 8 tokens."""
    rng = np.random.default_rng(0)
    table = UnitTable()
    for row in range(count):
        size = int(rng.integers(3, 9))
        table.add([(rng.integers(4, VOCABULARY, size).tolist(), [])], file=0, row=row, group=row)
    return table.to_split()


def sampling(*, greedy: bool = False) -> Sampling:
    return Sampling(ANSWER, None if greedy else 1.0, 1.0, (EOS,), 0)


def rows_of(prompts: PreparedSplit, *, steps: int, batch: int) -> Rows:
    plan = Plan.make(
        mixture=Mixture.concat(prompts.units), batch=batch, seed=5, epochs=None, max_steps=steps
    )
    return Rows(prompts, plan)


def training(**fields: Any) -> Training:
    """Settings of a run in fp32."""
    spec = {
        "method": "SFT",
        "model": {"uri": "s3://b/model"},
        "data": {"train": [{"uri": "s3://b/rows"}]},
        "output": {"uri": "s3://b/out"},
        "training": {
            "precision": "FP32",
            "scheduler": "Constant",
            "warmupRatio": "0",
            "gradientCheckpointing": False,
            **fields,
        },
    }
    return resolve(FineTuneJobSpec.parse_wire(spec)).training


@dataclass(frozen=True)
class ShareOf:
    """Scores an answer by the share of its tokens that lie in a set."""

    tokens: Collection[int] = field(default=GOOD)

    def share(self, answer: list[int]) -> float:
        return sum(token in self.tokens for token in answer) / len(answer)

    def scores(self, _comm: Comm, rollouts: Rollouts, _settings: StepSettings) -> Float32:
        found = [self.share(rollouts.answer(row)) for row in range(len(rollouts))]
        return np.array(found, np.float32)


def grpo_engine(
    policy: Any,
    *,
    steps: int,
    seed: int = 0,
    rate: str = "1e-3",
    comm: Comm | None = None,
    **settings: Any,
) -> OnlineEngine:
    """An engine that trains `policy` on the known reward: 8 prompts in a step."""
    wanted = Grpo(**{"max_new_tokens": ANSWER, "beta": "0.01", "generations": 8, **settings})
    judge = Judge(no_text, ShareOf())
    method = GroupRelative.begin(policy, wanted, sampling(), judge, None)
    return OnlineEngine(
        comm or Comm.alone(),
        policy,
        rows_of(make_prompts(), steps=steps, batch=8),
        method=method,
        training=training(learningRate=rate, seed=seed),
    )


def ppo_engine(
    policy: Any,
    *,
    steps: int,
    batch: int = 64,
    seed: int = 0,
    rate: str = "1e-3",
    comm: Comm | None = None,
    **settings: Any,
) -> OnlineEngine:
    """The same by PPO, whose critic starts from nothing."""
    torch.manual_seed(seed)
    config = type(policy.config)(**{**policy.config.to_dict(), "id2label": {0: "score"}})
    model = ActorCritic(policy, LlamaForSequenceClassification(config), 0.0, 1.0)
    fields = {"max_new_tokens": ANSWER, "kl_coefficient": "0.01", "missing_eos_penalty": "0"}
    method = ActorAndCritic(
        model, Ppo(**{**fields, **settings}), sampling(), Judge(no_text, ShareOf())
    )
    return OnlineEngine(
        comm or Comm.alone(),
        model,
        rows_of(make_prompts(), steps=steps, batch=batch),
        method=method,
        training=training(learningRate=rate, seed=seed),
    )


def no_text(tokens: object) -> str:
    raise AssertionError("no rule asks for text")
