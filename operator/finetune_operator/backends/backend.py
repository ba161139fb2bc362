"""What a backend is: start, observe and stop one set of training pods."""

from typing import Protocol

from finetune_api.children import ChildSettings, Owner
from finetune_api.spec import FineTuneJobSpec

from finetune_operator.kinds import Document, Kind
from finetune_operator.seen import PodSet


class Backend(Protocol):
    """Pure translation between an incarnation and the backend's object."""

    name: str
    """As latched in status.backend."""
    kind: Kind
    """The objects that run pods."""

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

    def rank_zero(self, incarnation_name: str) -> str:
        """Name of the pod that publishes and reports progress."""
        ...
