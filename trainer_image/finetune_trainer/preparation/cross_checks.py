"""What the checks find by comparing units with each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from finetune_api.spec import CheckMode, DataChecks
from finetune_api.status import RowError

from finetune_trainer.arrays import Bool, Int64
from finetune_trainer.checks.contradictions import find_contradictions
from finetune_trainer.checks.duplicates import find_duplicates
from finetune_trainer.checks.language import UNDETERMINED
from finetune_trainer.checks.overlap import Kind, find_overlap
from finetune_trainer.data.faults import MAX_MESSAGE
from finetune_trainer.data.spool import UnitSpool
from finetune_trainer.preparation.findings import MAX_ERRORS_KEPT, Check, Findings, Found
from finetune_trainer.preparation.marks import MarkSpool
from finetune_trainer.preparation.row_checks import Flag
from finetune_trainer.prepared import SourceInfo

OUTLIER_DEVIATIONS = 6.0
"""Robust standard deviations of the logarithm of a unit's tokens, from which it is far off."""
LEAST_FOR_OUTLIERS = 100
MAX_LOOKED_AT = 500
"""Units of which the first rows are told; those of one row are told once."""
SHOWN_IRRELEVANT = 5
MOST_UNITS_OF_A_ROW = 32 * 31 // 2
"""Pairs of the longest ranking."""
_NORMAL = 1.4826
"""Standard deviations of a normal distribution in a median absolute deviation."""
_HOW = {Kind.EXACT: "is", Kind.NEAR: "nearly is", Kind.COVERED: "holds a large part of"}


@dataclass(frozen=True)
class ReadUnits:
    """Units as they were read, and what the checks keep of each."""

    units: UnitSpool
    marks: MarkSpool
    sources: Sequence[SourceInfo]
    """All sources read so far."""

    def place(self, unit: int) -> tuple[str, int]:
        """(file, row) that a unit came from."""
        source, row = self.origin(unit)
        return self.sources[source].place(row)

    def origin(self, unit: int) -> tuple[int, int]:
        """(source, row in the source) of a unit."""
        first = int(self.units.offsets()[0][unit])
        arrays = self.units.arrays()
        part = slice(first, first + 1)
        return int(arrays["source_files"][part][0]), int(arrays["source_rows"][part][0])

    def rows(self, chosen: Int64) -> int:
        """How many rows the units `chosen` came from."""
        split = self.units.mapped()
        firsts = split.unit_offsets[:-1][chosen]
        places = np.stack([split.source_files[firsts].astype(np.int64), split.source_rows[firsts]])
        return len(np.unique(places, axis=1).T)


