"""Training beside others: `python -m benchmarks.trainer [WORK ...]` prints Markdown.

WORK is any of cpt, sft, dpo, kto, orpo, reward, grpo, ppo, start, checkpoints; all of them if none
is named.
"""

import argparse
import os
import warnings
from collections.abc import Callable
from functools import partial

from finetune_api.spec import Method

from benchmarks.alternate import Contestant, alternate, machine, table
from benchmarks.trainer import checkpoints, contestants, online, start
from benchmarks.trainer.workload import Workload, make_blocks, make_rows

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
        "dpo": partial(_preferences, Method.DPO, contestants.trl_dpo, ">= 2.0"),
        "kto": partial(_preferences, Method.KTO, contestants.trl_kto, ">= 1.8"),
        "orpo": partial(_preferences, Method.ORPO, contestants.trl_orpo, ">= 1.8"),
        "reward": partial(_preferences, Method.REWARD, contestants.trl_reward, ">= 1.8"),
        "grpo": online.grpo,
        "ppo": online.ppo,
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
        {
            OURS: partial(contestants.engine, work, Method.CPT),
            LOOP: partial(contestants.loop, work),
        },
        rounds,
    )
    return table("CPT, blocks of 512 tokens", RATE, outcome, OURS, {LOOP: ">= 0.95"})


def _sft(rounds: int) -> str:
    work = make_rows(128, pairs=False)
    as_it_comes, packing = "TRL SFTTrainer as it comes", "TRL SFTTrainer, packing"
    outcome = alternate(
        {
            OURS: partial(contestants.engine, work, Method.SFT),
            LOOP: partial(contestants.loop, work),
            as_it_comes: partial(contestants.trl_sft, work, packing=False),
            packing: partial(contestants.trl_sft, work, packing=True),
        },
        rounds,
    )
    bars = {LOOP: ">= 0.95", as_it_comes: ">= 2.0", packing: ">= 1.3"}
    return table("SFT, rows of mixed length", RATE, outcome, OURS, bars)


def _preferences(method: Method, trl: Callable[[Workload], float], bar: str, rounds: int) -> str:
    pairs = method is not Method.KTO
    work = make_rows(64 if pairs else 128, pairs=pairs)
    theirs = f"TRL {method}Trainer as it comes"
    ours: dict[str, Contestant] = {
        OURS: partial(contestants.engine, work, method),
        theirs: partial(trl, work),
    }
    title = f"{method}, any reference pass included"
    return table(title, RATE, alternate(ours, rounds), OURS, {theirs: bar})


if __name__ == "__main__":
    main()
