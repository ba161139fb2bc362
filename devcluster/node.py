"""Configuration of the node: containerd, kubelet and kube-proxy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from devcluster import files, network
from devcluster.paths import Layout
from devcluster.pki import Pair

NAME = "finetune-dev"
PAUSE_IMAGE = "docker.io/finetune-operator/pause:1"
CGROUP = "finetune-devcluster"
CGROUP_ROOT = Path("/sys/fs/cgroup")
# Innermost first.
_FIXED = (
    "/var/log/containers",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/run/containerd/s",
    "/run/containerd",
)

_CONTAINERD = """\
version = 2
root = "{home}/containerd"
state = "{run}/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without the capability SYS_RESOURCE a score below our own cannot be set and the sandbox dies.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "{run}/runc"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni_bin}"
  conf_dir = "{home}/config/cni"
"""


def write_containerd(layout: Layout) -> Path:
    """containerd with root, state and socket of its own, beside any other on the machine."""
    file = layout.config / "containerd.toml"
    plugins = next(
        (path for path in ("/usr/lib/cni", "/opt/cni/bin") if Path(path, "bridge").exists()),
        "/usr/lib/cni",
    )
    text = _CONTAINERD.format(
        home=layout.home,
        run=layout.run,
        socket=layout.containerd_socket,
        pause=PAUSE_IMAGE,
        cni_bin=plugins,
    )
    return files.write(file, text)


def write_kubelet(layout: Layout, authority: Pair) -> Path:
    """A kubelet that fits machines with small disks, swap and cgroup v1."""
    files.write(layout.config / "resolv.conf", "options ndots:5\n", mode=0o644)
    document = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.HOST,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "clusterDomain": "cluster.local",
        "clusterDNS": [network.HOST],
        "resolvConf": str(layout.config / "resolv.conf"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "8760h",
        "maxPods": 250,
        "healthzBindAddress": "127.0.0.1",
        "readOnlyPort": 0,
        "podLogsDir": str(layout.logs / "pods"),
        "volumePluginDir": str(layout.kubelet / "volume-plugins"),
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
        "registryPullQPS": 0,
        "serializeImagePulls": False,
    }
    return _write(layout.config / "kubelet.json", document)


def write_proxy(layout: Layout, kubeconfig: Path) -> Path:
    """kube-proxy with iptables, which leaves the machine's connection table alone."""
    document = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": NAME,
        "clusterCIDR": network.PODS,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
        "iptables": {"minSyncPeriod": "0s"},
    }
    return _write(layout.config / "kube-proxy.json", document)


def _write(file: Path, document: Mapping[str, object]) -> Path:
    return files.write(file, json.dumps(document, indent=1))


def make_cgroups() -> None:
    """The group under which the kubelet keeps pods; it wants to find it in every hierarchy."""
    for hierarchy in _hierarchies():
        folder = hierarchy / CGROUP
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # In cgroup v1 a new cpuset is empty, and an empty one takes no process.
            if (folder / setting).exists() and not (folder / setting).read_text().strip():
                (folder / setting).write_text((hierarchy / setting).read_text())


def remove_cgroups() -> None:
    """Innermost first; a group that still holds a process refuses, which is an error of ours."""
    for hierarchy in _hierarchies():
        for folder, _, _ in os.walk(hierarchy / CGROUP, topdown=False):
            Path(folder).rmdir()


def _hierarchies() -> list[Path]:
    if (CGROUP_ROOT / "cgroup.controllers").exists():
        return [CGROUP_ROOT]
    return [path for path in CGROUP_ROOT.iterdir() if path.is_dir() and not path.is_symlink()]


def remove_fixed_paths(layout: Layout) -> None:
    """What the kubelet and containerd put into folders of the machine that cannot be chosen;
    folders that then hold anything else stay."""
    shutil.rmtree(layout.logs / "pods", ignore_errors=True)
    shutil.rmtree(layout.kubelet / "pods", ignore_errors=True)
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(layout.logs):
            link.unlink()
    for socket in Path("/var/lib/kubelet/device-plugins").glob("kubelet*"):
        socket.unlink()
    for folder in _FIXED:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
