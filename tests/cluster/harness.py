"""What cluster tests say of a job: apply it, wait for it, look at its pods, break something."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from devcluster.ports import free_ports

Document = dict[str, Any]
T = TypeVar("T")

POLL_SECONDS = 0.5
SECRET = "s3-credentials"
SYSTEM_NAMESPACE = "finetune-system"
ROOT = Path(__file__).resolve().parents[2]


class NotYetError(AssertionError):
    """What was waited for did not come in time; says what was seen last."""


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """Output of one kubectl call; its error text is in the exception."""
    result = subprocess.run(
        ["kubectl", *arguments], input=stdin, text=True, capture_output=True, check=False
    )
    if check and result.returncode:
        raise AssertionError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout if result.returncode == 0 else result.stderr


def get(kind: str, name: str, namespace: str) -> Document | None:
    """One object, or None when there is none."""
    text = kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
    return json.loads(text) if text.strip() else None


def items(kind: str, namespace: str, selector: str = "") -> list[Document]:
    """Objects of a kind."""
    arguments = ["get", kind, "-n", namespace, "-o", "json"]
    text = kubectl(*arguments, *(["-l", selector] if selector else []))
    found: list[Document] = json.loads(text)["items"]
    return found


def wait_until(what: str, look: Callable[[], T | None], seconds: float) -> T:
    """Poll until `look` gives something true."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise NotYetError(f"not within {seconds:.0f} s: {what}")
        time.sleep(POLL_SECONDS)


def is_rank_zero(pod: Document) -> bool:
    """The master of a PyTorchJob, or the only pod of a batch Job."""
    kind = pod["metadata"]["labels"].get("training.kubeflow.org/replica-type", "master")
    return bool(kind == "master")


@dataclass(frozen=True)
class Job:
    """A FineTuneJob on the cluster, seen as its user sees it."""

    namespace: str
    name: str

    def object(self) -> Document:
        """The resource as it is now."""
        found = get("finetunejob", self.name, self.namespace)
        assert found is not None, f"{self.name} is gone"
        return found

    def status(self) -> Document:
        """Its status, empty before the operator's first write."""
        status: Document = self.object().get("status", {})
        return status

    def condition(self, kind: str) -> Document:
        """One condition, empty when absent."""
        conditions: list[Document] = self.status().get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def pods(self, role: str = "train") -> list[Document]:
        """Its pods of one role."""
        uid = self.object()["metadata"]["uid"]
        return items("pods", self.namespace, f"finetune.dev/job-uid={uid},finetune.dev/role={role}")

    def master(self) -> Document:
        """Rank 0's pod."""
        return next(pod for pod in self.pods() if is_rank_zero(pod))

    def evict(self) -> None:
        """Ask for the eviction of its only training pod, as a drain does."""
        (pod,) = self.pods()
        name = pod["metadata"]["name"]
        wish = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": self.namespace},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/eviction"
        kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(wish))

    def wait_phase(self, *phases: str, seconds: float) -> Document:
        """Status once the phase is one of `phases`."""

        def look() -> Document | None:
            status = self.status()
            return status if status.get("phase") in phases else None

        try:
            return wait_until(f"{self.name} in phase {' or '.join(phases)}", look, seconds)
        except NotYetError as error:
            raise NotYetError(f"{error}\n{self.story()}") from None

    def wait_step(self, step: int, *, incarnation: int, seconds: float) -> None:
        """Until rank 0 itself tells of `step` optimizer steps in `incarnation`."""

        def look() -> bool:
            if self.status().get("incarnation", 0) < incarnation:
                return False
            return bool(self.live_progress().get("step", 0) >= step)

        try:
            wait_until(f"{self.name} at step {step}", look, seconds)
        except NotYetError as error:
            raise NotYetError(f"{error}\n{self.story()}") from None

    def live_progress(self) -> Document:
        """Progress as rank 0 tells it now through the API server; empty before it answers."""
        for pod in self.pods():
            if not is_rank_zero(pod):
                continue
            path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}:9463/proxy"
            text = kubectl("get", "--raw", f"{path}/progress", check=False)
            try:
                progress: Document = json.loads(text)
            except ValueError:
                return {}
            return progress if "stage" in progress else {}
        return {}

    def story(self) -> str:
        """What happened, for the message of a failed test."""
        parts = [json.dumps(self.status(), indent=1)]
        for role in ("prepare", "train"):
            for pod in self.pods(role):
                name = pod["metadata"]["name"]
                log = kubectl("logs", name, "-n", self.namespace, "--tail=25", check=False)
                parts.append(f"--- {name} {pod['status'].get('phase')}\n{log}")
        parts.append(kubectl("get", "events", "-n", self.namespace, check=False)[-3000:])
        return "\n".join(parts)

    def patch(self, spec: Document) -> None:
        """Merge into the spec."""
        text = json.dumps({"spec": spec})
        kubectl("patch", "finetunejob", self.name, "-n", self.namespace, "--type=merge", "-p", text)

    def delete(self) -> None:
        """Delete the job and wait until it is gone."""
        kubectl("delete", "finetunejob", self.name, "-n", self.namespace, "--timeout=60s")


def operator_process(namespace: str, log: Path, **env: str) -> "subprocess.Popen[bytes]":
    """An operator on this machine for one namespace, beside none that is installed."""
    environment = {
        **os.environ,
        "FINETUNE_TRAINER_IMAGE": "docker.io/finetune-operator/trainer:dev",
        "FINETUNE_NAMESPACES": namespace,
        "FINETUNE_LEADER_ELECTION": "false",
        "FINETUNE_HEALTH_PORT": str(free_ports(1)[0]),
        "POD_NAMESPACE": SYSTEM_NAMESPACE,
        "POD_NAME": "of-a-test",
        **env,
    }
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "finetune_operator"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def make_namespace(name: str, keys: tuple[str, str]) -> None:
    """A namespace that enforces `restricted`, with the credentials of the store."""
    apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }
    )
    apply(secret(SECRET, name, keys))


def secret(name: str, namespace: str, keys: tuple[str, str]) -> Document:
    """A Secret in the form that storage.credentialsSecretName wants."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    data = {k: base64.b64encode(v.encode()).decode() for k, v in zip(names, keys, strict=True)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def apply(document: Document) -> str:
    """`kubectl apply` of one document; kubectl's words."""
    return kubectl("apply", "-f", "-", stdin=json.dumps(document))


def apply_error(document: Document) -> str:
    """What kubectl says when it must refuse `document`."""
    result = subprocess.run(
        ["kubectl", "apply", "-f", "-"],
        input=json.dumps(document),
        text=True,
        capture_output=True,
        check=False,
    )
    assert result.returncode != 0, f"accepted: {result.stdout}"
    return result.stderr


def children(namespace: str, uid: str) -> Iterator[str]:
    """Kind and name of everything that carries a job's label."""
    for kind in ("configmaps", "jobs", "pytorchjobs", "pods", "services"):
        for item in items(kind, namespace, f"finetune.dev/job-uid={uid}"):
            yield f"{kind}/{item['metadata']['name']}"
