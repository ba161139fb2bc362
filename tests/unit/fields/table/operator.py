"""What the operator alone acts on: restarts, suspend and times."""

from tests.unit.fields.entry import Table, effect
from tests.unit.fields.observe.operator import (
    PASSED,
    after_a_failure,
    after_running,
    after_the_end,
    next_step,
    once_the_data_is_ready_and_measured,
    while_nothing_is_finished,
    while_pods_wait,
    while_training,
)
from tests.unit.fields.observe.pods import preparation_pod, training_pods

AROUND = (int(PASSED / 2), int(PASSED * 2))

OPERATOR: Table = {
    "restarts.max": effect((0, 1), after_a_failure),
    "restarts.startDeadlineSeconds": effect(AROUND, while_pods_wait),
    "restarts.stepDeadlineSeconds": effect(AROUND, while_nothing_is_finished),
    "stopAfter": effect(
        (None, "Data", "Baseline"),
        once_the_data_is_ready_and_measured,
        evaluation={"enabled": True},
    ),
    "suspend": effect((False, True), next_step, while_training),
    "priorityClassName": effect((None, "one", "two"), preparation_pod, training_pods),
    "activeDeadlineSeconds": effect(AROUND, after_running),
    "ttlSecondsAfterFinished": effect(AROUND, after_the_end),
}
