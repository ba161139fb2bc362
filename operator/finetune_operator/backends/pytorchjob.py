"""PyTorchJob v1 of the Kubeflow training-operator."""

from finetune_api.children import PYTORCHJOB_KIND, ChildSettings, Owner, pytorch_job
from finetune_api.job import LABEL_INCARNATION
from finetune_api.spec import FineTuneJobSpec

from finetune_operator.kinds import PYTORCHJOBS, Document
from finetune_operator.seen import Finish, PodSet
from finetune_operator.times import parse_time


class PyTorchJobBackend:
    """One Master and any Workers; cleanPodPolicy Running keeps finished pods readable."""

    name = PYTORCHJOB_KIND
    kind = PYTORCHJOBS

    def start(
        self,
        owner: Owner,
        spec: FineTuneJobSpec,
        settings: ChildSettings,
        *,
        attempt: int,
        incarnation: int,
    ) -> Document:
        """The PyTorchJob of an incarnation."""
        return pytorch_job(owner, spec, settings, attempt=attempt, incarnation=incarnation)

    def observe(self, document: Document) -> PodSet:
        """Success and failure may both be noted; failure wins, as a worker may fail after all."""
        metadata = document["metadata"]
        conditions = {
            c["type"]: c
            for c in document.get("status", {}).get("conditions") or []
            if c["status"] == "True"
        }
        finish = next((f for f in (Finish.FAILED, Finish.SUCCEEDED) if f in conditions), None)
        created = parse_time(metadata["creationTimestamp"])
        assert created is not None
        return PodSet(
            name=metadata["name"],
            uid=metadata["uid"],
            incarnation=int(metadata.get("labels", {}).get(LABEL_INCARNATION, "0")),
            created=created,
            deleted_at=parse_time(metadata.get("deletionTimestamp")),
            suspended=bool(document["spec"].get("runPolicy", {}).get("suspend")),
            finish=finish,
            message=conditions[finish].get("message", "") if finish else "",
        )

    def rank_zero(self, incarnation_name: str) -> str:
        """The Master's only pod."""
        return f"{incarnation_name}-master-0"


PYTORCHJOB = PyTorchJobBackend()
