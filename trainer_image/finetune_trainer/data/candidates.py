"""The shapes that rows come in: which columns tell them, and under which of our names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune_api.spec import RowFormat

from finetune_trainer.data.feedback import label_of

OPTIONAL_FIELDS: Mapping[RowFormat, tuple[str, ...]] = {
    RowFormat.TEXT: (),
    RowFormat.MESSAGES: ("system", "tools"),
    RowFormat.INSTRUCTION: ("context", "system"),
    RowFormat.PROMPT_COMPLETION: ("system",),
    RowFormat.PREFERENCE: ("system", "tools"),
    RowFormat.FEEDBACK: ("system", "tools"),
    RowFormat.RANKING: ("system", "tools"),
    RowFormat.PROMPT: ("answer", "system", "tools"),
}
"""What rows of a format may have beside the fields that tell it."""


@dataclass(frozen=True)
class Candidate:
    """One way of writing rows of a format."""

    format: RowFormat
    name: str
    """For people."""
    columns: tuple[tuple[str, str], ...]
    """(our name, usual column) of each required field."""
    without: tuple[str, ...] = ()
    """Columns that make a row another candidate's."""
    context: str | None = None
    """Usual column of an Instruction row's context."""
    flag: str | None = None
    """Which of the required fields must hold true or false."""

    def column(self, field: str) -> str:
        """The column of a required field."""
        return dict(self.columns)[field]

    def mapped(self, fields: Mapping[str, str]) -> "Candidate":
        """The same with the columns that a source's `fields` names."""
        columns = tuple((name, fields.get(name, column)) for name, column in self.columns)
        context = fields.get("context", self.context) if self.context else None
        return replace(self, columns=columns, context=context)

    def takes(self, field: str) -> bool:
        """Whether rows of this kind have a field of that name."""
        return field in dict(self.columns) or field in OPTIONAL_FIELDS[self.format]

    def hits(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """How many of `rows` look like it."""
        needed = [column for _, column in self.columns]
        return sum(
            all(column in row for column in needed)
            and not any(column in row for column in self.without)
            and (self.flag is None or label_of(row[self.column(self.flag)]) is not None)
            for row in rows
        )


CANDIDATES: Sequence[Candidate] = (
    Candidate(RowFormat.MESSAGES, "messages", (("messages", "messages"),)),
    Candidate(RowFormat.MESSAGES, "ShareGPT", (("messages", "conversations"),)),
    Candidate(
        RowFormat.INSTRUCTION,
        "dolly",
        (("instruction", "instruction"), ("response", "response")),
        context="context",
    ),
    Candidate(
        RowFormat.INSTRUCTION,
        "alpaca",
        (("instruction", "instruction"), ("response", "output")),
        context="input",
    ),
    Candidate(
        RowFormat.PROMPT_COMPLETION,
        "texts",
        (("prompt", "prompt"), ("completion", "completion")),
    ),
    Candidate(
        RowFormat.PREFERENCE,
        "prompt and answers",
        (("prompt", "prompt"), ("chosen", "chosen"), ("rejected", "rejected")),
    ),
    Candidate(
        RowFormat.PREFERENCE,
        "ShareGPT",
        (("prompt", "conversations"), ("chosen", "chosen"), ("rejected", "rejected")),
    ),
    Candidate(
        RowFormat.PREFERENCE,
        "two conversations",
        (("chosen", "chosen"), ("rejected", "rejected")),
        without=("prompt", "conversations"),
    ),
    Candidate(
        RowFormat.PREFERENCE,
        "two conversations",
        (("chosen", "chosen_messages"), ("rejected", "rejected_messages")),
    ),
    *(
        Candidate(
            RowFormat.FEEDBACK, f"{name} and {label}", (*columns, ("label", label)), flag="label"
        )
        for label in ("label", "kto_tag")
        for name, columns in (
            ("texts", (("prompt", "prompt"), ("completion", "completion"))),
            ("messages", (("messages", "messages"),)),
            ("ShareGPT", (("messages", "conversations"),)),
        )
    ),
    *(
        Candidate(
            RowFormat.RANKING,
            "prompt and scored answers",
            (("prompt", "prompt"), ("responses", name), ("scores", "scores")),
        )
        for name in ("responses", "completions")
    ),
    Candidate(RowFormat.TEXT, "documents", (("text", "text"),)),
    Candidate(RowFormat.PROMPT, "prompts", (("prompt", "prompt"),)),
    Candidate(RowFormat.PROMPT, "messages", (("messages", "messages"),)),
    Candidate(RowFormat.PROMPT, "ShareGPT", (("messages", "conversations"),)),
)
"""Among equal ones, the first: prompts come last, since rows of most formats begin with one."""

FIELD_NAMES = tuple(
    dict.fromkeys(
        name
        for candidate in CANDIDATES
        for name in (*dict(candidate.columns), *OPTIONAL_FIELDS[candidate.format])
    )
)
"""What `fields` may map to columns."""

IN_WORDS: Mapping[RowFormat, str] = {
    RowFormat.TEXT: "Text (a column text)",
    RowFormat.DOCUMENT: "Document (a PDF, DOCX, HTML, Markdown or text file)",
    RowFormat.MESSAGES: (
        "Messages (a column messages with role and content, or conversations with from and value)"
    ),
    RowFormat.INSTRUCTION: (
        "Instruction (columns instruction, context, response or instruction, input, output)"
    ),
    RowFormat.PROMPT_COMPLETION: "PromptCompletion (columns prompt and completion)",
    RowFormat.PREFERENCE: (
        "Preference (columns prompt, chosen and rejected, or two conversations that begin alike)"
    ),
    RowFormat.RANKING: "Ranking (columns prompt, responses and scores, two lists)",
    RowFormat.FEEDBACK: (
        "Feedback (columns prompt, completion and label, or messages and label; the label is true "
        "for a desirable answer)"
    ),
    RowFormat.PROMPT: (
        "Prompt (a column prompt, or messages or conversations that end with a turn of the user)"
    ),
}
"""Formats for people who look for one."""
