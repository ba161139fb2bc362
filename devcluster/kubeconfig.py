"""Kubeconfig files, written as JSON, which is YAML too."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from devcluster import files
from devcluster.pki import Pair


def write(path: Path, *, server: str, authority: Path, client: Pair) -> Path:
    """A kubeconfig that holds its certificates, so that it can be copied anywhere."""
    name = "finetune-devcluster"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"server": server, "certificate-authority-data": _encoded(authority)},
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": _encoded(client.certificate),
                    "client-key-data": _encoded(client.key),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return files.write(path, json.dumps(document, indent=1))


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
