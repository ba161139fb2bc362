"""What a backend is: start, observe and stop one set of training pods."""

from typing import Protocol

from finetune_api.children import ChildSettings, Owner
from finetune_api.spec import FineTuneJobSpec

from finetune_operator.kinds import Document, Kind
from finetune_operator.seen import PodSet


class Backend(Protocol):
    """Pure translation between an incarnation and the backend's object."""

    name: str
    """The object's kind, as latched in status.backend and as people ask kubectl for it."""
    kind: Kind
    """The objects that run pods."""
    controller: str
    """What makes the pods, in people's words."""
    max_nodes: int | None
    """Most pods of one set; None means any number."""

    def start(
        self,
        owner: Owner,
        spec: FineTuneJobSpec,
        settings: ChildSettings,
        *,
        attempt: int,
        incarnation: int,
    ) -> Document:
        """The object to POST; deleting it in the foreground stops the pods."""
        ...

    def observe(self, document: Document) -> PodSet:
        """What an object of `kind` says of its pods."""
        ...

    def is_rank_zero(self, pod_name: str, incarnation_name: str) -> bool:
        """Whether a pod of the incarnation publishes and reports progress."""
        ...
