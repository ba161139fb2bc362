"""The incarnations: at most one set of training pods lives, and each change of pods ends it."""

from finetune_api.progress import Progress, Stage
from finetune_api.reasons import Reason
from finetune_api.status import Phase, PodsStatus

from finetune_operator.backends.backend import Backend
from finetune_operator.backends.choice import backend_named, choose
from finetune_operator.decide.conditions import next_status, reconciling
from finetune_operator.decide.decision import CreatePods, Decision, Moment, StopPods
from finetune_operator.decide.ending import (
    Ending,
    end_incarnation,
    has_ended,
    wait_or_stop,
)
from finetune_operator.decide.explain import explained
from finetune_operator.decide.members import ending_of, members_of
from finetune_operator.decide.restarted import NOT_STARTED, with_costs
from finetune_operator.decide.uncreated import CREATION_SECONDS, not_taken_up, uncreated
from finetune_operator.seen import Obstacle, Pod, PodSet
from finetune_operator.times import format_time, seconds_since


def train(moment: Moment) -> Decision:
    """The next step of the job's training."""
    status, seen = moment.status, moment.seen
    stray = [
        pods
        for pods in seen.pod_sets
        if pods.incarnation != status.incarnation and pods.deleted_at is None
    ]
    if stray:
        stops = tuple(StopPods.of(pods) for pods in stray)
        return Decision("stop-stray", status, stops, confirm=True)
    if status.incarnation == 0:
        return _start(moment, 1)
    if has_ended(status):
        return wait_or_stop(moment) or _start(moment, status.incarnation + 1)
    pods = seen.pod_set(status.incarnation)
    if pods is None:
        return _create_or_lost(moment)
    replaced = status.pods is not None and status.pods.uid != pods.uid
    if pods.deleted_at is not None or replaced:
        return end_incarnation(moment, _taken_away(pods.name))
    if pods.suspended and pods.finish is None:
        return _held_by_queue(moment, pods)
    members = members_of(moment)
    ending = ending_of(moment, pods, members)
    if isinstance(ending, Ending):
        return end_incarnation(moment, ending)
    decision = _observe(moment, pods, members)
    return decision if ending is None else decision.within(ending)


def _start(moment: Moment, incarnation: int) -> Decision:
    """Number the next set of pods in the status; only then is it asked for."""
    backend = _backend(moment)
    if isinstance(backend, Obstacle):
        return _without_backend(moment, backend)
    attempt = moment.status.counted_failures + 1
    says = [reconciling(True, Reason.WAITING_FOR_PODS, f"incarnation {incarnation} is asked for")]
    status = next_status(
        moment,
        Phase.QUEUED,
        says,
        attempt=attempt,
        progress=_not_resumed(moment.status.progress),
        incarnation=incarnation,
        backend=backend.name,
        retry_at=None,
        pods=None,
    )
    create = CreatePods(backend.name, attempt, incarnation)
    return Decision("attempt", status, (create,), confirm=incarnation > 1)


def _create_or_lost(moment: Moment) -> Decision:
    """The pods were never asked for, or what ran them was deleted by hand."""
    status = moment.status
    if status.pods is not None:
        return end_incarnation(moment, _taken_away(f"incarnation {status.incarnation}"))
    backend = _backend(moment)
    if isinstance(backend, Obstacle):
        return _without_backend(moment, backend)
    obstacle = moment.seen.obstacle
    if obstacle is not None:
        words = explained(obstacle.message, obstacle.reason)
        status = next_status(moment, Phase.QUEUED, [reconciling(True, obstacle.reason, words)])
    create = CreatePods(backend.name, status.attempt, status.incarnation)
    return Decision("create", status, (create,))


def _backend(moment: Moment) -> Backend | Obstacle:
    spec = moment.seen.spec
    assert spec is not None
    return choose(moment.seen.backends, moment.status.backend, spec.workers.nodes)


def _without_backend(moment: Moment, missing: Obstacle) -> Decision:
    says = [reconciling(True, missing.reason, missing.message)]
    status = next_status(moment, Phase.QUEUED, says)
    return Decision("backend-unavailable", status)


def _taken_away(name: str) -> Ending:
    return Ending("PodLost", Reason.POD_LOST, f"{name} was deleted")


