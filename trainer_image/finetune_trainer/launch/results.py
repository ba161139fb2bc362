"""result.json: what a rank knows of its end, written before it tears its group down."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from finetune_api.messages import LaunchMessage
from pydantic import ValidationError

from finetune_trainer.progress import write_atomically

_FOLDER = "results"


@dataclass(frozen=True)
class RankEnd:
    """How one rank of this pod ended."""

    rank: int
    message: LaunchMessage | None
    """What it wrote; None when it died silently."""
    ended_at: float = 0.0
    """When it wrote, in seconds since the epoch."""
    exit_code: int | None = None
    """Negative: the signal that killed it. None: not known, or 0."""


def prepare_folder(work: Path) -> None:
    """Make the folder of results, without what an earlier run left there."""
    folder = work / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("rank-*.json"):
        path.unlink()


def write_result(work: Path, rank: int, message: LaunchMessage) -> None:
    """Write this rank's result; it appears whole or not at all."""
    document = {"rank": rank, "endedAt": time.time(), "message": message.to_wire()}
    write_atomically(work / _FOLDER / f"rank-{rank}.json", json.dumps(document).encode())


def read_results(work: Path, exit_codes: dict[int, int]) -> list[RankEnd]:
    """The ends of all ranks that wrote a result or are known to have failed.

    Args:
        exit_codes: rank -> exit code, of the ranks that the agent saw fail.
    """
    ends = {rank: RankEnd(rank, None, exit_code=code) for rank, code in exit_codes.items()}
    for path in sorted((work / _FOLDER).glob("rank-*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            message = LaunchMessage.parse_wire(document["message"])
        except (OSError, ValueError, KeyError, ValidationError):
            continue
        rank = int(document["rank"])
        code = exit_codes.get(rank)
        ends[rank] = RankEnd(rank, message, float(document["endedAt"]), code)
    return [ends[rank] for rank in sorted(ends)]
