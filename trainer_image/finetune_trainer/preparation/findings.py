"""What is found wrong while rows are read, and when it is too much."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from finetune_api.spec import FineTuneJobSpec, answer_room
from finetune_api.status import RowError

from finetune_trainer.data.faults import MAX_MESSAGE, OF_FILES, InvalidRow

MAX_ERRORS_KEPT = 20
MAX_FILES_NAMED = 1000


class Check(StrEnum):
    """Names of the checks, as data.checks has them."""

    PERSONAL_DATA = "personalData"
    SECRETS = "secrets"
    DUPLICATES = "duplicates"
    LEAKAGE = "leakage"
    CONTRADICTIONS = "contradictions"
    LANGUAGE = "language"
    QUALITY = "quality"
    LICENSE = "license"


@dataclass
class Found:
    """What one check found."""

    rows: int = 0
    """Rows, or sources for the licence."""
    kinds: Counter[str] = field(default_factory=Counter)
    """How often each kind was found; a row may hold several."""
    first: list[RowError] = field(default_factory=list)
    """The first rows."""

    def add(
        self, uri: str, row: int, kinds: Iterable[str], told: str, field: str | None = None
    ) -> None:
        """Count a row; `told` says what is in it, without its values."""
        self.rows += 1
        self.kinds.update(kinds)
        if len(self.first) < MAX_ERRORS_KEPT:
            error = RowError(file=uri, row=row, field=field, message=told[:MAX_MESSAGE])
            self.first.append(error)

    def merge(self, other: "Found") -> None:
        """Add what was found in rows that follow."""
        self.rows += other.rows
        self.kinds += other.kinds
        self.first += other.first[: MAX_ERRORS_KEPT - len(self.first)]


@dataclass(frozen=True)
class LengthLimit:
    """How long a row may be."""

    sequence_length: int
    """training.sequenceLength."""
    answer_room: int = 0
    """Tokens of it that the model's own answer takes."""
    block: str = ""
    """Block of the spec that says so."""

    @classmethod
    def of(cls, spec: FineTuneJobSpec) -> "LengthLimit":
        """That of a job."""
        return cls(spec.training.sequence_length, answer_room(spec), spec.method.lower())

    @property
    def tokens(self) -> int:
        """Of a row, at most."""
        return self.sequence_length - self.answer_room

    def exceeded_by(self, tokens: int) -> str:
        """What is wrong with a row of `tokens` tokens."""
        text = f"{tokens} tokens; training.sequenceLength is {self.sequence_length}"
        kept = f", of which {self.block}.maxNewTokens keeps {self.answer_room} for the answer"
        return text + kept if self.answer_room else text

    def __str__(self) -> str:
        text = f"training.sequenceLength {self.sequence_length}"
        less = f" less {self.block}.maxNewTokens {self.answer_room}"
        return text + less if self.answer_room else text


@dataclass
class Findings:
    """Counts over all sources; only the first rows at fault are kept."""

    limit: LengthLimit
    rows: int = 0
    """Rows read, bad ones included."""
    faults: Counter[str] = field(default_factory=Counter)
    """Invalid rows by kind."""
    errors: list[RowError] = field(default_factory=list)
    """The first invalid rows."""
    unreadable: list[RowError] = field(default_factory=list)
    """Files of which all or the rest cannot be read."""
    too_long: int = 0
    """Rows longer than `limit`."""
    too_long_rows: list[RowError] = field(default_factory=list)
    """The first of them."""
    longest: int = 0
    """Tokens of the longest row, dropped or not."""
    special_text: int = 0
    """Rows whose text spells a special token."""
    special_rows: list[str] = field(default_factory=list)
    """ADDRESS:ROW of the first of them."""
    dropped_units: int = 0
    """Training units that checks left out."""
    checked_out: int = 0
    """Rows that these came from."""
    held_out_alike: bool = False
    """Units held out by us have much in common with training units."""
    shared_passages: int = 0
    """Training units that share 13 words in a row with an evaluation unit; no leak by itself."""
    checks: dict[Check, Found] = field(default_factory=dict)
    """What the checks found."""
    notices: Counter[str] = field(default_factory=Counter)
    """Copyright and confidentiality notices, by kind."""
    languages: Counter[str] = field(default_factory=Counter)
    """Units by language."""
    relevance: list[int] = field(default_factory=list)
    """Training units by how near they are to the domain, in ten bins from 0 to 1; empty where
    nothing is measured against."""
    irrelevant: list[RowError] = field(default_factory=list)
    """The rows that are farthest from it."""
    web_rules: Counter[str] = field(default_factory=Counter)
    """Documents that break rules of corpora of web pages, by rule."""

    def found(self, check: Check) -> Found:
        """What a check found so far; to be added to."""
        return self.checks.setdefault(check, Found())

    @property
    def invalid(self) -> int:
        """Rows that cannot be trained on."""
        return self.faults.total()

    @property
    def dropped(self) -> int:
        """Rows of which at least a part is left out."""
        return self.invalid + self.too_long + self.checked_out

    def merge(self, other: "Findings") -> None:
        """Add what was found in rows that follow."""
        self.rows += other.rows
        self.faults += other.faults
        self.errors += other.errors[: MAX_ERRORS_KEPT - len(self.errors)]
        self.unreadable += other.unreadable[: MAX_FILES_NAMED - len(self.unreadable)]
        self.too_long += other.too_long
        self.too_long_rows += other.too_long_rows[: MAX_ERRORS_KEPT - len(self.too_long_rows)]
        self.longest = max(self.longest, other.longest)
        self.special_text += other.special_text
        self.special_rows += other.special_rows[: MAX_ERRORS_KEPT - len(self.special_rows)]
        for check, found in other.checks.items():
            self.found(check).merge(found)
        self.notices += other.notices
        self.web_rules += other.web_rules

    def add_invalid(self, uri: str, row: int, fault: InvalidRow) -> None:
        """Count an invalid row."""
        self.faults[fault.fault] += 1
        error = RowError(file=uri, row=row, field=fault.field, message=fault.message)
        if len(self.errors) < MAX_ERRORS_KEPT:
            self.errors.append(error)
        if fault.fault in OF_FILES and len(self.unreadable) < MAX_FILES_NAMED:
            self.unreadable.append(error)

    def add_too_long(self, uri: str, row: int, tokens: int) -> None:
        """Count a row of `tokens` tokens, which are more than `limit` allows."""
        self.too_long += 1
        if len(self.too_long_rows) < MAX_ERRORS_KEPT:
            error = RowError(file=uri, row=row, message=self.limit.exceeded_by(tokens))
            self.too_long_rows.append(error)

    def add_special_text(self, uri: str, row: int) -> None:
        """Count a row whose text spells a special token."""
        self.special_text += 1
        if len(self.special_rows) < MAX_ERRORS_KEPT:
            self.special_rows.append(f"{uri}:{row}")
