"""Stage markers: what earlier incarnations have finished and need not be done again."""

import re
from collections.abc import Mapping
from typing import Any

from finetune_api.errors import UserError
from finetune_api.fields import ApiModel
from finetune_api.progress import Stage
from finetune_api.status import Digest, Measurement
from pydantic import Field, ValidationError

from finetune_trainer.stages.context import Run
from finetune_trainer.storage import Store

_PATH = re.compile(r"/([^/]+)/stages/([A-Za-z]+)\.json$")
_LIMIT = 2**20


class Marker(ApiModel):
    """`stage` is done."""

    stage: Stage
    recipe_hash: Digest
    data_hash: Digest
    run_uri: str
    """Folder of the incarnation that did it."""
    measurement: Measurement | None = None
    """Of Baseline and Evaluating; None when evaluation was off."""
    steps: int = Field(default=0, ge=0)
    """Of Training: optimizer steps that were done."""
    planned_steps: int | None = None
    """Of Training: those that the job asks for."""
    published_step: int | None = None
    """Of Training: the step whose parameters are the result."""
    result_uri: str | None = None
    """Of Training: folder of the adapter or model."""


Markers = dict[Stage, Marker]


def write_marker(run: Run, stage: Stage, **result: Any) -> Marker:
    """Commit that `stage` is done; rank 0 only."""
    marker = Marker(
        stage=stage,
        recipe_hash=run.recipe_hash,
        data_hash=run.data_hash,
        run_uri=run.here.root,
        **result,
    )
    text = marker.model_dump_json(by_alias=True, exclude_none=True, indent=1)
    run.store.write(run.here.stage_marker(stage.value), text.encode())
    return marker


def find_markers(store: Store, uris: list[str], hashes: tuple[str, str]) -> Markers:
    """The youngest marker of each stage with these (recipe, data) hashes.

    Args:
        uris: addresses of objects, among them the markers.
    """
    matches = ((_PATH.search(uri), uri) for uri in uris)
    found: Markers = {}
    for _, uri in sorted((m[1], uri) for m, uri in matches if m):
        try:
            marker = Marker.model_validate_json(store.read(uri, _LIMIT))
        except (ValidationError, UserError):
            continue
        if (marker.recipe_hash, marker.data_hash) == hashes:
            found[marker.stage] = marker
    return found


def to_json(markers: Markers) -> dict[str, Any]:
    """Markers as JSON types."""
    return {stage.value: marker.to_wire() for stage, marker in markers.items()}


def from_json(document: Mapping[str, Any]) -> Markers:
    """The markers that `to_json` gave."""
    return {Stage(stage): Marker.parse_wire(marker) for stage, marker in document.items()}
