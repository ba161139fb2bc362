"""Defaults that depend on the method: one pure function, whose result is frozen in the run file."""

from finetune_api.spec import (
    Adapter,
    AdapterType,
    FineTuneJobSpec,
    Strategy,
    Training,
)
from finetune_api.status import Effective

ALL_LINEAR = "all-linear"


def resolve(spec: FineTuneJobSpec) -> FineTuneJobSpec:
    """The same wish with every setting that has a meaning filled in.

    Idempotent: resolving twice gives the same spec.
    """
    adapter = _resolve_adapter(spec.adapter)
    return spec.model_copy(
        update={
            "model": spec.model.model_copy(update={"id": spec.model.public_name()}),
            "adapter": adapter,
            "training": _resolve_training(spec.training, adapter),
            "workers": spec.workers.model_copy(update={"strategy": Strategy.DDP}),
        }
    )


def effective(resolved: FineTuneJobSpec) -> Effective:
    """What status.effective shows of a resolved spec."""
    return Effective(
        adapter=resolved.adapter,
        training=resolved.training,
        strategy=resolved.workers.strategy,
    )


def _resolve_adapter(adapter: Adapter) -> Adapter:
    if adapter.type is AdapterType.NONE:
        return adapter
    return adapter.model_copy(
        update={
            "rank": adapter.rank or 16,
            "alpha": adapter.alpha or 32,
            "dropout": adapter.dropout or "0.05",
            "target_modules": adapter.target_modules or [ALL_LINEAR],
        }
    )


def _resolve_training(training: Training, adapter: Adapter) -> Training:
    learning_rate = "2e-5" if adapter.type is AdapterType.NONE else "2e-4"
    epochs = None if training.max_steps is not None else training.epochs or "1"
    return training.model_copy(
        update={"epochs": epochs, "learning_rate": training.learning_rate or learning_rate}
    )
