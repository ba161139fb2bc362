"""A job's status in lines for a person."""

from collections.abc import Iterator

from finetune_api.status import (
    Condition,
    ConditionStatus,
    ConditionType,
    FineTuneJobStatus,
    Phase,
)

from finetune_cli.kubectl import SeenJob
from finetune_cli.text import evaluation_lines, progress_numbers, remedy_of

_BAR_WIDTH = 24


def job_lines(seen: SeenJob) -> Iterator[str]:
    """Phase, conditions with what to do, progress, quality and the result's address."""
    meta, status = seen.job.metadata, seen.status
    yield f"{meta.namespace}/{meta.name}  {seen.job.spec.method}  {status.phase}"
    for condition in status.conditions:
        told = f"{condition.type:<12} {condition.status:<8} {condition.reason}"
        yield f"  {told}: {condition.message}" if condition.message else f"  {told}"
    yield from remedy_lines(status)
    yield from _data_lines(status)
    if status.attempt:
        failures = f", {status.counted_failures} failed" if status.counted_failures else ""
        yield f"attempt {status.attempt}, set of pods {status.incarnation}{failures}"
    progress = status.progress
    if progress is not None and status.phase not in (Phase.COMPLETE, Phase.FAILED):
        percent = progress.percent if progress.stage_percent is None else progress.stage_percent
        bar = "#" * (percent * _BAR_WIDTH // 100)
        yield f"[{bar:.<{_BAR_WIDTH}}] {progress.stage} {progress_numbers(progress)}".rstrip()
    yield from outcome_lines(seen)


def outcome_lines(seen: SeenJob) -> Iterator[str]:
    """Quality before and after, and where the result lies."""
    yield from evaluation_lines(seen.status.evaluation, seen.job.spec.method)
    output = seen.status.output
    if output is not None:
        yield f"result: {output.uri} (base {output.base_model})"


def deciding_condition(status: FineTuneJobStatus) -> Condition | None:
    """The condition that holds the job up: a failure first, then what it waits for."""
    by_type = {condition.type: condition for condition in status.conditions}
    for kind, bad in (
        (ConditionType.FAILED, ConditionStatus.TRUE),
        (ConditionType.STALLED, ConditionStatus.TRUE),
        (ConditionType.ACCEPTED, ConditionStatus.FALSE),
        (ConditionType.DATA_READY, ConditionStatus.FALSE),
        (ConditionType.SUSPENDED, ConditionStatus.TRUE),
        (ConditionType.RECONCILING, ConditionStatus.TRUE),
    ):
        condition = by_type.get(kind)
        if condition is not None and condition.status is bad:
            return condition
    return None


def remedy_lines(status: FineTuneJobStatus) -> Iterator[str]:
    """What to do about the condition that holds the job up, where it does not say so itself."""
    condition = deciding_condition(status)
    remedy = remedy_of(condition.reason) if condition else None
    if condition is not None and remedy and remedy not in condition.message:
        yield f"what to do about {condition.reason}: {remedy}"


def _data_lines(status: FineTuneJobStatus) -> Iterator[str]:
    data = status.data
    if data is None:
        return
    yield (
        f"data: {data.rows:,} {data.unit.plural}, {data.evaluation_rows:,} held out, "
        f"{data.dropped:,} dropped, {data.tokens:,} tokens in an epoch"
    )
    for error in data.first_errors or []:
        field = f" {error.field}" if error.field else ""
        yield f"  {error.file}:{error.row}{field}: {error.message}"
