"""Tokens as text that shows what the model sees: what is learnt, special tokens, hidden
characters."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from html import escape
from itertools import groupby

from finetune_trainer.preparation.page_words import is_hidden, with_marks
from finetune_trainer.preparation.report import TOKENS_SHOWN, ShownRow, ShownUnit

OPEN_CHARACTERS = 1500
"""Of a text that are shown unfolded."""
LEAST_FOLDED = 400
"""Characters; fewer are shown too."""
MOST_BYTES = 40_000
"""Of the page that a unit takes, about; its rows share them."""
_PLAIN_CHARACTERS = 100
_PIECE_BYTES = 24
"""What a piece adds to its text, at most."""


class PieceKind(StrEnum):
    """How a piece is shown."""

    PLAIN = "plain"
    NEWLINE = "newline"
    HIDDEN = "hidden"
    """A character that cannot be seen; the text names it."""
    SPECIAL = "special"


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that is shown in one way."""

    text: str
    characters: int
    """Of the row; the name of a hidden character is longer."""
    kind: PieceKind = PieceKind.PLAIN

    @property
    def size(self) -> int:
        """Bytes of the page that it takes, at most."""
        text = len(escape(self.text).encode())
        return text if self.kind is PieceKind.PLAIN else text + _PIECE_BYTES


@dataclass
class Stretch:
    """Pieces that are all learnt, or all not."""

    learnt: bool
    pieces: list[Piece] = field(default_factory=list)


@dataclass
class ShownText:
    """The text of a row."""

    open: list[Stretch] = field(default_factory=list)
    folded: list[Stretch] = field(default_factory=list)
    folded_characters: int = 0
    cut: bool = False
    """Whether the row goes on after it."""

    @property
    def kinds(self) -> set[PieceKind]:
        """The kinds of its pieces."""
        return {piece.kind for part in [*self.open, *self.folded] for piece in part.pieces}


@dataclass(frozen=True)
class Specials:
    """The special tokens of a report."""

    texts: Sequence[str]

    def split(self, text: str) -> Iterator[Piece]:
        """`text` in pieces."""
        if not self.texts:
            yield from _plain_pieces(text)
            return
        longest_first = sorted(self.texts, key=len, reverse=True)
        pattern = "|".join(map(re.escape, longest_first))
        for place, part in enumerate(re.split(f"({pattern})", text)):
            if place % 2:
                yield Piece(with_marks(part), len(part), PieceKind.SPECIAL)
            elif part:
                yield from _plain_pieces(part)


def texts_of(unit: ShownUnit, specials: Specials) -> list[ShownText]:
    """Those of its rows."""
    most = MOST_BYTES // max(1, len(unit.rows))
    return [shown_text(row, specials, most) for row in unit.rows]


def shown_text(row: ShownRow, specials: Specials, most: int) -> ShownText:
    """The text of a row, in `most` bytes of the page."""
    shown = ShownText(cut=row.tokens > TOKENS_SHOWN)
    total = sum(len(segment.text) for segment in row.segments)
    unfolded = total if total < OPEN_CHARACTERS + LEAST_FOLDED else OPEN_CHARACTERS
    done = 0
    for segment in row.segments:
        most -= _PIECE_BYTES
        for piece in specials.split(segment.text):
            most -= piece.size
            if most < 0:
                shown.cut = True
                return shown
            into = shown.open if done < unfolded else shown.folded
            if not into or into[-1].learnt != segment.learnt:
                into.append(Stretch(segment.learnt))
            into[-1].pieces.append(piece)
            done += piece.characters
            if into is shown.folded:
                shown.folded_characters += piece.characters
    return shown


def _plain_pieces(text: str) -> Iterator[Piece]:
    for kind, characters in groupby(text, key=_kind_of):
        if kind is PieceKind.PLAIN:
            yield from _short("".join(characters))
        else:
            yield from (Piece(with_marks(each), 1, kind) for each in characters)


def _kind_of(character: str) -> PieceKind:
    if character == "\n":
        return PieceKind.NEWLINE
    return PieceKind.HIDDEN if is_hidden(character) else PieceKind.PLAIN


def _short(text: str) -> Iterator[Piece]:
    """Pieces so short that a text can be folded within a long line."""
    for start in range(0, len(text), _PLAIN_CHARACTERS):
        part = text[start : start + _PLAIN_CHARACTERS]
        yield Piece(part, len(part))
