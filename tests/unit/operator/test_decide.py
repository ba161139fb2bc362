"""Every row of the phase table and every way a run ends, as pure decisions."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from finetune_api.exits import Outcome
from finetune_api.progress import Progress, Stage
from finetune_api.reasons import Reason
from finetune_api.spec import Adapter, AdapterFrom, AdapterType
from finetune_api.status import (
    Attempt,
    EvaluationStatus,
    FineTuneJobStatus,
    Measurement,
    Phase,
    RowError,
)
from finetune_operator.decide.decision import (
    CheckPods,
    CreatePods,
    CreatePrepare,
    DeleteRunFiles,
    StopPods,
    StopPrepare,
)
from finetune_operator.decide.outcome import POD_LOST
from finetune_operator.seen import Finish, Obstacle, PodPhase

from tests.unit.operator.builders import (
    BOTH_SERVED,
    DATA,
    JOB_ONLY,
    OUTPUT,
    PREPARED,
    PREPARED_TEXT,
    PUBLISHED_TEXT,
    START,
    World,
    ended,
    launch_text,
    pod_set,
    prepare_job,
    prepare_pod,
    prepare_text,
    told,
    train_pod,
)

TWO_PODS: dict[str, Any] = {"workers": {"nodes": 2}}


def kinds(world: World) -> list[type]:
    assert world.last is not None
    return [type(action) for action in world.last.actions]


def test_a_new_job_is_accepted_and_its_data_prepared() -> None:
    world = World()
    world.step()
    assert world.phase is Phase.PREPARING
    assert world.condition("Accepted") == ("True", "Accepted")
    assert world.condition("DataReady") == ("Unknown", "Preparing")
    assert world.status.effective is not None
    assert world.status.start_time == "2026-01-02T03:04:05Z"
    assert kinds(world) == [CreatePrepare]


def test_the_effective_adapter_is_known_once_the_start_model_is() -> None:
    world = World()
    world.step()
    assert world.status.effective is not None
    assert world.status.effective.adapter.rank is None
    adapter = Adapter(type=AdapterType.LORA, from_=AdapterFrom.CONTINUE, rank=8)
    text = prepare_text(Outcome.DONE, Reason.DATA_READY, prepared=PREPARED, adapter=adapter)
    pod = prepare_pod(phase=PodPhase.SUCCEEDED, terminated=ended(text, 0))
    world.see(prepare_job=prepare_job(), prepare_pods=(pod,))
    world.step()
    assert world.status.effective.adapter == adapter


def test_an_invalid_spec_fails_with_the_rule_it_breaks() -> None:
    world = World()
    world.see(spec=None, invalid="spec.output.uri: file:// works only in local runs")
    world.step()
    assert world.phase is Phase.FAILED
    assert world.condition("Accepted") == ("False", "InvalidSpec")
    assert world.condition("Finished") == ("True", "InvalidSpec")
    assert "file://" in world.message("Failed")


def test_fields_of_a_newer_crd_are_left_to_a_newer_operator() -> None:
    unknown: dict[str, Any] = {"spec": None, "newer": True, "invalid": "spec.new: unknown field"}
    world = World().see(**unknown)
    world.step()
    assert world.phase is Phase.PENDING
    assert world.condition("Accepted") == ("Unknown", "OperatorOutdated")
    assert "spec.new" in world.message("Accepted")
    running = World().running()
    before = running.status
    running.see(**unknown).step()
    assert running.status == before
    assert kinds(running) == []


def test_a_job_being_deleted_is_left_alone() -> None:
    world = World().running()
    before = world.status
    world.see(deleting=True, pod_sets=(), train_pods=())
    decision = world.step()
    assert (decision.actions, world.status) == ((), before)


def test_nothing_changes_when_nothing_happened() -> None:
    world = World().running()
    before = world.status
    world.wait(3).step()
    assert world.status == before


def test_bad_rows_fail_the_job_and_are_named() -> None:
    world = World()
    world.step()
    error = RowError(file="s3://data/rows.jsonl", row=7, field="response", message="is empty")
    text = prepare_text(
        Outcome.USER_ERROR,
        Reason.INVALID_DATA,
        message="1 row is invalid",
        where="s3://data/rows.jsonl:7",
        data=DATA.model_copy(update={"first_errors": [error]}),
    )
    world.see(
        prepare_job=prepare_job(),
        prepare_pods=(prepare_pod(phase=PodPhase.FAILED, terminated=ended(text, 64)),),
    )
    world.step()
    assert world.phase is Phase.FAILED
    assert world.condition("DataReady") == ("False", "InvalidData")
    assert world.condition("Stalled") == ("True", "InvalidData")
    assert world.message("Failed").startswith("s3://data/rows.jsonl:7: 1 row is invalid. Mend")
    assert world.status.data is not None
    assert world.status.data.first_errors == [error]


def test_a_missing_secret_is_named_and_waited_for() -> None:
    world = World()
    world.step()
    missing = Obstacle(Reason.CREDENTIALS_MISSING, 'Secret s3-keys: secret "s3-keys" not found')
    world.see(prepare_job=prepare_job(), prepare_pods=(prepare_pod(waiting_for=missing),))
    world.step()
    assert world.phase is Phase.PREPARING
    assert world.condition("DataReady") == ("Unknown", "CredentialsMissing")
    assert "s3-keys" in world.message("DataReady")
    world.see(prepare_pods=(prepare_pod(phase=PodPhase.RUNNING),))
    world.step()
    assert world.condition("DataReady") == ("Unknown", "Preparing")


def test_a_preparation_out_of_retries_names_its_last_cause() -> None:
    world = World()
    world.step()
    text = prepare_text(Outcome.INFRASTRUCTURE, Reason.STORAGE_UNAVAILABLE, message="no answer")
    pods = (prepare_pod(phase=PodPhase.FAILED, terminated=ended(text, 74)),)
    world.see(prepare_job=prepare_job(), prepare_pods=pods)
    world.step()
    assert world.phase is Phase.PREPARING
    world.see(prepare_job=prepare_job(finish=Finish.FAILED, message="BackoffLimitExceeded"))
    world.step()
    assert world.condition("Failed") == ("True", "RestartsExhausted")
    assert world.condition("DataReady") == ("False", "StorageUnavailable")
    assert "no answer" in world.message("Failed")


def test_the_same_recipe_on_the_same_data_is_adopted() -> None:
    world = World()
    world.step()
    text = prepare_text(Outcome.DONE, Reason.ALREADY_PUBLISHED, adopted=OUTPUT, data=DATA)
    pods = (prepare_pod(phase=PodPhase.SUCCEEDED, terminated=ended(text, 0)),)
    world.see(prepare_job=prepare_job(finish=Finish.SUCCEEDED), prepare_pods=pods)
    world.step()
    assert world.phase is Phase.COMPLETE
    assert world.condition("Complete") == ("True", "AlreadyPublished")
    assert world.status.output == OUTPUT
    assert kinds(world) == []


def test_a_preparation_whose_message_was_lost_runs_again() -> None:
    world = World()
    world.step()
    world.see(prepare_job=prepare_job(finish=Finish.SUCCEEDED))
    world.step()
    assert kinds(world) == [StopPrepare]
    assert world.last is not None
    assert world.last.confirm


def test_the_incarnation_is_numbered_before_its_pods_are_asked_for() -> None:
    world = World().prepared()
    assert world.phase is Phase.QUEUED
    assert world.condition("DataReady") == ("True", "DataReady")
    assert (world.status.incarnation, kinds(world)) == (0, [])
    world.step()
    assert (world.status.attempt, world.status.incarnation) == (1, 1)
    assert world.status.backend == "PyTorchJob"
    assert world.last is not None
    assert world.last.actions == (CreatePods("PyTorchJob", 1, 1),)


def test_dying_after_the_number_was_written_asks_for_the_same_pods_again() -> None:
    world = World().launched()
    world.step()
    assert world.last is not None
    assert world.last.actions == (CreatePods("PyTorchJob", 1, 1),)
    assert world.status.incarnation == 1


def test_waiting_pods_tell_the_schedulers_words() -> None:
    world = World(**TWO_PODS).launched()
    words = Obstacle(Reason.WAITING_FOR_PODS, "0/3 nodes are available: 3 Insufficient gpu")
    pods = (train_pod(0, phase=PodPhase.RUNNING), train_pod(1, waiting_for=words))
    world.see(pod_sets=(pod_set(),), train_pods=pods)
    world.step()
    assert world.phase is Phase.QUEUED
    assert world.condition("Reconciling") == ("True", "WaitingForPods")
    assert world.message("Reconciling").startswith("1 of 2 pods run; 0/3 nodes")
    assert world.last is not None
    assert world.last.requeue_after == 900


def test_pods_that_cannot_be_created_are_said_with_where_the_cause_stands() -> None:
    world = World()
    world.step()
    world.see(prepare_job=prepare_job())
    assert world.step().requeue_after == 15
    assert world.condition("DataReady") == ("Unknown", "Preparing")
    world.wait(15).step()
    assert world.condition("DataReady") == ("Unknown", "PodRejected")
    assert "`kubectl describe job support-11112222-prepare`" in world.message("DataReady")
    world.see(prepare_pods=(prepare_pod(),)).step()
    assert world.condition("DataReady") == ("Unknown", "Preparing")
    world = World(**TWO_PODS).launched()
    world.see(pod_sets=(pod_set(),))
    assert world.step().requeue_after == 15
    world.wait(15).step()
    assert world.condition("Reconciling") == ("True", "PodRejected")
    assert "`kubectl describe pytorchjob support-11112222-1`" in world.message("Reconciling")
    world.see(train_pods=(train_pod(0, phase=PodPhase.RUNNING),)).step()
    assert world.condition("Reconciling") == ("True", "WaitingForPods")


def test_a_queue_holds_the_job_and_the_start_deadline_with_it() -> None:
    world = World().launched()
    world.see(pod_sets=(pod_set(suspended=True),)).step()
    assert world.condition("Reconciling") == ("True", "WaitingForQuota")
    world.wait(10_000).step()
    assert world.phase is Phase.QUEUED
    world.see(pod_sets=(pod_set(),)).step()
    assert world.condition("Reconciling") == ("True", "WaitingForPods")


def test_a_queue_that_takes_quota_back_keeps_the_incarnation() -> None:
    world = World().running()
    gone = replace(world.seen.train_pods[0], gone=True)
    world.see(pod_sets=(pod_set(suspended=True),), train_pods=(gone,)).step()
    assert (world.phase, world.status.incarnation) == (Phase.QUEUED, 1)
    again = train_pod(0, uid="uid-again", phase=PodPhase.RUNNING)
    world.see(pod_sets=(pod_set(),), train_pods=(gone, again)).step()
    assert (world.phase, world.status.incarnation) == (Phase.RUNNING, 1)


def test_all_pods_running_is_running_and_their_uids_are_kept() -> None:
    world = World(**TWO_PODS).running()
    assert world.phase is Phase.RUNNING
    assert world.condition("Reconciling") == ("False", "Launched")
    assert world.status.pods is not None
    assert world.status.pods.pod_uids == ["uid-1-0", "uid-1-1"]


def test_progress_is_shown_while_running() -> None:
    world = World().running()
    progress = Progress(stage=Stage.TRAINING, step=3, total_steps=10, percent=30)
    world.see(progress=progress).step()
    assert world.status.progress == progress


def test_a_published_result_completes_the_job_before_anything_is_deleted() -> None:
    world = World().running()
    done = train_pod(phase=PodPhase.SUCCEEDED, terminated=ended(PUBLISHED_TEXT, 0))
    world.see(train_pods=(done,)).step()
    assert world.phase is Phase.COMPLETE
    assert world.condition("Finished") == ("True", "Published")
    assert world.status.output == OUTPUT
    assert world.status.attempts is not None
    assert world.status.attempts[-1].outcome == "Done"
    assert world.status.progress is not None
    assert (world.status.progress.percent, world.status.progress.step) == (100, 12)
    assert kinds(world) == []


def test_a_result_of_another_recipe_is_no_success() -> None:
    world = World().running()
    text = launch_text(Outcome.DONE, Reason.PUBLISHED, output=OUTPUT, recipe_hash="other")
    world.see(train_pods=(train_pod(phase=PodPhase.SUCCEEDED, terminated=ended(text, 0)),)).step()
    assert world.phase is Phase.RESTARTING
    assert world.status.counted_failures == 1


LOST = START + timedelta(seconds=50)
OUTGROWN = 'Evicted: Usage of EmptyDir volume "work" exceeds the limit "1Gi".'
INTERRUPTED, MEMORY = "Interrupted", "OutOfMemory"


@pytest.mark.parametrize(
    ("change", "outcome", "reason", "counted"),
    [
        ({"terminated": told(Outcome.INTERRUPTED, Reason.INTERRUPTED)}, INTERRUPTED, None, 0),
        ({"terminated": told(Outcome.INFRASTRUCTURE, Reason.HANG)}, "Infrastructure", "Hang", 1),
        ({"terminated": told(Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY)}, MEMORY, None, 1),
        ({"terminated": ended("", 137, reason="OOMKilled")}, MEMORY, None, 1),
        ({"terminated": ended("Traceback", 1)}, "Internal", "InternalError", 1),
        ({"terminated": ended("", 137)}, "Internal", "InternalError", 1),
        ({"terminated": ended("", 137), "failure": OUTGROWN}, "Internal", "InternalError", 1),
        ({"terminated": ended("", 143), "deleted_at": LOST}, POD_LOST, None, 0),
        ({"terminated": ended("", 137), "disrupted": "PreemptionByScheduler"}, POD_LOST, None, 0),
        ({"deleted_at": LOST}, POD_LOST, None, 0),
        ({"gone": True}, POD_LOST, None, 0),
        ({"phase": PodPhase.FAILED, "failure": "UnexpectedAdmissionError"}, POD_LOST, None, 0),
    ],
)
def test_each_end_of_a_pod_is_counted_as_documented(
    change: dict[str, Any], outcome: str, reason: str | None, counted: int
) -> None:
    world = World(**TWO_PODS).running().wait(60)
    master, worker = world.seen.train_pods
    change = {"phase": PodPhase.FAILED, **change}
    world.see(train_pods=(master, replace(worker, **change))).step()
    assert world.phase is Phase.RESTARTING
    assert world.status.attempts is not None
    last = world.status.attempts[-1]
    assert (last.outcome, last.reason, last.pod) == (outcome, reason or outcome, worker.name)
    assert world.status.counted_failures == counted
    assert world.last is not None
    assert world.last.confirm
    assert world.last.actions == (StopPods("PyTorchJob", "support-11112222-1", "set-1"),)


def test_a_users_error_in_training_fails_at_once() -> None:
    world = World().running()
    error = told(Outcome.USER_ERROR, Reason.DIVERGED, message="loss is not finite")
    world.see(train_pods=(train_pod(phase=PodPhase.FAILED, terminated=error),)).step()
    assert world.phase is Phase.FAILED
    assert world.condition("Stalled") == ("True", "Diverged")


def test_a_pod_that_vanished_while_the_operator_was_down_ends_the_incarnation() -> None:
    world = World(**TWO_PODS).running()
    replacement = train_pod(1, uid="uid-new", phase=PodPhase.RUNNING)
    world.see(train_pods=(world.seen.train_pods[0], replacement)).step()
    assert world.phase is Phase.RESTARTING
    assert world.status.attempts is not None
    assert world.status.attempts[-1].reason == "PodLost"


@pytest.mark.parametrize("sets", [(), (pod_set(deleted_at=LOST),), (pod_set(uid="by-hand"),)])
def test_pods_whose_pytorchjob_was_deleted_by_hand_are_lost(sets: Any) -> None:
    world = World().running()
    world.see(pod_sets=sets).step()
    assert world.phase is Phase.RESTARTING
    assert world.status.counted_failures == 0


def test_the_cause_is_not_hidden_by_ranks_that_lost_their_peer() -> None:
    world = World(workers={"nodes": 3}).running().wait(10)
    master, first, second = world.seen.train_pods
    peer = told(Outcome.INFRASTRUCTURE, Reason.PEER_LOST, after=1)
    failed: dict[str, Any] = {"phase": PodPhase.FAILED}
    master = replace(master, terminated=peer, **failed)
    world.see(train_pods=(master, first, second))
    world.step()
    assert world.phase is Phase.RUNNING, "the pod that failed first may not have been seen yet"
    memory = told(Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY, after=3)
    hang = told(Outcome.INFRASTRUCTURE, Reason.HANG, after=2)
    first, second = (
        replace(first, terminated=hang, **failed),
        replace(second, terminated=memory, **failed),
    )
    world.see(train_pods=(master, first, second)).step()
    assert world.status.attempts is not None
    assert world.status.attempts[-1].outcome == "OutOfMemory"


def test_a_lost_peer_alone_counts_after_a_while() -> None:
    world = World(**TWO_PODS).running().wait(20)
    master, worker = world.seen.train_pods
    peer = told(Outcome.INFRASTRUCTURE, Reason.PEER_LOST)
    world.see(train_pods=(replace(master, phase=PodPhase.FAILED, terminated=peer), worker)).step()
    assert world.phase is Phase.RESTARTING
    assert world.status.counted_failures == 1


def fail_once(world: World, incarnation: int, terminated: Any) -> None:
    pod = train_pod(0, incarnation, phase=PodPhase.FAILED, terminated=terminated)
    world.see(pod_sets=(pod_set(incarnation),), train_pods=(pod,)).step()


def test_the_next_incarnation_waits_for_pods_and_backoff() -> None:
    world = World().running()
    fail_once(world, 1, told(Outcome.INFRASTRUCTURE, Reason.HANG))
    leaving = train_pod(deleted_at=START)
    world.see(pod_sets=(pod_set(deleted_at=START),), train_pods=(leaving,)).wait(15).step()
    assert (world.status.incarnation, kinds(world)) == (1, [])
    world.see(pod_sets=(), train_pods=()).step()
    assert world.last is not None
    assert world.last.actions == (CreatePods("PyTorchJob", 2, 2),)
    assert (world.phase, world.status.attempt) == (Phase.QUEUED, 2)
    assert world.last.confirm


def test_backoff_doubles_to_five_minutes() -> None:
    world = World(restarts={"max": 8}).running()
    delays = []
    for incarnation in range(1, 8):
        fail_once(world, incarnation, told(Outcome.INTERNAL, Reason.INTERNAL_ERROR))
        world.see(pod_sets=(), train_pods=())
        asked = world.now
        while world.status.incarnation == incarnation:
            world.wait(1).step()
        delays.append((world.now - asked).total_seconds())
        world.running(incarnation + 1)
    expected = [10, 20, 40, 80, 160, 300, 300]
    assert all(want <= got <= want + 2 for got, want in zip(delays, expected, strict=True))


def test_a_lost_node_does_not_block_for_ever() -> None:
    world = World().running()
    gone = train_pod(deleted_at=START)
    world.see(pod_sets=(pod_set(deleted_at=START),), train_pods=(gone,)).step()
    world.wait(170).step()
    assert world.status.incarnation == 1
    world.wait(20).step()
    assert world.status.incarnation == 2


def test_attempts_that_are_used_up_name_the_last_cause() -> None:
    world = World(restarts={"max": 1}).running()
    fail_once(world, 1, ended("boom", 1))
    world.see(pod_sets=(), train_pods=()).wait(30).step()
    world.running(2)
    fail_once(world, 2, told(Outcome.INFRASTRUCTURE, Reason.STORAGE_UNAVAILABLE, message="gone"))
    assert world.condition("Failed") == ("True", "RestartsExhausted")
    assert "StorageUnavailable: gone" in world.message("Failed")


def test_losses_are_never_used_up() -> None:
    world = World(restarts={"max": 0}).running()
    for incarnation in range(1, 15):
        world.see(pod_sets=(), train_pods=()).step()
        while world.status.incarnation == incarnation:
            world.wait(30).step()
        world.running(incarnation + 1)
    assert (world.phase, world.status.attempt) == (Phase.RUNNING, 1)
    assert world.status.attempts is not None
    assert len(world.status.attempts) == 10


def test_out_of_memory_halves_the_micro_batch() -> None:
    world = World(training={"sequenceLength": 2048}).running()
    for incarnation, expected in ((1, 1024), (2, 512)):
        fail_once(world, incarnation, told(Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY))
        world.see(pod_sets=(), train_pods=()).wait(1).step()
        assert world.status.micro_batch_tokens == expected
        assert world.status.attempt == incarnation + 1
        world.running(incarnation + 1)


def test_a_long_sequence_length_does_not_make_the_next_micro_batch_larger() -> None:
    world = World(training={"sequenceLength": 32768}).running()
    fail_once(world, 1, told(Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY))
    assert world.status.micro_batch_tokens == 4096


def attempt_of(world: World, incarnation: int) -> Attempt:
    return next(a for a in world.status.attempts or [] if a.incarnation == incarnation)


def lose(world: World) -> World:
    """The pods of this incarnation are gone; play until the next is asked for."""
    lost = world.status.incarnation
    world.see(pod_sets=(), train_pods=(), progress=None).step()
    while world.status.incarnation == lost:
        world.wait(1).step()
    return world


def trains(world: World, step: int, resumed_from: int) -> World:
    told = Progress(stage=Stage.TRAINING, step=step, total_steps=99, resumed_from_step=resumed_from)
    world.see(progress=told).step()
    return world.see(progress=None)


def test_steps_that_were_lost_are_known_once_the_next_incarnation_goes_on() -> None:
    world = trains(World().running(), 50, 0)
    lose(world)
    assert (attempt_of(world, 1).last_step, attempt_of(world, 1).lost_steps) == (50, None)
    world.running(2)
    assert attempt_of(world, 1).lost_steps is None
    trains(world, 41, 40)
    assert attempt_of(world, 1).lost_steps == 10
    before = world.status
    trains(world, 41, 40).wait(60).step()
    assert world.status == before


def test_an_incarnation_that_did_not_come_to_train_lost_nothing() -> None:
    world = trains(World().running(), 50, 0)
    lose(world).running(2)
    lose(world).running(3)
    trains(world, 40, 40)
    assert attempt_of(world, 1).lost_steps == 10
    assert (attempt_of(world, 2).last_step, attempt_of(world, 2).lost_steps) == (None, None)


def test_a_pod_that_names_its_last_checkpoint_tells_the_lost_steps_at_once() -> None:
    world = World().running()
    words = told(Outcome.INTERNAL, Reason.INTERNAL_ERROR, last_step=12, checkpoint_step=9)
    fail_once(world, 1, words)
    assert attempt_of(world, 1).lost_steps == 3
    saved = told(Outcome.INTERRUPTED, Reason.INTERRUPTED, last_step=9, checkpoint_step=9)
    world = World().running()
    fail_once(world, 1, saved)
    assert attempt_of(world, 1).lost_steps == 0


def test_a_restart_lasts_until_all_pods_of_the_next_run_and_not_over_a_suspension() -> None:
    world = World(restarts={"startDeadlineSeconds": 30}).running().wait(100)
    fail_once(world, 1, told(Outcome.INTERNAL, Reason.INTERNAL_ERROR))
    lose(world).wait(20)
    world.see(pod_sets=(pod_set(2),)).step()
    world.wait(31).step()
    assert attempt_of(world, 2).outcome == "NotStarted"
    lose(world).wait(5).running(3)
    first, second = attempt_of(world, 1), attempt_of(world, 2)
    assert (first.restart_seconds, second.restart_seconds) == (76, 15)
    suspended(world, suspend=True).step()
    world.see(pod_sets=(), train_pods=()).step()
    suspended(world, suspend=False).step()
    world.wait(60).running(4)
    assert attempt_of(world, 3).restart_seconds is None


def test_a_log_tail_goes_cut_into_the_attempts() -> None:
    world = World().running()
    fail_once(world, 1, ended("x" * 5000 + "ValueError: bad", 1))
    assert world.status.attempts is not None
    assert world.status.attempts[-1].message.endswith("ValueError: bad")


def test_pods_that_do_not_start_in_time_are_tried_again_uncounted() -> None:
    world = World(restarts={"startDeadlineSeconds": 60, "max": 0}).launched()
    words = Obstacle(Reason.WAITING_FOR_PODS, "0/3 nodes are available")
    world.see(pod_sets=(pod_set(),), train_pods=(train_pod(waiting_for=words),)).step()
    world.wait(61).step()
    assert world.phase is Phase.RESTARTING
    assert world.condition("Reconciling") == ("True", "StartDeadlineExceeded")
    assert "0/3 nodes" in world.message("Reconciling")
    assert kinds(world) == [StopPods]
    assert world.status.counted_failures == 0
    world.see(pod_sets=(), train_pods=()).wait(5).step()
    assert world.status.incarnation == 1
    world.wait(7).step()
    assert world.status.incarnation == 2


def test_the_active_deadline_ends_a_job_and_its_pods() -> None:
    world = World(activeDeadlineSeconds=100).running()
    assert world.last is not None
    assert world.last.requeue_after == 101
    world.wait(100).step()
    assert world.condition("Failed") == ("True", "DeadlineExceeded")
    world.step()
    assert kinds(world) == [StopPods]


def suspended(world: World, *, suspend: bool) -> World:
    assert world.seen.spec is not None
    spec = world.seen.spec.model_copy(update={"suspend": suspend})
    return world.see(spec=spec, generation=world.seen.generation + 1)


def test_suspension_stops_pods_first_and_resumption_starts_new_ones() -> None:
    world = suspended(World().running(), suspend=True)
    world.step()
    assert world.condition("Suspended") == ("False", "Stopping")
    assert kinds(world) == [StopPods]
    world.see(pod_sets=(pod_set(deleted_at=START),)).step()
    assert world.condition("Suspended") == ("False", "Stopping")
    world.see(pod_sets=(), train_pods=()).step()
    assert world.phase is Phase.SUSPENDED
    assert world.condition("Suspended") == ("True", "Suspended")
    suspended(world, suspend=False).step()
    assert (world.phase, world.status.incarnation, world.status.attempt) == (Phase.QUEUED, 2, 1)
    assert world.condition("Suspended") == ("False", "NotSuspended")
    assert world.status.observed_generation == 3


def test_a_result_published_while_stopping_is_a_success() -> None:
    world = suspended(World().running(), suspend=True)
    world.step()
    done = train_pod(gone=True, deleted_at=START, terminated=ended(PUBLISHED_TEXT, 0))
    world.see(pod_sets=(), train_pods=(done,)).step()
    assert world.phase is Phase.COMPLETE


def test_suspension_before_and_during_preparation() -> None:
    world = World(suspend=True)
    world.step()
    assert (world.phase, kinds(world)) == (Phase.SUSPENDED, [])
    suspended(world, suspend=False).step()
    assert kinds(world) == [CreatePrepare]
    suspended(world.see(prepare_job=prepare_job()), suspend=True).step()
    assert kinds(world) == [StopPrepare]
    world.see(prepare_job=None).step()
    assert world.phase is Phase.SUSPENDED


def test_without_a_backend_the_condition_says_so() -> None:
    world = World(**TWO_PODS).see(backends=JOB_ONLY).prepared()
    world.step()
    assert world.condition("Reconciling") == ("True", "BackendUnavailable")
    assert "training-operator" in world.message("Reconciling")
    assert "workers.nodes: 1" in world.message("Reconciling")
    assert (world.status.incarnation, kinds(world)) == (0, [])
    world.see(backends=BOTH_SERVED).step()
    assert kinds(world) == [CreatePods]


def test_a_job_of_one_pod_runs_without_the_training_operator_and_stays_as_it_began() -> None:
    world = World().see(backends=JOB_ONLY).prepared()
    assert world.step().actions == (CreatePods("Job", 1, 1),)
    assert world.status.backend == "Job"
    pods = pod_set(backend="Job")
    lost = train_pod(name="support-11112222-1-x7k2p", gone=True)
    world.see(backends=BOTH_SERVED, pod_sets=(pods,)).step()
    world.see(train_pods=(lost,), pod_sets=(replace(pods, finish=Finish.FAILED),))
    assert world.step().actions == (StopPods("Job", pods.name, pods.uid),)
    assert (world.phase, world.status.counted_failures) == (Phase.RESTARTING, 0)
    world.see(pod_sets=(), train_pods=())
    assert world.step().actions == (CreatePods("Job", 1, 2),)


def test_what_the_only_pod_of_a_batch_job_published_is_the_result() -> None:
    world = World().see(backends=JOB_ONLY).launched()
    done = ended(PUBLISHED_TEXT, 0)
    pod = train_pod(name="support-11112222-1-x7k2p", phase=PodPhase.SUCCEEDED, terminated=done)
    world.see(pod_sets=(pod_set(backend="Job"),), train_pods=(pod,)).step()
    assert (world.phase, world.status.output) == (Phase.COMPLETE, OUTPUT)


def test_a_controller_that_is_not_there_is_told_from_pods_that_are_refused() -> None:
    world = World().launched()
    world.see(pod_sets=(pod_set(taken_up=False),)).step()
    assert world.condition("Reconciling") == ("True", "WaitingForPods")
    world.wait(15).step()
    assert world.condition("Reconciling") == ("True", "BackendUnavailable")
    assert "the Kubeflow training-operator does not answer" in world.message("Reconciling")
    world.see(pod_sets=(pod_set(),)).step()
    assert world.condition("Reconciling") == ("True", "PodRejected")


def test_a_refused_child_is_explained() -> None:
    world = World().launched()
    world.see(obstacle=Obstacle(Reason.POD_REJECTED, "exceeded quota: team-a")).step()
    assert world.condition("Reconciling") == ("True", "PodRejected")
    assert "exceeded quota" in world.message("Reconciling")
    assert kinds(world) == [CreatePods]


def test_the_api_server_is_asked_about_the_pods_before_the_job_is_accepted() -> None:
    world = World().see(pods_checked=False)
    decision = world.step()
    assert (decision.actions, world.status) == ((CheckPods(),), FineTuneJobStatus())
    words = "spec.podTemplate.tolerations[0].operator: Invalid value"
    world.see(pods_checked=True, obstacle=Obstacle(Reason.INVALID_SPEC, words)).step()
    assert world.condition("Accepted") == ("False", "InvalidSpec")
    assert world.message("Failed").startswith(f"{words}. Change the field")
    running = World().running().see(pods_checked=False)
    assert kinds(running) == []


def test_a_child_that_will_never_be_taken_fails_the_job() -> None:
    world = World().launched()
    world.see(obstacle=Obstacle(Reason.INVALID_SPEC, "spec.workers.resources: no")).step()
    assert world.condition("Failed") == ("True", "InvalidSpec")
    assert kinds(world) == []


def test_a_queue_holds_the_preparation_and_its_old_age_is_no_fault() -> None:
    world = World()
    world.step()
    world.see(prepare_job=prepare_job(suspended=True, started=None)).wait(3600).step()
    assert world.condition("DataReady") == ("Unknown", "WaitingForQuota")
    world.see(prepare_job=prepare_job(started=None)).step()
    assert world.condition("DataReady") == ("Unknown", "Preparing")
    world.see(prepare_job=prepare_job(started=world.now)).wait(14).step()
    assert world.condition("DataReady") == ("Unknown", "Preparing")


def complete(**spec: Any) -> World:
    world = World(**spec).running()
    done = train_pod(phase=PodPhase.SUCCEEDED, terminated=ended(PUBLISHED_TEXT, 0))
    world.see(train_pods=(done,)).step()
    return world


MEASURED = EvaluationStatus(before=Measurement(cross_entropy="3.1"))


def test_a_job_that_stops_after_its_baseline_publishes_nothing() -> None:
    world = World(stopAfter="Baseline").running()
    end = told(Outcome.DONE, Reason.BASELINE_MEASURED, evaluation=MEASURED, recipe_hash="bb")
    world.see(train_pods=(train_pod(phase=PodPhase.SUCCEEDED, terminated=end),)).step()
    assert world.condition("Complete") == ("True", "BaselineMeasured")
    assert world.status.evaluation == MEASURED
    assert world.status.output is None
    assert attempt_of(world, 1).outcome == "Done"


def test_a_job_that_trains_is_not_complete_by_a_measurement() -> None:
    world = World().running()
    end = told(Outcome.DONE, Reason.BASELINE_MEASURED, evaluation=MEASURED, recipe_hash="bb")
    world.see(train_pods=(train_pod(phase=PodPhase.SUCCEEDED, terminated=end),)).step()
    assert world.phase is Phase.RESTARTING


def test_the_preparation_tells_how_far_it_is_until_training_begins() -> None:
    world = World()
    world.step()
    told_now = Progress(stage=Stage.PREPARING, stage_percent=40)
    world.see(prepare_job=prepare_job(), progress=told_now).step()
    assert world.status.progress == told_now
    before = world.status
    world.see(progress=None).wait(5).step()
    assert world.status == before
    pod = prepare_pod(phase=PodPhase.SUCCEEDED, terminated=ended(PREPARED_TEXT, 0))
    world.see(prepare_pods=(pod,), progress=told_now).step()
    assert world.status.progress is None
    world.step()
    pods = (train_pod(phase=PodPhase.RUNNING),)
    world.see(pod_sets=(pod_set(),), train_pods=pods).step()
    assert (world.phase, world.status.progress) == (Phase.RUNNING, None)


def test_finished_children_stay_and_running_ones_do_not() -> None:
    world = complete()
    world.see(pod_sets=(pod_set(),)).step()
    assert world.last is not None
    assert (kinds(world), world.last.requeue_after) == ([], 30)
    world.wait(31).step()
    assert kinds(world) == [StopPods]
    world.see(pod_sets=(pod_set(finish=Finish.SUCCEEDED),)).step()
    assert kinds(world) == []


def test_the_ttl_removes_all_children_and_then_rests() -> None:
    world = complete(ttlSecondsAfterFinished=600)
    world.see(pod_sets=(pod_set(finish=Finish.SUCCEEDED),)).wait(599).step()
    assert kinds(world) == []
    world.wait(1).step()
    assert kinds(world) == [DeleteRunFiles, StopPods, StopPrepare]
    world.see(pod_sets=(), prepare_job=None).step()
    assert world.last is not None
    assert (kinds(world), world.last.requeue_after) == ([], None)


def test_a_finished_job_never_starts_again() -> None:
    world = complete()
    world.see(pod_sets=(), train_pods=(), prepare_job=None)
    suspended(world, suspend=True).step()
    suspended(world, suspend=False).step()
    assert (world.phase, kinds(world)) == (Phase.COMPLETE, [])


def test_a_stray_set_of_pods_is_stopped() -> None:
    world = World().running()
    world.see(pod_sets=(pod_set(1), pod_set(7))).step()
    assert world.last is not None
    assert world.last.actions == (StopPods("PyTorchJob", "support-11112222-7", "set-7"),)


def test_a_queue_does_not_hold_what_has_failed_already() -> None:
    world = World().running()
    failure = told(Outcome.INTERNAL, Reason.INTERNAL_ERROR)
    failed = train_pod(phase=PodPhase.FAILED, terminated=failure)
    world.see(pod_sets=(pod_set(suspended=True, finish=Finish.FAILED),), train_pods=(failed,))
    world.step()
    assert (world.phase, world.status.counted_failures) == (Phase.RESTARTING, 1)


def test_an_eviction_by_a_queue_does_not_change_what_an_earlier_end_cost() -> None:
    world = World().running()
    saved = told(Outcome.INTERNAL, Reason.INTERNAL_ERROR, last_step=50, checkpoint_step=40)
    fail_once(world, 1, saved)
    world.see(pod_sets=(), train_pods=()).wait(20).step()
    world.running(2)
    resumed = Progress(stage=Stage.TRAINING, step=41, total_steps=99, resumed_from_step=40)
    world.see(progress=resumed).step()
    assert attempt_of(world, 1).lost_steps == 10
    world.see(pod_sets=(pod_set(2, suspended=True),), train_pods=(), progress=None).step()
    assert world.status.progress is not None
    assert world.status.progress.resumed_from_step is None
    world.running(2)
    later = Progress(stage=Stage.TRAINING, step=81, total_steps=99, resumed_from_step=80)
    world.see(progress=later).step()
    assert attempt_of(world, 1).lost_steps == 10
