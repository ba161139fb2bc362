"""One API server for the whole suite; each test has a namespace of its own."""

import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from finetune_operator.client import Client, connect

from devcluster import binaries
from devcluster.apionly import ApiServer, api_server
from tests.apiserver.play import Cluster

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds" / "finetune.dev_finetunejobs.yaml"


@pytest.fixture(scope="session")
def pytorchjob_crd() -> Path:
    """The training-operator's own CRD, from its module."""
    program = binaries.obtain(["training-operator"])["training-operator"]
    return program.parent / "manifests" / "base" / "crds" / "kubeflow.org_pytorchjobs.yaml"


@pytest.fixture(scope="session")
def bare_server() -> Iterator[ApiServer]:
    """An API server that knows FineTuneJob and not PyTorchJob."""
    with api_server() as server:
        install(server, CRD)
        yield server


@pytest.fixture(scope="session")
def server(pytorchjob_crd: Path) -> Iterator[ApiServer]:
    """An API server that knows FineTuneJob and PyTorchJob."""
    with api_server() as running:
        for path in (CRD, pytorchjob_crd):
            install(running, path)
        yield running


def install(server: ApiServer, crd: Path) -> None:
    """Create a CRD and wait until it is served."""
    # A CRD is too long for the annotation of a client-side apply.
    kubectl(server, "create", "-f", str(crd))
    ready = "--for=jsonpath={.status.conditions[?(@.type=='Established')].status}=True"
    for attempt in range(20):
        try:
            kubectl(server, "wait", ready, "--timeout=20s", "-f", str(crd))
        except subprocess.CalledProcessError:
            if attempt == 19:
                raise
        else:
            return


def kubectl(server: ApiServer, *arguments: str, text: str | None = None) -> str:
    """Run kubectl; raises CalledProcessError with its words in stderr."""
    command = [str(server.kubectl), f"--kubeconfig={server.kubeconfig}", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    try:
        done.check_returncode()
    except subprocess.CalledProcessError as error:
        error.add_note(done.stderr)
        raise
    return done.stdout


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[Client]:
    async with connect(str(server.kubeconfig)) as connected:
        yield connected


@pytest.fixture
async def cluster(server: ApiServer, client: Client) -> AsyncIterator[Cluster]:
    """A namespace with a player of kubelet, training-operator and garbage collector."""
    async with Cluster.opened(server, client, f"t{uuid.uuid4().hex[:10]}") as opened:
        yield opened


@pytest.fixture
async def pair(server: ApiServer, client: Client) -> AsyncIterator[tuple[Cluster, Cluster]]:
    """Two namespaces whose scenarios run at the same time."""
    names = [f"t{uuid.uuid4().hex[:10]}" for _ in range(2)]
    async with (
        Cluster.opened(server, client, names[0]) as first,
        Cluster.opened(server, client, names[1]) as second,
    ):
        yield first, second
