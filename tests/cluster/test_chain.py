"""CPT, SFT and DPO in a row, and PPO against a reward model: each job starts at the folder in S3
that the one before has filled."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from finetune_api.manifest import Manifest, Parent

from tests.cluster.harness import Document, Job

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
RESOURCES = {"requests": {"cpu": "50m", "memory": "300Mi"}, "limits": {"memory": "3Gi"}}


@pytest.fixture(scope="session")
def rows(s3: Any, bucket: str) -> str:
    """The bucket, with rows of each example under `chain/`."""
    for path in sorted(EXAMPLES.glob("*/data/*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:ROWS]
        s3.put_object(Bucket=bucket, Key=f"chain/{path.name}", Body="".join(lines).encode())
    return bucket


@dataclass(frozen=True)
class Result:
    """What a job of the chain has published."""

    uri: str
    """The job's folder, which the next job names as its model."""
    uid: str
    status: Document
    manifest: Manifest

    def as_parent(self) -> Parent:
        """How the manifest of the next job names this one."""
        return Parent(
            uri=self.uri,
            job_uid=self.uid,
            manifest_sha256=self.status["output"]["manifestSHA256"],
            recipe_hash=self.manifest.recipe_hash,
        )


@pytest.fixture
def finish(submit: Callable[..., Job], s3: Any, rows: str) -> Callable[..., Result]:
    """Applies a job, waits for it and reads what it has published."""

    def go(name: str, **spec: Any) -> Result:
        workers = {"nodes": 1, "resources": RESOURCES}
        job = submit(name, **{"training": STEPS, "workers": workers, **spec})
        status = job.wait_phase("Complete", "Failed", seconds=JOB_SECONDS)
        assert status["phase"] == "Complete", job.story()
        uri = f"s3://{rows}/out/{job.namespace}/{job.name}"
        manifest = Manifest.read_wire(json.loads(read(s3, f"{uri}/manifest.json")))
        return Result(uri, job.object()["metadata"]["uid"], status, manifest)

    return go


def read(s3: Any, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


@pytest.mark.timeout(4 * JOB_SECONDS)
def test_cpt_sft_and_dpo_hand_over_by_their_addresses(
    finish: Callable[..., Result], s3: Any, rows: str
) -> None:
    cpt = finish(
        "chain-cpt",
        method="CPT",
        data={"train": [source(rows, "manual")], "evaluationFraction": "0.2"},
        cpt={"replay": [source(rows, "general", share="0.2")]},
        training={**STEPS, "sequenceLength": 128},
    )
    assert cpt.manifest.base_model == "example/handbook-base"
    assert cpt.manifest.parents == []

    # Two pods: the one merges, the other fetches what it made.
    sft = finish(
        "chain-sft",
        model={"uri": cpt.uri},
        data={
            "train": [source(rows, "support")],
            "evaluation": [source(rows, "support-evaluation")],
        },
        adapter={"type": "LoRA", "rank": 4, "alpha": 8, "dropout": "0", "from": "Merge"},
        workers={"nodes": 2, "resources": RESOURCES},
    )
    merged = sft.manifest.base_uri
    assert sft.manifest.parents == [cpt.as_parent()]
    assert merged == f"{sft.manifest.run_uri}/base"
    assert json.loads(read(s3, f"{merged}/config.json"))["model_type"] == "llama"

    dpo = finish(
        "chain-dpo",
        method="DPO",
        model={"uri": sft.uri},
        data={"train": [source(rows, "preferences")], "evaluationFraction": "0.2"},
        adapter={"from": "Continue"},
        dpo={"beta": "0.1"},
    )
    assert dpo.manifest.parents == [sft.as_parent(), cpt.as_parent()]
    steps = read(s3, f"{dpo.manifest.run_uri}/report/metrics.jsonl").splitlines()
    losses = [json.loads(line)["loss"] for line in steps]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5), "the reference is where DPO starts"
    assert losses[-1] != losses[0]
    config = json.loads(read(s3, f"{dpo.manifest.result_uri}/adapter_config.json"))
    assert config["base_model_name_or_path"] == merged
    assert config["r"] == 4
    assert dpo.manifest.base_uri == merged
    assert dpo.status["output"]["baseModel"] == merged
    assert "preferenceAccuracy" in dpo.status["evaluation"]["after"]


@pytest.mark.timeout(4 * JOB_SECONDS)
def test_ppo_takes_its_policy_and_its_reward_model_by_their_addresses(
    finish: Callable[..., Result], s3: Any, rows: str
) -> None:
    policy = finish("rlhf-sft", data={"train": [source(rows, "support")]})
    judge = finish(
        "rlhf-reward",
        method="Reward",
        data={"train": [source(rows, "rankings")]},
        evaluation={"enabled": True},
    )
    ppo = finish(
        "rlhf-ppo",
        method="PPO",
        model={"uri": policy.uri},
        rewardModel={"uri": judge.uri},
        data={"train": [source(rows, "ppo-questions")], "evaluationFraction": "0.2"},
        ppo={"maxNewTokens": 8, "epochsPerBatch": 2},
        training={**STEPS, "sequenceLength": 128},
        workers={"nodes": 2, "resources": RESOURCES},
    )
    assert ppo.manifest.parents == [policy.as_parent()]
    assert ppo.manifest.reward_parents == [judge.as_parent()]
    assert ppo.manifest.base_uri == policy.manifest.base_uri
    lines = [
        json.loads(line)
        for line in read(s3, f"{ppo.manifest.run_uri}/report/metrics.jsonl").splitlines()
    ]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-3), "the policy is its own reference"
    assert all(len(line["answers"]) > 0 for line in lines if "answers" in line)
    assert ppo.status["data"]["unit"] == "Prompt"
    assert "rewardMean" in ppo.status["evaluation"]["after"]


def source(bucket: str, name: str, **more: Any) -> Document:
    return {"uri": f"s3://{bucket}/chain/{name}.jsonl", **more}
