"""The pods that preparation and training share: restricted, with no secret in them."""

from typing import Any

from finetune_api.job import LABEL_JOB, LABEL_JOB_UID
from finetune_api.lineage import job_references
from finetune_api.progress import PROGRESS_PORT
from finetune_api.runfile import (
    RUN_FILE_PATH,
    TERMINATION_LOG_PATH,
    TERMINATION_LOG_VARIABLE,
    WORK_DIR_PATH,
    WORK_DIR_VARIABLE,
    JobIdentity,
)
from finetune_api.spec import FineTuneJobSpec, Resources, Scratch

Document = dict[str, Any]

USER_ID = 65532
WORK_VOLUME = "work"
MEMORY_VOLUME = "shm"


def own_labels(job: JobIdentity) -> dict[str, str]:
    """Labels of everything that belongs to `job`."""
    return {
        "app.kubernetes.io/managed-by": "finetune-operator",
        LABEL_JOB: job.name,
        LABEL_JOB_UID: job.uid,
    }


def pod_template(
    job: JobIdentity,
    spec: FineTuneJobSpec,
    *,
    config_map: str,
    labels: dict[str, str],
) -> Document:
    """A pod template without containers; it passes Pod Security `restricted`."""
    template = spec.pod_template
    pod_spec: Document = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": template.termination_grace_period_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": _volumes(spec, config_map),
    }
    optional = {
        "nodeSelector": template.node_selector,
        "tolerations": template.tolerations,
        "affinity": template.affinity,
        "topologySpreadConstraints": template.topology_spread,
        "priorityClassName": spec.priority_class_name,
        "serviceAccountName": template.service_account_name,
        "imagePullSecrets": [{"name": s.name} for s in template.image_pull_secrets or []],
        "runtimeClassName": template.runtime_class_name,
    }
    pod_spec.update({key: value for key, value in optional.items() if value})
    metadata: Document = {"labels": {**(template.labels or {}), **own_labels(job), **labels}}
    if template.annotations:
        metadata["annotations"] = template.annotations
    return {"metadata": metadata, "spec": pod_spec}


def _volumes(spec: FineTuneJobSpec, config_map: str) -> list[Document]:
    memory: Document = {"medium": "Memory"}
    if spec.pod_template.shared_memory:
        memory["sizeLimit"] = spec.pod_template.shared_memory
    return [
        {"name": "run", "configMap": {"name": config_map}},
        {"name": WORK_VOLUME, **_scratch(spec.pod_template.scratch)},
        {"name": "tmp", "emptyDir": {}},
        {"name": MEMORY_VOLUME, "emptyDir": memory},
    ]


def _scratch(scratch: Scratch | None) -> Document:
    """The source of the work folder's volume."""
    if scratch is None:
        return {"emptyDir": {}}
    if scratch.storage_class_name is None:
        return {"emptyDir": {"sizeLimit": scratch.size}}
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": scratch.storage_class_name,
        "resources": {"requests": {"storage": scratch.size}},
    }
    return {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}}


def trainer_container(
    name: str, command: str, spec: FineTuneJobSpec, resources: Resources | None, image: Document
) -> Document:
    """A container that runs `finetune_trainer COMMAND`; `image` is its image and pull policy."""
    container: Document = {
        "name": name,
        **image,
        "command": ["python", "-m", "finetune_trainer", command, RUN_FILE_PATH],
        "env": _environment(spec),
        "ports": [{"name": "progress", "containerPort": PROGRESS_PORT}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": TERMINATION_LOG_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "run", "mountPath": RUN_FILE_PATH.rpartition("/")[0], "readOnly": True},
            {"name": WORK_VOLUME, "mountPath": WORK_DIR_PATH},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
            {"name": MEMORY_VOLUME, "mountPath": "/dev/shm"},  # noqa: S108
        ],
    }
    if resources is not None:
        container["resources"] = resources.to_wire()
    return container


def hub_variables(spec: FineTuneJobSpec) -> dict[str, str]:
    """What a process must know of the Hugging Face Hub before it imports anything: that libraries
    keep off it unless the job's model lies there, and that nothing is told to it."""
    return {
        "HF_HUB_OFFLINE": "0" if spec.model.on_hub() else "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def _environment(spec: FineTuneJobSpec) -> list[Document]:
    """The user's literals, none of which is in RESERVED_VARIABLES, then what the trainer needs."""
    fixed = {
        "HOME": WORK_DIR_PATH,
        **hub_variables(spec),
        WORK_DIR_VARIABLE: WORK_DIR_PATH,
        TERMINATION_LOG_VARIABLE: TERMINATION_LOG_PATH,
    }
    env: list[Document] = [{"name": v.name, "value": v.value} for v in spec.pod_template.env or []]
    env += [{"name": key, "value": value} for key, value in fixed.items()]
    secret = spec.storage.credentials_secret_name
    if secret:
        env += [_from_secret(secret, key) for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
        # The base of another job's adapter may lie on the hub.
        if spec.model.on_hub() or job_references(spec):
            env.append(_from_secret(secret, "HF_TOKEN", optional=True))
    return env


def _from_secret(secret: str, key: str, **more: bool) -> Document:
    """A variable that has the name of the Secret's key."""
    return {"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, **more}}}
