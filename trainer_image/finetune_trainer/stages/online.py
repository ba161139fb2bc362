"""What a run needs to let its model write answers, and to score them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Adapter, FineTuneJobSpec, Grpo, Method, Ppo
from transformers import AutoTokenizer, GenerationConfig

from finetune_trainer.data.chat import Chat
from finetune_trainer.data.turn_end import TurnEnd
from finetune_trainer.data.vocabulary import Vocabulary
from finetune_trainer.engine.determinism import seed_everything
from finetune_trainer.engine.mixture import plan_of
from finetune_trainer.engine.step import Rows
from finetune_trainer.handover import GENERATION_CONFIG
from finetune_trainer.methods.actor_critic import ActorCritic
from finetune_trainer.online.engine import Experience, OnlineEngine, OnlineMethod
from finetune_trainer.online.generation import Sampling
from finetune_trainer.online.grpo import GroupRelative
from finetune_trainer.online.ppo import ActorAndCritic
from finetune_trainer.online.rollouts import Rollouts, roll_out
from finetune_trainer.rewards.judge import Judge, Verdict
from finetune_trainer.rewards.model import (
    Critic,
    RewardFiles,
    load_critic,
    load_reward_model,
)
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.fetch import Fetched

_SHOWN = 2000
"""Characters of a prompt or answer that are kept to read."""


@dataclass(frozen=True)
class Answering:
    """How the model of a run answers prompts, and what answers are worth."""

    run: Run
    fetched: Fetched
    tokenizer: Any
    sampling: Sampling
    judge: Judge
    critic: Critic | None
    """PPO's, as it starts."""

    @classmethod
    def begin(
        cls, run: Run, fetched: Fetched, policy: torch.nn.Module, adapter: Adapter
    ) -> "Answering":
        """With the reward model on the weights of `policy` where they are the same; `adapter` is
        the policy's, settled.

        Raises UserError ModelInvalid.
        """
        spec, device = run.file.spec, run.comm.device
        tokenizer = AutoTokenizer.from_pretrained(
            fetched.handed_over, local_files_only=True, trust_remote_code=False
        )
        vocabulary = Vocabulary(tokenizer)
        end = TurnEnd.of(Chat(tokenizer, vocabulary), vocabulary)
        model, critic = None, None
        if fetched.reward is not None:
            files = RewardFiles(fetched.reward, fetched.reward_adapter, end.tail)
            if spec.method is Method.PPO:
                # A fixed seed: what is new in it is the same on all ranks.
                seed_everything(spec.training.seed)
                model, critic = load_critic(files, adapter, spec.training, device, policy)
            else:
                model = load_reward_model(files, spec.training, device, policy)

        def decode(tokens: Sequence[int]) -> str:
            return str(tokenizer.decode(list(tokens), skip_special_tokens=True))

        settings = _settings(spec)
        rules = spec.grpo.reward_functions if spec.grpo else None
        judge = Judge(decode, model, rules or ())
        eos = _ends(fetched.handed_over, tokenizer, end)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos[0]
        sampling = Sampling(
            settings.max_new_tokens,
            float(settings.temperature),
            float(settings.top_p),
            eos,
            int(pad),
        )
        return cls(run, fetched, tokenizer, sampling, judge, critic)

    def engine(self, policy: torch.nn.Module) -> OnlineEngine:
        """An engine at step 0 that trains `policy`, which is its own reference as it is now."""
        spec, prepared = self.run.file.spec, self.fetched.prepared
        wanted = prepared.answers[0] if prepared.answers else None
        method: OnlineMethod
        model: torch.nn.Module = policy
        if self.critic is not None:
            assert spec.ppo is not None
            scale = self.critic.scale
            model = both = ActorCritic(policy, self.critic.model, scale.mean, scale.deviation)
            method = ActorAndCritic(both, spec.ppo, self.sampling, self.judge)
        else:
            assert spec.grpo is not None
            method = GroupRelative.begin(policy, spec.grpo, self.sampling, self.judge, wanted)
        return OnlineEngine(
            self.run.comm,
            model,
            Rows(prepared.train, plan_of(spec, prepared)),
            method=method,
            training=spec.training,
            micro_batch_tokens=self.run.micro_batch_tokens,
        )

    def shown(self, experience: Experience | None) -> list[dict[str, Any]]:
        """The answers that were worth the most and the least, as text."""
        if experience is None:
            return []
        rewards, rollouts = experience.rewards, experience.rollouts
        found = []
        for row in dict.fromkeys((int(rewards.argmax()), int(rewards.argmin()))):
            prompt = rollouts.prompt(row)
            found.append(
                {
                    "prompt": self.tokenizer.decode(prompt)[-_SHOWN:],
                    "answer": self.tokenizer.decode(rollouts.answer(row))[:_SHOWN],
                    "reward": round(float(rewards[row]), 6),
                }
            )
        return found

    def measure(self, policy: torch.nn.Module) -> tuple[Rollouts, Verdict]:
        """An answer of `policy` to each held-out prompt, drawn as in training and from the same
        numbers each time, and what it is worth; collective.

        Raises StopRequestedError on all ranks when one was asked to stop.
        """
        prepared = self.fetched.prepared
        split = prepared.evaluation
        settings = self.run.scoring_settings(split)
        seed_everything(settings.seed, self.run.comm.rank)
        rollouts = roll_out(
            self.run.comm,
            policy,
            split,
            np.arange(split.units),
            self.sampling,
            generations=1,
            settings=settings,
        )
        wanted = prepared.answers[1] if prepared.answers else None
        return rollouts, self.judge.judge(self.run.comm, rollouts, wanted, settings)


def _settings(spec: FineTuneJobSpec) -> Ppo | Grpo:
    settings = spec.ppo if spec.method is Method.PPO else spec.grpo
    assert settings is not None, "the API asks for it"
    return settings


def _ends(folder: Path, tokenizer: Any, end: TurnEnd) -> tuple[int, ...]:
    """All tokens that end an answer. Raises UserError ModelInvalid where there is none."""
    found = {tokenizer.eos_token_id, end.token}
    if (folder / GENERATION_CONFIG).exists():
        named = GenerationConfig.from_pretrained(folder).eos_token_id
        found |= set(named if isinstance(named, list) else [named])
    ends = tuple(sorted(token for token in found if token is not None))
    if not ends:
        raise UserError(
            Reason.MODEL_INVALID,
            "the tokenizer has no token that ends a text (eos_token), so that no answer would end",
            where="tokenizer",
        )
    return ends
