"""One training process: joins the others, does the stages, writes how it ended.

Its exit code is 0 whenever its end was in order (done, or stopped when asked), so that the agent
lets its siblings finish too; any other end makes the agent stop them.
"""

import ctypes
import logging
import os
import signal
import sys
import traceback
from datetime import timedelta
from pathlib import Path

from finetune_api.errors import FineTuneError
from finetune_api.exits import Outcome, exit_code
from finetune_api.messages import LaunchMessage
from finetune_api.progress import PROGRESS_FILE
from finetune_api.reasons import Reason
from finetune_api.runfile import WORK_DIR_VARIABLE, RunFile

from finetune_trainer.engine.interrupt import StopFlag
from finetune_trainer.launch.results import write_result
from finetune_trainer.launch.stacks import answer_with_stacks
from finetune_trainer.pulse import Known, Pulse, stack_path

_IN_ORDER = {Outcome.DONE, Outcome.INTERRUPTED}
_MEMORY_PHRASES = ("can't allocate memory", "out of memory", "alloc_failed")
"""What PyTorch's allocator on CPUs, CUDA and cuBLAS say."""
_PR_SET_PDEATHSIG = 1
_LAST_WORDS = 1500
"""Characters of an unexpected error that a message carries."""


def main(run_file: Path) -> int:
    """Run this rank to its end."""
    _die_with_launcher()
    stop = StopFlag()
    stop.listen()
    rank = int(os.environ["RANK"])
    _set_up_logging(rank)
    work = Path(os.environ[WORK_DIR_VARIABLE])
    answer_with_stacks(stack_path(work, rank))
    known = Known()
    pulse = Pulse(work, rank, known)
    message = _work(run_file, rank, work, stop, pulse, known)
    write_result(work, rank, message)
    pulse.rest()
    code = 0 if message.outcome in _IN_ORDER else int(exit_code(message.outcome))
    sys.stdout.flush()
    sys.stderr.flush()
    # Tearing groups down may hang or abort once a peer is gone, and nothing depends on it.
    os._exit(code)


def _die_with_launcher() -> None:
    """The agent gives each rank a session of its own: whoever kills the launcher's session would
    leave the ranks, and what they hold of the accelerators."""
    launcher = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != launcher:  # it died before that
        os._exit(int(exit_code(Outcome.INTERRUPTED)))


def _work(
    run_file: Path, rank: int, work: Path, stop: StopFlag, pulse: Pulse, known: Known
) -> LaunchMessage:
    # Imported after SIGTERM has its handler: these take seconds.
    from finetune_trainer.engine.distributed import is_peer_loss

    try:
        return _run(run_file, rank, work, stop, pulse, known)
    except FineTuneError as error:
        return LaunchMessage(
            outcome=error.outcome,
            reason=error.reason,
            message=error.message[:2048],
            where=error.where[:512] if error.where else None,
            last_step=known.last_step,
            checkpoint_step=known.checkpoint_step,
        )
    except Exception as error:  # noqa: BLE001 - the one edge that turns any error into an end
        traceback.print_exc()
        return unexpected_end(error, known, peer_loss=is_peer_loss(error))


def _run(
    run_file: Path, rank: int, work: Path, stop: StopFlag, pulse: Pulse, known: Known
) -> LaunchMessage:
    import transformers

    from finetune_trainer.engine.determinism import make_deterministic
    from finetune_trainer.engine.distributed import Comm
    from finetune_trainer.progress import ProgressWriter
    from finetune_trainer.stages.context import open_run
    from finetune_trainer.stages.sequence import run_stages
    from finetune_trainer.storage import open_store

    transformers.utils.logging.disable_progress_bar()
    make_deterministic()
    file = RunFile.load(run_file)
    store = open_store(file.spec.storage, allow_loopback=file.allow_loopback)
    deadline = timedelta(seconds=file.spec.restarts.step_deadline_seconds)
    comm = Comm.from_environment(stop, pulse, deadline)
    progress = ProgressWriter(work / PROGRESS_FILE) if rank == 0 else None
    return run_stages(open_run(file, comm, store, work, progress, known))


def unexpected_end(error: Exception, known: Known, *, peer_loss: bool) -> LaunchMessage:
    """The message of a rank that ended with an error that is none of ours."""
    outcome, reason = Outcome.INTERNAL, Reason.INTERNAL_ERROR
    if _is_out_of_memory(error):
        outcome, reason = Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY
    elif peer_loss:
        outcome, reason = Outcome.INFRASTRUCTURE, Reason.PEER_LOST
    text = f"{type(error).__name__}: {error}"
    return LaunchMessage(
        outcome=outcome,
        reason=reason,
        message=text[:_LAST_WORDS],
        last_step=known.last_step,
        checkpoint_step=known.checkpoint_step,
    )


def _is_out_of_memory(error: Exception) -> bool:
    """Of a device (torch.OutOfMemoryError, or what a library of it says), or of the host."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _MEMORY_PHRASES)


def _set_up_logging(rank: int) -> None:
    """Rank 0 tells how the run goes; the others only warn."""
    style = "%(asctime)s %(message)s" if rank == 0 else f"%(asctime)s [rank {rank}] %(message)s"
    logging.basicConfig(level=logging.WARNING, format=style, stream=sys.stdout)
    logging.getLogger("finetune").setLevel(logging.INFO if rank == 0 else logging.WARNING)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