def _held_by_queue(moment: Moment, pods: PodSet) -> Decision:
    """A queue decides when; the start deadline does not run and old pods do not count."""
    says = [reconciling(True, Reason.WAITING_FOR_QUOTA, "a queue holds the job until it has quota")]
    status = next_status(
        moment,
        Phase.QUEUED,
        says,
        pods=PodsStatus(uid=pods.uid),
        progress=_not_resumed(moment.status.progress),
    )
    return Decision("held", status)


def _not_resumed(progress: Progress | None) -> Progress | None:
    """What the next pods go on from is not known yet."""
    if progress is None:
        return None
    return progress.model_copy(update={"resumed_from_step": None})


def _observe(moment: Moment, pods: PodSet, members: list[Pod]) -> Decision:
    """Queued until all pods run, then Running with progress."""
    spec = moment.seen.spec
    assert spec is not None
    known = moment.status.pods or PodsStatus(uid=pods.uid)
    full = len(members) == spec.workers.nodes
    now = format_time(moment.now)
    update: dict[str, object] = {"waiting_since": known.waiting_since or now}
    if full and known.pod_uids is None:
        update["pod_uids"] = sorted(pod.uid for pod in members)
    running = known.running_since is not None or (full and all(p.started for p in members))
    if running:
        update["running_since"] = known.running_since or now
    known = known.model_copy(update=update)
    if running:
        return _running(moment, known)
    return _waiting(moment, known, pods, members)


def _running(moment: Moment, known: PodsStatus) -> Decision:
    says = [reconciling(False, Reason.LAUNCHED)]
    status, told = moment.status, moment.seen.progress
    progress = status.progress
    if told is not None and told.stage is not Stage.PREPARING:
        progress = _with_known_steps(told, status.progress)
    attempts = with_costs(status, known, progress.resumed_from_step if progress else None)
    changes = {"pods": known, "progress": progress, "attempts": attempts}
    return Decision("running", next_status(moment, Phase.RUNNING, says, **changes))


def _with_known_steps(told: Progress, known: Progress | None) -> Progress:
    """New pods do not know yet how far the ones before them came."""
    if told.total_steps or known is None:
        return told
    steps = {name: getattr(known, name) for name in ("step", "total_steps", "percent")}
    return told.model_copy(update=steps)


def _waiting(moment: Moment, known: PodsStatus, pods: PodSet, members: list[Pod]) -> Decision:
    spec = moment.seen.spec
    assert spec is not None
    started = sum(pod.started for pod in members)
    waited = seconds_since(known.waiting_since, moment.now)
    obstacle = _obstacle(members)
    if not members:
        obstacle = _without_pods(pods, waited) or obstacle
    words = f"{started} of {spec.workers.nodes} pods run"
    if obstacle.message:
        words += f"; {obstacle.message}"
    left = spec.restarts.start_deadline_seconds - waited
    if left <= 0:
        late = f"not all pods ran within {spec.restarts.start_deadline_seconds} s: {words}"
        return end_incarnation(moment, Ending(NOT_STARTED, Reason.START_DEADLINE_EXCEEDED, late))
    if obstacle.reason is not Reason.WAITING_FOR_PODS:
        words = explained(words, obstacle.reason)
    says = [reconciling(True, obstacle.reason, words)]
    status = next_status(moment, Phase.QUEUED, says, pods=known)
    decision = Decision("waiting", status, (), left)
    return decision if members else decision.within(CREATION_SECONDS)


def _without_pods(pods: PodSet, waited: float) -> Obstacle | None:
    if pods.taken_up:
        return uncreated(pods.backend, pods.name, waited)
    backend = backend_named(pods.backend)
    assert backend is not None
    return not_taken_up(backend.controller, pods.backend, pods.name, waited)


def _obstacle(members: list[Pod]) -> Obstacle:
    """What keeps pods from running; a cause that someone can mend goes before the scheduler."""
    found = [pod.waiting_for for pod in members if pod.waiting_for is not None]
    return min(
        found,
        key=lambda o: o.reason is Reason.WAITING_FOR_PODS,
        default=Obstacle(Reason.WAITING_FOR_PODS, ""),
    )
