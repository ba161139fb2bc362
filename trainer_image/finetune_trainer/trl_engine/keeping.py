"""Takes out of a model again what TRL puts into it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from finetune_trainer.methods.scorer import base_of

_PREPARED = "_is_accelerate_prepared"
"""accelerate's mark of a model that it leaves as it is; it would wrap any other in DDP."""
_REFERENCE = "ref"
"""TRL's name of the frozen copy of an adapter."""


@contextmanager
def only_parameters_change(model: Any) -> Iterator[None]:
    """Let TRL train `model`, and leave the parameters as it trained them but nothing else: it
    writes the tokenizer's special tokens into the configurations, puts a forward of its own in
    place of the model's, and adds the reference as a second adapter. One process needs no DDP."""
    base = base_of(model)
    parts = (base.config, getattr(base, "generation_config", None))
    settings = [part for part in parts if part is not None]
    before = [copy.deepcopy(vars(part)) for part in settings]
    setattr(model, _PREPARED, True)
    try:
        yield
    finally:
        delattr(model, _PREPARED)
        for part, attributes in zip(settings, before, strict=True):
            vars(part).clear()
            vars(part).update(attributes)
        vars(base).pop("forward", None)
        if _REFERENCE in getattr(model, "peft_config", {}):
            model.delete_adapter(_REFERENCE)
