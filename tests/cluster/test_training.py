"""A job applied to a real cluster ends with an adapter in S3 that PEFT loads."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.harness import Document, Job, NotYetError, apply, items, wait_until

TRAINING_SECONDS = 240


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT 0.21's
def test_a_job_on_two_pods_publishes_an_adapter_that_lowers_held_out_loss(
    submit: Callable[..., Job],
    job_document: Callable[..., Document],
    s3: Any,
    bucket: str,
    tmp_path: Path,
) -> None:
    job = submit("whole-life")
    seen_percent = set()

    def complete() -> bool:
        status = job.status()
        seen_percent.add(status.get("progress", {}).get("percent"))
        assert status.get("phase") != "Failed", job.story()
        return bool(status.get("phase") == "Complete")

    try:
        wait_until("the job is Complete", complete, TRAINING_SECONDS)
    except NotYetError as error:
        raise NotYetError(f"{error}\n{job.story()}") from None
    status = job.status()

    assert job.condition("Complete")["status"] == "True"
    assert job.condition("Finished")["status"] == "True"
    assert job.condition("DataReady")["status"] == "True"
    assert job.condition("Complete")["observedGeneration"] == 1
    assert status["incarnation"] == 1
    assert 100 in seen_percent
    before = float(status["evaluation"]["before"]["crossEntropy"])
    after = float(status["evaluation"]["after"]["crossEntropy"])
    assert after < before
    assert len(job.pods()) == 2, "finished pods stay until ttlSecondsAfterFinished"

    root = f"out/{job.namespace}/{job.name}"
    manifest_text = s3.get_object(Bucket=bucket, Key=f"{root}/manifest.json")["Body"].read()
    assert hashlib.sha256(manifest_text).hexdigest() == status["output"]["manifestSHA256"]
    manifest = json.loads(manifest_text)
    assert manifest["resultURI"] == status["output"]["uri"]
    _download(s3, manifest["runURI"], manifest["files"], tmp_path)
    _download_folder(s3, bucket, "model/", tmp_path / "base")
    measured = _cross_entropy_with_peft(tmp_path / "base", tmp_path / "adapter", s3, bucket)
    assert measured == pytest.approx(after, rel=1e-3)
    for name in ("report/metrics.jsonl", "report/loss.png", "README.md"):
        assert (tmp_path / name).stat().st_size > 0

    _the_same_recipe_is_adopted_and_another_is_refused(job, job_document, s3, bucket)


def _the_same_recipe_is_adopted_and_another_is_refused(
    job: Job, job_document: Callable[..., Document], s3: Any, bucket: str
) -> None:
    key = f"out/{job.namespace}/{job.name}/manifest.json"
    published = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    job.delete()
    apply(job_document(job.name))
    status = job.wait_phase("Complete", "Failed", seconds=90)
    assert job.condition("Complete")["reason"] == "AlreadyPublished", job.story()
    assert status["output"]["manifestSHA256"] == hashlib.sha256(published).hexdigest()
    assert items("pytorchjobs", job.namespace) == []

    job.delete()
    other = job_document(job.name)
    other["spec"]["training"]["learningRate"] = "1e-3"
    apply(other)
    job.wait_phase("Failed", seconds=90)
    assert job.condition("Failed")["reason"] == "OutputTaken"
    assert "onExisting" in job.condition("Failed")["message"]
    assert items("pytorchjobs", job.namespace) == []
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == published


def _download(s3: Any, run_uri: str, files: list[Document], folder: Path) -> None:
    bucket, _, prefix = run_uri.removeprefix("s3://").partition("/")
    for file in files:
        target = folder / file["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, f"{prefix}/{file['path']}", str(target))
        assert hashlib.sha256(target.read_bytes()).hexdigest() == file["sha256"]


def _download_folder(s3: Any, bucket: str, prefix: str, folder: Path) -> None:
    folder.mkdir()
    for item in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
        s3.download_file(bucket, item["Key"], str(folder / item["Key"].removeprefix(prefix)))


def _cross_entropy_with_peft(base: Path, adapter: Path, s3: Any, bucket: str) -> float:
    """Cross entropy of the held-out answers, computed by PEFT and Transformers alone."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(adapter)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    body = s3.get_object(Bucket=bucket, Key="handbook-evaluation.jsonl")["Body"].read().decode()
    total, count = 0.0, 0
    for line in body.splitlines():
        row = json.loads(line)
        user = row["instruction"] + (f"\n\n{row['context']}" if row["context"] else "")
        encoded = tokenizer.apply_chat_template(
            [
                {"role": "user", "content": user},
                {"role": "assistant", "content": row["response"]},
            ],
            return_dict=True,
            return_tensors="pt",
            return_assistant_tokens_mask=True,
        )
        mask = torch.as_tensor(encoded["assistant_masks"])[0, 1:].bool()
        with torch.no_grad():
            logits = model(encoded["input_ids"]).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(
            logits, encoded["input_ids"][0, 1:], reduction="none"
        )
        total += float(losses[mask].sum())
        count += int(mask.sum())
    return total / count
