"""`finetune_trainer prepare`: the process around a preparation, from run file to exit code."""

import os
import signal
import tempfile
import traceback
from pathlib import Path
from types import FrameType

from finetune_api.errors import (
    FineTuneError,
    InternalError,
    InterruptedRunError,
    OutOfMemoryError,
)
from finetune_api.exits import Outcome, exit_code
from finetune_api.messages import PrepareMessage, encode
from finetune_api.progress import PROGRESS_FILE, Stage
from finetune_api.reasons import Reason
from finetune_api.runfile import TERMINATION_LOG_VARIABLE, WORK_DIR_VARIABLE, RunFile
from pydantic import ValidationError

from finetune_trainer.launch.memory import oom_kills
from finetune_trainer.launch.server import progress_port, start_server
from finetune_trainer.preparation.run import RefusedDataError, run_prepare
from finetune_trainer.progress import ProgressWriter
from finetune_trainer.storage import PreconditionFailed, open_store
from finetune_trainer.storage.store import changed_meanwhile

MAX_MESSAGE = 2048
MAX_WHERE = 512


def prepare_main(run_file: Path) -> int:
    """The process: load, prepare, write the termination message, return the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    kills_before = oom_kills()
    try:
        message = _run_file_message(run_file)
    except FineTuneError as error:
        message = _failure_message(error)
    except PreconditionFailed as error:
        message = _failure_message(changed_meanwhile(error))
    except Exception as error:  # noqa: BLE001 - the edge where a fault of ours becomes a status
        message = _failure_message(_unexpected(error))
    if message.outcome is Outcome.INTERNAL and oom_kills() > kills_before:
        message = _failure_message(_out_of_memory("a process was killed for memory"))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end is known; only telling it is left
    log = os.environ.get(TERMINATION_LOG_VARIABLE)
    if log:
        Path(log).write_bytes(encode(message))
    where = f"{message.where}: " if message.where else ""
    print(f"{message.outcome.value} {message.reason.value}: {where}{message.message}", flush=True)
    return int(exit_code(message.outcome))


def _run_file_message(run_file: Path) -> PrepareMessage:
    try:
        run = RunFile.load(run_file)
    except (OSError, ValueError, ValidationError) as error:
        raise InternalError(
            Reason.INTERNAL_ERROR,
            f"the run file cannot be read ({type(error).__name__})",
            where=str(run_file),
        ) from error
    work = Path(os.environ.get(WORK_DIR_VARIABLE) or tempfile.gettempdir())
    work.mkdir(parents=True, exist_ok=True)
    store = open_store(run.spec.storage, allow_loopback=run.allow_loopback)
    progress = ProgressWriter(work / PROGRESS_FILE)
    progress.enter(Stage.PREPARING)
    port = progress_port()
    server = start_server(work / PROGRESS_FILE, port) if port else None
    try:
        return run_prepare(run, work, store, _say, progress.share_done)
    finally:
        if server is not None:
            server.shutdown()
            server.server_close()
        (work / PROGRESS_FILE).unlink()


def _say(line: str) -> None:
    print(line, flush=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise InterruptedRunError(Reason.INTERRUPTED, "asked to stop while preparing; run it again")


def _out_of_memory(words: str) -> OutOfMemoryError:
    return OutOfMemoryError(
        Reason.OUT_OF_MEMORY,
        f"{words}: the preparation used up preparation.resources.limits.memory, or what the "
        "machine has",
    )


def _unexpected(error: Exception) -> FineTuneError:
    """Rows may stand in an exception's text, so only its kind and place are told."""
    traceback.print_tb(error.__traceback__)
    if isinstance(error, MemoryError):
        return _out_of_memory("memory ran out")
    return InternalError(
        Reason.INTERNAL_ERROR, f"preparation failed with {type(error).__name__}; see the log"
    )


def _failure_message(error: FineTuneError) -> PrepareMessage:
    return PrepareMessage(
        outcome=error.outcome,
        reason=error.reason,
        message=error.message[:MAX_MESSAGE],
        where=error.where[:MAX_WHERE] if error.where else None,
        data=error.data if isinstance(error, RefusedDataError) else None,
    )
