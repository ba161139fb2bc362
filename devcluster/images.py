"""Build the project's images and bring them to the node."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from devcluster import buildah, commands, external, parts, transfer
from devcluster.errors import CommandFailed, Refusal
from devcluster.paths import REPOSITORY, Layout
from devcluster.progress import say, step

IMAGES = {
    "operator": REPOSITORY / "operator" / "Dockerfile",
    "trainer": REPOSITORY / "trainer_image" / "Dockerfile",
}
CERTIFICATES = Path("/etc/ssl/certs")


def tag(name: str) -> str:
    return f"docker.io/finetune-operator/{name}:dev"


def images(layout: Layout, names: Sequence[str]) -> None:
    """Build and import; what has not changed is skipped."""
    recorded = external.recorded(layout)
    if recorded is None and parts.running(layout, "containerd") is None:
        raise Refusal("The dev cluster is not up: run `python -m devcluster up` first.")
    for name in names or list(IMAGES):
        if recorded is not None:
            load_elsewhere(name, recorded["LOADER"])
            continue
        with step(f"Building {tag(name)}", announce=True):
            build(layout, tag(name), IMAGES[name], REPOSITORY)
        if not transfer.import_image(layout, tag(name)):
            say(f"{tag(name)} is on the node already")


def build(layout: Layout, image: str, dockerfile: Path, context: Path) -> None:
    """Build with the host's package index and certificate authorities, none of which stays in the
    image: they are mounts that end with the build."""
    with _package_settings(layout) as mounts:
        volumes = [f"--volume={source}:{target}:ro" for source, target in mounts.items()]
        words = [
            "build",
            "--isolation=chroot",
            "--layers",
            "--pull-never",
            "--format=oci",
            *volumes,
            f"--file={dockerfile}",
            f"--tag={image}",
            str(context),
        ]
        before = buildah.image_id(layout, image)
        buildah.run(layout, *words, advice=f"Correct {dockerfile.name} and run this again.")
    after = buildah.image_id(layout, image)
    if before is not None and after is not None and before != after:
        # Its layers that the new image does not share would pile up, 5 GB at a time.
        commands.output_of([*buildah.command(layout), "rmi", before])


@contextmanager
def _package_settings(layout: Layout) -> Iterator[Mapping[Path, str]]:
    """Files to mount into a build: certificates, and settings for pip and uv as they hold here."""
    with tempfile.TemporaryDirectory(prefix="build-", dir=layout.home) as folder:
        mounts = {CERTIFICATES: str(CERTIFICATES)} if CERTIFICATES.exists() else {}
        settings = pip_settings(commands.output_of(["pip", "config", "list"]) or "", os.environ)
        pip = Path(folder) / "pip.conf"
        lines = [f"{name} = {value}" for name, value in settings.items()]
        pip.write_text("\n".join(["[global]", *lines, ""]))
        mounts[pip] = "/etc/pip.conf"
        yield mounts


def pip_settings(listed: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The package index and patience that pip has here, from `pip config list` and PIP_*; a uv
    index counts too. Folders of this machine mean nothing in a build and are left out."""
    wanted = ("index-url", "extra-index-url", "timeout", "retries", "trusted-host", "proxy")
    found: dict[str, str] = {}
    if index := variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL"):
        found["index-url"] = index
    for line in listed.splitlines():
        name, separator, value = line.partition("=")
        key = name.rpartition(".")[2].strip()
        if separator and name.startswith(("global.", "install.")) and key in wanted:
            found[key] = value.strip().strip("'\"").replace("\\n", " ")
    for key in wanted:
        if given := variables.get("PIP_" + key.upper().replace("-", "_")):
            found[key] = given
    if "PIP_DEFAULT_TIMEOUT" in variables:
        found.setdefault("timeout", variables["PIP_DEFAULT_TIMEOUT"])
    return found


def load_elsewhere(name: str, loader: str) -> None:
    """With kind: build with Docker and load. Any other cluster needs a registry of its user."""
    if loader != "kind":
        raise CommandFailed(
            f"Push {tag(name)} to a registry of that cluster yourself: it is not run from here."
        )
    words: list[str | Path] = ["--file", IMAGES[name], "--tag", tag(name), REPOSITORY]
    commands.run(["docker", "build", *words])
    commands.run(["kind", "load", "docker-image", tag(name), "--name", external.KIND_NAME])
