"""workers, preparation and podTemplate."""

from typing import Any

from tests.unit.fields.entry import Effect, Refusal, Table, effect
from tests.unit.fields.observe.operator import while_pods_end, with_one_pod
from tests.unit.fields.observe.pods import preparation_pod, ranks_of_a_pod, training_pods

RESOURCES = ({"cpu": "1"}, {"cpu": "2"})


def _both(*values: Any, **within: Any) -> Effect:
    """On the pods of the preparation and of training."""
    return effect(values, preparation_pod, training_pods, **within)


WORKERS: Table = {
    "workers.nodes": effect((1, 2), training_pods, with_one_pod),
    "workers.processesPerNode": effect((1, 2), training_pods, ranks_of_a_pod),
    # Until there is a second strategy, Auto is DDP, and what the field does is to refuse others.
    "workers.strategy": Refusal("DDP", "FSDP2", "'Auto' or 'DDP'"),
    "workers.resources.requests": effect(RESOURCES, training_pods),
    "workers.resources.limits": effect(RESOURCES, training_pods),
    "preparation.resources.requests": effect(RESOURCES, preparation_pod),
    "preparation.resources.limits": effect(RESOURCES, preparation_pod),
}
POD_TEMPLATE: Table = {
    "podTemplate.nodeSelector": _both({"zone": "a"}, {"zone": "b"}),
    "podTemplate.tolerations": _both([{"key": "a"}], [{"key": "b"}]),
    "podTemplate.affinity": _both({"nodeAffinity": {}}, {"podAffinity": {}}),
    "podTemplate.topologySpread": _both([{"maxSkew": 1}], [{"maxSkew": 2}]),
    "podTemplate.serviceAccountName": _both("one", "two"),
    "podTemplate.imagePullSecrets.name": _both("one", "two"),
    "podTemplate.env.name": _both("ONE", "TWO"),
    "podTemplate.env.value": _both("1", "2"),
    "podTemplate.labels": _both({"team": "a"}, {"team": "b"}),
    "podTemplate.annotations": _both({"team": "a"}, {"team": "b"}),
    "podTemplate.sharedMemory": _both("1Gi", "2Gi"),
    "podTemplate.scratch.size": _both("1Gi", "2Gi"),
    "podTemplate.scratch.storageClassName": _both(
        None, "one", "two", podTemplate={"scratch": {"size": "1Gi"}}
    ),
    "podTemplate.terminationGracePeriodSeconds": effect(
        (10, 600), preparation_pod, training_pods, while_pods_end
    ),
    "podTemplate.runtimeClassName": _both("one", "two"),
}
