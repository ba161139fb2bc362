"""Merging the start adapter into its base, once for all pods; the base is published with the run.

One rank merges and the others fetch what it made: all ranks, and all incarnations, train on the
same bits.
"""

from finetune_api.progress import Stage

from finetune_trainer.engine.merge import merge_folders
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.fetch import Fetched, download_folder, merged_folder
from finetune_trainer.stages.markers import Marker, write_marker


def merge_start(run: Run, fetched: Fetched) -> tuple[Fetched, Marker | None]:
    """What is fetched with the adapter merged; the marker, on rank 0. Collective.

    Raises InterruptedRunError.
    """
    run.enter(Stage.MERGING)
    target, marker = merged_folder(run), None
    if run.comm.is_first:
        assert fetched.adapter is not None
        with run.comm.cut_short_by_stop():
            merge_folders(fetched.model, fetched.adapter, fetched.handed_over, target)
        for path in sorted(target.rglob("*")):
            run.comm.check_stop()
            if path.is_file():
                run.store.upload(path, f"{run.here.base}/{path.relative_to(target).as_posix()}")
        marker = write_marker(run, Stage.MERGING, result_uri=run.here.base)
        run.comm.put("merged", value=True)
    elif run.comm.local_rank == 0:
        run.comm.get("merged")
        download_folder(run, run.here.base, target)
    run.comm.await_all("merged-base")
    return fetched.merged(target), marker
