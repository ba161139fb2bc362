"""What the operator decides about a job: pure decisions on what it sees."""

import json

from finetune_api.exits import Outcome
from finetune_api.reasons import Reason
from finetune_api.spec import FineTuneJobSpec
from finetune_api.status import EvaluationStatus
from finetune_operator.act import Target
from finetune_operator.decide.chain import decide
from finetune_operator.kinds import JOBS
from finetune_operator.observe import Situation, observe
from finetune_operator.seen import Finish, PodPhase
from finetune_operator.store import Store
from finetune_trainer.launch.watchdog import silences
from finetune_trainer.pulse import Beat

from tests.unit.fields.bench import Bench
from tests.unit.operator.builders import (
    PREPARED,
    PUBLISHED_TEXT,
    START,
    World,
    complete_job,
    ended,
    job_document,
    pod_set,
    prepare_job,
    prepare_pod,
    prepare_text,
    told,
    train_pod,
)

PASSED = 100.0
"""Seconds that an observation waits."""


def next_step(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """What is done about a new job."""
    return _decided(_world(spec))


def once_the_data_is_ready_and_measured(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """The phases after a preparation that ended well, and after a measurement that did."""
    world = _world(spec)
    world.step()
    text = prepare_text(Outcome.DONE, Reason.DATA_READY, prepared=PREPARED)
    pod = prepare_pod(phase=PodPhase.SUCCEEDED, terminated=ended(text, 0))
    world.see(prepare_job=prepare_job(), prepare_pods=(pod,)).step()
    prepared = world.phase
    world = _world(spec).running()
    end = told(Outcome.DONE, Reason.BASELINE_MEASURED, evaluation=EvaluationStatus())
    world.see(train_pods=(train_pod(phase=PodPhase.SUCCEEDED, terminated=end),)).step()
    return prepared, world.phase


def while_nothing_is_finished(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """Whether the launcher takes a rank for one that hangs that was last heard `PASSED` seconds
    ago."""
    beat = Beat(0, 1, 0.0, False, "Training", None, None)
    return bool(silences([beat], PASSED, spec.restarts.step_deadline_seconds))


def while_training(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """What is done about a job of one pod that trains."""
    world = World().running()
    return _decided(world.see(spec=spec))


def with_one_pod(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """The phase while one training pod runs."""
    world = _world(spec).launched()
    world.see(pod_sets=(pod_set(),), train_pods=(train_pod(phase=PodPhase.RUNNING),)).step()
    return world.phase


def after_a_failure(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """The phase after one counted failure."""
    world = _world(spec).running()
    failure = told(Outcome.INTERNAL, Reason.INTERNAL_ERROR)
    world.see(train_pods=(train_pod(phase=PodPhase.FAILED, terminated=failure),)).step()
    return world.phase


def while_pods_wait(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """The phase after pods waited for `PASSED` seconds."""
    world = _world(spec).launched().see(pod_sets=(pod_set(),), train_pods=(train_pod(),))
    world.step()
    world.wait(PASSED).step()
    return world.phase


def after_running(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """The phase after `PASSED` seconds of training."""
    world = _world(spec).running().wait(PASSED)
    world.step()
    return world.phase


def while_pods_end(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """What is done `PASSED` seconds after pods that still stand were asked to end."""
    world = _world(spec).running()
    pods = train_pod(deleted_at=START)
    world.see(pod_sets=(pod_set(deleted_at=START),), train_pods=(pods,)).step()
    return _decided(world.wait(PASSED))


def after_the_end(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """What is done `PASSED` seconds after a result was published."""
    world = _world(spec).running()
    done = train_pod(phase=PodPhase.SUCCEEDED, terminated=ended(PUBLISHED_TEXT, 0))
    world.see(train_pods=(done,)).step()
    return _decided(world.see(pod_sets=(pod_set(finish=Finish.SUCCEEDED),)).wait(PASSED))


def _world(spec: FineTuneJobSpec) -> World:
    return World().see(spec=spec)


def _decided(world: World) -> object:
    decision = world.step()
    return decision.label, [type(action).__name__ for action in decision.actions], world.phase


def start_of_a_chain(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """Addresses of the models in the run file, once the jobs `one` and `two` are complete."""
    store = Store()
    for name in ("one", "two"):
        method = "Reward" if spec.reward_model else "SFT"
        store.put(JOBS, complete_job(name, method=method))
    on_cluster = json.loads(json.dumps(spec.to_wire()).replace("file:///", "s3://"))
    document = job_document("child", on_cluster)
    while True:
        fit = Situation(pods_checked={document["metadata"]["uid"]})
        seen = observe(store, document, fit, 10.0)
        decision = decide(seen, START)
        if decision.label != "parents-pinned":
            break
        document["status"] = decision.status.to_wire()
    run = Target(document, spec, decision.status).run_file(0)
    reward = run.spec.reward_model
    return run.spec.model.uri, reward.uri if reward else None
