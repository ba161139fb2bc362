"""A directory of jobs applied at once: CPT, SFT, then DPO, and a reward model with PPO against it,
each from what the one before has published."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from finetune_api.manifest import Manifest, Parent

from tests.cluster.harness import Document, Job, kubectl, wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ROWS = 24
JOB_SECONDS = 240
STEPS = {
    "maxSteps": 3,
    "globalBatchSize": 4,
    "sequenceLength": 512,
    "learningRate": "5e-3",
    "precision": "FP32",
    "gradientCheckpointing": False,
}
SHORT = {**STEPS, "sequenceLength": 128}
RESOURCES = {"requests": {"cpu": "50m", "memory": "300Mi"}, "limits": {"memory": "3Gi"}}
ONE = {"nodes": 1, "resources": RESOURCES}
TWO = {"nodes": 2, "resources": RESOURCES}
FROM_SFT = {"fromJob": {"name": "chain-sft"}}
DPO: dict[str, Any] = {
    "method": "DPO",
    "adapter": {"from": "Continue"},
    "dpo": {"beta": "0.1"},
}


@pytest.fixture(scope="session")
def rows(s3: Any, bucket: str) -> str:
    """The bucket, with rows of each example under `chain/`."""
    for path in sorted(EXAMPLES.glob("*/data/*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:ROWS]
        s3.put_object(Bucket=bucket, Key=f"chain/{path.name}", Body="".join(lines).encode())
    return bucket


def source(bucket: str, name: str, **more: Any) -> Document:
    return {"uri": f"s3://{bucket}/chain/{name}.jsonl", **more}


def pipeline(rows: str) -> dict[str, Document]:
    """Specs of the jobs; those of two pods merge on the one and fetch on the other."""
    return {
        "chain-cpt": {
            "method": "CPT",
            "data": {"train": [source(rows, "manual")], "evaluationFraction": "0.2"},
            "cpt": {"replay": [source(rows, "general", share="0.2")]},
            "training": SHORT,
        },
        "chain-sft": {
            "model": {"fromJob": {"name": "chain-cpt"}},
            "data": {
                "train": [source(rows, "support")],
                "evaluation": [source(rows, "support-evaluation")],
            },
            "adapter": {"type": "LoRA", "rank": 4, "alpha": 8, "dropout": "0", "from": "Merge"},
            "workers": TWO,
        },
        "chain-dpo": {**DPO, "model": FROM_SFT, "data": preferences(rows)},
        "chain-judge": {
            "method": "Reward",
            "model": FROM_SFT,
            "data": {"train": [source(rows, "rankings")]},
            "evaluation": {"enabled": True},
        },
        "chain-ppo": {
            "method": "PPO",
            "model": FROM_SFT,
            "rewardModel": {"fromJob": {"name": "chain-judge"}},
            "data": {"train": [source(rows, "ppo-questions")], "evaluationFraction": "0.2"},
            "adapter": {"from": "Continue"},
            "ppo": {"maxNewTokens": 8, "epochsPerBatch": 2},
            "training": SHORT,
            "workers": TWO,
        },
    }


def preferences(rows: str) -> Document:
    return {"train": [source(rows, "preferences")], "evaluationFraction": "0.2"}


@dataclass(frozen=True)
class Result:
    """What a job of the chain has published."""

    uid: str
    status: Document
    manifest: Manifest

    def as_parent(self) -> Parent:
        """How the manifest of the next job names this one."""
        return Parent(
            uri=self.manifest.run_uri,
            job_uid=self.uid,
            manifest_sha256=self.status["output"]["manifestSHA256"],
            recipe_hash=self.manifest.recipe_hash,
        )


def result_of(job: Job, s3: Any, bucket: str) -> Result:
    """Waits for a job and reads what it has published."""
    status = job.wait_phase("Complete", "Failed", seconds=JOB_SECONDS)
    assert status["phase"] == "Complete", job.story()
    uri = f"s3://{bucket}/out/{job.namespace}/{job.name}/manifest.json"
    manifest = Manifest.read_wire(json.loads(read(s3, uri)))
    return Result(job.object()["metadata"]["uid"], status, manifest)


def read(s3: Any, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def metrics(s3: Any, result: Result) -> list[Document]:
    text = read(s3, f"{result.manifest.run_uri}/report/metrics.jsonl")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.timeout(6 * JOB_SECONDS)
@pytest.mark.usefixtures("operator")
def test_a_directory_of_jobs_applied_at_once_runs_as_a_pipeline(
    job_document: Callable[..., Document], namespace: str, s3: Any, rows: str, tmp_path: Path
) -> None:
    for place, (name, spec) in enumerate(reversed(pipeline(rows).items())):
        document = job_document(name, **{"training": STEPS, "workers": ONE, **spec})
        (tmp_path / f"{place}-{name}.json").write_text(json.dumps(document))
    kubectl("apply", "-f", str(tmp_path))
    jobs = {name: Job(namespace, name) for name in pipeline(rows)}
    awaited = wait_until(
        "the last job waits for those before it",
        lambda: jobs["chain-ppo"].condition("Accepted").get("message"),
        60,
    )
    assert awaited.startswith("FineTuneJob chain-sft ")
    assert "FineTuneJob chain-judge " in awaited
    cpt, sft = (result_of(jobs[name], s3, rows) for name in ("chain-cpt", "chain-sft"))
    # Whoever needs it has pinned what comes after it.
    jobs["chain-cpt"].delete()
    dpo, judge, ppo = (
        result_of(jobs[name], s3, rows) for name in ("chain-dpo", "chain-judge", "chain-ppo")
    )

    assert cpt.manifest.base_model == "example/handbook-base"
    assert cpt.manifest.parents == []
    assert sft.manifest.parents == [cpt.as_parent()]
    merged = sft.manifest.base_uri
    assert merged == f"{sft.manifest.run_uri}/base"
    assert json.loads(read(s3, f"{merged}/config.json"))["model_type"] == "llama"
    check_dpo(dpo, sft, cpt, s3)
    assert ppo.manifest.parents == [sft.as_parent(), cpt.as_parent()]
    assert ppo.manifest.reward_parents == [judge.as_parent(), sft.as_parent(), cpt.as_parent()]
    check_ppo(ppo, s3)
    adopted_by_another(jobs["chain-dpo"], dpo, job_document, rows)


def check_dpo(dpo: Result, sft: Result, cpt: Result, s3: Any) -> None:
    """Its reference is where it started, and its adapter goes on from the parent's."""
    merged = sft.manifest.base_uri
    assert dpo.manifest.parents == [sft.as_parent(), cpt.as_parent()]
    losses = [line["loss"] for line in metrics(s3, dpo)]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5), "the reference is where DPO starts"
    assert losses[-1] != losses[0]
    config = json.loads(read(s3, f"{dpo.manifest.result_uri}/adapter_config.json"))
    assert (config["base_model_name_or_path"], config["r"]) == (merged, 4)
    assert dpo.manifest.base_uri == merged
    assert dpo.status["output"]["baseModel"] == merged
    assert "preferenceAccuracy" in dpo.status["evaluation"]["after"]


