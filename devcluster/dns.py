"""CoreDNS on the host, and one question to it."""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path

from devcluster import files, network
from devcluster.paths import Layout

PROBE = "kubernetes.default.svc.cluster.local"


def write_corefile(layout: Layout, kubeconfig: Path) -> Path:
    """Names of the cluster from the API server; others from where the machine asks, if anywhere."""
    resolver = Path("/etc/resolv.conf")
    asks = resolver.exists() and re.search(r"(?m)^nameserver\s", resolver.read_text())
    forward = "  forward . /etc/resolv.conf\n" if asks else ""
    return files.write(
        layout.config / "Corefile",
        ".:53 {\n"
        f"  bind {network.HOST}\n"
        "  errors\n"
        "  kubernetes cluster.local {\n"
        f"    kubeconfig {kubeconfig}\n"
        "    ttl 1\n"
        "  }\n"
        f"{forward}}}\n",
    )


def resolves(name: str = PROBE, server: str = network.HOST) -> bool:
    """Whether the server gives an address for a name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.settimeout(1)
        try:
            channel.sendto(question(name), (server, 53))
            return answer_count(channel.recv(512)) > 0
        except OSError:
            return False


def question(name: str) -> bytes:
    """A DNS query for the A record of a name (RFC 1035, section 4)."""
    header = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return header + labels + b"\0" + struct.pack(">2H", 1, 1)


def answer_count(reply: bytes) -> int:
    """Number of answers in a DNS reply; 0 for an error too."""
    if len(reply) < 12:
        return 0
    flags, answers = struct.unpack(">2x1H2x1H4x", reply[:12])
    return int(answers) if flags & 0x000F == 0 else 0
