"""What the checks find in one row by itself, and what they need of it to compare it with others."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from functools import cached_property

import xxhash
from finetune_api.spec import CheckMode, DataChecks, LicenseMode, PersonalDataMode

from finetune_trainer.checks.hits import Hit
from finetune_trainer.checks.language import UNDETERMINED, language_of
from finetune_trainer.checks.notices import find_notices
from finetune_trainer.checks.personal import find_personal
from finetune_trainer.checks.prints import Print, print_of
from finetune_trainer.checks.redaction import redact
from finetune_trainer.checks.relevance import Relevance
from finetune_trainer.checks.secrets import find_secrets
from finetune_trainer.checks.web_rules import MOST_CHARACTERS, broken_rules
from finetune_trainer.checks.words import normalised
from finetune_trainer.checks.words import words_of as words_in
from finetune_trainer.data.document import Document
from finetune_trainer.data.feedback import Feedback
from finetune_trainer.data.preference import Preference
from finetune_trainer.data.ranking import Ranking
from finetune_trainer.data.rendering import Example
from finetune_trainer.data.wording import answers_of, prompt_and_answer, with_words, words_of
from finetune_trainer.preparation.findings import Check, Findings

LIKE_SIDES = 0.8
"""Jaccard similarity of the 3-grams of words of both sides of a pair, from which they say nearly
the same."""
LEAST_REPEATING = 50
"""Words of an answer that is looked at for repetition."""
REPEATED = 0.4
"""Share of an answer's 8-grams of words that stood in it before, from which it goes round in
circles. Rules for web pages also find lists, verses and code: one good answer in fifteen."""
LEAST_CUT_OFF = 200
"""Characters of an answer whose end is looked at."""
_OPEN_END = re.compile(r"(?:[^\W\d_]|[,;:(\-\u2013])\Z")
_SENTENCE_END = re.compile(r"[.!?\u3002\uff01\uff1f](?:\s|\Z)|[\u3002\uff01\uff1f]")


class Flag(IntFlag):
    """Checks that found something in a row by itself."""

    PERSONAL = 1
    SECRETS = 2
    QUALITY = 4


@dataclass(frozen=True, slots=True)
class Marks:
    """What is kept of a unit for the comparison with all others."""

    flags: int
    language: str
    """ISO 639 code; "und" where it is unsure or not looked at."""
    subject: int
    """What is judged or answered, as a hash."""
    verdict: int
    """What is said of it, as a hash: units of one subject should agree."""
    relevance: float
    """0 to 1; -1 where nothing is measured against."""
    print: Print | None


@dataclass(frozen=True)
class RowChecks:
    """The checks that a job asks for."""

    modes: DataChecks
    relevance: Relevance | None = None
    """The domain that rows are measured against."""

    @property
    def compares(self) -> bool:
        """Whether units are compared with each other."""
        return {self.modes.duplicates, self.modes.leakage} != {CheckMode.OFF}

    @cached_property
    def _looks(self) -> bool:
        """Whether any check looks at rows by themselves."""
        modes = self.modes
        asked = (modes.personal_data, modes.secrets, modes.quality, modes.license)
        return any(mode.value != CheckMode.OFF.value for mode in asked)

    @cached_property
    def _keeps(self) -> bool:
        """Whether anything but flags is kept of units."""
        modes = self.modes
        asked = {modes.contradictions, modes.language, modes.duplicates, modes.leakage}
        return asked != {CheckMode.OFF} or self.relevance is not None

    def look(self, example: Example, uri: str, row: int, findings: Findings) -> tuple[Example, int]:
        """(the example, with placeholders where the job asks for them; its flags)."""
        if not self._looks:
            return example, 0
        words = words_of(example)
        flags = 0

        def note(check: Check, flag: Flag, kinds: Counter[str], field: str | None) -> int:
            if not kinds:
                return 0
            told = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items()))
            findings.found(check).add(uri, row, kinds, told, field)
            return flag

        if self.modes.secrets is not CheckMode.OFF:
            kinds, field = _kinds(words, find_secrets, example)
            flags |= note(Check.SECRETS, Flag.SECRETS, kinds, field)
        if self.modes.personal_data is PersonalDataMode.REDACT:
            example, kinds = _redacted(example, words)
            flags |= note(Check.PERSONAL_DATA, Flag.PERSONAL, kinds, None)
        elif self.modes.personal_data is not PersonalDataMode.OFF:
            kinds, field = _kinds(words, find_personal, example)
            flags |= note(Check.PERSONAL_DATA, Flag.PERSONAL, kinds, field)
        if self.modes.license is not LicenseMode.OFF:
            findings.notices.update(hit.kind for text in words for hit in find_notices(text))
        if self.modes.quality is not CheckMode.OFF:
            kinds = Counter(_damages(example))
            flags |= note(Check.QUALITY, Flag.QUALITY, kinds, None)
            if isinstance(example, Document):
                findings.web_rules.update(broken_rules(example.text))
        return example, flags

    def as_prepared(self, example: Example) -> Example:
        """The example with placeholders where the job asks for them, for rows that are read again
        to be shown."""
        if self.modes.personal_data is not PersonalDataMode.REDACT:
            return example
        return _redacted(example, words_of(example))[0]

    def marks(self, example: Example, group: int, flags: int) -> Marks:
        """What is kept of a unit."""
        if not self._keeps:
            return Marks(flags, UNDETERMINED, 0, 0, -1.0, None)
        prompt, answer = prompt_and_answer(example)
        both = f"{prompt}\n{answer}"
        subject, verdict = 0, 0
        if self.modes.contradictions is not CheckMode.OFF:
            subject, verdict = _judgement(example, group)
        spoken = self.modes.language is not CheckMode.OFF
        return Marks(
            flags=flags,
            language=language_of(both).code if spoken else UNDETERMINED,
            subject=subject,
            verdict=verdict,
            relevance=self.relevance.score(both) if self.relevance else -1.0,
            print=print_of(prompt, answer) if self.compares else None,
        )


def _redacted(example: Example, words: Sequence[str]) -> tuple[Example, Counter[str]]:
    """(the example, whose words are `words`, with placeholders; how often each kind is found)."""
    replaced, kinds = redact(words, find_personal)
    return (with_words(example, replaced) if kinds else example), kinds


def _kinds(
    words: Sequence[str], find: Callable[[str], list[Hit]], example: Example
) -> tuple[Counter[str], str | None]:
    """(how often each kind is found, the page of the first in a document that has pages)."""
    hits = [hit for text in words for hit in find(text)]
    page = None
    if hits and isinstance(example, Document) and example.pages:
        page = f"page {bisect_right(example.pages, hits[0].start)}"
    return Counter(hit.kind for hit in hits), page


def _damages(example: Example) -> list[str]:
    """Signs that a row is damaged, by name."""
    found = []
    answers = answers_of(example)
    if isinstance(example, Preference) and _nearly_same(*answers):
        found.append("SidesNearlySame")
    if any(map(_repeats_itself, answers)):
        found.append("RepeatsItself")
    if not isinstance(example, Document) and any(map(_cut_off, answers)):
        found.append("CutOff")
    return found


def _repeats_itself(answer: str) -> bool:
    words = words_in(normalised(answer[:MOST_CHARACTERS]))
    if len(words) < LEAST_REPEATING:
        return False
    grams = list(zip(*(words[start:] for start in range(8)), strict=False))
    return len(set(grams)) < (1 - REPEATED) * len(grams)


def _nearly_same(one: str, other: str) -> bool:
    first, second = (_grams(words_in(normalised(text))) for text in (one, other))
    return len(first & second) >= LIKE_SIDES * len(first | second)


def _grams(words: list[str]) -> set[tuple[str, ...]]:
    return set(zip(words, words[1:], words[2:], strict=False)) or {tuple(words)}


def _cut_off(answer: str) -> bool:
    """Whether a long answer in sentences ends in the middle of one."""
    text = answer.rstrip()
    if len(text) < LEAST_CUT_OFF or not _OPEN_END.search(text):
        return False
    last_line = text.rpartition("\n")[2]
    return len(_SENTENCE_END.findall(text)) > 1 and len(last_line.split()) > 3


def _judgement(example: Example, group: int) -> tuple[int, int]:
    """(subject, verdict) of a unit, as hashes."""
    match example:
        case Feedback(_, desirable):
            return _hash(group, *answers_of(example)), int(desirable)
        case Preference() | Ranking():
            answers = [normalised(answer) for answer in answers_of(example)]
            return _hash(group, *sorted(answers)), _hash(0, *answers)
        case Document():
            return group, 0
        case _:
            return group, _hash(0, _said(prompt_and_answer(example)[1]))


def _said(answer: str) -> str:
    """The words of an answer: one full stop more is no other answer."""
    normal = normalised(answer)
    return " ".join(words_in(normal)) or normal


def _hash(group: int, *texts: str) -> int:
    """Signed, of 64 bits."""
    digest = xxhash.xxh3_64_intdigest("\0".join([str(group), *texts]).encode())
    return digest - 2**64 if digest >= 2**63 else digest
