"""Counts this machine's accelerators without importing a framework."""

from pathlib import Path

_NODES = {
    "nvidia.com": "nvidia[0-9]*",
    "amd.com": "dri/renderD*",
}
"""Device files under /dev, one for each accelerator of a vendor."""


def count_accelerators(vendor: str, devices: Path = Path("/dev")) -> int:
    """Accelerators of a vendor (the domain of its Kubernetes resource); 0 for unknown ones."""
    pattern = _NODES.get(vendor)
    return len(list(devices.glob(pattern))) if pattern else 0


def vendors(resources: dict[str, str]) -> set[str]:
    """Domains of the accelerator resources among `resources`."""
    return {
        name.partition("/")[0] for name in resources if name.rpartition("/")[2].startswith("gpu")
    }