class CrossChecks:
    """The checks of a job that compare units; what they find goes to the findings."""

    def __init__(self, modes: DataChecks, findings: Findings) -> None:
        self._modes = modes
        self._findings = findings

    def dropped(self, read: ReadUnits, *, evaluation: bool = False) -> Bool:
        """[U] True for units that the job leaves out; those of an evaluation are not compared."""
        modes = self._modes
        drop = self._flagged(read)
        drop |= self._apply(modes.language, self._languages(read))
        if evaluation:
            return drop
        self._measure_relevance(read)
        drop |= self._apply(modes.quality, self._outliers(read))
        drop |= self._apply(modes.contradictions, self._contradictions(read))
        drop |= self._apply(modes.duplicates, self._duplicates(read))
        return drop

    def leaking(self, train: ReadUnits, evaluation: ReadUnits, skip: Bool, left_out: Bool) -> Bool:
        """[U] True for training units that hold evaluation units, and that the job leaves out.

        Args:
            skip: [U] units that are left out already.
            left_out: [E] evaluation units that are.
        """
        leaking = np.zeros(train.units.units, np.bool_)
        if self._modes.leakage is CheckMode.OFF:
            return leaking
        assert train.marks.words is not None
        assert evaluation.marks.words is not None
        overlaps = find_overlap(train.marks.words, evaluation.marks.words, skip)
        overlaps = overlaps[~left_out[overlaps["evaluation"]]]
        shared = overlaps["kind"] == Kind.SHARED
        errors = overlaps[~shared]
        leaking[errors["train"]] = True
        by_unit = {int(each["train"]): each for each in errors[::-1]}

        def told(unit: int) -> str:
            error = by_unit[unit]
            uri, row = evaluation.place(int(error["evaluation"]))
            return f"{_HOW[Kind(error['kind'])]} evaluation row {uri}:{row}"

        self._tell(Check.LEAKAGE, train, leaking, told)
        self._findings.shared_passages += int(shared.sum())
        found = self._findings.found(Check.LEAKAGE)
        found.kinds.update(Kind(kind).name.title() for kind in errors["kind"].tolist())
        return self._apply(self._modes.leakage, leaking)

    def _flagged(self, read: ReadUnits) -> Bool:
        """Units in which a check of rows by themselves found what the job leaves out."""
        flags = read.marks.flags
        asked = {
            Flag.PERSONAL: self._modes.personal_data.value,
            Flag.SECRETS: self._modes.secrets.value,
            Flag.QUALITY: self._modes.quality.value,
        }
        wanted = sum(flag for flag, mode in asked.items() if mode == CheckMode.DROP_ROWS.value)
        drop: Bool = (flags & wanted) != 0
        return drop

    def _languages(self, read: ReadUnits) -> Bool:
        codes = read.marks.languages
        none = np.zeros(len(codes), np.bool_)
        if self._modes.language is CheckMode.OFF or not len(codes):
            return none
        names, counts = np.unique(codes, return_counts=True)
        spoken = {name.decode(): int(n) for name, n in zip(names, counts, strict=True)}
        self._findings.languages.update(spoken)
        spoken.pop(UNDETERMINED, None)
        allowed = self._modes.languages or sorted(spoken, key=lambda name: -spoken[name])[:1]
        others = ~np.isin(codes, [code.encode() for code in [*allowed, UNDETERMINED]])
        self._tell(
            Check.LANGUAGE, read, others, lambda unit: f"seems to be in {codes[unit].decode()}"
        )
        return others

    def _measure_relevance(self, read: ReadUnits) -> None:
        scores = read.marks.relevance
        if not len(scores) or scores[0] < 0:
            return
        counts, _ = np.histogram(scores, bins=10, range=(0, 1))
        self._findings.relevance = counts.tolist()
        for unit in np.argsort(scores, kind="stable")[:SHOWN_IRRELEVANT].tolist():
            uri, row = read.place(unit)
            error = RowError(file=uri, row=row, message=f"relevance {scores[unit]:.2f}")
            self._findings.irrelevant.append(error)

    def _outliers(self, read: ReadUnits) -> Bool:
        units, rows = read.units.offsets()
        lengths = np.log(np.maximum(1, np.diff(rows[units])))
        if self._modes.quality is CheckMode.OFF or len(lengths) < LEAST_FOR_OUTLIERS:
            return np.zeros(len(lengths), np.bool_)
        middle = np.median(lengths)
        deviation = float(np.median(np.abs(lengths - middle))) * _NORMAL
        far: Bool = np.abs(lengths - middle) > OUTLIER_DEVIATIONS * max(deviation, 0.1)
        tokens = np.diff(rows[units])
        usual = round(float(np.exp(middle)))
        self._tell(
            Check.QUALITY,
            read,
            far,
            lambda unit: f"has {tokens[unit]} tokens, where half of the rows have under {usual}",
        )
        if far.any():
            self._findings.found(Check.QUALITY).kinds["LengthOutlier"] += int(far.sum())
        return far

    def _contradictions(self, read: ReadUnits) -> Bool:
        if self._modes.contradictions is CheckMode.OFF:
            return np.zeros(read.units.units, np.bool_)
        subjects, verdicts = read.marks.judgements
        found = find_contradictions(subjects, verdicts)

        def told(unit: int) -> str:
            same = (subjects == subjects[unit]) & (verdicts != verdicts[unit])
            uri, row = read.place(int(np.flatnonzero(same)[0]))
            return f"says another thing than {uri}:{row}"

        self._tell(Check.CONTRADICTIONS, read, found, told)
        return found

    def _duplicates(self, read: ReadUnits) -> Bool:
        none = np.zeros(read.units.units, np.bool_)
        if self._modes.duplicates is CheckMode.OFF or not len(none):
            return none
        assert read.marks.words is not None
        kept = find_duplicates(read.marks.words)
        repeats: Bool = kept >= 0
        for unit in np.flatnonzero(repeats & _neighbours(kept)):
            # Units of one row, as the pairs of a ranking, have much in common.
            repeats[unit] = read.origin(int(unit)) != read.origin(int(kept[unit]))

        def told(unit: int) -> str:
            uri, row = read.place(int(kept[unit]))
            return f"repeats {uri}:{row}"

        self._tell(Check.DUPLICATES, read, repeats, told)
        return repeats

    def _apply(self, mode: CheckMode, found: Bool) -> Bool:
        return found if mode is CheckMode.DROP_ROWS else np.zeros_like(found)

    def _tell(
        self, check: Check, read: ReadUnits, chosen: Bool, told: Callable[[int], str]
    ) -> None:
        """Count the rows of the units `chosen` and keep the first."""
        units = np.flatnonzero(chosen)
        if not len(units):
            return
        found = Found(rows=read.rows(units))
        places = {read.place(unit): unit for unit in units[MAX_LOOKED_AT::-1].tolist()}
        for (uri, row), unit in [*places.items()][: -MAX_ERRORS_KEPT - 1 : -1]:
            found.first.append(RowError(file=uri, row=row, message=told(unit)[:MAX_MESSAGE]))
        self._findings.found(check).merge(found)


def _neighbours(kept: Int64) -> Bool:
    """[U] True for units whose original is near enough to be of the same row."""
    near: Bool = np.arange(len(kept)) - kept <= MOST_UNITS_OF_A_ROW
    return near
