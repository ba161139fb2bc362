"""Reads from the cluster through kubectl, with kubectl's own rules for kubeconfig and context."""

import argparse
import json
import subprocess
from dataclasses import dataclass, field
from typing import Any

from finetune_api.children import ROLE_TRAIN
from finetune_api.job import (
    GROUP,
    LABEL_INCARNATION,
    LABEL_JOB_UID,
    LABEL_ROLE,
    PLURAL,
    FineTuneJob,
)
from finetune_api.progress import PROGRESS_PATH, PROGRESS_PORT, Progress
from finetune_api.status import FineTuneJobStatus
from pydantic import ValidationError

from finetune_cli.codes import UsageError

_TIMEOUT_SECONDS = 30
_REPLICA_LABEL = "training.kubeflow.org/replica-type"


class KubectlError(Exception):
    """kubectl failed; the message is its own."""


class GoneError(KubectlError):
    """There is no such job."""


@dataclass(frozen=True)
class SeenJob:
    """A job as the API server shows it."""

    job: FineTuneJob
    status: FineTuneJobStatus


@dataclass(frozen=True)
class Kubectl:
    """kubectl with the flags that choose a cluster and a namespace."""

    flags: tuple[str, ...] = ()
    namespace: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Kubectl":
        """As the command line says."""
        flags: list[str] = []
        for name in ("context", "kubeconfig"):
            value = getattr(options, name)
            flags += [f"--{name}={value}"] if value else []
        namespace = (f"--namespace={options.namespace}",) if options.namespace else ()
        return cls(tuple(flags), namespace)

    def job(self, name: str) -> SeenJob:
        """The job of that name. Raises KubectlError, or UsageError for an unreadable one."""
        text = self._run("get", f"{PLURAL}.{GROUP}", name, "--output=json", *self.namespace)
        document = json.loads(text)
        try:
            status = FineTuneJobStatus.read_wire(document.get("status", {}))
            return SeenJob(FineTuneJob.read_wire(document), status)
        except ValidationError as error:
            raise UsageError(
                f"cannot read {name}, which a newer operator may have written: {error}"
            ) from error

    def master_pod(self, seen: SeenJob) -> str | None:
        """Name of the running pod of rank 0, if there is one."""
        meta = seen.job.metadata
        labels = {
            LABEL_JOB_UID: meta.uid,
            LABEL_ROLE: ROLE_TRAIN,
            LABEL_INCARNATION: seen.status.incarnation,
        }
        selector = ",".join(f"{label}={value}" for label, value in labels.items())
        try:
            text = self._run(
                *("get", "pods", f"--namespace={meta.namespace}", f"--selector={selector}"),
                *("--field-selector=status.phase=Running", "--output=json"),
            )
        except KubectlError:
            return None
        pods: list[dict[str, Any]] = json.loads(text)["items"]
        live = [pod["metadata"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        # The only pod of a batch Job has no replica type.
        first = [meta for meta in live if meta["labels"].get(_REPLICA_LABEL) in (None, "master")]
        return str(first[-1]["name"]) if first else None

    def progress(self, namespace: str, pod: str) -> Progress | None:
        """What rank 0 tells now, through the API server's pod proxy; None when it does not."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}:{PROGRESS_PORT}/proxy{PROGRESS_PATH}"
        try:
            return Progress.read_wire(json.loads(self._run("get", "--raw", path)))
        except (KubectlError, ValueError, ValidationError):
            return None

    def _run(self, *arguments: str) -> str:
        try:
            result = subprocess.run(
                ["kubectl", *self.flags, *arguments],
                capture_output=True,
                text=True,
                check=False,
                timeout=_TIMEOUT_SECONDS,
            )
        except FileNotFoundError:
            raise UsageError("kubectl is not on PATH; this command reads through it") from None
        except subprocess.TimeoutExpired:
            raise KubectlError(f"kubectl did not answer in {_TIMEOUT_SECONDS} s") from None
        if result.returncode == 0:
            return result.stdout
        text = result.stderr.strip() or f"kubectl ended with {result.returncode}"
        raise GoneError(text) if "(NotFound)" in text else KubectlError(text)
