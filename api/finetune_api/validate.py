"""One verdict on a job document, the same for `kubectl apply`, the operator and `finetune`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ValidationError

from finetune_api.errors import UserError
from finetune_api.job import API_VERSION, KIND, NAME_SENTENCE, FineTuneJob, name_is_valid
from finetune_api.lineage import OWN_NAME_SENTENCE, WIRE_BLOCKS, job_references
from finetune_api.reasons import Reason
from finetune_api.spec import RewardFunctionType

CLUSTER_ONLY_FIELDS = (
    "podTemplate",
    "preparation",
    "restarts.max",
    "restarts.startDeadlineSeconds",
    "suspend",
    "priorityClassName",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
)
"""Fields that a local run does not use, by wire name."""


class Target(StrEnum):
    """Where a job is to run."""

    CLUSTER = "cluster"
    LOCAL = "local"


@dataclass(frozen=True)
class Problem:
    """One thing that the job's owner must change."""

    field: str
    """Path of the field at fault, such as `spec.data.train[0].uri`; empty for the document."""
    message: str
    unknown: bool = False
    """The field is not known here. The API server refuses those too, so that an object that was
    stored has been accepted by a newer CRD."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def validate(document: object, target: Target) -> FineTuneJob:
    """The job in `document`, or UserError that names every field at fault."""
    job, problems = examine(document, target)
    if job is None:
        raise UserError(Reason.INVALID_SPEC, "; ".join(map(str, problems)))
    return job


def examine(document: object, target: Target) -> tuple[FineTuneJob | None, list[Problem]]:
    """The job in `document` and no problem, or no job and all its problems."""
    if not isinstance(document, dict):
        return None, [Problem("", "a FineTuneJob is a mapping with metadata and spec")]
    kind = (document.get("apiVersion"), document.get("kind"))
    if kind != (API_VERSION, KIND):
        expected = f"expected apiVersion {API_VERSION} and kind {KIND}, got {kind}"
        return None, [Problem("", expected)]
    try:
        job = FineTuneJob.parse_wire(document)
    except ValidationError as error:
        return None, list(_problems(error))
    problems = list(_pattern_problems(job))
    if not name_is_valid(job.metadata.name):
        problems.append(Problem("metadata.name", NAME_SENTENCE.removeprefix("metadata.name ")))
    problems += [
        Problem(f"spec.{WIRE_BLOCKS[role]}.fromJob.name", OWN_NAME_SENTENCE)
        for role, name in job_references(job.spec).items()
        if name == job.metadata.name
    ]
    if target is Target.CLUSTER:
        problems += cluster_problems(job.spec, "spec")
    return (None if problems else job), problems


def unused_locally(job: FineTuneJob) -> list[str]:
    """Wire names of the fields that the job sets and a local run does not use."""
    return [name for name in CLUSTER_ONLY_FIELDS if _is_set(job.spec, name)]


def _is_set(block: BaseModel, path: str) -> bool:
    """Whether the document has a value at the dotted `path` below `block`."""
    wire, _, below = path.partition(".")
    name = next(name for name, info in type(block).model_fields.items() if info.alias == wire)
    return name in block.model_fields_set and (not below or _is_set(getattr(block, name), below))


def cluster_problems(model: BaseModel, path: str) -> Iterator[Problem]:
    """Broken rules that hold only on a cluster, each with the path of its object."""
    for rule in getattr(model, "CLUSTER_RULES", ()):
        if not rule.holds(model):
            yield Problem(path, rule.message)
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        where = f"{path}.{info.alias or name}"
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, BaseModel):
                yield from cluster_problems(
                    item, f"{where}[{index}]" if isinstance(value, list) else where
                )


_LOOSE_BRACE = re.compile(r"(?<!\\)(?:\\\\)*\{(?!\d*,?\d*\})")
"""A brace that opens no number of repetitions; the trainer's library, which stops a search that
takes too long, would read x{e} as x with an error in it."""


def _pattern_problems(job: FineTuneJob) -> Iterator[Problem]:
    """Regular expressions that Python does not take; the API server cannot tell."""
    functions = (job.spec.grpo.reward_functions if job.spec.grpo else None) or []
    for index, function in enumerate(functions):
        where = f"spec.grpo.rewardFunctions[{index}].pattern"
        if function.pattern is None:
            continue
        try:
            groups = re.compile(function.pattern).groups
        except (re.error, RecursionError, OverflowError) as error:
            yield Problem(where, f"is no regular expression of Python's: {error}")
            continue
        if _LOOSE_BRACE.search(function.pattern):
            yield Problem(where, "has a brace that counts nothing: write \\{ for the character")
        if function.type is RewardFunctionType.EXACT_ANSWER and not groups:
            yield Problem(where, "has no group: put brackets around the part that is the answer")


_SENTENCES = {
    "extra_forbidden": "unknown field; remove it or check its spelling",
    "missing": "required field is missing",
    "string_type": 'must be a string; put the value in quotes, for example "2e-4"',
}


def _problems(error: ValidationError) -> Iterator[Problem]:
    for detail in error.errors(include_url=False, include_input=False):
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        sentence = _SENTENCES.get(detail["type"], message)
        yield Problem(path.removeprefix("."), sentence, detail["type"] == "extra_forbidden")
