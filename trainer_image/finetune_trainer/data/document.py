"""Rows with a text, and files that are one (CPT)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune_trainer.data.conversation import text_of
from finetune_trainer.data.row_template import RowTemplate
from finetune_trainer.data.spans import Span
from finetune_trainer.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Document:
    """A text that is learnt as it stands."""

    text: str
    pages: tuple[int, ...] = ()
    """Character at which each page begins; empty where pages are not known."""


@dataclass(frozen=True)
class DocumentFile:
    """The columns of a file that was read as one document: text, title, source, perhaps pages."""

    template: RowTemplate | None = None

    def read(self, row: Mapping[str, Any]) -> Document:
        """The document in `row`, which the converter made. Raises InvalidRow."""
        text = text_of(row, "text", required=True)
        if self.template:
            values = {name: row[name] for name in ("text", "title", "source")}
            return Document(self.template.render(values))
        return Document(text, tuple(row.get("pages", ())))


@dataclass(frozen=True)
class TextColumns:
    """Names of the columns."""

    text: str
    template: RowTemplate | None = None

    def read(self, row: Mapping[str, Any]) -> Document:
        """The document of `row`. Raises InvalidRow.

        A template sees every column under its own name, and the text also as `text`.
        """
        text = text_of(row, self.text, required=True)
        return Document(self.template.render({**row, "text": text}) if self.template else text)


class DocumentEncoder:
    """Documents to tokens; each ends with the end-of-sequence token."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Raises UserError ModelInvalid for a tokenizer that cannot end a document."""
        self._eos = vocabulary.eos_of("documents")
        self._vocabulary = vocabulary

    def encode(self, texts: Sequence[str]) -> list[tuple[list[int], list[Span]]]:
        """(token ids, label spans) of each text.

        The begin-of-sequence token comes first only where the tokenizer itself adds it.
        """
        rows: list[tuple[list[int], list[Span]]] = []
        for tokens in self._vocabulary.encode_ids(texts):
            if tokens[-1:] != [self._eos]:
                tokens.append(self._eos)
            rows.append((tokens, [(1, len(tokens))]))
        return rows