def check_ppo(ppo: Result, s3: Any) -> None:
    """It starts as its own reference and writes answers."""
    lines = metrics(s3, ppo)
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-3), "the policy is its own reference"
    assert all(len(line["answers"]) > 0 for line in lines if "answers" in line)
    assert ppo.status["data"]["unit"] == "Prompt"
    assert "rewardMean" in ppo.status["evaluation"]["after"]


def adopted_by_another(
    job: Job, published: Result, job_document: Callable[..., Document], rows: str
) -> None:
    """The same recipe in a new object, which names its parent by its address: nothing is trained,
    since what counts is what lies there."""
    job.delete()
    sft = f"s3://{rows}/out/{job.namespace}/chain-sft"
    spec = {**DPO, "model": {"uri": sft}, "data": preferences(rows)}
    document = job_document(job.name, **{"training": STEPS, "workers": ONE, **spec})
    kubectl("apply", "-f", "-", stdin=json.dumps(document))
    status = job.wait_phase("Complete", "Failed", seconds=JOB_SECONDS)
    assert status["phase"] == "Complete", job.story()
    assert job.condition("Complete")["reason"] == "AlreadyPublished"
    assert status["output"] == published.status["output"]
    assert job.object()["metadata"]["uid"] != published.uid
    assert job.pods() == []
