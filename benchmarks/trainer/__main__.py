"""Training beside others: `python -m benchmarks.trainer [WORK ...]` prints Markdown.

WORK is any of cpt, sft, dpo, start, checkpoints; all of them if none is named.
"""

import argparse
import os
import warnings
from collections.abc import Callable
from functools import partial

from benchmarks.alternate import alternate, machine, table
from benchmarks.trainer import checkpoints, contestants, start
from benchmarks.trainer.workload import make_blocks, make_rows

OURS = "this engine"
LOOP = "plain PyTorch loop, packed"
RATE = "label tokens/s"


def main() -> None:
    """Run the asked-for comparisons."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    works: dict[str, Callable[[int], str]] = {
        "cpt": _cpt,
        "sft": _sft,
        "dpo": _dpo,
        "start": start.compare,
        "checkpoints": checkpoints.compare,
    }
    parser.add_argument("work", nargs="*", metavar="WORK", help="what to measure")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if unknown := set(options.work) - set(works):
        parser.error(f"no such work: {', '.join(sorted(unknown))}; there are {', '.join(works)}")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    for name in options.work or works:
        print(works[name](options.rounds), flush=True)
    print(f"\n{machine()}")


def _cpt(rounds: int) -> str:
    work = make_blocks(48)
    outcome = alternate(
        {OURS: partial(contestants.engine, work), LOOP: partial(contestants.loop, work)}, rounds
    )
    return table("CPT, blocks of 512 tokens", RATE, outcome, OURS, {LOOP: ">= 0.95"})


def _sft(rounds: int) -> str:
    work = make_rows(128, pairs=False)
    as_it_comes, packing = "TRL SFTTrainer as it comes", "TRL SFTTrainer, packing"
    outcome = alternate(
        {
            OURS: partial(contestants.engine, work),
            LOOP: partial(contestants.loop, work),
            as_it_comes: partial(contestants.trl_sft, work, packing=False),
            packing: partial(contestants.trl_sft, work, packing=True),
        },
        rounds,
    )
    bars = {LOOP: ">= 0.95", as_it_comes: ">= 2.0", packing: ">= 1.3"}
    return table("SFT, rows of mixed length", RATE, outcome, OURS, bars)


def _dpo(rounds: int) -> str:
    work = make_rows(64, pairs=True)
    trl = "TRL DPOTrainer as it comes"
    outcome = alternate(
        {OURS: partial(contestants.engine, work), trl: partial(contestants.trl_dpo, work)}, rounds
    )
    return table("DPO, reference pass included", RATE, outcome, OURS, {trl: ">= 2.0"})


if __name__ == "__main__":
    main()
