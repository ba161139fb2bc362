"""Termination messages: all that the operator learns from a pod that ended.

Kubernetes keeps at most 4,096 bytes, so a message is cut by rule until it fits: row errors and
sample answers go first, then long texts, and the address of a result only when nothing else
is left.
"""

import json
from typing import Annotated, Self, TypeVar

from pydantic import Field, ValidationError

from finetune_api.exits import Outcome
from finetune_api.fields import ApiModel
from finetune_api.reasons import Reason
from finetune_api.spec import Adapter
from finetune_api.status import (
    DataStatus,
    Digest,
    EvaluationStatus,
    OutputStatus,
    PreparedStatus,
)

MAX_MESSAGE_BYTES = 4096
_SHORT = 300


class TerminationMessage(ApiModel):
    """What every process of ours says at its end."""

    outcome: Outcome
    reason: Reason
    message: Annotated[str, Field(max_length=2048)] = ""
    """One or two sentences: what happened and what to do."""
    where: Annotated[str, Field(max_length=512)] | None = None
    """File and row, field or address at fault."""

    def shortened(self) -> list[Self]:
        """The same message with ever less in it."""
        short = {"message": self.message[:_SHORT], "where": (self.where or "")[:_SHORT] or None}
        return [self.model_copy(update=short)]


class PrepareMessage(TerminationMessage):
    """End of `finetune_trainer prepare`."""

    prepared: PreparedStatus | None = None
    """Where the tokens lie, when the outcome is Done."""
    adapter: Adapter | None = None
    """What is trained, now that the start model is known."""
    data: DataStatus | None = None
    """Counts and the first rows at fault."""
    adopted: OutputStatus | None = None
    """A published result of the same recipe on the same data."""
    adopted_evaluation: EvaluationStatus | None = None
    """Its measurements."""

    def shortened(self) -> list[Self]:
        """Keep three row errors, then none, then no findings, then no counts; no settings of the
        adapter."""
        (short,) = super().shortened()
        keeps: list[DataStatus | None] = []
        if self.data is not None:
            few = (self.data.first_errors or [])[:3] or None
            keeps = [
                self.data.model_copy(update=update)
                for update in (
                    {"first_errors": few},
                    {"first_errors": None},
                    {"first_errors": None, "findings": None},
                )
            ]
        return [
            short.model_copy(update={"data": data, "adopted_evaluation": None, "adapter": None})
            for data in [*keeps, None]
        ]


class LaunchMessage(TerminationMessage):
    """End of `finetune_trainer launch`."""

    output: OutputStatus | None = None
    """The published result, only from rank 0 and only when the outcome is Done."""
    evaluation: EvaluationStatus | None = None
    """The model before and after."""
    last_step: Annotated[int, Field(ge=0)] | None = None
    """Last optimizer step that was done."""
    checkpoint_step: Annotated[int, Field(ge=0)] | None = None
    """Step of the last committed checkpoint."""
    recipe_hash: Digest | None = None

    def shortened(self) -> list[Self]:
        """Cut the sample answers, then leave all measurements out."""
        (short,) = super().shortened()
        return [
            short.model_copy(update={"evaluation": kept}) for kept in (_cut(self.evaluation), None)
        ]


def _cut(evaluation: EvaluationStatus | None) -> EvaluationStatus | None:
    if evaluation is None:
        return None
    update = {}
    for name in ("before", "after"):
        measured = getattr(evaluation, name)
        if measured is not None and measured.answer is not None:
            update[name] = measured.model_copy(update={"answer": measured.answer[:80]})
    question = evaluation.question[:80] if evaluation.question else None
    return evaluation.model_copy(update={**update, "question": question})


Message = TypeVar("Message", bound=TerminationMessage)


def encode(message: TerminationMessage) -> bytes:
    """The message as UTF-8 JSON of at most `MAX_MESSAGE_BYTES`."""
    bare = TerminationMessage(
        outcome=message.outcome, reason=message.reason, message=message.message[:_SHORT]
    )
    shorter = message.shortened()
    wordless = shorter[-1].model_copy(update={"message": "", "where": None})
    candidates = map(_dump, [message, *shorter, wordless, bare])
    return next(text for text in candidates if len(text) <= MAX_MESSAGE_BYTES)


def decode(kind: type[Message], text: str) -> Message | None:
    """The message in `text`, or None when it is no message of that kind (a log tail, say)."""
    try:
        return kind.parse_wire(json.loads(text))
    except (ValueError, ValidationError, RecursionError):
        return None


def _dump(message: TerminationMessage) -> bytes:
    return json.dumps(message.to_wire(), ensure_ascii=False, separators=(",", ":")).encode()
