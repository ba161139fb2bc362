"""Bad input ends in one clear error, before any training pod exists."""

import copy
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.cluster.harness import (
    Document,
    Job,
    apply,
    apply_error,
    items,
    kubectl,
    make_namespace,
    secret,
    wait_until,
)

NAMESPACE = f"t-bad-input-{uuid.uuid4().hex[:8]}"
"""A new one each time: jobs of an earlier run that broke off would be taken for these."""
GOOD_ROW = {"instruction": "What is X?", "context": "", "response": "X is a part."}


@dataclass(frozen=True)
class Mistake:
    """One way to get a job wrong, and what its owner must read."""

    name: str
    change: Document
    """Merged into the spec, `{bucket}` filled in."""
    reason: str
    words: tuple[str, ...]
    rows: list[str] = field(default_factory=list)
    """Lines of the training file `bad/NAME.jsonl`, when the rows are at fault."""


def _rows_at(name: str) -> Document:
    return {"data": {"train": [{"uri": f"s3://{{bucket}}/bad/{name}.jsonl"}]}}


def _model_at(name: str) -> Document:
    return {"model": {"uri": f"s3://{{bucket}}/bad/{name}"}}


GOOD = json.dumps(GOOD_ROW)
MISTAKES = (
    Mistake(
        "no-bucket",
        {"data": {"train": [{"uri": "s3://no-such-bucket-here/rows.jsonl"}]}},
        "StorageNotFound",
        ("no-such-bucket-here",),
    ),
    Mistake(
        "no-key",
        {"data": {"train": [{"uri": "s3://{bucket}/absent.jsonl"}]}},
        "StorageNotFound",
        ("absent.jsonl",),
    ),
    Mistake(
        "wrong-keys",
        {"storage": {"credentialsSecretName": "wrong-keys"}},
        "StorageDenied",
        ("credentialsSecretName",),
    ),
    Mistake(
        "not-json", _rows_at("not-json"), "InvalidData", ("not-json.jsonl:2",), [GOOD, "{oops"]
    ),
    Mistake(
        "field-missing",
        _rows_at("field-missing"),
        "InvalidData",
        ("field-missing.jsonl:3", "response"),
        [GOOD, GOOD.replace("X", "Y"), json.dumps({"instruction": "Why?", "context": ""})],
    ),
    Mistake(
        "empty-answer",
        _rows_at("empty-answer"),
        "InvalidData",
        ("empty-answer.jsonl:2", "response"),
        [GOOD, json.dumps({**GOOD_ROW, "response": "  "})],
    ),
    Mistake("no-config", _model_at("no-config"), "ModelInvalid", ("config.json",)),
    Mistake("no-tokenizer", _model_at("no-tokenizer"), "ModelInvalid", ("tokenizer",)),
    Mistake("pickle-only", _model_at("pickle-only"), "ModelInvalid", ("safetensors",)),
)


def _merge(base: Document, change: Document, bucket: str) -> Document:
    merged = copy.deepcopy(base)
    filled = json.loads(json.dumps(change).replace("{bucket}", bucket))
    for key, value in filled.items():
        if isinstance(value, dict) and key != "data":
            merged[key] = {**merged.get(key, {}), **value}
        elif key == "data":
            merged[key] = {**merged["data"], **value}
        else:
            merged[key] = value
    return merged


def _put_bad_models(s3: Any, bucket: str) -> None:
    names = [
        item["Key"].removeprefix("model/")
        for item in s3.list_objects_v2(Bucket=bucket, Prefix="model/")["Contents"]
    ]
    left_out = {
        "no-config": {"config.json"},
        "no-tokenizer": {"tokenizer.json", "tokenizer_config.json"},
        "pickle-only": {"model.safetensors"},
    }
    for model, absent in left_out.items():
        for name in names:
            if name not in absent:
                source = {"Bucket": bucket, "Key": f"model/{name}"}
                s3.copy_object(Bucket=bucket, Key=f"bad/{model}/{name}", CopySource=source)
    s3.put_object(Bucket=bucket, Key="bad/pickle-only/pytorch_model.bin", Body=b"\x80\x04.")


