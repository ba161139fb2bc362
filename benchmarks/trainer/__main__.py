"""`python -m benchmarks.trainer [sft|dpo] [--rounds N] [--rows N]`: Markdown on standard output."""

import argparse
import os
import warnings
from collections.abc import Mapping
from functools import partial

from benchmarks.alternate import Contestant, alternate, machine, table
from benchmarks.trainer import contestants
from benchmarks.trainer.workload import make_workload

OURS = "this engine"


def main() -> None:
    """Run the asked-for comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="*", choices=["sft", "dpo", []], default=["sft", "dpo"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=256, help="rows of SFT; DPO takes half as many")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    if "sft" in options.work:
        work = make_workload(options.rows, pairs=False)
        ours: Mapping[str, Contestant] = {
            OURS: partial(contestants.engine, work),
            "plain PyTorch loop, packed": partial(contestants.loop, work),
            "TRL SFTTrainer as it comes": partial(contestants.trl_sft, work, packing=False),
            "TRL SFTTrainer, packing": partial(contestants.trl_sft, work, packing=True),
        }
        bars = {
            "plain PyTorch loop, packed": ">= 0.95",
            "TRL SFTTrainer as it comes": ">= 2.0",
            "TRL SFTTrainer, packing": ">= 1.3",
        }
        print(table("SFT", "label tokens/s", alternate(ours, options.rounds), OURS, bars))
    if "dpo" in options.work:
        work = make_workload(options.rows // 2, pairs=True)
        ours = {
            OURS: partial(contestants.engine, work),
            "TRL DPOTrainer as it comes": partial(contestants.trl_dpo, work),
        }
        bars = {"TRL DPOTrainer as it comes": ">= 2.0"}
        title = "DPO, reference pass included"
        print(table(title, "label tokens/s", alternate(ours, options.rounds), OURS, bars))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
