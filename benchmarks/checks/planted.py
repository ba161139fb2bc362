"""python -m benchmarks.checks.planted [--rows N] [--seed S]: recall and precision of the checks."""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from finetune_trainer.checks.duplicates import find_duplicates
from finetune_trainer.checks.hits import Hit
from finetune_trainer.checks.overlap import Kind, find_overlap
from finetune_trainer.checks.personal import find_personal
from finetune_trainer.checks.prints import print_of
from finetune_trainer.checks.secrets import find_secrets
from finetune_trainer.checks.spool import WordSpool

from benchmarks.checks.clean import clean_row
from benchmarks.checks.faults import KINDS
from benchmarks.checks.pairs import Unit, duplicate_corpus, leak_corpus
from benchmarks.checks.prose import around, seeded


@dataclass(frozen=True)
class Measured:
    """What a check did on planted faults."""

    check: str
    planted: int
    found: int
    false: int
    """Hits where nothing was planted."""
    clean: int
    """Rows or units without a fault."""

    @property
    def recall(self) -> float:
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.false) if self.found else 1.0


def measure(rows: int, seed: int) -> list[Measured]:
    """Everything, on `rows` clean rows and a tenth as many planted ones of each kind."""
    return [*personal_and_secrets(rows, seed), duplicates(rows, seed), overlap(rows, seed)]


def personal_and_secrets(rows: int, seed: int) -> list[Measured]:
    """Each kind by itself; a value counts as found if hits of its kind cover it as a whole."""
    random = seeded(seed)
    false: Counter[str] = Counter()
    for _ in range(rows):
        text = clean_row(random)
        false.update(hit.kind for hit in find_personal(text))
        false.update("Secret" for _ in find_secrets(text))
    results = []
    for kind, make in KINDS.items():
        find = _secrets if kind == "Secret" else find_personal
        planted = max(200, rows // 10)
        found = 0
        for _ in range(planted):
            found += _found(random, kind, make, find)
        results.append(Measured(kind, planted, found, false[kind], rows))
    return results


def missed(kind: str, count: int, seed: int) -> list[str]:
    """Invented texts of a kind whose value was not found: what to look at."""
    random = seeded(seed)
    find = _secrets if kind == "Secret" else find_personal
    texts = []
    for _ in range(count):
        frame, value = KINDS[kind](random)
        text, _ = around(random, frame.format(value))
        if not any(_covers(hit, kind, text, value) for hit in find(text)):
            texts.append(text)
    return texts


def _found(
    random: Random,
    kind: str,
    make: Callable[[Random], tuple[str, str]],
    find: Callable[[str], list[Hit]],
) -> bool:
    frame, value = make(random)
    text, _ = around(random, frame.format(value))
    return any(_covers(hit, kind, text, value) for hit in find(text))


def _covers(hit: Hit, kind: str, text: str, value: str) -> bool:
    start = text.index(value)
    if kind == "Secret" and "://" in value:
        start += value.rindex(":") + 1
    return hit.kind == kind and hit.start <= start and hit.end >= text.index(value) + len(value) - 1


def _secrets(text: str) -> list[Hit]:
    return [Hit("Secret", hit.start, hit.end) for hit in find_secrets(text)]


def duplicates(rows: int, seed: int) -> Measured:
    """Near-duplicates whose parts are both similar by .8 or more."""
    corpus = duplicate_corpus(seeded(seed), rows)
    with tempfile.TemporaryDirectory() as folder, spool_of(Path(folder), corpus.units) as spool:
        kept = find_duplicates(spool)
    found = sum(kept[unit] >= 0 for unit in corpus.expected)
    false = sum(kept[unit] >= 0 for unit in corpus.distinct)
    return Measured(
        "Near-duplicate, J >= .8",
        len(corpus.expected),
        int(found),
        int(false),
        len(corpus.distinct),
    )


def overlap(rows: int, seed: int) -> Measured:
    """Edited questions inside documents; errors count, warnings do not."""
    corpus = leak_corpus(seeded(seed), max(rows // 2, 200), max(rows // 20, 50))
    with tempfile.TemporaryDirectory() as folder:
        train = spool_of(Path(folder) / "train", corpus.train)
        evaluation = spool_of(Path(folder) / "evaluation", corpus.evaluation)
        with train, evaluation:
            findings = find_overlap(train, evaluation)
    errors = findings[findings["kind"] != Kind.SHARED]
    pairs = set(zip(errors["train"].tolist(), errors["evaluation"].tolist(), strict=True))
    leaks = set(corpus.leaks.items())
    return Measured(
        "Leaked question, 5 % edited", len(leaks), len(pairs & leaks), len(pairs - leaks),
        len(corpus.train) - len(leaks),
    )  # fmt: skip


def spool_of(folder: Path, units: Sequence[Unit]) -> WordSpool:
    """A spool of units."""
    spool = WordSpool(folder)
    for first in range(0, len(units), 1000):
        spool.append([print_of(*unit) for unit in units[first : first + 1000]])
    return spool


def table(results: Sequence[Measured]) -> str:
    """As Markdown."""
    lines = [
        "| check | planted | recall | false hits | clean rows | precision |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.check} | {one.planted:,} | {one.recall:.3f} | {one.false} | {one.clean:,} "
        f"| {one.precision:.3f} |"
        for one in results
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=20261125)
    arguments = parser.parse_args()
    sys.stdout.write(table(measure(arguments.rows, arguments.seed)) + "\n")


if __name__ == "__main__":
    main()
