"""Kubernetes objects that lead from the API server to the training-operator on the host."""

from __future__ import annotations

import base64
from pathlib import Path

from devcluster import network
from devcluster.node import PAUSE_IMAGE
from devcluster.pki import Pair

NAMESPACE = "kubeflow"
SERVICE = "training-operator"
WEBHOOK_PORT = 9443
USER = "training-operator"
_RBAC = "rbac.authorization.k8s.io"


def objects(authority: Pair, server: Pair) -> list[dict[str, object]]:
    """Namespace, rights, certificate, Service and webhook."""
    name = {"name": SERVICE, "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": SERVICE},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": SERVICE},
            "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": USER}],
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{SERVICE}-webhook-cert", "namespace": NAMESPACE},
            "data": {
                "ca.crt": _encoded(authority.certificate),
                "ca.key": _encoded(authority.key),
                "tls.crt": _encoded(server.certificate),
                "tls.key": _encoded(server.key),
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": name,
            "spec": {"ports": [{"name": "webhook", "port": 443, "targetPort": WEBHOOK_PORT}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**name, "labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [network.HOST], "conditions": {"ready": True}}],
            "ports": [{"name": "webhook", "port": WEBHOOK_PORT, "protocol": "TCP"}],
        },
        _webhook(authority),
    ]


def _webhook(authority: Pair) -> dict[str, object]:
    """Calls for PyTorchJobs; the authority is known from the start."""
    service = {
        "name": SERVICE,
        "namespace": NAMESPACE,
        "path": "/validate-kubeflow-org-v1-pytorchjob",
        "port": 443,
    }
    rule = {
        "apiGroups": ["kubeflow.org"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["pytorchjobs"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "validator.training-operator.kubeflow.org"},
        "webhooks": [
            {
                "name": "validator.pytorchjob.training-operator.kubeflow.org",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {
                    "service": service,
                    "caBundle": _encoded(authority.certificate),
                },
                "rules": [rule],
            }
        ],
    }


def probe() -> dict[str, object]:
    """The smallest PyTorchJob."""
    template = {"spec": {"containers": [{"name": "pytorch", "image": PAUSE_IMAGE}]}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "devcluster-probe", "namespace": "default"},
        "spec": {"pytorchReplicaSpecs": {"Master": {"replicas": 1, "template": template}}},
    }


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
