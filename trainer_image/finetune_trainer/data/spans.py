"""From ranges of characters to ranges of tokens."""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass

Span = tuple[int, int]
"""Half-open range."""


@dataclass(frozen=True)
class CharSpan:
    """What the assistant wrote in one turn, in characters of the rendered text."""

    start: int
    end: int
    exact: bool
    """The template marks the end itself; otherwise white space that follows the end-of-turn
    token belongs to the template and is cut off."""


def token_spans(
    spans: Sequence[CharSpan],
    offsets: Sequence[Span],
    tokens: Sequence[int],
    special: Collection[int],
) -> list[Span]:
    """Label spans in token positions, in order, without empty ones.

    Args:
        spans: What the assistant wrote, ascending.
        offsets: [L] characters of each token, as a fast tokenizer gives them.
        tokens: [L] ids.
        special: Ids of special tokens, of which one ends a turn.

    The end-of-turn token is part of its span, whether the template marks it so or not. The
    first token of a row is never a label: nothing precedes it.
    """
    found: list[Span] = []
    for span in spans:
        first = max(1, first_token(offsets, span.start))
        last = first_token(offsets, span.end)
        last = _with_end_of_turn(first, last, tokens, special, exact=span.exact)
        if found and first < found[-1][1]:
            first = found[-1][1]
        if first < last:
            found.append((first, last))
    return found


def first_token(offsets: Sequence[Span], char: int) -> int:
    """Position of the first token that begins at `char` or later.

    Byte-level tokenizers trim white space off offsets: a token of only white space that ends
    at `char` has the empty range (char, char) and lies before it.
    """
    return bisect_left(offsets, (char, char + 1))


def _with_end_of_turn(
    first: int, last: int, tokens: Sequence[int], special: Collection[int], *, exact: bool
) -> int:
    """Move the end of a span so that its last token is the end-of-turn token, if there is one."""
    if first < last and exact and tokens[last - 1] in special:
        return last
    if last < len(tokens) and exact and tokens[last] in special and first < last:
        return last + 1
    if not exact:
        for position in range(last - 1, first - 1, -1):
            if tokens[position] in special:
                return position + 1
    return last
