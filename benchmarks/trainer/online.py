"""Methods whose model writes the answers: GRPO beside TRL's trainer, PPO beside writing alone.

All start from the same weights with the same LoRA. A model of random weights draws tokens evenly,
so one token in 32 ends an answer: lengths are geometric, as those of real answers are by and large.
"""

import time
from functools import partial
from typing import Any

import numpy as np
import torch
from finetune_api.spec import Grpo, Method, Ppo, Precision
from finetune_trainer.arrays import Float32
from finetune_trainer.data.table import UnitTable
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.model import ModelSettings, load_model
from finetune_trainer.engine.plan import Mixture, Plan
from finetune_trainer.engine.settings import StepSettings
from finetune_trainer.engine.step import Rows
from finetune_trainer.methods.actor_critic import ActorCritic
from finetune_trainer.online.engine import Experience, OnlineEngine
from finetune_trainer.online.generation import Sampling, write_answers
from finetune_trainer.online.grpo import GroupRelative
from finetune_trainer.online.ppo import ActorAndCritic
from finetune_trainer.online.rollouts import Rollouts
from finetune_trainer.prepared import PreparedSplit
from finetune_trainer.rewards.judge import Judge

from benchmarks.alternate import Contestant, alternate, table
from benchmarks.trainer import contestants
from benchmarks.trainer.contestants import ADAPTER, CPU, TRAINING
from benchmarks.trainer.workload import VOCABULARY, Workload, make_rows

PROMPTS, GENERATIONS, STEPS, ANSWER = 8, 4, 3, 96
"""Prompts in a step, answers to each (of GRPO), steps, and tokens of an answer."""
PROMPT = 48
"""Tokens of a prompt, at most."""
ENDS = tuple(range(2, VOCABULARY, 32))
"""Tokens that end an answer."""
SAMPLING = Sampling(ANSWER, 1.0, 1.0, ENDS, 0)
OURS = "this engine"
RATE = "answer tokens/s"


class _EvenShare:
    """A reward that costs nothing: the share of an answer's tokens that are even."""

    def scores(self, _comm: Comm, rollouts: Rollouts, _settings: StepSettings) -> Float32:
        even = [np.mean([t % 2 == 0 for t in rollouts.answer(r)]) for r in range(len(rollouts))]
        return np.array(even, np.float32)


def grpo(rounds: int) -> str:
    """GRPO against TRL's GRPOTrainer."""
    work = make_rows(PROMPTS * STEPS, pairs=False)
    theirs = "TRL GRPOTrainer as it comes"
    ours: dict[str, Contestant] = {
        OURS: partial(_our_grpo, work),
        theirs: partial(_trl_grpo, work),
    }
    return table(
        "GRPO, answers written included", RATE, alternate(ours, rounds), OURS, {theirs: ">= 1.2"}
    )


def ppo(rounds: int) -> str:
    """PPO against a loop that only writes the answers, and where its time goes."""
    work = make_rows(PROMPTS * GENERATIONS * STEPS, pairs=False)
    spent: dict[str, float] = {}
    alone = "writing the answers alone"
    ours: dict[str, Contestant] = {
        OURS: partial(_our_ppo, work, spent),
        alone: partial(_writing, work),
    }
    text = table(
        "PPO, 4 passes over each answer", RATE, alternate(ours, rounds), OURS, {alone: "-"}
    )
    whole = sum(spent.values())
    shares = ", ".join(f"{name} {100 * part / whole:.0f}%" for name, part in spent.items())
    return f"{text}\nWhere the time of this engine goes: {shares}.\n"


def _prompts(work: Workload) -> PreparedSplit:
    made = UnitTable()
    for row, prompt in enumerate(work.prompts):
        made.add([(prompt[:PROMPT], [])], file=0, row=row, group=row)
    return made.to_split()


