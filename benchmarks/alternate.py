"""Runs contestants in turn, several times, and reports ratios.

Alternation gives every contestant the same share of a machine's moods; the ratio of each round is
taken within the round, so that a slow minute slows both sides of it.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Contestant = Callable[[], float]
"""Does its work once and returns its rate: units of work in a second, more is better."""


@dataclass(frozen=True)
class Outcome:
    """Rates of all rounds."""

    rates: Mapping[str, list[float]]
    """Contestant -> rate of each round."""

    def ratios(self, ours: str, other: str) -> list[float]:
        """Rate of `ours` over that of `other`, round by round, ascending."""
        pairs = zip(self.rates[ours], self.rates[other], strict=True)
        return sorted(mine / theirs for mine, theirs in pairs)


def alternate(contestants: Mapping[str, Contestant], rounds: int) -> Outcome:
    """Run every contestant once a round, in an order that turns round by round."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.perf_counter()
            rates[name].append(contestants[name]())
            seconds = time.perf_counter() - began
            print(f"  round {turn + 1}/{rounds}  {name:<28} {rates[name][-1]:10.3f}/s", end="")
            print(f"  ({seconds:.1f} s)", flush=True)
    return Outcome(rates)


def table(title: str, unit: str, outcome: Outcome, ours: str, bars: Mapping[str, str]) -> str:
    """Markdown: median rates, and the ratio of `ours` to each other contestant beside its bar."""
    lines = [
        f"### {title}",
        "",
        f"| contestant | {unit}, median | ours / it: median (least to most) | bar |",
        "|---|---|---|---|",
    ]
    for name, rates in outcome.rates.items():
        middle = statistics.median(rates)
        if name == ours:
            lines.append(f"| {name} | {_shown(middle)} | | |")
            continue
        ratios = outcome.ratios(ours, name)
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        lines.append(f"| {name} | {_shown(middle)} | {spread} | {bars.get(name, '')} |")
    return "\n".join(lines)


def _shown(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.3f}"


def machine() -> str:
    """What this ran on."""
    threads = torch.get_num_threads()
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )
