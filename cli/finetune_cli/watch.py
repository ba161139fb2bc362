"""`finetune watch`: a job on the cluster, until it ends."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from finetune_api.progress import Progress
from finetune_api.status import ConditionStatus, ConditionType, FineTuneJobStatus, Phase

from finetune_cli.codes import Code
from finetune_cli.describe import deciding_condition, outcome_lines, remedy_lines
from finetune_cli.kubectl import GoneError, Kubectl, KubectlError, SeenJob
from finetune_cli.text import print_lines
from finetune_cli.view import View, make_view

_POLL_SECONDS = 2.0
_PATIENCE_SECONDS = 120.0


def main(options: argparse.Namespace) -> Code:
    """Follow the job; the exit code is 0 when Complete, 1 when Failed, 3 at the timeout."""
    try:
        with make_view() as view:
            watched = Watched(Kubectl.of(options), options.name, options.timeout)
            last, code = watched.follow(view)
    except KubectlError as error:
        print(error, file=sys.stderr)
        return Code.FAILED
    except KeyboardInterrupt:
        print("stopped watching; the job goes on", file=sys.stderr)
        return Code.BROKEN_OFF
    print_lines(end_lines(last, code))
    return code


@dataclass
class Watched:
    """The job that is followed, and what is known of its pods."""

    kubectl: Kubectl
    name: str
    timeout: float | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _pod: str | None = field(default=None, init=False)

    def follow(self, view: View) -> tuple[SeenJob, Code]:
        """Show the job until it ends. Raises KubectlError when the cluster stays silent."""
        deadline = None if self.timeout is None else self.clock() + self.timeout
        seen = self.kubectl.job(self.name)
        heard = self.clock()
        while True:
            code = exit_code(seen.status)
            if code is not None:
                return seen, code
            view.show(label(seen.status), self._progress(seen))
            if deadline is not None and self.clock() >= deadline:
                return seen, Code.TIMEOUT
            self.sleep(_POLL_SECONDS)
            try:
                seen = self.kubectl.job(self.name)
                heard = self.clock()
            except GoneError:
                raise
            except KubectlError:
                if self.clock() - heard > _PATIENCE_SECONDS:
                    raise

    def _progress(self, seen: SeenJob) -> Progress | None:
        """Live from rank 0 where that works, else what the operator wrote last."""
        if seen.status.phase is not Phase.RUNNING:
            self._pod = None
            return seen.status.progress if seen.status.phase is Phase.PREPARING else None
        self._pod = self._pod or self.kubectl.master_pod(seen)
        live = None
        if self._pod is not None:
            live = self.kubectl.progress(seen.job.metadata.namespace, self._pod)
            if live is None:
                self._pod = None
        return live or seen.status.progress


def exit_code(status: FineTuneJobStatus) -> Code | None:
    """The exit code of a finished job, None while it is at work."""
    true = {c.type for c in status.conditions if c.status is ConditionStatus.TRUE}
    if ConditionType.FAILED in true:
        return Code.FAILED
    return Code.OK if ConditionType.COMPLETE in true else None


def label(status: FineTuneJobStatus) -> str:
    """The phase, and why the job does not go on where it does not."""
    if status.phase is Phase.RUNNING:
        return f"Running, {status.progress.stage}" if status.progress else "Running"
    condition = deciding_condition(status)
    if condition is None:
        return status.phase
    message = f": {condition.message}" if condition.message else ""
    return f"{status.phase} ({condition.reason}{message})"


def end_lines(seen: SeenJob, code: Code) -> Iterator[str]:
    """How it ended, why and what to do, or what came out."""
    status = seen.status
    if code is Code.TIMEOUT:
        yield f"{label(status)}; the time to watch is over, the job goes on"
        return
    yield status.phase
    condition = deciding_condition(status)
    if code is Code.FAILED and condition is not None:
        yield f"{condition.reason}: {condition.message}"
        yield from remedy_lines(status)
        for error in (status.data.first_errors if status.data else None) or []:
            yield f"  {error.file}:{error.row}: {error.message}"
    yield from outcome_lines(seen)
