"""The S3 server and its keys."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from devcluster import files, network
from devcluster.paths import Layout

PORT = 7070
REGION = "us-east-1"
ENDPOINT = f"http://{network.HOST}:{PORT}"


@dataclass(frozen=True)
class Keys:
    """Credentials of the only account."""

    access: str
    secret: str


def keys(layout: Layout) -> Keys:
    """Random at the first `up`, the same until `down --purge`."""
    file = layout.home / "s3-keys.json"
    if not file.exists():
        made = {"access": f"dev{secrets.token_hex(8)}", "secret": secrets.token_hex(24)}
        files.write(file, json.dumps(made))
    return Keys(**json.loads(file.read_text()))


def command(binary: Path, layout: Layout) -> list[str]:
    """versitygw, which keeps buckets as folders; its keys come by environment, not by argument."""
    address = f"{network.HOST}:{PORT}"
    return [str(binary), f"--port={address}", "--health=/health", "posix", str(layout.buckets)]


def environment(layout: Layout) -> dict[str, str]:
    """How the server learns its keys."""
    pair = keys(layout)
    return {
        "ROOT_ACCESS_KEY": pair.access,
        "ROOT_SECRET_KEY": pair.secret,
        "VGW_REGION": REGION,
    }
