"""The rules that corpora of web pages are filtered by.

They say what is unusual beside an English web page. On manuals and contracts they name tables,
lists of clauses and code, so they are information, no reason to drop a text.
Gopher: Rae et al. 2021, table A1, as datatrove's gopher_quality_filter and
gopher_repetition_filter read it. C4: Raffel et al. 2020, section 2.2, as datatrove's
c4_quality_filter. FineWeb: Penedo et al. 2024, as datatrove's fineweb_quality_filter.

| rule | source | a text breaks it with |
|---|---|---|
| FewWords, ManyWords | Gopher | under 50 words; over 100,000 |
| WordLength | Gopher | a mean word under 3 or over 10 characters |
| Symbols | Gopher | over .1 of `#` or of ellipses per word |
| Bullets | Gopher | over .9 of the lines beginning with a bullet |
| EllipsisLines | Gopher | over .3 of the lines ending in an ellipsis |
| NotAlphabetic | Gopher | under .8 of the words with a letter |
| StopWords | Gopher | under 2 of: the be to of and that have with; English |
| NoTerminalPunctuation | C4 | no line that ends in . ! ? or a quotation mark |
| FewSentences | C4 | under 5 sentences |
| ShortLines | C4 | over half of the lines under 3 words |
| CurlyBracket, LoremIpsum, JavaScript | C4 | one of them |
| LongWord | C4 | a word over 1,000 characters |
| LinePunctuation | FineWeb | under .12 of the lines ending in punctuation |
| ShortCharacterLines | FineWeb | over .67 of the lines of 30 characters at most |
| DuplicateCharacters | FineWeb | over .01 of the characters in repeated lines |
| Newlines | FineWeb | over .3 line breaks per word |
| the rules of `repetition` | Gopher | see there |
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from finetune_trainer.checks.hits import word_set
from finetune_trainer.checks.words import normalised, words_of

MOST_CHARACTERS = 50_000
"""Of a text that are looked at, from its beginning. Bounds the cost: tens of milliseconds, in
scripts without spaces, where each character is a word, some hundreds."""
MOST_WORDS = 100_000
_STOP_WORDS = word_set("the be to of and that have with")
_END = re.compile(r"[.!?。！？؟।][\"'”’»)\]]*\s*\Z|[\"”]\s*\Z")
_SENTENCE = re.compile(r"[.!?。！？؟।]+(?=[\s\"'”’»)\]]|\Z)|[。！？]")
_PUNCTUATION = tuple(".!?,;:\"'”’»)。！？，；：、؟।…")
_BULLETS = ("•", "‣", "▪", "●", "○", "■", "□", "-", "*", "–", "·")
_TOP_GRAMS = {2: 0.20, 3: 0.18, 4: 0.16}
_DUPLICATE_GRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def broken_rules(text: str) -> list[str]:
    """Names of the rules that a text breaks, in the order of the table above.

    Looks at the first 50,000 characters; only words are counted in all of them.
    """
    many = len(text) > MOST_CHARACTERS and len(text.split()) > MOST_WORDS
    text = text[:MOST_CHARACTERS]
    words = text.split()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not words:
        return ["FewWords"]
    return [
        *(["ManyWords"] if many else []),
        *_quality(text, words, lines),
        *_c4(text, words, lines),
        *_fineweb(text, words, lines),
        *_repetition(text),
    ]


def repetition(text: str) -> list[str]:
    """Names of the repetition rules of Gopher (table A1) that a text breaks.

    | rule | a text breaks it with |
    |---|---|
    | DuplicateLines, DuplicateParagraphs | over .3 of them seen before |
    | DuplicateLineCharacters, DuplicateParagraphCharacters | over .2 of the characters in those |
    | Top2Gram, Top3Gram, Top4Gram | .20, .18, .16 of the characters in the most frequent one |
    | Duplicate5Gram ... Duplicate10Gram | .15, .14, .13, .12, .11, .10 of the characters in
      n-grams of words seen before |

    A 2-gram that stands there once is not repeated, whatever its share. Looks at the first
    50,000 characters; texts in scripts without spaces count each character as a word.
    """
    return _repetition(text[:MOST_CHARACTERS])


def _quality(text: str, words: list[str], lines: list[str]) -> list[str]:
    count, broken = len(words), []
    if count < 50:
        broken.append("FewWords")
    if not 3 <= sum(map(len, words)) / count <= 10:
        broken.append("WordLength")
    if max(text.count("#"), text.count("...") + text.count("…")) > 0.1 * count:
        broken.append("Symbols")
    if sum(line.startswith(_BULLETS) for line in lines) > 0.9 * len(lines):
        broken.append("Bullets")
    if sum(line.endswith(("...", "…")) for line in lines) > 0.3 * len(lines):
        broken.append("EllipsisLines")
    if sum(any(map(str.isalpha, word)) for word in words) < 0.8 * count:
        broken.append("NotAlphabetic")
    if len(_STOP_WORDS.intersection(map(str.lower, words))) < 2:
        broken.append("StopWords")
    return broken


def _c4(text: str, words: list[str], lines: list[str]) -> list[str]:
    low, broken = text.lower(), []
    if not any(_END.search(line[-8:]) for line in lines):
        broken.append("NoTerminalPunctuation")
    if len(_SENTENCE.findall(text)) < 5:
        broken.append("FewSentences")
    if sum(len(line.split()) < 3 for line in lines) > 0.5 * len(lines):
        broken.append("ShortLines")
    if "{" in text:
        broken.append("CurlyBracket")
    if "lorem ipsum" in low:
        broken.append("LoremIpsum")
    if "javascript" in low:
        broken.append("JavaScript")
    if max(map(len, words)) > 1_000:
        broken.append("LongWord")
    return broken


def _fineweb(text: str, words: list[str], lines: list[str]) -> list[str]:
    broken = []
    if sum(line.endswith(_PUNCTUATION) for line in lines) < 0.12 * len(lines):
        broken.append("LinePunctuation")
    if sum(len(line) <= 30 for line in lines) > 0.67 * len(lines):
        broken.append("ShortCharacterLines")
    if _repeated(lines)[1] > 0.01 * len(text):
        broken.append("DuplicateCharacters")
    if text.count("\n") > 0.3 * len(words):
        broken.append("Newlines")
    return broken


def _repetition(text: str) -> list[str]:
    paragraphs = [part for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]
    lines = [line for line in text.splitlines() if line.strip()]
    broken = []
    for name, parts in (("Line", lines), ("Paragraph", paragraphs)):
        count, characters = _repeated(parts)
        if count > 0.3 * len(parts):
            broken.append(f"Duplicate{name}s")
        if characters > 0.2 * len(text):
            broken.append(f"Duplicate{name}Characters")
    return broken + list(_repeated_grams(words_of(normalised(text))))


def _repeated_grams(words: list[str]) -> Iterator[str]:
    lengths = [len(word) for word in words]
    characters = sum(lengths)
    found = chain(
        ((f"Top{n}Gram", share, _top(words, n)) for n, share in _TOP_GRAMS.items()),
        (
            (f"Duplicate{n}Gram", share, _duplicate(words, lengths, n))
            for n, share in _DUPLICATE_GRAMS.items()
        ),
    )
    for name, share, repeated in found:
        if not repeated:
            return  # nor does any longer one stand there twice
        if repeated > share * characters:
            yield name


def _repeated(parts: list[str]) -> tuple[int, int]:
    """How many parts stood there before, and their characters."""
    counts = Counter(parts)
    again = {part: count - 1 for part, count in counts.items() if count > 1}
    return sum(again.values()), sum(len(part) * count for part, count in again.items())


def _top(words: list[str], n: int) -> int:
    """Characters in the n-gram that covers most of them, if it stands there twice."""
    grams = Counter(zip(*(words[place:] for place in range(n)), strict=False))
    return max(
        (count * sum(map(len, gram)) for gram, count in grams.items() if count > 1), default=0
    )


def _duplicate(words: list[str], lengths: list[int], n: int) -> int:
    """Characters of words in n-grams that stood there before, each word once."""
    seen: set[tuple[str, ...]] = set()
    covered = characters = 0
    for place, gram in enumerate(zip(*(words[shift:] for shift in range(n)), strict=False)):
        if gram in seen:
            start = max(place, covered)
            characters += sum(lengths[start : place + n])
            covered = place + n
        else:
            seen.add(gram)
    return characters
