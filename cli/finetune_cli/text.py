"""Sentences that several commands print."""

import sys
from collections.abc import Iterator
from typing import TextIO

from finetune_api.progress import Progress, Stage
from finetune_api.reasons import REMEDIES, Reason
from finetune_api.spec import ONLINE, Method
from finetune_api.status import EvaluationStatus, Measurement

NOTHING_TO_DO = "Nothing to do"


def remedy_of(reason: str) -> str | None:
    """What to do about a reason, or None when it is unknown or there is nothing to do."""
    text = REMEDIES.get(Reason(reason)) if reason in set(Reason) else None
    return None if text is None or text.startswith(NOTHING_TO_DO) else text


def print_error(
    reason: str, message: str, *, where: str | None = None, with_remedy: bool = True
) -> None:
    """Reason, message, place and remedy on standard error."""
    print(f"error: {reason}: {message}", file=sys.stderr)
    if where:
        print(f"  where: {where}", file=sys.stderr)
    remedy = remedy_of(reason)
    if remedy and with_remedy:
        print(f"  what to do: {remedy}", file=sys.stderr)


def duration(seconds: float) -> str:
    """`45s`, `3m05s` or `2h07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def progress_numbers(progress: Progress) -> str:
    """`step 12/40 (30%), loss 2.31, 1,234 tokens/s, 1m20s left` in training, elsewhere `40%` of the
    stage or nothing."""
    parts = []
    if progress.stage_percent is not None:
        parts.append(f"{progress.stage_percent}%")
    if progress.stage is not Stage.TRAINING:
        return ", ".join(parts)
    if progress.total_steps:
        parts.append(f"step {progress.step}/{progress.total_steps} ({progress.percent}%)")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss}")
    if progress.reward is not None:
        parts.append(f"reward {progress.reward}")
    if progress.tokens_per_second:
        parts.append(f"{progress.tokens_per_second:,} tokens/s")
    if progress.eta_seconds is not None and progress.step < progress.total_steps:
        parts.append(f"{duration(progress.eta_seconds)} left")
    return ", ".join(parts)


def evaluation_lines(evaluation: EvaluationStatus | None, method: Method) -> Iterator[str]:
    """The held-out cross entropy, of pairs how many are ranked rightly too, the reward of answers
    where the model writes some, and one answer, before and after."""
    if evaluation is None:
        return
    before, after = evaluation.before, evaluation.after
    if method in ONLINE:
        yield (
            "mean reward of answers to held-out prompts: "
            f"{_reward(before)} before, {_reward(after)} after"
        )
    elif before or after:
        unit = "pair of answers" if method is Method.REWARD else "token"
        yield (
            "held-out cross entropy: "
            f"{_entropy(before)} before, {_entropy(after)} after (nats per {unit})"
        )
    if before and after and before.preference_accuracy and after.preference_accuracy:
        yield (
            "held-out pairs ranked rightly: "
            f"{before.preference_accuracy} before, {after.preference_accuracy} after (share)"
        )
    if evaluation.question:
        yield f"question: {_one_line(evaluation.question)}"
    for when, measured in (("before", before), ("after", after)):
        if measured is not None and measured.answer is not None:
            yield f"answer {when}: {_one_line(measured.answer)}"


def print_lines(lines: Iterator[str], file: TextIO | None = None) -> None:
    """One line each."""
    for line in lines:
        print(line, file=file or sys.stdout)


def _entropy(measured: Measurement | None) -> str:
    return (measured.cross_entropy if measured else None) or "not measured"


def _reward(measured: Measurement | None) -> str:
    return (measured.reward_mean if measured else None) or "not measured"


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "(empty)"
