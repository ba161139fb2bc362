"""Success: rank 0 published this job's recipe; latched before any child is deleted."""

from finetune_api.children import incarnation_name
from finetune_api.exits import Outcome
from finetune_api.messages import LaunchMessage, decode
from finetune_api.progress import Progress, Stage
from finetune_api.reasons import Reason
from finetune_api.status import FineTuneJobStatus

from finetune_operator.backends.choice import backend_named
from finetune_operator.decide.conditions import complete
from finetune_operator.decide.decision import Decision, Moment
from finetune_operator.decide.ending import Ending, attempts_with, has_ended
from finetune_operator.seen import Pod


def take_result(moment: Moment) -> Decision | None:
    """Complete the job when the pod of rank 0 of any incarnation says that it published."""
    prepared = moment.status.prepared
    if prepared is None:
        return None
    for pod in moment.seen.train_pods:
        message = _published(moment, pod)
        if message is not None and message.recipe_hash in {None, prepared.recipe_hash}:
            return Decision("complete", _completed(moment, pod, message))
    return None


def _published(moment: Moment, pod: Pod) -> LaunchMessage | None:
    backend = backend_named(moment.status.backend)
    name = incarnation_name(moment.seen.identity, pod.incarnation)
    if pod.terminated is None or backend is None or not backend.is_rank_zero(pod.name, name):
        return None
    message = decode(LaunchMessage, pod.terminated.text)
    if message is None or message.outcome is not Outcome.DONE or message.output is None:
        return None
    return message


def _completed(moment: Moment, pod: Pod, message: LaunchMessage) -> FineTuneJobStatus:
    assert message.output is not None
    changes: dict[str, object] = {
        "output": message.output,
        "evaluation": message.evaluation,
        "progress": _final_progress(moment.status.progress, message.last_step),
    }
    if pod.incarnation == moment.status.incarnation and not has_ended(moment.status):
        code = pod.terminated.exit_code if pod.terminated else None
        ending = Ending(
            Outcome.DONE, Reason.PUBLISHED, message.message, pod.name, code, message.last_step
        )
        changes["attempts"] = attempts_with(moment, ending)
    words = message.message or f"published {message.output.uri}"
    return complete(moment, Reason.PUBLISHED, words, **changes)


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
