"""Writing configuration files."""

from __future__ import annotations

from pathlib import Path


def write(path: Path, text: str, *, mode: int = 0o600) -> Path:
    """Write at once and only what differs: kube-proxy ends when its file is touched."""
    if not path.exists() or path.read_text() != text:
        new = path.with_name(f".{path.name}.new")
        new.touch(mode=mode)
        new.write_text(text)
        new.replace(path)
    return path
