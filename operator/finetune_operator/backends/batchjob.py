"""batch/v1 Job, which every cluster has, for runs of one pod."""

from finetune_api.children import BATCH_JOB_KIND, ChildSettings, Owner, training_job
from finetune_api.spec import FineTuneJobSpec

from finetune_operator.backends.podset import pod_set
from finetune_operator.kinds import BATCH_JOBS, Document
from finetune_operator.seen import PodSet
from finetune_operator.views import job_end


class BatchJobBackend:
    """One pod that is never made again; a finished one stays readable as long as the Job."""

    name = BATCH_JOB_KIND
    kind = BATCH_JOBS
    controller = "the Job controller of Kubernetes"
    max_nodes: int | None = 1

    def start(
        self,
        owner: Owner,
        spec: FineTuneJobSpec,
        settings: ChildSettings,
        *,
        attempt: int,
        incarnation: int,
    ) -> Document:
        """The Job of an incarnation."""
        return training_job(owner, spec, settings, attempt=attempt, incarnation=incarnation)

    def observe(self, document: Document) -> PodSet:
        """Ended only by its last condition, when no pod is left that runs."""
        suspended = bool(document["spec"].get("suspend"))
        return pod_set(self.name, document, suspended=suspended, end=job_end(document))

    def is_rank_zero(self, pod_name: str, incarnation_name: str) -> bool:
        """The only pod; its name ends in letters of the Job controller's choice."""
        return pod_name.startswith(f"{incarnation_name}-")


BATCH_JOB = BatchJobBackend()
