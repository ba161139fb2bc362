"""The pods that a job gets, as they are sent to the API server. Run files, which hold the whole
spec, are not looked at."""

from finetune_api.children import ChildSettings, Owner, prepare_job, pytorch_job
from finetune_api.runfile import JobIdentity
from finetune_api.spec import FineTuneJobSpec
from finetune_trainer.launch.topology import Topology

from tests.unit.fields.bench import Bench

OWNER = Owner(JobIdentity(namespace="team", name="job", uid="0123456789"))
IMAGE = ChildSettings(trainer_image="trainer:1")


def preparation_pod(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """The pod that prepares."""
    return prepare_job(OWNER, spec, IMAGE)["spec"]["template"]


def training_pods(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """The pods that train, and how many."""
    return pytorch_job(OWNER, spec, IMAGE, attempt=1, incarnation=1)["spec"]


def ranks_of_a_pod(_bench: Bench, spec: FineTuneJobSpec) -> object:
    """Training processes that a pod starts."""
    return Topology.of(spec.workers, {}).processes
