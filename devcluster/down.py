"""Take the cluster down: exactly what was started here, and every trace in the kernel."""

from __future__ import annotations

import shutil

from devcluster import cluster, network, node, parts, preflight, teardown
from devcluster.paths import Layout
from devcluster.progress import say, step

# The kubelet first, or it would bring containers back; containerd and its containers next.
_FIRST = ("kubelet", "training-operator", "kube-proxy", "coredns", "versitygw")
_LAST = ("kube-controller-manager", "kube-scheduler", "kube-apiserver", "etcd")


def down(layout: Layout, *, purge: bool) -> None:
    """End everything; objects, buckets and images stay unless `purge`."""
    preflight.same_home(layout)
    if layout.run.exists() or layout.home.exists():
        with step("Ending the cluster"):
            assert {*_FIRST, "containerd", *_LAST} == set(cluster.NAMES)
            for name in _FIRST:
                parts.stop(layout, name)
            teardown.remove_containers(layout)
            parts.stop(layout, "containerd")
            for name in _LAST:
                parts.stop(layout, name)
            teardown.remove_mounts(layout)
            network.remove(layout)
            node.remove_cgroups()
            node.remove_fixed_paths(layout)
            shutil.rmtree(layout.run, ignore_errors=True)
    if purge:
        with step(f"Removing {layout.home}"):
            shutil.rmtree(layout.home, ignore_errors=True)
    else:
        say(f"Objects, buckets and images stay in {layout.home}; `down --purge` removes them.")
