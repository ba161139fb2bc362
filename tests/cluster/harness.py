"""What cluster tests say of a job: apply it, wait for it, look at its pods, break something."""

import base64
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

Document = dict[str, Any]
T = TypeVar("T")

POLL_SECONDS = 0.5
SECRET = "s3-credentials"


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
        return next(
            pod
            for pod in self.pods()
            if pod["metadata"]["labels"].get("training.kubeflow.org/replica-type") == "master"
        )

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
            labels = pod["metadata"]["labels"]
            if labels.get("training.kubeflow.org/replica-type") != "master":
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