def _rows(work: Workload, batch: int) -> Rows:
    split = _prompts(work)
    plan = Plan.make(
        mixture=Mixture.concat(split.units), batch=batch, seed=0, epochs="1", max_steps=None
    )
    return Rows(split, plan)


def _policy(work: Workload, method: Method = Method.SFT) -> Any:
    return load_model(work.model, ModelSettings.of(ADAPTER, TRAINING, method), CPU)


def _judge() -> Judge:
    def no_text(_: object) -> str:
        raise AssertionError("no rule asks for text")

    return Judge(no_text, _EvenShare())


def _our_grpo(work: Workload) -> float:
    policy = _policy(work)
    settings = Grpo(generations=GENERATIONS, max_new_tokens=ANSWER, beta="0.04")
    began = time.perf_counter()
    method = GroupRelative.begin(policy, settings, SAMPLING, _judge(), None)
    made = OnlineEngine(
        Comm.alone(), policy, _rows(work, PROMPTS), method=method, training=TRAINING
    )
    written = 0
    while not made.finished:
        written += made.run_step().labels
    return written / (time.perf_counter() - began)


def _trl_grpo(work: Workload) -> float:
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    tokenizer = contestants.tokenizer_of(work)
    rows = [{"prompt": tokenizer.decode(prompt[:PROMPT])} for prompt in work.prompts]
    written = 0

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        nonlocal written
        written += sum(map(len, completion_ids))
        return [float(np.mean([t % 2 == 0 for t in answer])) for answer in completion_ids]

    model = contestants.with_lora(work)
    model.generation_config.eos_token_id = list(ENDS)
    options = contestants.trl_options(per_step=PROMPTS * GENERATIONS)
    with contestants.quiet_folder() as folder:
        config = GRPOConfig(
            output_dir=str(folder),
            num_generations=GENERATIONS,
            max_completion_length=ANSWER,
            beta=0.04,
            **options,
        )
        began = time.perf_counter()
        made = GRPOTrainer(
            model=model,
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        made.train()
        return written / (time.perf_counter() - began)


class _Timed(ActorAndCritic):
    """PPO that notes when a step has its answers, and when it has learnt what it needs."""

    def learn(self, comm: Comm, rollouts: Rollouts, settings: StepSettings) -> Experience:
        self.written_at = time.perf_counter()
        found = super().learn(comm, rollouts, settings)
        self.looked_at = time.perf_counter()
        return found


def _our_ppo(work: Workload, spent: dict[str, float]) -> float:
    model = ActorCritic(_policy(work), _policy(work, Method.REWARD), 0.0, 1.0)
    method = _Timed(model, Ppo(max_new_tokens=ANSWER), SAMPLING, _judge())
    began = time.perf_counter()
    made = OnlineEngine(
        Comm.alone(), model, _rows(work, PROMPTS * GENERATIONS), method=method, training=TRAINING
    )
    written, labels = 0, 0
    while not made.finished:
        start = time.perf_counter()
        labels += made.run_step().labels
        written = labels // 4
        end = time.perf_counter()
        for name, seconds in (
            ("writing", method.written_at - start),
            (
                "judging, reference, old probabilities and values",
                method.looked_at - method.written_at,
            ),
            ("updates", end - method.looked_at),
        ):
            spent[name] = spent.get(name, 0.0) + seconds
    return written / (time.perf_counter() - began)


def _writing(work: Workload) -> float:
    policy = _policy(work)
    rows = _rows(work, PROMPTS * GENERATIONS)
    torch.manual_seed(0)
    began = time.perf_counter()
    written = 0
    for step in range(rows.plan.total_steps):
        prompts = [rows.split.row(int(unit))[0] for unit in rows.plan.units_of(step)]
        answers = write_answers(
            policy,
            prompts,
            SAMPLING,
            comm=Comm.alone(),
            precision=Precision.FP32,
            micro_batch_tokens=2048,
        )
        written += sum(map(len, answers))
    return written / (time.perf_counter() - began)
