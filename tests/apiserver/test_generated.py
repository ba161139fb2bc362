"""Generated specs: the Python rules and the API server give one verdict on each; and whatever a
job went through, it ends as one that was applied afresh."""

from random import Random

import pytest
from finetune_operator.client import ApiError, Client
from finetune_operator.kinds import JOBS, Document

from tests.unit.api.spec_generator import Wrong, job_of, valid_spec, wrong_spec

SEEDS = 10
EACH = 20
"""Specs of one seed, valid and wrong ones each."""


async def verdict(client: Client, spec: Document) -> str:
    """What the API server says against a new job, strictly, as kubectl asks; empty when it takes
    it."""
    strictly = {"dryRun": "All", "fieldValidation": "Strict"}
    job = job_of(spec, namespace="default")
    try:
        await client._request("POST", JOBS.path("default"), query=strictly, body=job)
    except ApiError as error:
        return error.message
    return ""


def is_named(wrong: Wrong, told: str) -> bool:
    """Whether the refusal names the field at fault, or says the rule's own sentence."""
    sentences = [part for p in wrong.problems for part in p.message.split("; ")]
    return (bool(wrong.field) and wrong.field in told) or any(s in told for s in sentences)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_the_python_rules_and_the_api_server_give_one_verdict(
    client: Client, seed: int
) -> None:
    random = Random(seed)
    for _ in range(EACH):
        spec = valid_spec(random)
        assert await verdict(client, spec) == "", spec
        wrong = wrong_spec(random)
        told = await verdict(client, wrong.spec)
        assert told, (wrong.problems, wrong.spec)
        assert is_named(wrong, told), (told, wrong.problems)
