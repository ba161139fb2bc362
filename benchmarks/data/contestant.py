"""python -m benchmarks.data.contestant REQUEST: prepare the rows once; prints the seconds."""

import json
import shutil
import sys
import time
from pathlib import Path


def main() -> None:
    """Do what the request asks for."""
    request = json.loads(sys.argv[1])
    folder, processes = Path(request["folder"]), request["processes"]
    for made in ("out", "work", "cache"):
        shutil.rmtree(folder / made, ignore_errors=True)
    (folder / "work").mkdir()
    if request["name"] == "datasets":
        seconds = tokenise(folder, processes)
    else:
        seconds = prepare(folder, request["name"], processes)
    print(seconds)


def prepare(folder: Path, name: str, processes: int) -> float:
    """Seconds of our preparation, from the run file to prepared data and report."""
    from finetune_api.spec import Storage
    from finetune_trainer.preparation import workers
    from finetune_trainer.preparation.run import run_prepare
    from finetune_trainer.storage import open_store

    from benchmarks.data.workload import Workload

    workers.available_cpus = lambda: processes  # type: ignore[attr-defined]
    run = Workload(folder, 0).run_file(name)
    store = open_store(Storage(), allow_loopback=False)
    began = time.perf_counter()
    run_prepare(run, folder / "work", store, lambda _: None)
    return time.perf_counter() - began


def tokenise(folder: Path, processes: int) -> float:
    """Seconds of reading the rows and tokenising them by `datasets`."""
    from datasets import disable_progress_bars, load_dataset
    from transformers import AutoTokenizer

    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    began = time.perf_counter()
    rows = load_dataset(
        "json",
        data_files=str(folder / "rows.jsonl"),
        split="train",
        cache_dir=str(folder / "cache"),
    )
    rows.map(
        lambda batch: {"input_ids": tokenizer(batch["text"])["input_ids"]},
        batched=True,
        num_proc=processes if processes > 1 else None,
        remove_columns=["text"],
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
