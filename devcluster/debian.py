"""Programs of the machine: those that are missing come from Debian packages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from devcluster import commands
from devcluster.errors import Refusal
from devcluster.progress import step

PACKAGE_OF = {
    "containerd": "containerd",
    "runc": "runc",
    "ctr": "containerd",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "socat": "socat",
    "ip": "iproute2",
    "openssl": "openssl",
    "mount": "mount",
    "unshare": "util-linux",
}
CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")


def missing_packages() -> list[str]:
    """Packages whose programs are not on this machine yet."""
    searched = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = {
        package for name, package in PACKAGE_OF.items() if not shutil.which(name, path=searched)
    }
    if not any(Path(folder, "bridge").exists() for folder in CNI_FOLDERS):
        absent.add("containernetworking-plugins")
    return sorted(absent)


def install() -> None:
    """Install what is missing, and only that, so that a running containerd is never replaced."""
    packages = missing_packages()
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise Refusal(f"There is no apt-get here: install {', '.join(packages)} in another way.")
    # No service is started: the cluster runs its own containerd.
    environment = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install_command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    with step(f"Debian packages {' '.join(packages)}", announce=True):
        advice = "Check the machine's package sources and run the same command again."
        commands.run(["apt-get", "update"], environment=environment, advice=advice)
        commands.run(install_command, environment=environment, advice=advice)