@pytest.fixture(scope="module")
def bad_jobs(
    operator: None, cluster: dict[str, str], keys: tuple[str, str], s3: Any, bucket: str
) -> Iterator[dict[str, Job]]:
    """All mistaken jobs, applied at once; what they have in common is right."""
    make_namespace(NAMESPACE, keys)
    apply(secret("wrong-keys", NAMESPACE, ("nobody", "nothing")))
    _put_bad_models(s3, bucket)
    jobs = {}
    for mistake in MISTAKES:
        if mistake.rows:
            key = f"bad/{mistake.name}.jsonl"
            s3.put_object(Bucket=bucket, Key=key, Body="\n".join(mistake.rows).encode())
        spec = _merge(_good_spec(cluster, bucket), mistake.change, bucket)
        apply(_document(mistake.name, spec))
        jobs[mistake.name] = Job(NAMESPACE, mistake.name)
    yield jobs
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _good_spec(cluster: dict[str, str], bucket: str) -> Document:
    return {
        "method": "SFT",
        "model": {"uri": f"s3://{bucket}/model"},
        "data": {"train": [{"uri": f"s3://{bucket}/handbook.jsonl"}]},
        "training": {"sequenceLength": 512, "precision": "FP32"},
        "storage": {
            "endpoint": cluster["AWS_ENDPOINT_URL_S3"],
            "region": "us-east-1",
            "credentialsSecretName": "s3-credentials",
            "addressing": "Path",
        },
        "output": {"uri": f"s3://{bucket}/out"},
    }


def _document(name: str, spec: Document) -> Document:
    return {
        "apiVersion": "finetune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_fails_the_job_with_its_cause_and_no_training_pod(
    bad_jobs: dict[str, Job], mistake: Mistake
) -> None:
    job = bad_jobs[mistake.name]
    job.wait_phase("Failed", seconds=240)
    failed = job.condition("Failed")
    assert (failed["status"], failed["reason"]) == ("True", mistake.reason), job.story()
    for word in mistake.words:
        assert word in failed["message"], job.story()
    assert job.condition("DataReady")["status"] == "False"
    assert job.condition("Finished")["status"] == "True"
    assert job.pods("train") == []
    assert not [
        child
        for child in items("pytorchjobs", NAMESPACE)
        if child["metadata"]["name"].startswith(mistake.name)
    ]


def test_rows_at_fault_are_listed_on_status(bad_jobs: dict[str, Job]) -> None:
    job = bad_jobs["field-missing"]
    job.wait_phase("Failed", seconds=240)
    (error,) = job.status()["data"]["firstErrors"]
    assert error["file"].endswith("field-missing.jsonl")
    assert (error["row"], error["field"]) == (3, "response")


def test_a_missing_secret_is_named_and_the_job_goes_on_once_it_exists(
    bad_jobs: dict[str, Job], cluster: dict[str, str], bucket: str, keys: tuple[str, str]
) -> None:
    spec = _merge(
        _good_spec(cluster, bucket), {"storage": {"credentialsSecretName": "late"}}, bucket
    )
    spec["model"] = {"uri": f"s3://{bucket}/bad/no-config"}
    apply(_document("no-secret", spec))
    job = Job(NAMESPACE, "no-secret")

    def named() -> bool:
        condition = job.condition("DataReady")
        return condition.get("reason") == "CredentialsMissing" and "late" in condition["message"]

    wait_until("the missing Secret is on the condition", named, seconds=120)
    apply(secret("late", NAMESPACE, keys))
    job.wait_phase("Failed", seconds=120)
    assert job.condition("Failed")["reason"] == "ModelInvalid", "it read the bucket in the end"


def test_an_endpoint_that_does_not_answer_is_named(
    bad_jobs: dict[str, Job], cluster: dict[str, str], bucket: str
) -> None:
    spec = _merge(
        _good_spec(cluster, bucket), {"storage": {"endpoint": "http://10.244.0.1:9"}}, bucket
    )
    apply(_document("no-endpoint", spec))
    job = Job(NAMESPACE, "no-endpoint")

    def named() -> bool:
        words = str(job.condition("DataReady").get("message"))
        return "StorageUnavailable" in words and "http://10.244.0.1:9" in words

    wait_until("the endpoint is on the condition while it is tried again", named, seconds=240)
    assert job.status()["phase"] == "Preparing", job.story()
    assert "Check storage.endpoint" in job.condition("DataReady")["message"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metadata": {"name": "a" * 41}}, ("at most 40",)),
        ({"spec": {"traning": {}}}, ("traning",)),
        ({"spec": {"output": {"uri": "file:///tmp/x"}}}, ("s3://",)),
        ({"spec": {"training": {"learningRate": 0.1}}}, ("learningRate", "string")),
    ],
    ids=["name-too-long", "unknown-field", "local-address", "bare-number"],
)
def test_kubectl_apply_refuses(
    bad_jobs: dict[str, Job],
    cluster: dict[str, str],
    bucket: str,
    change: Document,
    words: tuple[str, ...],
) -> None:
    document = _document("refused", _good_spec(cluster, bucket))
    document["metadata"].update(change.get("metadata", {}))
    document["spec"].update(change.get("spec", {}))
    error = apply_error(document)
    for word in words:
        assert word in error
