"""The rules of Pod Security `restricted` that our pods could break."""

from collections.abc import Iterator
from typing import Any

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "projected", "secret"}


def violations(pod_spec: dict[str, Any]) -> Iterator[str]:
    """What the admission controller would refuse in a pod's spec."""
    context = pod_spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "no seccomp profile"
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod_spec.get(name):
            yield name
    for volume in pod_spec.get("volumes", []):
        if not volume.keys() & _VOLUMES:
            yield f"volume {volume['name']}"
    for container in pod_spec["containers"] + pod_spec.get("initContainers", []):
        yield from _container_violations(container)


def _container_violations(container: dict[str, Any]) -> Iterator[str]:
    name, context = container["name"], container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield f"{name}: privileges"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or capabilities.get("add"):
        yield f"{name}: capabilities"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield f"{name}: host port"
