"""Jobs that start from what other jobs publish: who names whom, and what a name becomes."""

from collections.abc import Iterable, Mapping

from finetune_api.spec import FineTuneJobSpec
from finetune_api.status import OutputStatus, ParentRole, ParentStatus

WIRE_BLOCKS = {ParentRole.MODEL: "model", ParentRole.REWARD_MODEL: "rewardModel"}
"""Blocks of the spec that may name another job."""
OWN_NAME_SENTENCE = "is this job's own name: name the job whose result it starts from"
_FIELDS = {ParentRole.MODEL: "model", ParentRole.REWARD_MODEL: "reward_model"}


def job_references(spec: FineTuneJobSpec) -> dict[ParentRole, str]:
    """The jobs that `spec` names, by what they are to it."""
    sources = {ParentRole.MODEL: spec.model, ParentRole.REWARD_MODEL: spec.reward_model}
    return {
        role: source.from_job.name
        for role, source in sources.items()
        if source is not None and source.from_job is not None
    }


def with_addresses(spec: FineTuneJobSpec, addresses: Mapping[ParentRole, str]) -> FineTuneJobSpec:
    """`spec` with the address of each job's result in place of the job's name.

    The recipe is that of a job which gives the address itself.
    """
    changes = {}
    for role, uri in addresses.items():
        name = _FIELDS[role]
        source = getattr(spec, name)
        changes[name] = source.model_copy(update={"uri": uri, "from_job": None})
    return spec.model_copy(update=changes)


def with_parents(spec: FineTuneJobSpec, parents: Iterable[ParentStatus]) -> FineTuneJobSpec:
    """`spec` as a run file has it, once the jobs that it names are pinned."""
    return with_addresses(spec, {parent.role: parent.uri for parent in parents})


def run_folder(output: OutputStatus) -> str:
    """Folder of the run that published `output`. The manifest.json there stays what it is, while
    the one in the job's folder may be replaced."""
    return output.uri.rstrip("/").rpartition("/")[0]
