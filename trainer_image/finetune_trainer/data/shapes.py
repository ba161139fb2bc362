"""Which shape a file's rows have, decided over the first of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import DataSource, RowFormat

from finetune_trainer.data.instruction import InstructionColumns
from finetune_trainer.data.messages import MessagesColumns
from finetune_trainer.data.user_template import UserTemplate

ROWS_LOOKED_AT = 100
FIELD_NAMES = ("instruction", "context", "response", "messages", "system", "tools")
"""What `fields` may map to columns."""
_SHAPES_IN_WORDS = (
    "Instruction (columns instruction, context, response or instruction, input, output) or "
    "Messages (a column messages with role and content, or conversations with from and value)"
)
_MAX_COLUMNS_SHOWN = 12


@dataclass(frozen=True)
class Shape:
    """How rows of a file are read."""

    name: str
    """For people, with the columns that are read."""
    reader: InstructionColumns | MessagesColumns


@dataclass(frozen=True)
class _Candidate:
    format: RowFormat
    name: str
    needed: tuple[str, ...]
    """Columns, one for each of the format's required fields."""
    context: str | None = None


_CANDIDATES = (
    _Candidate(RowFormat.MESSAGES, "messages", ("messages",)),
    _Candidate(RowFormat.MESSAGES, "ShareGPT", ("conversations",)),
    _Candidate(RowFormat.INSTRUCTION, "dolly", ("instruction", "response"), "context"),
    _Candidate(RowFormat.INSTRUCTION, "alpaca", ("instruction", "output"), "input"),
)
_REQUIRED = {
    RowFormat.MESSAGES: ("messages",),
    RowFormat.INSTRUCTION: ("instruction", "response"),
}


def detect(source: DataSource, first_rows: Sequence[dict[str, Any]]) -> Shape:
    """The shape that most of `first_rows` have, within what `source` asks for.

    Raises UserError InvalidData naming the columns found when none fits, InvalidSpec for a
    column map or template that no row could use.
    """
    fields = source.fields or {}
    unknown = sorted(set(fields) - set(FIELD_NAMES))
    if unknown:
        names = ", ".join(FIELD_NAMES)
        raise UserError(
            Reason.INVALID_SPEC, f"fields maps {unknown[0]}; it may map {names}", where=source.uri
        )
    counted = [
        (sum(all(column in row for column in candidate.needed) for row in first_rows), candidate)
        for candidate in _candidates(source.format, fields)
    ]
    hits, best = max(counted, key=lambda pair: pair[0], default=(0, None))
    preference = source.format is RowFormat.AUTO and _are_preferences(first_rows)
    if best is None or hits == 0 or preference:
        raise _unknown(source, first_rows, preference)
    return _shape(best, fields, source, first_rows)


def _candidates(wanted: RowFormat, fields: dict[str, str]) -> list[_Candidate]:
    """What may fit, with the columns that `fields` names in place of the usual ones."""
    found = []
    for candidate in _CANDIDATES:
        if wanted not in (RowFormat.AUTO, candidate.format):
            continue
        required = _REQUIRED[candidate.format]
        columns = tuple(
            fields.get(name, column)
            for name, column in zip(required, candidate.needed, strict=True)
        )
        context = fields.get("context", candidate.context) if candidate.context else None
        found.append(_Candidate(candidate.format, candidate.name, columns, context))
    # A mapped field decides between formats: with messages mapped, Instruction is not meant.
    named = [c for c in found if set(fields) & set(_REQUIRED[c.format])]
    return named or found


def _shape(
    best: _Candidate,
    fields: dict[str, str],
    source: DataSource,
    first_rows: Sequence[dict[str, Any]],
) -> Shape:
    present = {column for row in first_rows for column in row}
    system = _optional("system", fields, present, source)
    tools = _optional("tools", fields, present, source)
    if best.format is RowFormat.MESSAGES:
        if source.template is not None:
            raise UserError(
                Reason.INVALID_SPEC,
                "template applies to Instruction rows, and these hold messages; remove it",
                where=source.uri,
            )
        used = [*best.needed, *(column for column in (system, tools) if column)]
        name = f"Messages ({best.name}: {', '.join(used)})"
        return Shape(name, MessagesColumns(best.needed[0], system, tools))
    instruction, response = best.needed
    context = best.context
    if context is not None and context not in present:
        context = _optional("context", fields, present, source)
    used = [column for column in (system, instruction, context, response) if column]
    template = UserTemplate(source.template, f"{source.uri} template") if source.template else None
    reader = InstructionColumns(instruction, response, context, system, template)
    return Shape(f"Instruction ({best.name}: {', '.join(used)})", reader)


def _optional(
    name: str, fields: dict[str, str], present: set[str], source: DataSource
) -> str | None:
    """Column of an optional field; a mapped one must exist."""
    column = fields.get(name, name)
    if column in present:
        return column
    if name in fields:
        raise UserError(
            Reason.INVALID_DATA,
            f"fields maps {name} to {column}, which no row has; {_columns(present)}",
            where=source.uri,
        )
    return None


def _are_preferences(first_rows: Sequence[dict[str, Any]]) -> bool:
    return any({"chosen", "rejected"} <= set(row) for row in first_rows)


def _columns(present: set[str]) -> str:
    shown = sorted(present)[:_MAX_COLUMNS_SHOWN]
    rest = len(present) - len(shown)
    more = f" and {rest} more" if rest else ""
    return f"columns found: {', '.join(name[:64] for name in shown) or 'none'}{more}"


def _unknown(
    source: DataSource, first_rows: Sequence[dict[str, Any]], preference: bool
) -> UserError:
    columns = _columns({column for row in first_rows for column in row})
    if preference:
        text = (
            f"the rows are preference pairs ({columns}), which SFT does not take; to train on "
            "their conversations alone, set format and fields"
        )
    elif source.fields:
        text = f"no row has all columns that fields names; {columns}"
    elif source.format is not RowFormat.AUTO:
        text = f"the rows are not of the format {source.format}; {columns}"
    else:
        text = f"the rows' shape is unknown; {columns}"
    fits = f"{text}. Shapes that fit: {_SHAPES_IN_WORDS}; name other columns with fields"
    return UserError(Reason.INVALID_DATA, fits, where=source.uri)
