"""`finetune run` and `finetune prepare`: a job without a cluster, by the trainer of the pods."""

import argparse
import fcntl
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from finetune_api.errors import UserError
from finetune_api.exits import Outcome
from finetune_api.job import FineTuneJob
from finetune_api.messages import LaunchMessage, PrepareMessage, TerminationMessage, decode
from finetune_api.progress import Progress
from finetune_api.reasons import Reason
from finetune_api.spec import Resources, StopAfter
from finetune_api.validate import Target, validate
from pydantic import ValidationError

from finetune_cli.accelerators import count_accelerators, vendors
from finetune_cli.codes import Code, UsageError
from finetune_cli.datalines import counts_line, data_lines, fault_lines
from finetune_cli.jobfile import one_job, replace_addresses
from finetune_cli.localjob import LocalFiles, LocalJob
from finetune_cli.process import TRAINER, Ended, last_lines, run_step
from finetune_cli.summary import result_lines
from finetune_cli.text import evaluation_lines, print_error, print_lines
from finetune_cli.view import View, make_view

_MAX_SAID = 100
"""Characters of the last line of a preparation's log that are shown."""
Message = TypeVar("Message", bound=TerminationMessage)


def main(options: argparse.Namespace) -> Code:
    """Prepare and train; results lie under OUTPUT/NAMESPACE/NAME/."""
    output = options.output.expanduser().resolve()
    try:
        job = read_job(options, output)
        if job.spec.stop_after is not StopAfter.DATA:
            refuse_missing_accelerators(job.spec.workers.resources, options.processes)
        local = LocalJob.of(job, options.processes)
        files = LocalFiles.of(output, local.identity)
    except UserError as error:
        print_error(error.reason, error.message, where=error.where or str(options.file))
        return Code.FAILED
    except OSError as error:
        raise UsageError(f"--output: {error}") from error
    with only_run(files.lock):
        return _run(local, files)


def read_job(options: argparse.Namespace, output: Path) -> FineTuneJob:
    """The job of the file with addresses on this machine. Raises UserError or UsageError."""
    if options.processes is not None and options.processes < 1:
        raise UsageError("--processes must be at least 1")
    for module in (TRAINER, "torch"):
        if find_spec(module) is None:
            raise UsageError(f"{module} is missing: pip install 'finetune-operator[trainer]'")
    document = one_job(options.file)
    replace_addresses(
        document,
        model=options.model,
        reward_model=options.reward_model,
        train=options.train,
        evaluation=options.evaluation,
        replay=options.replay,
        domain_text=options.domain_text,
    )
    spec = document.get("spec")
    if isinstance(spec, dict) and isinstance(spec.get("output", {}), dict):
        spec["output"] = {**spec.get("output", {}), "uri": output.as_uri()}
        if options.only_prepare:
            spec["stopAfter"] = StopAfter.DATA.value
    return validate(document, Target.LOCAL)


def refuse_missing_accelerators(
    resources: Resources | None,
    processes: int | None,
    count: Callable[[str], int] = count_accelerators,
) -> None:
    """Raise UserError when pods of the job would have accelerators that are not here."""
    if resources is None or not resources.accelerators():
        return
    needed = processes or resources.accelerators()
    names = vendors({**(resources.requests or {}), **(resources.limits or {})})
    found = sum(count(vendor) for vendor in names)
    if found < needed:
        raise UserError(
            Reason.INVALID_SPEC,
            f"the job asks for {needed} accelerator(s) of {', '.join(sorted(names))} and this "
            f"machine has {found}: remove them to train on CPUs, or run it on a cluster",
            where="spec.workers.resources",
        )


