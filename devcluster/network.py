"""The pods' network: one bridge, which is also the address under which the host is reached."""

from __future__ import annotations

import json
from pathlib import Path

from devcluster import commands, files
from devcluster.errors import Refusal
from devcluster.paths import Layout

BRIDGE = "cni0"
HOST = "10.244.0.1"
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
NAME = "finetune-devcluster"

_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    # Else a pod that reaches its neighbour through a Service gets replies from a stranger.
    "net/bridge/bridge-nf-call-iptables": "1",
}
# kube-proxy sets this one; it is only remembered, to be set back.
_TOUCHED = (*_SYSCTLS, "net/ipv4/conf/all/route_localnet")


def write_cni(folder: Path) -> None:
    """Configuration of the bridge and host-local plugins."""
    folder.mkdir(exist_ok=True)
    document = {
        "cniVersion": "0.4.0",
        "name": NAME,
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/finetune-devcluster/addresses",
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    files.write(folder / "10-finetune.conflist", json.dumps(document, indent=1))


def check(layout: Layout) -> None:
    """Refusal if another cluster's bridge is on this machine."""
    if Path("/sys/class/net", BRIDGE).exists() and not _remembered(layout).exists():
        raise Refusal(
            f"The network interface {BRIDGE} belongs to another cluster: stop that one, "
            f"or `ip link delete {BRIDGE}` if it is a leftover."
        )


def raise_bridge(layout: Layout) -> None:
    """Make the bridge before the first pod does, since the API server binds to its address."""
    memory = _remembered(layout)
    if not memory.exists():
        memory.write_text(json.dumps({name: _sysctl(name).read_text() for name in _present()}))
    if not Path("/sys/class/net", BRIDGE).exists():
        commands.run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    shown = commands.run(["ip", "-4", "address", "show", "dev", BRIDGE])
    if f"{HOST}/24" not in shown:
        commands.run(["ip", "address", "add", f"{HOST}/24", "dev", BRIDGE])
    commands.run(["ip", "link", "set", BRIDGE, "up"])
    for name in _present():
        if name in _SYSCTLS:
            _sysctl(name).write_text(_SYSCTLS[name])


def remove(layout: Layout) -> None:
    """Take away interface, packet filter rules and cached results, and set the kernel back."""
    memory = _remembered(layout)
    ours = memory.exists()
    if ours and Path("/sys/class/net", BRIDGE).exists():
        commands.run(["ip", "link", "delete", BRIDGE])
    if ours:
        for family in ("iptables", "ip6tables"):
            remove_rules(family)
        for name, value in json.loads(memory.read_text()).items():
            _sysctl(name).write_text(value)
    for result in Path("/var/lib/cni/results").glob("*"):
        # Those of the loopback plugin are named after the sandbox alone, but name its namespace.
        if str(layout.run) in result.read_text(errors="replace"):
            result.unlink()
    memory.unlink(missing_ok=True)


def remove_rules(family: str) -> None:
    """Delete the chains of kube-proxy, kubelet and CNI with every rule that leads to them."""
    dump = commands.output_of([f"{family}-save"])
    if dump and (script := removal(dump)):
        commands.run([f"{family}-restore", "--noflush"], stdin=script)


def removal(dump: str) -> str:
    """What `iptables-restore --noflush` reads to take our chains out of an `iptables-save`."""
    script: list[str] = []
    for table in dump.split("\n*")[0 if dump.startswith("*") else 1 :]:
        lines = table.splitlines()
        chains = [line[1:].split()[0] for line in lines if line.startswith(":")]
        ours = [chain for chain in chains if chain.startswith(("KUBE-", "CNI-"))]
        if not ours:
            continue
        leading = [
            "-D" + line[2:]
            for line in lines
            if line.startswith("-A") and line.split()[1] not in ours and _jump(line) in ours
        ]
        flushes = [f"-F {chain}" for chain in ours]
        removals = [f"-X {chain}" for chain in ours]
        script += [f"*{lines[0].lstrip('*')}", *leading, *flushes, *removals, "COMMIT"]
    return "\n".join(script) + "\n" if script else ""


def _jump(rule: str) -> str:
    """The chain a rule leads to."""
    words = rule.split()
    return next((words[at + 1] for at, word in enumerate(words[:-1]) if word in ("-j", "-g")), "")


def _remembered(layout: Layout) -> Path:
    """Kernel settings as they were; that this file exists says that the bridge is ours."""
    return layout.run / "sysctls.json"


def _present() -> list[str]:
    return [name for name in _TOUCHED if _sysctl(name).exists()]


def _sysctl(name: str) -> Path:
    return Path("/proc/sys", name)
