"""Which jobs wait for which, by the names in their specs."""

from finetune_api.lineage import WIRE_BLOCKS
from finetune_api.status import ParentRole

from finetune_operator.kinds import Document, Key


def references_of(document: Document) -> dict[ParentRole, str]:
    """Names of the jobs whose results the job in `document` starts from."""
    spec = document.get("spec") or {}
    named = {
        role: ((spec.get(block) or {}).get("fromJob") or {}).get("name")
        for role, block in WIRE_BLOCKS.items()
    }
    return {role: name for role, name in named.items() if name}


class Dependents:
    """Jobs by the jobs that they name."""

    def __init__(self) -> None:
        self._of: dict[Key, set[Key]] = {}

    def note(self, document: Document) -> None:
        """Learn whom the job in `document` names, which never changes."""
        own, named = _keys(document)
        for key in named:
            self._of.setdefault(key, set()).add(own)

    def forget(self, document: Document) -> None:
        """The job in `document` is gone."""
        own, named = _keys(document)
        for key in named:
            waiting = self._of.get(key, set())
            waiting.discard(own)
            if not waiting:
                self._of.pop(key, None)

    def of(self, key: Key) -> tuple[Key, ...]:
        """The jobs that name the job `key`."""
        return tuple(self._of.get(key, ()))


def _keys(document: Document) -> tuple[Key, list[Key]]:
    metadata = document["metadata"]
    named = references_of(document).values()
    namespace = metadata["namespace"]
    return (namespace, metadata["name"]), [(namespace, name) for name in named]
