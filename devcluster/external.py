"""Clusters that are there already: a kubeconfig that was given, or kind where Docker runs.

Neither path has been run on the machine on which the rest was measured; see docs/devcluster.md.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from devcluster import binaries, commands, files
from devcluster.client import Kubectl
from devcluster.errors import Refusal
from devcluster.paths import Layout
from devcluster.progress import step
from devcluster.versions import program_named

KIND_NAME = "finetune-devcluster"
_TOOLS = ("kubectl", "helm", "kubeconform")
_S3 = ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_NEEDS_S3 = (
    "A cluster that is not ours needs an S3 server that its pods reach: "
    "set AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
)


def recorded(layout: Layout) -> dict[str, str] | None:
    """Variables of the cluster in use, if it is not one of ours."""
    file = _record(layout)
    if not file.exists():
        return None
    variables: dict[str, str] = json.loads(file.read_text())
    return variables


def kind_available() -> bool:
    """Whether kind is installed and a Docker engine answers."""
    return shutil.which("kind") is not None and commands.succeeds(["docker", "info"])


def use_kind(layout: Layout) -> None:
    """Make a kind cluster unless it is there, and use it."""
    layout.make()
    config = layout.home / "kind.kubeconfig"
    if KIND_NAME not in commands.run(["kind", "get", "clusters"]).split():
        with step(f"kind cluster {KIND_NAME}", announce=True):
            commands.run(["kind", "create", "cluster", "--name", KIND_NAME, "--wait", "180s"])
    files.write(config, commands.run(["kind", "get", "kubeconfig", "--name", KIND_NAME]))
    use(layout, config, loader="kind")


def use(layout: Layout, config: Path, *, loader: str = "") -> None:
    """Use the cluster of a kubeconfig: get the tools, check it, install the training-operator."""
    if missing := [name for name in _S3 if not os.environ.get(name)]:
        raise Refusal(f"{_NEEDS_S3} Missing: {', '.join(missing)}.")
    layout.make()
    programs = binaries.obtain([*_TOOLS, "training-operator"])
    for name in _TOOLS:
        link = layout.bin / name
        link.unlink(missing_ok=True)
        link.symlink_to(programs[name])
    kubectl = Kubectl(programs["kubectl"], config.absolute())
    kubectl("get", "--raw", "/readyz")
    if not kubectl.succeeds("get", "crd", "pytorchjobs.kubeflow.org"):
        version = program_named("training-operator").version
        manifests = programs["training-operator"].parent / "manifests"
        with step(f"training-operator {version}"):
            overlay = str(manifests / "overlays" / "standalone")
            kubectl("apply", "--server-side", "--force-conflicts", "-k", overlay)
    variables = {name: os.environ[name] for name in _S3}
    region = os.environ.get("AWS_REGION", "us-east-1")
    variables |= {"KUBECONFIG": str(config.absolute()), "AWS_REGION": region, "LOADER": loader}
    files.write(_record(layout), json.dumps(variables))


def forget(layout: Layout) -> None:
    """Stop using it; a kind cluster is ours and goes away, a given one stays as it is."""
    variables = recorded(layout)
    if variables is not None and variables["LOADER"] == "kind":
        commands.run(["kind", "delete", "cluster", "--name", KIND_NAME])
    _record(layout).unlink(missing_ok=True)


def _record(layout: Layout) -> Path:
    return layout.home / "external.json"
