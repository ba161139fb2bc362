"""The programs of the cluster, their versions and how each is built from its Go module.

A version stands in the wrapper module's go.mod too; a test says that they agree.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from devcluster.paths import GO_MODULES

KUBERNETES = "1.36.3"


@dataclass(frozen=True)
class Program:
    """One binary."""

    name: str
    module: str
    """Folder under devcluster/go; programs of one folder share their dependencies."""
    package: str
    version: str
    version_command: tuple[str, ...] = ()
    """How an installed one is asked for its version; empty if only our own build will do."""
    flags: str = ""
    """For the Go linker."""

    @property
    def key(self) -> str:
        """Name of its folder in the cache: changes when version or dependencies change."""
        digest = hashlib.sha256(self.flags.encode())
        for file in sorted((GO_MODULES / self.module).iterdir()):
            digest.update(file.read_bytes())
        return f"{self.version}-{digest.hexdigest()[:8]}"


def _kubernetes(name: str, *version_command: str) -> Program:
    major, minor, _ = KUBERNETES.split(".")
    variable = "k8s.io/component-base/version"
    values = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor}
    return Program(
        name,
        "kubernetes",
        f"k8s.io/kubernetes/cmd/{name}",
        KUBERNETES,
        version_command or ("--version",),
        " ".join(f"-X {variable}.{key}={value}" for key, value in values.items()),
    )


# In the order in which building them is fastest: those that share packages follow each other.
PROGRAMS = (
    Program("pause", "pause", ".", "1"),
    _kubernetes("kube-apiserver"),
    _kubernetes("kubectl", "version", "--client"),
    Program("etcd", "etcd", "go.etcd.io/etcd/server/v3", "3.6.5", ("--version",)),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    Program("coredns", "coredns", ".", "1.14.3"),
    Program(
        "training-operator",
        "training-operator",
        "github.com/kubeflow/training-operator/cmd/training-operator.v1",
        "1.9.4",
    ),
    Program("versitygw", "versitygw", "github.com/versity/versitygw/cmd/versitygw", "1.8.0"),
    Program(
        "helm",
        "helm",
        "helm.sh/helm/v3/cmd/helm",
        "3.21.4",
        ("version", "--short"),
        "-X helm.sh/helm/v3/internal/version.version=v3.21.4",
    ),
    Program(
        "kubeconform",
        "kubeconform",
        "github.com/yannh/kubeconform/cmd/kubeconform",
        "0.8.0",
        ("-v",),
        "-X main.version=v0.8.0",
    ),
)
API_PROGRAMS = ("kube-apiserver", "kubectl", "etcd")


def program_named(name: str) -> Program:
    return next(program for program in PROGRAMS if program.name == name)


def parse_version(text: str) -> tuple[int, int, int] | None:
    """The first x.y.z in what a program prints about itself."""
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def fits(found: str, wanted: str) -> bool:
    """Whether an installed program may stand in: the same major and minor version."""
    has, needs = parse_version(found), parse_version(wanted)
    return has is not None and needs is not None and has[:2] == needs[:2]
