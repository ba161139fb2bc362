"""The training-operator, which turns PyTorchJobs into pods, as a program of the host.

As a pod it takes a minute until its certificate arrives. Here the certificate is made beforehand,
and a Service without a selector leads the API server's webhook calls to the host.
"""

from __future__ import annotations

import json
from pathlib import Path

from devcluster import files, pki, trainingobjects
from devcluster.client import Kubectl
from devcluster.node import PAUSE_IMAGE
from devcluster.paths import Layout

HEALTH_PORT = 9440
CA_NAME = "training-operator-ca"
# Both the program and its library look in this fixed place, so it gets a /tmp of its own.
_SERVING = "k8s-webhook-server/serving-certs"
_MOUNT = 'mount --bind "$1" /tmp && shift && exec "$@"'


def command(binary: Path, layout: Layout, kubeconfig: Path) -> list[str]:
    """More threads and requests than the defaults, which start one job a second."""
    arguments = [
        f"--kubeconfig={kubeconfig}",
        "--enable-scheme=pytorchjob",
        "--controller-threads=8",
        "--kube-api-qps=400",
        "--kube-api-burst=800",
        "--metrics-bind-address=0",
        f"--health-probe-bind-address=127.0.0.1:{HEALTH_PORT}",
        f"--webhook-server-port={trainingobjects.WEBHOOK_PORT}",
        f"--pytorch-init-container-image={PAUSE_IMAGE}",
        f"--pytorch-init-container-template-file={_template(layout)}",
        "--zap-log-level=info",
    ]
    private = ["unshare", "--mount", "/bin/sh", "-c", _MOUNT, "sh", str(_folder(layout) / "tmp")]
    return [*private, str(binary), *arguments]


def environment() -> dict[str, str]:
    return {"TMPDIR": "/tmp", "MY_POD_NAMESPACE": trainingobjects.NAMESPACE}  # noqa: S108


def prepare(layout: Layout) -> None:
    """Its certificate and the template of the container in which workers wait."""
    folder = _folder(layout)
    serving = folder / "tmp" / _SERVING
    serving.mkdir(parents=True, exist_ok=True)
    authority, server = keys(layout)
    files.write(serving / "ca.crt", authority.certificate.read_text())
    files.write(serving / "tls.crt", server.certificate.read_text())
    files.write(serving / "tls.key", server.key.read_text())
    container = {
        "name": "init-pytorch",
        "image": "{{.InitContainerImage}}",
        "imagePullPolicy": "IfNotPresent",
        "command": ["/pause", "wait", "{{.MasterAddr}}"],
        "resources": {
            "requests": {"cpu": "10m", "memory": "10Mi"},
            "limits": {"cpu": "100m", "memory": "50Mi"},
        },
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    files.write(_template(layout), json.dumps([container], indent=1))


def install(layout: Layout, kubectl: Kubectl, manifests: Path) -> None:
    """Its CRD, its rights, and the way from the API server to its webhook."""
    crd = manifests / "base" / "crds" / "kubeflow.org_pytorchjobs.yaml"
    role = manifests / "base" / "rbac" / "role.yaml"
    for file in (crd, role):
        kubectl("apply", "--server-side", "--force-conflicts", "-f", str(file))
    authority, server = keys(layout)
    kubectl.apply(trainingobjects.objects(authority, server))


def accepts_jobs(kubectl: Kubectl) -> bool:
    """Whether a PyTorchJob passes its webhook; a dry run asks that too."""
    job = json.dumps(trainingobjects.probe())
    return kubectl.succeeds("create", "--dry-run=server", "-f", "-", stdin=job)


def keys(layout: Layout) -> tuple[pki.Pair, pki.Pair]:
    """Authority and certificate of the webhook. The library wants the authority's own name in it
    and an RSA key in the older form, and else makes new ones or is never ready."""
    authority = pki.authority(layout.pki, CA_NAME, names=f"DNS:{CA_NAME}", rsa=True)
    host = f"{trainingobjects.SERVICE}.{trainingobjects.NAMESPACE}.svc"
    server = pki.issue(
        layout.pki, authority, "training-operator-webhook", user=host, names=f"DNS:{host}"
    )
    return authority, server


def _folder(layout: Layout) -> Path:
    return layout.config / "training-operator"


def _template(layout: Layout) -> Path:
    return _folder(layout) / "init-container.json"


def inputs(layout: Layout) -> tuple[Path, ...]:
    """What it reads at its start."""
    return (_template(layout), _folder(layout) / "tmp" / _SERVING / "tls.crt")
