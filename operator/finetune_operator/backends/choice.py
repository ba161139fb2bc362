"""Which backend runs a job: the platform's setting, what is served, what was latched."""

from finetune_api.reasons import Reason

from finetune_operator.backends.backend import Backend
from finetune_operator.backends.batchjob import BATCH_JOB
from finetune_operator.backends.pytorchjob import PYTORCHJOB
from finetune_operator.kinds import Kind
from finetune_operator.seen import AUTO, Backends, Obstacle

BACKENDS: tuple[Backend, ...] = (PYTORCHJOB, BATCH_JOB)
"""In the order in which Auto takes them."""
SETTINGS = (AUTO, *(backend.name for backend in BACKENDS))
"""What the platform may set."""


def backend_named(name: str | None) -> Backend | None:
    """The backend that a status names; None before the first attempt."""
    return next((backend for backend in BACKENDS if backend.name == name), None)


def kind_of(name: str) -> Kind:
    """The objects of the backend that made a set of pods."""
    return next(backend.kind for backend in BACKENDS if backend.name == name)


def choose(backends: Backends, latched: str | None, nodes: int) -> Backend | Obstacle:
    """The backend of the next set of pods, or why there is none.

    What ran the first attempt runs all others, whatever is installed later.
    """
    wanted = latched or backends.setting
    candidates = [each for each in BACKENDS if wanted in {AUTO, each.name}]
    for backend in candidates:
        fits = backend.max_nodes is None or nodes <= backend.max_nodes
        if fits and backend.name in backends.served:
            return backend
    return Obstacle(Reason.BACKEND_UNAVAILABLE, _why(backends, latched, nodes))


def _why(backends: Backends, latched: str | None, nodes: int) -> str:
    if latched is not None:
        return f"the job began on {latched}, which is not served any more: install it again"
    if backends.setting == BATCH_JOB.name:
        return (
            f"the platform runs jobs as {BATCH_JOB.name} (chart value backend), which has one pod, "
            f"and workers.nodes is {nodes}: make the job anew with workers.nodes: 1, or ask the "
            "platform for the value Auto and the training-operator"
        )
    if backends.setting == PYTORCHJOB.name:
        return (
            f"{PYTORCHJOB.name} is not served, and the chart's value backend asks for it: install "
            f"{PYTORCHJOB.controller}, or set the value to Auto"
        )
    return (
        f"{PYTORCHJOB.name} is not served, and workers.nodes is {nodes}: install "
        f"{PYTORCHJOB.controller}, or make the job anew with workers.nodes: 1, which runs as a "
        "batch/v1 Job"
    )
