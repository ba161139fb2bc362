"""The two images that others build on: Python's base image and the tiny pause image."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from devcluster import buildah, commands
from devcluster.node import PAUSE_IMAGE
from devcluster.paths import Layout
from devcluster.progress import step

PYTHON_IMAGE = "docker.io/library/python:3.11-slim"
# The Debian release whose python3 is 3.11.
RELEASE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"


def make_python(layout: Layout) -> None:
    """A stand-in for Docker Hub's python:3.11-slim, made from Debian's packages."""
    if buildah.image_id(layout, PYTHON_IMAGE) is not None:
        return
    with (
        step(f"Base image {PYTHON_IMAGE} from Debian packages", announce=True),
        tempfile.TemporaryDirectory(prefix="rootfs-", dir=layout.home) as folder,
    ):
        root = Path(folder) / "root"
        flags = ("--variant=minbase", f"--include={PACKAGES}")
        # It leaves /proc mounted in there; a mount namespace of its own takes that away again.
        private = ("unshare", "--mount", "--propagation=private")
        commands.run(
            [*private, "debootstrap", *flags, RELEASE, root, *mirror()],
            advice="Check that this machine reaches its Debian mirror and run this again.",
        )
        _trim(root)
        settings = ("--env=LANG=C.UTF-8", "--cmd=python3")
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        buildah.from_folder(layout, PYTHON_IMAGE, root, [*settings, f"--env=PATH={path}"])


def mirror() -> list[str]:
    """The Debian mirror this machine itself installs from; else debootstrap knows one."""
    shown = commands.output_of(["apt-cache", "policy"]) or ""
    found = re.search(r"(https?://\S+/debian/?) " + RELEASE + r"/main ", shown)
    return [found[1]] if found else []


def _trim(root: Path) -> None:
    """What the original has or lacks: `python`, and no package lists or manuals."""
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"):
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)


def make_pause(layout: Layout, program: Path) -> None:
    """The image that holds a pod's namespaces, and in which PyTorchJob workers wait."""
    mark = layout.home / "pause-image"
    made = buildah.image_id(layout, PAUSE_IMAGE)
    if made is not None and mark.exists() and mark.read_text() == str(program):
        return
    with tempfile.TemporaryDirectory(prefix="rootfs-", dir=layout.home) as folder:
        shutil.copy2(program, Path(folder) / "pause")
        Path(folder).chmod(0o755)
        settings = ['--entrypoint=["/pause"]', "--user=65535:65535"]
        buildah.from_folder(layout, PAUSE_IMAGE, Path(folder), settings)
    mark.write_text(str(program))
