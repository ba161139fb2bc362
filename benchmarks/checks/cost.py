"""python -m benchmarks.checks.cost [--rows N] [--units U]: what the checks cost on one core."""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from finetune_trainer.checks.duplicates import find_duplicates
from finetune_trainer.checks.language import language_of
from finetune_trainer.checks.notices import find_notices
from finetune_trainer.checks.overlap import find_overlap
from finetune_trainer.checks.personal import find_personal
from finetune_trainer.checks.prints import print_of
from finetune_trainer.checks.relevance import Relevance
from finetune_trainer.checks.secrets import find_secrets
from finetune_trainer.checks.web_rules import broken_rules

from benchmarks.checks.clean import clean_row
from benchmarks.checks.pairs import Unit, duplicate_corpus
from benchmarks.checks.planted import spool_of
from benchmarks.checks.prose import seeded, words

_REPEATS = 3


def per_row(rows: int, seed: int) -> list[str]:
    """Microseconds a row and per 1,000 characters: the least of three runs."""
    random = seeded(seed)
    plain = [" ".join(words(random, 60)) for _ in range(rows)]
    decoys = [clean_row(random) for _ in range(rows)]
    relevance = Relevance.of(plain[: rows // 2])
    language_of(plain[0])
    checks: dict[str, Callable[[str], object]] = {
        "personal data": find_personal,
        "secrets": find_secrets,
        "notices": find_notices,
        "language": language_of,
        "web rules": broken_rules,
        "relevance": relevance.score,
        "print": lambda text: print_of(text[: len(text) // 3], text[len(text) // 3 :]),
    }
    lines = [
        "| check | µs a row | µs per 1,000 characters | the same, rows of decoys |",
        "|---|---|---|---|",
    ]
    for name, check in checks.items():
        cost, dear = _seconds(check, plain), _seconds(check, decoys)
        lines.append(
            f"| {name} | {cost / rows * 1e6:.0f} | {cost / _characters(plain) * 1e9:.0f} "
            f"| {dear / _characters(decoys) * 1e9:.0f} |"
        )
    return lines


def across(units: int, seed: int) -> list[str]:
    """Units a second, and what the memory of the process rose by at most."""
    lines = [
        "| step | units | seconds | units/s | peak memory above the start, MiB |",
        "|---|---|---|---|---|",
    ]
    corpus = duplicate_corpus(seeded(seed), units).units
    lines += _duplicates("duplicates, a tenth edited copies", corpus)
    lines += _duplicates("duplicates, all from one template", _templated(units, seed))
    return lines


def _templated(units: int, seed: int) -> list[Unit]:
    """Chats of a long template with a few words of their own: every band is a hot one."""
    random = seeded(seed)
    template = " ".join(words(random, 120))
    return [
        (f"{template} {' '.join(words(random, 6))}", " ".join(words(random, 5)))
        for _ in range(units)
    ]


def _duplicates(name: str, corpus: list[Unit]) -> list[str]:
    with tempfile.TemporaryDirectory() as folder, spool_of(Path(folder), corpus) as spool:
        units = len(spool)
        evaluation = spool_of(Path(folder) / "evaluation", corpus[:500])
        corpus.clear()
        lines = [_step(name, units, lambda: find_duplicates(spool))]
        with evaluation:
            lines.append(
                _step("overlap with 500 of them", units, lambda: find_overlap(spool, evaluation))
            )
    return lines


def _step(name: str, units: int, work: Callable[[], object]) -> str:
    before = _resident()
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return (
        f"| {name} | {units:,} | {seconds:.1f} | {units / seconds:,.0f} | {_peak() - before:.0f} |"
    )


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10


def _seconds(check: Callable[[str], object], texts: list[str]) -> float:
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        for text in texts:
            check(text)
        best = min(best, time.perf_counter() - began)
    return best


def _characters(texts: list[str]) -> int:
    return sum(map(len, texts))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=20261125)
    arguments = parser.parse_args()
    lines = [*per_row(arguments.rows, arguments.seed), "", *across(arguments.units, arguments.seed)]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
