"""What the converter and its child say to each other: one JSON object a line."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest.failure import Limits
from finetune_trainer.ingest.kinds import Compression, FileKind

READY = b"\n"
"""What the child says when it has imported what a request needs: the time of the file begins."""
MAX_REPLY = 2**16
"""Bytes of the longest reply that is taken for one."""


@dataclass(frozen=True)
class Request:
    """A file to read, and where its rows go."""

    path: str
    name: str
    kind: FileKind
    compression: Compression | None
    target: str
    inflated: str
    """Where a compressed file may be inflated to."""
    limits: Limits


@dataclass(frozen=True)
class Reply:
    """What became of a file: rows, a fault of the file, or an error of the system."""

    rows: int = 0
    fault: Fault | None = None
    message: str = ""
    error: int | None = None
    """The errno of what failed beside the file, as a full disk."""
    spent: bool = False
    """The child has grown and should be replaced."""


def encode(message: Request | Reply) -> bytes:
    """The line of a message."""
    return json.dumps(asdict(message)).encode("ascii") + b"\n"


def decode_request(line: bytes) -> Request:
    """The request in a line that the converter wrote."""
    values = json.loads(line)
    values["kind"] = FileKind(values["kind"])
    values["compression"] = _optional(Compression, values["compression"])
    values["limits"] = Limits(**values["limits"])
    return Request(**values)


def decode_reply(line: bytes) -> Reply:
    """The reply in a line. Raises ValueError for one that the child did not mean."""
    values = json.loads(line)
    if not isinstance(values, Mapping) or set(values) != set(Reply.__dataclass_fields__):
        raise ValueError("not a reply")
    rows, error, message = values["rows"], values["error"], values["message"]
    if not isinstance(rows, int) or not isinstance(message, str):
        raise ValueError("not a reply")
    if error is not None and not isinstance(error, int):
        raise ValueError("not a reply")
    return Reply(rows, _optional(Fault, values["fault"]), message, error, bool(values["spent"]))


def _optional(kind: Any, value: str | None) -> Any:
    return None if value is None else kind(value)
