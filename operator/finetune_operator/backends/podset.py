"""What objects that run pods have in common."""

from finetune_api.job import LABEL_INCARNATION

from finetune_operator.kinds import Document
from finetune_operator.seen import Finish, PodSet
from finetune_operator.times import parse_time


def pod_set(
    backend: str, document: Document, *, suspended: bool, end: tuple[Finish, str] | None
) -> PodSet:
    """The object as decisions read it; `end` is how it ended and its words."""
    metadata = document["metadata"]
    created = parse_time(metadata["creationTimestamp"])
    assert created is not None
    return PodSet(
        backend=backend,
        name=metadata["name"],
        uid=metadata["uid"],
        incarnation=int(metadata.get("labels", {}).get(LABEL_INCARNATION, "0")),
        created=created,
        taken_up=bool(document.get("status")),
        deleted_at=parse_time(metadata.get("deletionTimestamp")),
        suspended=suspended,
        finish=end[0] if end else None,
        message=end[1] if end else "",
    )
