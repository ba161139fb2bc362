"""Command lines of etcd and the API server, for the cluster and for the tests' API server alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import pki

ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class ServerKeys:
    """What the API server presents and trusts."""

    authority: pki.Pair
    server: pki.Pair
    admin: pki.Pair
    service_accounts: pki.Pair


def make_keys(folder: Path, addresses: Sequence[str]) -> ServerKeys:
    """Keys for an API server that is reached under these IP addresses."""
    ca = pki.authority(folder, "ca")
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    alternative = [f"DNS:{name}" for name in names] + [f"IP:{each}" for each in addresses]
    return ServerKeys(
        authority=ca,
        server=pki.issue(
            folder, ca, "apiserver", user="kube-apiserver", names=",".join(alternative)
        ),
        admin=pki.issue(folder, ca, "admin", user="admin", group="system:masters"),
        service_accounts=pki.authority(folder, "service-accounts"),
    )


def etcd_command(binary: Path, data: Path, client_port: int, peer_port: int) -> list[str]:
    """One etcd that only this machine reaches."""
    client, peer = (f"http://127.0.0.1:{port}" for port in (client_port, peer_port))
    return [
        str(binary),
        "--name=default",
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--log-level=warn",
    ]


def apiserver_command(
    binary: Path, keys: ServerKeys, *, address: str, port: int, etcd_port: int, services: str
) -> list[str]:
    """An API server without its authorization mode, in which the two uses differ."""
    return [
        str(binary),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={port}",
        f"--tls-cert-file={keys.server.certificate}",
        f"--tls-private-key-file={keys.server.key}",
        f"--client-ca-file={keys.authority.certificate}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={keys.service_accounts.certificate}",
        f"--service-account-signing-key-file={keys.service_accounts.key}",
        f"--service-cluster-ip-range={services}",
        "--allow-privileged=true",
    ]
