"""Pods that are not made: by a controller that is refused, or because no controller is there."""

from finetune_api.reasons import Reason

from finetune_operator.seen import Obstacle

CREATION_SECONDS = 15.0
"""Controllers create pods within moments; whoever waits longer is being refused."""


def uncreated(kind: str, name: str, waited: float) -> Obstacle | None:
    """What to say of an object without a pod for `waited` seconds; None while that is short.

    Only its events tell the cause: a ServiceAccount that is missing, a ResourceQuota, a request
    that no pod may have.
    """
    if waited < CREATION_SECONDS:
        return None
    command = f"`kubectl describe {kind.lower()} {name}` says why"
    return Obstacle(Reason.POD_REJECTED, f"the {kind} has no pod: {command}")


def not_taken_up(controller: str, kind: str, name: str, waited: float) -> Obstacle | None:
    """What to say of an object whose status stays empty; None while that is short."""
    if waited < CREATION_SECONDS:
        return None
    words = f"{controller} does not answer: the status of {kind} {name} is empty"
    return Obstacle(Reason.BACKEND_UNAVAILABLE, words)
