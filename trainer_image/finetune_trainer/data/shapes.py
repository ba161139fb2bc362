"""Which shape a file's rows have, decided over the first of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import FORMATS_OF, Method, RowFormat, RowSource

from finetune_trainer.data.candidates import CANDIDATES, FIELD_NAMES, IN_WORDS, Candidate
from finetune_trainer.data.document import DocumentFile, TextColumns
from finetune_trainer.data.feedback import FeedbackColumns
from finetune_trainer.data.instruction import InstructionColumns
from finetune_trainer.data.messages import MessagesColumns
from finetune_trainer.data.preference import PreferenceColumns
from finetune_trainer.data.prompt import PromptColumns
from finetune_trainer.data.prompt_completion import PromptCompletionColumns
from finetune_trainer.data.ranking import RankingColumns
from finetune_trainer.data.row_template import RowTemplate

ROWS_LOOKED_AT = 100
_MAX_COLUMNS_SHOWN = 12

Row = dict[str, Any]
Reader = (
    InstructionColumns
    | MessagesColumns
    | PromptCompletionColumns
    | PreferenceColumns
    | FeedbackColumns
    | RankingColumns
    | PromptColumns
    | TextColumns
    | DocumentFile
)


@dataclass(frozen=True)
class Shape:
    """How rows of a file are read."""

    name: str
    """For people, with the columns that are read."""
    reader: Reader


def detect(
    source: RowSource, first_rows: Sequence[Row], method: Method, *, needs_answer: bool = False
) -> Shape:
    """The shape that most of `first_rows` have, within what `method` takes and `source` asks for.

    Args:
        needs_answer: prompts without a right answer are invalid.

    Raises UserError InvalidData naming the columns found when none fits, and the methods that
    the rows would fit; InvalidSpec for a column map or template that no row could use.
    """
    fields = source.fields or {}
    unknown = sorted(set(fields) - set(FIELD_NAMES))
    if unknown:
        names = ", ".join(FIELD_NAMES)
        raise UserError(
            Reason.INVALID_SPEC, f"fields maps {unknown[0]}; it may map {names}", where=source.uri
        )
    best = _best(_candidates(source, method), first_rows)
    if best is None or _hides_judgements(best, source, first_rows):
        raise _unfit(source, first_rows, method)
    return _shape(best, source, first_rows, needs_answer=needs_answer)


def document_shape(source: RowSource, uri: str, method: Method) -> Shape:
    """How the file at `uri`, a document, is read. Raises UserError where it cannot be."""
    if RowFormat.DOCUMENT not in FORMATS_OF[method]:
        shapes = " or ".join(IN_WORDS[form] for form in FORMATS_OF[method])
        raise UserError(
            Reason.INVALID_DATA,
            "is a document, which method CPT trains on. Where rows lie beside it, name them alone, "
            f"as in FOLDER/*.jsonl. Method {method} takes rows: {shapes}",
            where=uri,
        )
    if source.format not in (RowFormat.AUTO, RowFormat.DOCUMENT):
        raise UserError(
            Reason.INVALID_DATA,
            f"is a document, and format says {source.format}: write Document, or leave it out",
            where=uri,
        )
    if source.fields:
        raise UserError(
            Reason.INVALID_SPEC,
            "fields maps columns, and documents have none: remove it",
            where=source.uri,
        )
    template = RowTemplate(source.template, f"{source.uri} template") if source.template else None
    return Shape(RowFormat.DOCUMENT.value, DocumentFile(template))


def _candidates(source: RowSource, method: Method) -> list[Candidate]:
    """What may fit, with the columns that `fields` names in place of the usual ones."""
    fields = source.fields or {}
    found = [
        candidate.mapped(fields)
        for candidate in CANDIDATES
        if candidate.format in FORMATS_OF[method]
        and source.format in (RowFormat.AUTO, candidate.format)
    ]
    # A mapped field decides between formats: with messages mapped, Instruction is not meant.
    named = [c for c in found if set(fields) & set(dict(c.columns))]
    return named or found


def _best(candidates: Sequence[Candidate], rows: Sequence[Row]) -> Candidate | None:
    """The first of those that most rows look like."""
    counted = [(candidate.hits(rows), candidate) for candidate in candidates]
    hits, best = max(counted, key=lambda pair: pair[0], default=(0, None))
    return best if hits else None


def _hides_judgements(best: Candidate, source: RowSource, rows: Sequence[Row]) -> bool:
    """Whether pairs or labelled answers would be read as good answers without anybody asking."""
    if best.format not in FORMATS_OF[Method.SFT] or source.format is not RowFormat.AUTO:
        return False
    asked = set(source.fields or {}) & set(dict(best.columns))
    judged = (RowFormat.PREFERENCE, RowFormat.FEEDBACK)
    others = [candidate for candidate in CANDIDATES if candidate.format in judged]
    return not asked and _best(others, rows) is not None


def _shape(
    best: Candidate, source: RowSource, first_rows: Sequence[Row], *, needs_answer: bool
) -> Shape:
    """How rows of the kind `best` are read."""
    present = {column for row in first_rows for column in row}
    _check_fields(best, source)
    optional = {
        name: _optional(name, source, present) if best.takes(name) else None
        for name in ("answer", "system", "tools")
    }
    system, tools = optional["system"], optional["tools"]
    template = RowTemplate(source.template, f"{source.uri} template") if source.template else None
    columns = {name: best.column(name) for name, _ in best.columns}
    reader: Reader
    match best.format:
        case RowFormat.TEXT:
            reader = TextColumns(**columns, template=template)
        case RowFormat.MESSAGES:
            reader = MessagesColumns(**columns, system=system, tools=tools)
        case RowFormat.PROMPT_COMPLETION:
            reader = PromptCompletionColumns(**columns, system=system)
        case RowFormat.FEEDBACK:
            reader = _feedback(columns, system, tools)
        case RowFormat.RANKING:
            reader = RankingColumns(**columns, system=system, tools=tools)
        case RowFormat.PROMPT:
            (prompt,) = columns.values()
            answer = optional["answer"]
            reader = PromptColumns(prompt, answer or "answer", system, tools, needs_answer)
            columns["answer"] = answer or ""
        case RowFormat.PREFERENCE:
            reader = PreferenceColumns(**columns, system=system, tools=tools)
        case _:
            context = best.context if best.context in present else None
            context = context or _optional("context", source, present)
            reader = InstructionColumns(
                **columns, context=context, system=system, template=template
            )
            columns["context"] = context or ""
    used = ", ".join(column for column in (*columns.values(), system, tools) if column)
    return Shape(f"{best.format.value} ({best.name}: {used})", reader)


def _feedback(columns: Mapping[str, str], system: str | None, tools: str | None) -> FeedbackColumns:
    inner = {name: column for name, column in columns.items() if name != "label"}
    conversation: PromptCompletionColumns | MessagesColumns
    if "messages" in inner:
        conversation = MessagesColumns(**inner, system=system, tools=tools)
    else:
        conversation = PromptCompletionColumns(**inner, system=system)
    return FeedbackColumns(columns["label"], conversation)


def _check_fields(best: Candidate, source: RowSource) -> None:
    """Refuse what rows of this kind would not use."""
    unused = sorted(name for name in source.fields or {} if not best.takes(name))
    if unused:
        raise UserError(
            Reason.INVALID_SPEC,
            f"fields maps {unused[0]}, which {best.format.value} rows do not have; remove it",
            where=source.uri,
        )
    if source.template is not None and best.format not in (RowFormat.INSTRUCTION, RowFormat.TEXT):
        raise UserError(
            Reason.INVALID_SPEC,
            "template applies to Instruction rows and Text rows, and these are "
            f"{best.format.value}; remove it",
            where=source.uri,
        )


def _optional(name: str, source: RowSource, present: set[str]) -> str | None:
    """Column of an optional field; a mapped one must exist."""
    fields = source.fields or {}
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


def _columns(present: set[str]) -> str:
    shown = sorted(present)[:_MAX_COLUMNS_SHOWN]
    rest = len(present) - len(shown)
    more = f" and {rest} more" if rest else ""
    return f"columns found: {', '.join(name[:64] for name in shown) or 'none'}{more}"


def _unfit(source: RowSource, first_rows: Sequence[Row], method: Method) -> UserError:
    """Why no shape fits, and which would."""
    columns = _columns({column for row in first_rows for column in row})
    other = _best([c for c in CANDIDATES if c.format not in FORMATS_OF[method]], first_rows)
    if source.fields:
        present = {column for row in first_rows for column in row}
        absent = sorted(set(source.fields.values()) - present)
        missing = f": {', '.join(absent)} is in none" if absent else ""
        text = f"no row has all columns that fields names{missing}; {columns}"
    elif source.format is not RowFormat.AUTO:
        text = f"the rows are not of the format {source.format}; {columns}"
    elif other is not None:
        fit = ", ".join(m for m, formats in FORMATS_OF.items() if other.format in formats)
        text = (
            f"the rows are of the format {other.format} ({columns}), which method {method} does "
            f"not take: they fit method {fit}. To use them otherwise, set format and fields"
        )
    else:
        text = f"the rows' shape is unknown; {columns}"
    shapes = " or ".join(IN_WORDS[form] for form in FORMATS_OF[method])
    fits = f"{text}. Shapes that fit {method}: {shapes}; name other columns with fields"
    return UserError(Reason.INVALID_DATA, fits, where=source.uri)
