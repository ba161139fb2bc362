"""`finetune render`: the objects that the operator would create, as YAML documents."""

import argparse
import re
from collections.abc import Iterator
from typing import Any

import yaml
from finetune_api.children import (
    BATCH_JOB_KIND,
    ChildSettings,
    Owner,
    attempt_name,
    prepare_job,
    prepare_name,
    pytorch_job,
    run_config_map,
    training_job,
)
from finetune_api.errors import UserError
from finetune_api.job import FineTuneJob
from finetune_api.reasons import Reason
from finetune_api.resolve import resolve
from finetune_api.runfile import RunFile
from finetune_api.status import PreparedStatus
from finetune_api.validate import Target, validate

from finetune_cli.codes import Code
from finetune_cli.jobfile import one_job
from finetune_cli.text import print_error

PLACEHOLDER_UID = "00000000-0000-0000-0000-000000000000"
DEFAULT_IMAGE = "finetune-operator/trainer"
_HEADER = """\
# What the operator would create for this job. Placeholders stand for what only a run knows:
# the uid (zeros) and `prepared` in the run file of attempt 1 (preparation finds it out).
"""


_GO_NEEDS_QUOTES = re.compile(r"[-+.0-9]|[yYnN]$")
"""What PyYAML leaves plain and kubectl would take for a number or a boolean: 2e-4, y."""


class _Dumper(yaml.SafeDumper):
    """Shows texts of several lines, such as run files, as they are."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else '"' if _GO_NEEDS_QUOTES.match(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def main(options: argparse.Namespace) -> Code:
    """Print the documents of the job in a file."""
    try:
        document = one_job(options.file)
        if options.namespace and isinstance(document.get("metadata"), dict):
            document["metadata"].setdefault("namespace", options.namespace)
        job = validate(document, Target.CLUSTER)
        documents = list(children(job, options.image or DEFAULT_IMAGE, options.backend))
    except UserError as error:
        print_error(error.reason, error.message, where=error.where or str(options.file))
        return Code.FAILED
    print(_HEADER, end="")
    for child in documents:
        print("---")
        print(yaml.dump(child, Dumper=_Dumper, sort_keys=False, width=100), end="")
    return Code.OK


def children(job: FineTuneJob, image: str, backend: str) -> Iterator[dict[str, Any]]:
    """The preparation's ConfigMap and Job, then the first attempt's ConfigMap and what runs its
    pods. Raises UserError for a backend that cannot run as many."""
    nodes = job.spec.workers.nodes
    if backend == BATCH_JOB_KIND and nodes > 1:
        raise UserError(
            Reason.BACKEND_UNAVAILABLE,
            f"a {BATCH_JOB_KIND} runs one pod, and {nodes} are asked for",
            where="spec.workers.nodes",
        )
    known = job.model_copy(
        update={"metadata": job.metadata.model_copy(update={"uid": PLACEHOLDER_UID})}
    )
    owner, settings = Owner.of(known), ChildSettings(trainer_image=image)
    spec = resolve(job.spec)
    run = RunFile(job=owner.identity, spec=spec)
    yield run_config_map(owner, prepare_name(owner.identity), run)
    yield prepare_job(owner, spec, settings)
    first = run.model_copy(update={"attempt": 1, "prepared": _placeholder(job)})
    yield run_config_map(owner, attempt_name(owner.identity, 1), first)
    make = training_job if backend == BATCH_JOB_KIND else pytorch_job
    yield make(owner, spec, settings, attempt=1, incarnation=1)


def _placeholder(job: FineTuneJob) -> PreparedStatus:
    root = job.spec.output.uri.rstrip("/")
    return PreparedStatus(
        uri=f"{root}/prepared/PLACEHOLDER", data_hash="0" * 64, recipe_hash="0" * 64
    )
