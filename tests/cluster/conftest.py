"""The dev cluster with the operator installed, a base model and rows in its S3 store."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.cluster.harness import (
    SECRET,
    SYSTEM_NAMESPACE,
    Document,
    Job,
    apply,
    kubectl,
    make_namespace,
)

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "quickstart"
BUCKET = "cluster-tests"
TRAIN_ROWS = 48
EVALUATION_ROWS = 12


@pytest.fixture(scope="session")
def cluster() -> dict[str, str]:
    """Environment of a dev cluster that is up (`make cluster`)."""
    output = subprocess.run(
        [sys.executable, "-m", "devcluster", "env", "--json"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    environment: dict[str, str] = json.loads(output)
    os.environ.update(environment)
    return environment


@pytest.fixture(scope="session")
def keys(cluster: dict[str, str]) -> tuple[str, str]:
    """Access key and secret key of the store."""
    return cluster["AWS_ACCESS_KEY_ID"], cluster["AWS_SECRET_ACCESS_KEY"]


@pytest.fixture(scope="session")
def operator(cluster: dict[str, str]) -> None:
    """The chart, installed as a platform team would, with the images built from this tree."""
    subprocess.run(
        [sys.executable, str(EXAMPLE / "quickstart.py"), "install"], cwd=ROOT, check=True
    )


@pytest.fixture
def no_operator(operator: None) -> Iterator[None]:
    """The installed operator is scaled to nothing for the time of a test."""
    scale = ("scale", "deployment/finetune-operator", "-n", SYSTEM_NAMESPACE)
    kubectl(*scale, "--replicas=0")
    kubectl(
        *("wait", "--for=delete", "pod", "-n", SYSTEM_NAMESPACE, "--timeout=60s"),
        *("-l", "app.kubernetes.io/name=finetune-operator"),
    )
    yield
    kubectl(*scale, "--replicas=1")


@pytest.fixture(scope="session")
def s3(cluster: dict[str, str]) -> Any:
    """A client of the store."""
    return boto3.client(
        "s3",
        endpoint_url=cluster["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=cluster["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=cluster["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )


@pytest.fixture(scope="session")
def bucket(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bucket with a small base model and rows, emptied before the first test."""
    if BUCKET not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=BUCKET)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", []):
            s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    model = tmp_path_factory.mktemp("model")
    script = str(EXAMPLE / "make_base_model.py")
    subprocess.run([sys.executable, script, "--output", str(model), "--steps", "3"], check=True)
    for file in model.iterdir():
        s3.upload_file(str(file), BUCKET, f"model/{file.name}")
    for name, count in (("handbook", TRAIN_ROWS), ("handbook-evaluation", EVALUATION_ROWS)):
        lines = (EXAMPLE / "data" / f"{name}.jsonl").read_text().splitlines(keepends=True)
        s3.put_object(Bucket=BUCKET, Key=f"{name}.jsonl", Body="".join(lines[:count]).encode())
    return BUCKET


@pytest.fixture
def namespace(keys: tuple[str, str]) -> Iterator[str]:
    """A fresh namespace that enforces `restricted`, removed afterwards."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    make_namespace(name, keys)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def job_document(cluster: dict[str, str], bucket: str, namespace: str) -> Callable[..., Document]:
    """Builds a job over the small model and rows; keywords replace parts of the spec."""

    def build(name: str, **spec: Any) -> Document:
        base: Document = {
            "method": "SFT",
            "model": {"uri": f"s3://{bucket}/model", "id": "example/handbook-base"},
            "data": {
                "train": [{"uri": f"s3://{bucket}/handbook.jsonl"}],
                "evaluation": [{"uri": f"s3://{bucket}/handbook-evaluation.jsonl"}],
            },
            "adapter": {"type": "LoRA", "rank": 4, "alpha": 8, "dropout": "0"},
            "training": {
                "epochs": "2",
                "globalBatchSize": 8,
                "sequenceLength": 512,
                "learningRate": "5e-3",
                "precision": "FP32",
                "gradientCheckpointing": False,
            },
            "evaluation": {"maxNewTokens": 8},
            "workers": {
                "nodes": 2,
                "resources": {
                    "requests": {"cpu": "50m", "memory": "300Mi"},
                    "limits": {"memory": "3Gi"},
                },
            },
            "podTemplate": {"terminationGracePeriodSeconds": 30},
            "storage": {
                "endpoint": cluster["AWS_ENDPOINT_URL_S3"],
                "region": "us-east-1",
                "credentialsSecretName": SECRET,
                "addressing": "Path",
            },
            "output": {"uri": f"s3://{bucket}/out"},
            "checkpoints": {"everySteps": 3},
        }
        return {
            "apiVersion": "finetune.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {**base, **spec},
        }

    return build


@pytest.fixture
def submit(
    operator: None, job_document: Callable[..., Document], namespace: str
) -> Callable[..., Job]:
    """Applies a job built by `job_document`."""

    def go(name: str, **spec: Any) -> Job:
        apply(job_document(name, **spec))
        return Job(namespace, name)

    return go
