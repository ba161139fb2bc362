"""buildah with storage of its own, so that `down --purge` removes what it holds and no more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from devcluster import commands
from devcluster.paths import Layout


def root(layout: Layout) -> Path:
    """Where images lie."""
    return layout.home / "buildah"


def command(layout: Layout) -> list[str]:
    """buildah with our storage."""
    return [
        "buildah",
        f"--root={root(layout)}",
        f"--runroot={layout.run / 'buildah'}",
        "--storage-driver=overlay",
    ]


def run(layout: Layout, *words: str | Path, advice: str = "") -> str:
    """Output of a buildah command."""
    return commands.run([*command(layout), *words], advice=advice or "See the lines above.").strip()


def image_id(layout: Layout, tag: str) -> str | None:
    """Id of an image, which changes with its content, or None if there is none of that name."""
    words = ["inspect", "--type=image", "--format={{.FromImageID}}", tag]
    printed = commands.output_of([*command(layout), *words])
    return printed.strip() if printed else None


def from_folder(layout: Layout, tag: str, folder: Path, settings: Sequence[str]) -> None:
    """Make an image of one layer from a folder; `settings` are flags of `buildah config`."""
    container = run(layout, "from", "scratch")
    try:
        run(layout, "add", "--quiet", container, folder, "/")
        run(layout, "config", *settings, container)
        run(layout, "commit", "--quiet", container, tag)
    finally:
        run(layout, "rm", container)
