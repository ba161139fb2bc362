"""Why the API server refused a child: the user's mistake for good, or something that may change."""

import re

from finetune_api.children import ROLE_PREPARE
from finetune_api.job import LABEL_ROLE
from finetune_api.reasons import Reason

from finetune_operator.client import ApiError
from finetune_operator.kinds import OPTIONAL, Document, Kind
from finetune_operator.seen import Obstacle

_BY_ADMISSION = re.compile(r"admission webhook |.*ValidatingAdmissionPolicy ")
"""How the words of webhooks and policies begin; they may come with the code of a validation."""
_UNREADABLE = re.compile(r"cannot be handled as a")
_UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"')
_IN_TEMPLATE = re.compile(r"spec\.(?:pytorchReplicaSpecs\.?\[?\w+\]?\.)?template\.(.+)")
_OURS = (
    (r"spec\.topologySpreadConstraints", "podTemplate.topologySpread"),
    (r"spec\.priorityClassName", "priorityClassName"),
    (r"spec\.volumes\[1\]\.ephemeral.*", "podTemplate.scratch"),
    (r"spec\.volumes\[1\]\.emptyDir\.sizeLimit", "podTemplate.scratch.size"),
    (r"spec\.volumes\[3\]\.emptyDir\.sizeLimit", "podTemplate.sharedMemory"),
    (r"spec\.containers\[0\]\.env", "podTemplate.env"),
    (r"(?:metadata\.)?(labels|annotations)", r"podTemplate.\1"),
    (
        r"spec\.(nodeSelector|tolerations|affinity|serviceAccountName|imagePullSecrets"
        r"|runtimeClassName)",
        r"podTemplate.\1",
    ),
)
"""Parts of a pod's template and where they stand in the job's spec; see `finetune_api.pods`."""


def obstacle_of(kind: Kind, document: Document, error: ApiError) -> Obstacle | None:
    """What a refused creation of `document` means to the user; None of an error that has no
    meaning but to try again."""
    if kind in OPTIONAL and (error.not_found or error.code >= 500):
        return Obstacle(Reason.BACKEND_UNAVAILABLE, error.message)
    mistake = mistake_in(document, error)
    if mistake is not None:
        return mistake
    if error.code in {400, 403, 422}:
        return Obstacle(Reason.POD_REJECTED, error.message)
    return None


def mistake_in(document: Document, error: ApiError) -> Obstacle | None:
    """What no API server will ever take, named as in the job's spec, which cannot change.

    None where another day may bring another answer: quotas, policies, rights, webhooks.
    """
    if _BY_ADMISSION.match(error.message):
        return None
    by_validation = error.code == 422 and all(
        cause.field and cause.reason.startswith("FieldValue") for cause in error.causes
    )
    if by_validation and error.causes:
        named = [f"{_field(document, c.field)}: {c.message}" for c in error.causes]
        return Obstacle(Reason.INVALID_SPEC, "; ".join(named))
    if error.code == 400 and _UNREADABLE.search(error.message):
        unknown = [_field(document, name) for name in _UNKNOWN_FIELD.findall(error.message)]
        words = [f"{name}: unknown field; remove it or check its spelling" for name in unknown]
        return Obstacle(Reason.INVALID_SPEC, "; ".join(words) or error.message)
    return None


def _field(document: Document, path: str) -> str:
    """The field of the job's spec that became `path` of a child; `path` where none did."""
    below = _IN_TEMPLATE.match(path)
    if below is None:
        return path
    prepares = document["metadata"]["labels"][LABEL_ROLE] == ROLE_PREPARE
    block = "preparation" if prepares else "workers"
    for ours, name in ((r"spec\.containers\[0\]\.resources", f"{block}.resources"), *_OURS):
        found = re.sub(rf"^{ours}\b", name, below[1])
        if found != below[1]:
            return f"spec.{found}"
    return path
