"""Settings of the operator, all from environment variables."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from finetune_api.children import ChildSettings

from finetune_operator.backends.choice import SETTINGS
from finetune_operator.seen import AUTO


@dataclass(frozen=True)
class Config:
    """What the chart decides."""

    children: ChildSettings
    """FINETUNE_TRAINER_IMAGE, FINETUNE_IMAGE_PULL_POLICY."""
    backend: str = AUTO
    """FINETUNE_BACKEND: what runs training pods, Auto, PyTorchJob or Job."""
    namespaces: tuple[str, ...] = ()
    """FINETUNE_NAMESPACES, comma-separated; empty means all."""
    health_port: int = 8080
    """FINETUNE_HEALTH_PORT: /healthz, /readyz and /metrics."""
    resync_seconds: float = 300.0
    """FINETUNE_RESYNC_SECONDS between full lists that heal missed events."""
    discovery_seconds: float = 15.0
    """FINETUNE_DISCOVERY_SECONDS between looks which backends are served."""
    retry_seconds: float = 10.0
    """FINETUNE_RETRY_SECONDS: wait after the first counted failure; it doubles to 5 minutes."""
    workers: int = 16
    """FINETUNE_WORKERS: jobs that are reconciled at once."""
    leader_election: bool = True
    """FINETUNE_LEADER_ELECTION; false for local runs."""
    pod_namespace: str = "default"
    """POD_NAMESPACE holds the Lease."""
    pod_name: str = ""
    """POD_NAME is the holder's identity."""
    log_level: str = "INFO"
    """FINETUNE_LOG_LEVEL."""
    crash_at: str | None = None
    """FINETUNE_CRASH_AT, for tests: the point at which the process ends with 137."""

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> "Config":
        """Read the settings. Raises ValueError that names the variable at fault."""
        image = env.get("FINETUNE_TRAINER_IMAGE", "")
        if not image:
            raise ValueError("FINETUNE_TRAINER_IMAGE is required: the image of training pods")
        backend = env.get("FINETUNE_BACKEND") or AUTO
        if backend not in SETTINGS:
            raise ValueError(f"FINETUNE_BACKEND must be one of {SETTINGS}, got {backend!r}")
        names = env.get("FINETUNE_NAMESPACES", "").split(",")
        return cls(
            children=ChildSettings(image, env.get("FINETUNE_IMAGE_PULL_POLICY", "IfNotPresent")),
            backend=backend,
            namespaces=tuple(name.strip() for name in names if name.strip()),
            health_port=int(_number(env, "FINETUNE_HEALTH_PORT", 8080)),
            resync_seconds=_number(env, "FINETUNE_RESYNC_SECONDS", 300),
            discovery_seconds=_number(env, "FINETUNE_DISCOVERY_SECONDS", 15),
            retry_seconds=_number(env, "FINETUNE_RETRY_SECONDS", 10),
            workers=int(_number(env, "FINETUNE_WORKERS", 16)),
            leader_election=env.get("FINETUNE_LEADER_ELECTION", "true").lower() != "false",
            pod_namespace=env.get("POD_NAMESPACE", "default"),
            pod_name=env.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}",
            log_level=env.get("FINETUNE_LOG_LEVEL", "INFO").upper(),
            crash_at=env.get("FINETUNE_CRASH_AT") or None,
        )


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None
    if not 0 < value < 1e6:
        raise ValueError(f"{name} must lie between 0 and 1,000,000, got {text}")
    return value
