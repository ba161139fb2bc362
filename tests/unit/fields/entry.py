"""What one field of the spec does: two values of it, and what must differ between them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from finetune_api.spec import FineTuneJobSpec

from tests.unit.fields.bench import Bench

Observe = Callable[[Bench, FineTuneJobSpec], object]
"""What a job of this spec does, from the code that reads the field: comparable, equal for equal
specs, and never the field's own text as it stands in a run file or a hash."""


@dataclass(frozen=True)
class Effect:
    """Values that are accepted and differ in what they do."""

    values: tuple[Any, ...]
    """Each other than all others; None leaves the field out."""
    observed: tuple[Observe, ...]
    """Every one of these differs."""
    within: dict[str, Any] = field(default_factory=dict)
    """What else the spec says, block by block, over `bench.SMALLEST`."""


@dataclass(frozen=True)
class Refusal:
    """A field that a block has from its kind and that means nothing there, so it is refused."""

    accepted: Any
    refused: Any
    sentence: str
    """Part of what is said."""
    within: dict[str, Any] = field(default_factory=dict)


Table = dict[str, Effect | Refusal]
"""Dotted wire path -> entry; lists of objects are entered at their first item."""


def effect(values: tuple[Any, ...], *observed: Observe, **within: Any) -> Effect:
    """An Effect; `within` are blocks by their wire names."""
    return Effect(values, observed, within)
