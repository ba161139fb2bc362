"""What saving costs: 50 steps that begin with a checkpoint against 50 steps without.

The checkpoint is written by the trainer's own writer into the dev cluster's S3 server, in the
background, as in a run.
"""

import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from finetune_api.layout import JobLayout
from finetune_api.runfile import JobIdentity
from finetune_api.spec import Addressing, Storage
from finetune_trainer.checkpoint.header import CheckpointHeader
from finetune_trainer.checkpoint.state import capture
from finetune_trainer.checkpoint.write import CheckpointWriter, Snapshot
from finetune_trainer.engine.step import Engine
from finetune_trainer.storage import open_store

from benchmarks.alternate import alternate, table
from benchmarks.storage.server import BUCKET, running_server
from benchmarks.trainer.contestants import endless_engine
from benchmarks.trainer.workload import make_rows

EVERY = 50
OURS, WITHOUT = "50 steps and a checkpoint", "50 steps"


def compare(rounds: int) -> str:
    """Markdown: steps in a second; the bar is 1% of the time."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-checkpoints-") as name,
        running_server(Path(name)) as server,
    ):
        wish = Storage(endpoint=server.endpoint, region="us-east-1", addressing=Addressing.PATH)
        job = JobIdentity(namespace="benchmark", name="checkpoints", uid="00000000-0000")
        run = JobLayout.of(f"s3://{BUCKET}/out", job).run("once")
        store = open_store(wish, allow_loopback=True)
        writer = CheckpointWriter(store, run, Path(name) / "scratch", keep=1)
        engine = endless_engine(make_rows(1024, pairs=False), batch=4)
        engine.run_step()
        saving = _Saving(engine, writer)
        outcome = alternate(
            {OURS: partial(saving.steps, save=True), WITHOUT: partial(saving.steps, save=False)},
            rounds,
        )
        writer.wait()
    megabytes = sum(tensor.nbytes for tensor in capture(engine).values()) / 1e6
    title = f"Checkpoints of {megabytes:.0f} MB every {EVERY} steps"
    return table(title, "steps/s", outcome, OURS, {WITHOUT: ">= 0.99"})


@dataclass(frozen=True)
class _Saving:
    engine: Engine
    writer: CheckpointWriter

    def steps(self, *, save: bool) -> float:
        """Steps in a second of the next EVERY steps, saving before the first or not."""
        engine = self.engine
        began = time.perf_counter()
        if save:
            header = CheckpointHeader(
                step=engine.step,
                applied_steps=engine.applied,
                total_steps=engine.rows.plan.total_steps,
                epoch=engine.rows.plan.epoch_after(engine.step),
                world_size=1,
                recipe_hash="0" * 64,
                data_hash="0" * 64,
                files=[],
            )
            self.writer.write(Snapshot(header, capture(engine), b""))
        for _ in range(EVERY):
            engine.run_step()
        return EVERY / (time.perf_counter() - began)
