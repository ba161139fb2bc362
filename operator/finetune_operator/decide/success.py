"""Success: rank 0 did what the job asks for; latched before any child is deleted."""

from finetune_api.children import incarnation_name
from finetune_api.exits import Outcome
from finetune_api.messages import LaunchMessage, decode
from finetune_api.progress import Progress, Stage
from finetune_api.reasons import Reason, remedy
from finetune_api.spec import StopAfter
from finetune_api.status import FineTuneJobStatus

from finetune_operator.backends.choice import backend_named
from finetune_operator.decide.conditions import complete
from finetune_operator.decide.decision import Decision, Moment
from finetune_operator.decide.ending import Ending, attempts_with, has_ended
from finetune_operator.seen import Pod


def take_result(moment: Moment) -> Decision | None:
    """Complete the job when the pod of rank 0 of any incarnation says that it published, or that
    it measured where the job asks for no more."""
    prepared = moment.status.prepared
    if prepared is None:
        return None
    for pod in moment.seen.train_pods:
        message = _result(moment, pod)
        if message is not None and message.recipe_hash in {None, prepared.recipe_hash}:
            return Decision("complete", _completed(moment, pod, message))
    return None


def _result(moment: Moment, pod: Pod) -> LaunchMessage | None:
    backend = backend_named(moment.status.backend)
    name = incarnation_name(moment.seen.identity, pod.incarnation)
    if pod.terminated is None or backend is None or not backend.is_rank_zero(pod.name, name):
        return None
    message = decode(LaunchMessage, pod.terminated.text)
    if message is None or message.outcome is not Outcome.DONE:
        return None
    measured = message.reason is Reason.BASELINE_MEASURED and message.evaluation is not None
    if _ends_untrained(moment):
        return message if measured else None
    return message if message.output is not None else None


def _ends_untrained(moment: Moment) -> bool:
    spec = moment.seen.spec
    return spec is not None and spec.stop_after is StopAfter.BASELINE


def _completed(moment: Moment, pod: Pod, message: LaunchMessage) -> FineTuneJobStatus:
    changes: dict[str, object] = {"evaluation": message.evaluation}
    if message.output is not None:
        progress = _final_progress(moment.status.progress, message.last_step)
        changes |= {"output": message.output, "progress": progress}
    if pod.incarnation == moment.status.incarnation and not has_ended(moment.status):
        code = pod.terminated.exit_code if pod.terminated else None
        ending = Ending(
            Outcome.DONE, message.reason, message.message, pod.name, code, message.last_step
        )
        changes["attempts"] = attempts_with(moment, ending)
    words = message.message or remedy(message.reason)
    return complete(moment, message.reason, words, **changes)


def _final_progress(seen: Progress | None, last_step: int | None) -> Progress | None:
    """The last report is older than the end."""
    step = last_step if last_step is not None else (seen.step if seen else None)
    if step is None:
        return seen
    base = seen or Progress(stage=Stage.PUBLISHING)
    return base.model_copy(
        update={
            "stage": Stage.PUBLISHING,
            "step": step,
            "total_steps": base.total_steps or step,
            "percent": 100,
            "stage_percent": None,
            "eta_seconds": None,
        }
    )