@contextmanager
def only_run(lock: Path) -> Iterator[None]:
    """Hold the job's lock, which ends with the process. Raises UsageError when another has it."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another `finetune run` of this job is at work ({lock})") from None
        yield


def _run(local: LocalJob, files: LocalFiles) -> Code:
    with make_view() as view:
        if local.unused:
            view.note(f"not used without a cluster: {', '.join(local.unused)}")
        prepared, ended = _step(view, files, "prepare", local, PrepareMessage)
        if ended.broken_off:
            view.note("Stopped before training; the same command starts again.")
            return Code.INTERRUPTED
        if not _is_done(prepared, files, "prepare"):
            return Code.FAILED
        if local.run.spec.stop_after is not StopAfter.DATA:
            _note_data(view, prepared)
    if local.run.spec.stop_after is StopAfter.DATA:
        print_lines(data_lines(prepared))
        return Code.OK
    if prepared.adopted is not None:
        print("already published: the same recipe on the same data")
        print_lines(result_lines(local.run.spec, prepared.adopted, prepared.adopted_evaluation))
        return Code.OK
    return _launch(local, files, prepared)


def _launch(local: LocalJob, files: LocalFiles, prepared: PrepareMessage) -> Code:
    with make_view() as view:
        message, ended = _step(view, files, "launch", local, LaunchMessage, prepared)
    if message.outcome is Outcome.DONE:
        if message.output is not None:
            print_lines(result_lines(local.run.spec, message.output, message.evaluation))
        elif message.reason is Reason.BASELINE_MEASURED:
            print_lines(evaluation_lines(message.evaluation, local.run.spec.method))
        else:
            print(f"{message.message or 'done'}; results lie under {local.run.spec.output.uri}")
        return Code.OK
    if ended.broken_off or message.outcome is Outcome.INTERRUPTED:
        step = message.checkpoint_step
        saved = "no checkpoint yet" if step is None else f"checkpoint of step {step} is saved"
        print(f"Stopped: {saved}. The same command goes on from there.")
        return Code.INTERRUPTED
    _is_done(message, files, "launch")
    return Code.FAILED


def _step(
    view: View,
    files: LocalFiles,
    step: str,
    local: LocalJob,
    kind: type[Message],
    prepared: PrepareMessage | None = None,
) -> tuple[Message, Ended]:
    run = local.run
    if prepared is not None and prepared.prepared is not None:
        run = local.launch_run(prepared.prepared)
    label = "Preparing" if step == "prepare" else "Starting"

    def tick() -> None:
        if step == "prepare":  # the last line of its log says more than its progress
            view.show(f"{label}{_last_said(files.log(step))}", None)
            return
        progress = read_progress(files.progress)
        view.show(progress.stage if progress else label, progress)

    def on_stop() -> None:
        view.note("Stopping: saving a checkpoint (Ctrl-C again gives up what is not saved) ...")

    ended = run_step(step, run, files, tick, on_stop)
    return read_message(kind, ended), ended


def _last_said(log: Path) -> str:
    """The last line of a preparation's log, to stand behind a label."""
    lines = last_lines(log)
    return f"  {lines[-1][:_MAX_SAID]}" if lines else ""


def read_progress(path: Path) -> Progress | None:
    """What rank 0 told last, if anything."""
    try:
        return Progress.read_wire(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None


def read_message(kind: type[Message], ended: Ended) -> Message:
    """The process's termination message, or one that says that there was none."""
    message = decode(kind, ended.text)
    if message is not None:
        return message
    how = f"signal {-ended.code}" if ended.code < 0 else f"exit code {ended.code}"
    outcome = Outcome.INTERRUPTED if ended.broken_off else Outcome.INTERNAL
    return kind(
        outcome=outcome,
        reason=Reason.INTERRUPTED if ended.broken_off else Reason.INTERNAL_ERROR,
        message=f"the trainer ended with {how} and left no message",
    )


def _is_done(message: TerminationMessage, files: LocalFiles, step: str) -> bool:
    """Whether the step did its work; if not, say why and where to read on."""
    if message.outcome is Outcome.DONE:
        return True
    known = message.outcome is not Outcome.INTERNAL
    print_error(message.reason, message.message, where=message.where, with_remedy=known)
    if isinstance(message, PrepareMessage) and message.data:
        for line in fault_lines(message.data):
            print(f"  {line}", file=sys.stderr)
    if not known:
        for line in last_lines(files.log(step)):
            print(f"  | {line}", file=sys.stderr)
    print(f"  log: {files.log(step)}", file=sys.stderr)
    return False


def _note_data(view: View, message: PrepareMessage) -> None:
    if message.data is not None:
        view.note(counts_line(message.data))
