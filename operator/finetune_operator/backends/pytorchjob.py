"""PyTorchJob v1 of the Kubeflow training-operator."""

from finetune_api.children import PYTORCHJOB_KIND, ChildSettings, Owner, pytorch_job
from finetune_api.spec import FineTuneJobSpec

from finetune_operator.backends.podset import pod_set
from finetune_operator.kinds import PYTORCHJOBS, Document
from finetune_operator.seen import Finish, PodSet


class PyTorchJobBackend:
    """One Master and any Workers; cleanPodPolicy Running keeps finished pods readable."""

    name = PYTORCHJOB_KIND
    kind = PYTORCHJOBS
    controller = "the Kubeflow training-operator"
    max_nodes: int | None = None

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
        conditions = {
            c["type"]: c
            for c in document.get("status", {}).get("conditions") or []
            if c["status"] == "True"
        }
        finish = next((f for f in (Finish.FAILED, Finish.SUCCEEDED) if f in conditions), None)
        return pod_set(
            self.name,
            document,
            suspended=bool(document["spec"].get("runPolicy", {}).get("suspend")),
            end=(finish, conditions[finish].get("message", "")) if finish else None,
        )

    def is_rank_zero(self, pod_name: str, incarnation_name: str) -> bool:
        """The Master's only pod."""
        return pod_name == f"{incarnation_name}-master-0"


PYTORCHJOB = PyTorchJobBackend()
