"""Variables that lead kubectl, helm and boto3 to the cluster."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from devcluster import external, s3
from devcluster.errors import Refusal
from devcluster.paths import Layout, layout


def environment() -> dict[str, str]:
    """Variables of the cluster that `up` made; Refusal if it was never made."""
    place = layout()
    recorded = external.recorded(place)
    if recorded is not None:
        recorded.pop("LOADER")
        return {**recorded, "PATH": _path(place)}
    if not place.kubeconfig.exists():
        raise Refusal("There is no dev cluster yet: run `python -m devcluster up`.")
    pair = s3.keys(place)
    return {
        "KUBECONFIG": str(place.kubeconfig),
        "PATH": _path(place),
        "AWS_ENDPOINT_URL_S3": s3.ENDPOINT,
        "AWS_ACCESS_KEY_ID": pair.access,
        "AWS_SECRET_ACCESS_KEY": pair.secret,
        "AWS_REGION": s3.REGION,
        "AWS_DEFAULT_REGION": s3.REGION,
    }


def shell_exports(variables: Mapping[str, str]) -> str:
    """Lines for `eval`."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _path(place: Layout) -> str:
    """PATH with our programs first, once."""
    ours = str(place.bin)
    others = [word for word in os.environ.get("PATH", "").split(":") if word and word != ours]
    return ":".join([ours, *others])
