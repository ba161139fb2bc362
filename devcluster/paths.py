"""Where everything lies: one folder of state, one of volatile state, one of cached programs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
GO_MODULES = Path(__file__).resolve().parent / "go"


@dataclass(frozen=True)
class Layout:
    """Files of the one dev cluster that a machine can hold."""

    home: Path
    """Survives `down`: etcd's data, keys, images, buckets."""
    run: Path = Path("/run/finetune-devcluster")
    """Gone after `down`: pid files, sockets, mounts. Short: a socket's path may have 107 bytes."""

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.home / "pki"

    @property
    def config(self) -> Path:
        return self.home / "config"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def bin(self) -> Path:
        """Links to the programs in use; this is what `env` puts on PATH."""
        return self.home / "bin"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def kubelet(self) -> Path:
        return self.home / "kubelet"

    @property
    def buckets(self) -> Path:
        return self.home / "s3"

    def make(self) -> None:
        """Create the folders, readable by root only, since keys lie in them."""
        for folder in (self.home, self.run, self.pki, self.config, self.logs, self.bin):
            folder.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        self.buckets.mkdir(exist_ok=True)


def layout() -> Layout:
    """The cluster's files, moved by $FINETUNE_DEVCLUSTER_HOME."""
    home = os.environ.get("FINETUNE_DEVCLUSTER_HOME") or "/var/lib/finetune-devcluster"
    return Layout(Path(home).absolute())


def program_cache() -> Path:
    """Programs that were built, one folder per version; shared by all clusters of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "finetune-operator" / "bin"
