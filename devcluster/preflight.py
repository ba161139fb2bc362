"""Refuse before anything is changed: each refusal is one sentence that says what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from devcluster import binaries, commands
from devcluster.errors import Refusal
from devcluster.paths import Layout, program_cache
from devcluster.versions import PROGRAMS

GIB = 1024**3
# The trainer's image lies in buildah's and in containerd's storage, there packed and unpacked.
IMAGES_NEED = 20 * GIB
BUILDS_NEED = 8 * GIB


def check(layout: Layout) -> None:
    """Everything that can be known before work begins."""
    if reason := not_root(os.geteuid()):
        raise Refusal(reason)
    needs: dict[Path, int] = {}
    if not (layout.home / "containerd").exists():
        needs[layout.home] = IMAGES_NEED
    if binaries.missing([program.name for program in PROGRAMS]):
        commands.program("go", binaries.GO_ADVICE)
        needs[program_cache()] = BUILDS_NEED
    for disk, folders in _by_disk(needs).items():
        need = sum(needs[folder] for folder in folders)
        if reason := too_little_disk(shutil.disk_usage(disk).free, need, folders[0]):
            raise Refusal(reason)


def same_home(layout: Layout) -> None:
    """Refusal if the cluster of this machine, which can hold one, has another folder."""
    mark = layout.run / "home"
    home = mark.read_text() if mark.exists() else str(layout.home)
    if home != str(layout.home):
        raise Refusal(
            f"The dev cluster of this machine lies in {home}: "
            f"set FINETUNE_DEVCLUSTER_HOME={home} or end that one first."
        )


def not_root(user: int) -> str | None:
    """Sentence for a user who is not root."""
    if user == 0:
        return None
    return (
        "The dev cluster needs root for containers and their network: use sudo, "
        "or `python -m devcluster api` for an API server without nodes."
    )


def too_little_disk(free: int, need: int, folder: Path) -> str | None:
    """Sentence for a full disk; sizes are bytes."""
    if free >= need:
        return None
    return (
        f"Only {free / GIB:.0f} GiB are free for {folder} and {need / GIB:.0f} are needed: "
        f"free some, or choose a folder on another disk with $FINETUNE_DEVCLUSTER_HOME "
        f"or $XDG_CACHE_HOME."
    )


def _by_disk(folders: Iterable[Path]) -> dict[Path, list[Path]]:
    """A folder that exists of each disk -> those of `folders` that lie, or will lie, on it."""
    disks: dict[int, tuple[Path, list[Path]]] = {}
    for folder in folders:
        present = folder
        while not present.exists():
            present = present.parent
        disks.setdefault(present.stat().st_dev, (present, []))[1].append(folder)
    return dict(disks.values())
