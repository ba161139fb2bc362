"""Bring the cluster up, or back to health: what runs as it should is left alone."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from devcluster import (
    baseimages,
    binaries,
    cluster,
    debian,
    network,
    node,
    parts,
    preflight,
    trainingoperator,
    transfer,
)
from devcluster.client import wait_for
from devcluster.cluster import Cluster
from devcluster.parts import Part
from devcluster.paths import Layout
from devcluster.processes import boot_id
from devcluster.progress import say, step
from devcluster.versions import PROGRAMS

WAIT_NODE = 120.0


def up(layout: Layout) -> None:
    """Everything from nothing; seconds if nothing is missing."""
    preflight.same_home(layout)
    preflight.check(layout)
    network.check(layout)
    layout.make()
    forget_last_boot(layout)
    remove_remains(layout)
    programs = gather(layout)
    link_programs(layout, programs)
    described = cluster.describe(layout, programs)
    start(described, cluster.parts(described))
    say(f'The cluster is up; logs: {layout.logs}. Now: eval "$(python3 -m devcluster env)"')


def remove_remains(layout: Layout) -> None:
    """Working folders of a command that was killed; their makers hold no lock any more."""
    for pattern in ("rootfs-*", "oci-*", "build-*"):
        for folder in layout.home.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


def forget_last_boot(layout: Layout) -> None:
    """After a reboot nothing of the volatile state is true any more."""
    mark = layout.run / "boot"
    if mark.exists() and mark.read_text() != boot_id():
        shutil.rmtree(layout.run)
        layout.make()
    mark.write_text(boot_id())
    (layout.run / "home").write_text(str(layout.home))


def gather(layout: Layout) -> dict[str, Path]:
    """Programs, packages and the base image: network work runs beside the compiling."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        machine = pool.submit(prepare_machine, layout)
        programs = binaries.obtain([program.name for program in PROGRAMS])
        machine.result()
    baseimages.make_pause(layout, programs["pause"])
    return programs


def prepare_machine(layout: Layout) -> None:
    """What comes from Debian."""
    debian.install()
    baseimages.make_python(layout)


def link_programs(layout: Layout, programs: dict[str, Path]) -> None:
    """One folder that holds the programs of the right version, for PATH."""
    for name, path in programs.items():
        link = layout.bin / name
        if not (link.is_symlink() and link.readlink() == path):
            link.unlink(missing_ok=True)
            link.symlink_to(path)


def start(described: Cluster, listed: dict[str, Part]) -> None:
    """Start the parts: what waits for nothing first, so that they get ready beside each other."""
    layout = described.layout
    for part in listed.values():
        if part.name != "coredns":
            parts.check_ports(layout, part)
    network.raise_bridge(layout)
    network.write_cni(layout.config / "cni")
    node.make_cgroups()
    for name in ("etcd", "containerd", "versitygw"):
        parts.start(layout, listed[name])
    with step("etcd and kube-apiserver"):
        parts.await_healthy(layout, listed["etcd"])
        parts.start(layout, listed["kube-apiserver"])
        parts.await_healthy(layout, listed["containerd"])
        transfer.import_image(layout, node.PAUSE_IMAGE)
        parts.await_healthy(layout, listed["kube-apiserver"], 120)
    for name in ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"):
        parts.start(layout, listed[name])
    finish(described, listed)


def finish(described: Cluster, listed: dict[str, Part]) -> None:
    """What needs the API server."""
    layout, kubectl = described.layout, described.kubectl
    with step("Rights, CRD and webhook of the training-operator"):
        kubectl.apply(cluster.dns_rights())
        manifests = described.programs["training-operator"].resolve().parent / "manifests"
        trainingoperator.install(layout, kubectl, manifests)
    for name in ("coredns", "training-operator"):
        parts.start(layout, listed[name])
    with step("The other parts"):
        for part in listed.values():
            parts.await_healthy(layout, part)
    with step(f"Node {node.NAME}"):
        ready = ("--for=condition=Ready=true", f"node/{node.NAME}", "--timeout=1s")
        log = parts.log_file(layout, "kubelet")
        wait_for("node", lambda: kubectl.succeeds("wait", *ready), log=log, timeout=WAIT_NODE)
    with step("Webhook of the training-operator"):
        wait_for(
            "training-operator's webhook",
            lambda: trainingoperator.accepts_jobs(kubectl),
            log=parts.log_file(layout, "training-operator"),
        )
    transfer.import_image(layout, baseimages.PYTHON_IMAGE)
