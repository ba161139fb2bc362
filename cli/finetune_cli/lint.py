"""`finetune lint`: the verdict of `kubectl apply` and the operator, without a cluster."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from finetune_api.errors import UserError
from finetune_api.validate import Target, examine

from finetune_cli.codes import Code
from finetune_cli.jobfile import job_documents


def main(options: argparse.Namespace) -> Code:
    """Print one line for each problem in the files."""
    lines = [line for path in options.files for line in problems(path)]
    for line in lines:
        print(line)
    for hint in (hint for path in options.files for hint in hints(path)):
        print(f"note: {hint}", file=sys.stderr)
    if not lines:
        print(f"{len(options.files)} file(s), no problem", file=sys.stderr)
    return Code.FAILED if lines else Code.OK


def hints(path: Path) -> Iterator[str]:
    """What is allowed and yet seldom meant."""
    try:
        documents = job_documents(path)
    except UserError:
        return
    for document in documents:
        job, _ = examine(document, Target.CLUSTER)
        resources = job.spec.workers.resources if job is not None else None
        if job is not None and not (resources and resources.accelerators()):
            yield (
                f"{path}: {job.metadata.name} asks for no accelerator and trains on CPUs; for GPUs "
                "write workers: {resources: {limits: {nvidia.com/gpu: 1}}}"
            )


def problems(path: Path) -> Iterator[str]:
    """`FILE: FIELD: what is wrong and what to write`, for every problem in a file."""
    try:
        documents = job_documents(path)
    except UserError as error:
        yield f"{path}: {error}"
        return
    if not documents:
        yield f"{path}: holds no FineTuneJob"
    for document in documents:
        for problem in examine(document, Target.CLUSTER)[1]:
            yield f"{path}: {problem}"
