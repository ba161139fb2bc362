"""The Kubernetes objects that a job owns, as pure functions of the job.

    ConfigMap NAME-UID8-prepare, Job NAME-UID8-prepare       checks and tokenises the data
    ConfigMap NAME-UID8-aATTEMPT                             the run file of one attempt
    PyTorchJob or Job NAME-UID8-INCARNATION                  one set of training pods

Children are created once and never updated. Names carry the job's UID, so that a job deleted
and made again under the same name never meets its predecessor's children.
"""

from dataclasses import dataclass
from typing import Any

from finetune_api.exits import ExitCode
from finetune_api.job import (
    API_VERSION,
    KIND,
    LABEL_ATTEMPT,
    LABEL_INCARNATION,
    LABEL_ROLE,
    FineTuneJob,
)
from finetune_api.pods import own_labels, pod_template, trainer_container
from finetune_api.runfile import (
    RUN_FILE_KEY,
    JobIdentity,
    RunFile,
)
from finetune_api.spec import FineTuneJobSpec

Document = dict[str, Any]

ROLE_PREPARE = "prepare"
ROLE_TRAIN = "train"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PREPARE_QUEUE_LABEL = "finetune.dev/prepare-queue-name"
PYTORCHJOB_API_VERSION = "kubeflow.org/v1"
PYTORCHJOB_KIND = "PyTorchJob"
BATCH_JOB_KIND = "Job"
PYTORCH_CONTAINER = "pytorch"
"""Of every training pod; the training-operator asks for this name."""
PREPARE_CONTAINER = "prepare"
_PREPARE_RETRIES = 6
"""The Job controller waits 10 s before the first and twice as long before each next one: about ten
minutes of a store that is away."""


@dataclass(frozen=True)
class ChildSettings:
    """What the platform decides for all jobs (from the chart)."""

    trainer_image: str
    image_pull_policy: str = "IfNotPresent"

    def image(self) -> Document:
        """The fields of a container that these are."""
        return {"image": self.trainer_image, "imagePullPolicy": self.image_pull_policy}


@dataclass(frozen=True)
class Owner:
    """The job that a child belongs to."""

    identity: JobIdentity
    queue: str | None = None
    """Kueue queue of the training pods."""
    prepare_queue: str | None = None
    """Kueue queue of the preparation."""

    @classmethod
    def of(cls, job: FineTuneJob) -> "Owner":
        """The owner that `job` is, with the queues that its labels name."""
        meta = job.metadata
        return cls(
            JobIdentity(namespace=meta.namespace, name=meta.name, uid=meta.uid),
            queue=meta.labels.get(QUEUE_LABEL),
            prepare_queue=meta.labels.get(PREPARE_QUEUE_LABEL),
        )


def prepare_name(job: JobIdentity) -> str:
    """Name of the preparation's Job and ConfigMap."""
    return f"{job.name}-{job.uid8()}-prepare"


def attempt_name(job: JobIdentity, attempt: int) -> str:
    """Name of an attempt's ConfigMap."""
    return f"{job.name}-{job.uid8()}-a{attempt}"


def incarnation_name(job: JobIdentity, incarnation: int) -> str:
    """Name of a set of training pods; at most 53 characters, as pods add `-worker-99`."""
    return f"{job.name}-{job.uid8()}-{incarnation}"


def run_config_map(owner: Owner, name: str, run: RunFile) -> Document:
    """The ConfigMap that holds a run file."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(owner, name, {}),
        "immutable": True,
        "data": {RUN_FILE_KEY: run.dump()},
    }


def prepare_job(owner: Owner, spec: FineTuneJobSpec, settings: ChildSettings) -> Document:
    """The batch/v1 Job that prepares data on CPUs.

    The user's mistake fails it at once, a disruption is not counted, the rest is retried.
    """
    labels = {LABEL_ROLE: ROLE_PREPARE}
    pod = pod_template(owner.identity, spec, config_map=prepare_name(owner.identity), labels=labels)
    container = trainer_container(
        PREPARE_CONTAINER, "prepare", spec, spec.preparation.resources, settings.image()
    )
    pod["spec"]["containers"] = [container]
    pod["spec"]["restartPolicy"] = "Never"
    queue = {QUEUE_LABEL: owner.prepare_queue} if owner.prepare_queue else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(owner, prepare_name(owner.identity), {**labels, **queue}),
        "spec": {
            "backoffLimit": _PREPARE_RETRIES,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": pod,
        },
    }


def pytorch_job(
    owner: Owner, spec: FineTuneJobSpec, settings: ChildSettings, *, attempt: int, incarnation: int
) -> Document:
    """One set of training pods: one Master and `workers.nodes - 1` Workers."""
    template = _training_template(owner, spec, settings, attempt, incarnation)
    replicas: Document = {"Master": _replicas(1, template)}
    if spec.workers.nodes > 1:
        replicas["Worker"] = _replicas(spec.workers.nodes - 1, template)
    return {
        "apiVersion": PYTORCHJOB_API_VERSION,
        "kind": PYTORCHJOB_KIND,
        "metadata": _training_metadata(owner, attempt, incarnation),
        "spec": {
            "nprocPerNode": str(spec.workers.processes_per_node),
            "runPolicy": {"cleanPodPolicy": "Running"},
            "pytorchReplicaSpecs": replicas,
        },
    }


def training_job(
    owner: Owner, spec: FineTuneJobSpec, settings: ChildSettings, *, attempt: int, incarnation: int
) -> Document:
    """One training pod as a batch/v1 Job that never makes another: the operator counts."""
    template = _training_template(owner, spec, settings, attempt, incarnation)
    template["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": BATCH_JOB_KIND,
        "metadata": _training_metadata(owner, attempt, incarnation),
        "spec": {"backoffLimit": 0, "podReplacementPolicy": "Failed", "template": template},
    }


def _training_labels(attempt: int, incarnation: int) -> dict[str, str]:
    return {
        LABEL_ROLE: ROLE_TRAIN,
        LABEL_ATTEMPT: str(attempt),
        LABEL_INCARNATION: str(incarnation),
    }


def _training_metadata(owner: Owner, attempt: int, incarnation: int) -> Document:
    queue = {QUEUE_LABEL: owner.queue} if owner.queue else {}
    name = incarnation_name(owner.identity, incarnation)
    return _metadata(owner, name, {**_training_labels(attempt, incarnation), **queue})


def _training_template(
    owner: Owner, spec: FineTuneJobSpec, settings: ChildSettings, attempt: int, incarnation: int
) -> Document:
    template = pod_template(
        owner.identity,
        spec,
        config_map=attempt_name(owner.identity, attempt),
        labels=_training_labels(attempt, incarnation),
    )
    container = trainer_container(
        PYTORCH_CONTAINER, "launch", spec, spec.workers.resources, settings.image()
    )
    template["spec"]["containers"] = [container]
    return template


def _replicas(count: int, template: Document) -> Document:
    return {"replicas": count, "restartPolicy": "Never", "template": template}


def _failure_rules() -> list[Document]:
    return [
        {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": PREPARE_CONTAINER,
                "operator": "In",
                "values": [int(ExitCode.USER_ERROR)],
            },
        },
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
    ]


def _metadata(owner: Owner, name: str, labels: dict[str, str]) -> Document:
    job = owner.identity
    return {
        "name": name,
        "namespace": job.namespace,
        "labels": {**own_labels(job), **labels},
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": job.name,
                "uid": job.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
