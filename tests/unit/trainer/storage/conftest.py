"""A real S3 server for each test session, with one bucket for each test."""

import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from finetune_api.spec import Addressing, Storage

from devcluster.binaries import obtain
from devcluster.ports import free_ports

ACCESS_KEY = "unit-test"
SECRET_KEY = "unit-test-secret"


@dataclass(frozen=True)
class S3Server:
    """versitygw over a folder: buckets are folders, objects files."""

    endpoint: str
    buckets: Path

    def storage(self) -> Storage:
        return Storage(endpoint=self.endpoint, region="us-east-1", addressing=Addressing.PATH)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    buckets = tmp_path_factory.mktemp("buckets")
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    address = endpoint.removeprefix("http://")
    keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    program = obtain(["versitygw"])["versitygw"]
    process = subprocess.Popen(
        [program, f"--port={address}", "--health=/health", "posix", buckets],
        env={**os.environ, **keys},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(f"{endpoint}/health")
        yield S3Server(endpoint, buckets)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait(url: str) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(url)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def bucket(s3_server: S3Server, request: pytest.FixtureRequest) -> str:
    name = f"b{abs(hash(request.node.nodeid)) % 10**12}"
    (s3_server.buckets / name).mkdir(exist_ok=True)
    return name
