"""What saving costs a run that saves every 50 steps.

Whole runs with and without checkpoints differ by less than a machine's moods. So the two things
that a checkpoint takes from training are measured themselves: the seconds in which the step after
it has to wait, and the processor seconds of the thread that writes and uploads it in the
background, all of which count as lost although other cores may have them to spare. The store is the
dev cluster's S3 server.
"""

import statistics
import tempfile
import time
from pathlib import Path

from finetune_api.layout import JobLayout
from finetune_api.runfile import JobIdentity
from finetune_api.spec import Addressing, Storage
from finetune_trainer.checkpoint.header import CheckpointHeader
from finetune_trainer.checkpoint.state import capture
from finetune_trainer.checkpoint.write import CheckpointWriter, Snapshot
from finetune_trainer.engine.step import Engine
from finetune_trainer.storage import open_store

from benchmarks.storage.server import BUCKET, running_server
from benchmarks.trainer.contestants import endless_engine
from benchmarks.trainer.workload import make_rows

EVERY = 50
STEPS = 10
"""Steps that are timed after each checkpoint."""
BAR = 0.01


class _MeteredWriter(CheckpointWriter):
    """Counts the processor seconds of its thread."""

    seconds = 0.0

    def _work(self, snapshot: Snapshot) -> None:
        began = time.thread_time()
        super()._work(snapshot)
        self.seconds += time.thread_time() - began


def compare(rounds: int) -> str:
    """Markdown: the share of the time of 50 steps; `rounds` checkpoints."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-checkpoints-") as name,
        running_server(Path(name)) as server,
    ):
        wish = Storage(endpoint=server.endpoint, region="us-east-1", addressing=Addressing.PATH)
        job = JobIdentity(namespace="benchmark", name="checkpoints", uid="00000000-0000")
        run = JobLayout.of(f"s3://{BUCKET}/out", job).run("once")
        writer = _MeteredWriter(
            open_store(wish, allow_loopback=True), run, Path(name) / "scratch", keep=1
        )
        engine = endless_engine(make_rows(1024, pairs=False), batch=4)
        engine.run_step()
        waits, shares, step_seconds = [], [], []
        for _ in range(rounds):
            waits.append(_save(engine, writer))
            began = time.perf_counter()
            for _ in range(STEPS):
                engine.run_step()
            step_seconds.append((time.perf_counter() - began) / STEPS)
            writer.wait()
            shares.append((waits[-1] + writer.seconds) / (EVERY * step_seconds[-1]))
            writer.seconds = 0.0
    megabytes = sum(tensor.nbytes for tensor in capture(engine).values()) / 1e6
    worst = max(shares)
    return "\n".join(
        [
            f"### Checkpoints of {megabytes:.0f} MB every {EVERY} steps",
            "",
            "| step, s | a checkpoint makes it wait, s | share of the time: median (most) | bar |",
            "|---|---|---|---|",
            f"| {statistics.median(step_seconds):.2f} | {statistics.median(waits):.3f} "
            f"| {statistics.median(shares):.2%} ({worst:.2%}) | <= {BAR:.0%} |",
        ]
    )


def _save(engine: Engine, writer: CheckpointWriter) -> float:
    """Seconds until training may go on."""
    began = time.perf_counter()
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
    writer.write(Snapshot(header, capture(engine), b""))
    return time.perf_counter() - began
