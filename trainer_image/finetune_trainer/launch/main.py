"""`launch`: all that happens in a training pod, from its start to its termination message."""

import logging
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from finetune_api.errors import FineTuneError, InternalError
from finetune_api.exits import Outcome, exit_code
from finetune_api.messages import LaunchMessage, encode
from finetune_api.pods import hub_variables
from finetune_api.progress import PROGRESS_FILE
from finetune_api.reasons import Reason
from finetune_api.runfile import TERMINATION_LOG_VARIABLE, WORK_DIR_VARIABLE, RunFile
from pydantic import ValidationError

from finetune_trainer.launch.init import run_as_init
from finetune_trainer.launch.memory import oom_kills
from finetune_trainer.launch.results import prepare_folder, read_results
from finetune_trainer.launch.server import progress_port, start_server
from finetune_trainer.launch.topology import Topology, threads_per_process
from finetune_trainer.launch.verdict import verdict, with_steps
from finetune_trainer.launch.watchdog import Watchdog
from finetune_trainer.pulse import prepare_pulses, read_beats

_LOG_FORMAT = "%(asctime)s %(message)s"

log = logging.getLogger("finetune")


class _StopBeforeStartError(Exception):
    """SIGTERM came before the agent could take it."""


def launch_main(run_file: Path) -> int:
    """Run one pod to its end; returns an exit code of finetune_api.exits."""
    if os.getpid() == 1:
        return run_as_init(lambda: _launch(run_file))
    return _launch(run_file)


def _launch(run_file: Path) -> int:
    logging.basicConfig(level=logging.WARNING, format=_LOG_FORMAT, stream=sys.stdout)
    log.setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, _stop_before_start)
    try:
        message = _run(run_file)
    except _StopBeforeStartError:
        message = LaunchMessage(
            outcome=Outcome.INTERRUPTED,
            reason=Reason.INTERRUPTED,
            message="asked to stop before training began",
        )
    except FineTuneError as error:
        message = LaunchMessage(
            outcome=error.outcome, reason=error.reason, message=error.message, where=error.where
        )
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _write_termination_message(message)
    where = f" ({message.where})" if message.where else ""
    log.info("ended: %s, %s. %s%s", message.outcome, message.reason, message.message, where)
    return int(exit_code(message.outcome))


def _run(run_file: Path) -> LaunchMessage:
    run = _load(run_file)
    work = _work_folder()
    prepare_folder(work)
    prepare_pulses(work)
    (work / PROGRESS_FILE).unlink(missing_ok=True)
    port = progress_port()
    server = start_server(work / PROGRESS_FILE, port) if port else None
    topology = Topology.of(run.spec.workers, os.environ)
    _set_environment(run, topology, work)
    kills_before = oom_kills()
    # Imported after the port is served and the variables are set: torch reads them.
    from finetune_trainer.launch.agent import run_agent

    run_id = f"{run.job.uid8()}-{run.attempt}"
    grace = run.spec.pod_template.termination_grace_period_seconds
    with Watchdog(work, run.spec.restarts.step_deadline_seconds) as watchdog:
        end = run_agent(topology, run_file, run_id, grace)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if server is not None:
        server.shutdown()
    message = verdict(
        read_results(work, end.exit_codes),
        asked_to_stop=end.asked_to_stop,
        out_of_memory=oom_kills() > kills_before,
        hang=watchdog.hang.message() if watchdog.hang else None,
    )
    return with_steps(message, read_beats(work))


def _load(run_file: Path) -> RunFile:
    try:
        return RunFile.load(run_file)
    except (OSError, ValueError, ValidationError) as error:
        raise InternalError(
            Reason.INTERNAL_ERROR, f"the run file cannot be read: {error}", where=str(run_file)
        ) from error


def _work_folder() -> Path:
    """The scratch folder; named to the ranks by the same variable."""
    if WORK_DIR_VARIABLE not in os.environ:
        os.environ[WORK_DIR_VARIABLE] = tempfile.mkdtemp(prefix="finetune-")
    work = Path(os.environ[WORK_DIR_VARIABLE])
    work.mkdir(parents=True, exist_ok=True)
    return work


def _set_environment(run: RunFile, topology: Topology, work: Path) -> None:
    """What the ranks inherit: threads, and no way to a model hub unless the model lies there."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads_per_process(topology.processes)))
    # Threads that spin while they wait starve neighbours on the same cores: of two pods on one
    # node that together have more threads than it has cores, each runs ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("MPLCONFIGDIR", str(work / "matplotlib"))
    os.environ.update(hub_variables(run.spec))


def _write_termination_message(message: LaunchMessage) -> None:
    path = os.environ.get(TERMINATION_LOG_VARIABLE)
    if path:
        Path(path).write_bytes(encode(message))


def _stop_before_start(_signal: int, _frame: FrameType | None) -> None:
    raise _StopBeforeStartError
