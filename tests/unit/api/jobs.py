"""Job documents that tests start from."""

import copy
from typing import Any

from finetune_api.job import FineTuneJob
from finetune_api.validate import Target, validate

Document = dict[str, Any]
UID = "5f0c1d2e-3a4b-4c5d-8e6f-7a8b9c0d1e2f"

_SMALLEST: Document = {
    "apiVersion": "finetune.dev/v1alpha1",
    "kind": "FineTuneJob",
    "metadata": {"name": "support-sft", "namespace": "team-a", "uid": UID},
    "spec": {
        "method": "SFT",
        "model": {"uri": "s3://models/llama"},
        "data": {"train": [{"uri": "s3://data/support.jsonl"}]},
        "output": {"uri": "s3://artifacts/team-a"},
    },
}


def document(**spec: Any) -> Document:
    """The smallest job, with these blocks of its spec replaced."""
    made = copy.deepcopy(_SMALLEST)
    made["spec"].update(copy.deepcopy(spec))
    return made


def job(**spec: Any) -> FineTuneJob:
    """The same, validated for a cluster."""
    return validate(document(**spec), Target.CLUSTER)
