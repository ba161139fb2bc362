"""Checks the adapter that a job asks for against the start model, on a model without weights."""

from collections.abc import Mapping
from typing import Any

import torch
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.resolve import filled_in, settle
from finetune_api.spec import Adapter, AdapterFrom, AdapterType, Method
from transformers import AutoConfig, AutoModelForCausalLM

from finetune_trainer.adapter_config import AdapterFacts
from finetune_trainer.engine.adapters import (
    Layout,
    adapter_on,
    check_weights,
    layout_of,
    new_config,
)
from finetune_trainer.engine.targets import TARGETS, find_targets, output_head, values_by_layer
from finetune_trainer.model_check import CheckedAdapter, CheckedModel


def settle_adapter(adapter: Adapter, model: CheckedModel, method: Method) -> Adapter:
    """`adapter` as it will be trained from `model`; see `finetune_api.resolve.settle`.

    Raises UserError InvalidSpec for a layer that the model does not have, and for settings other
    than those of the adapter that is continued; ModelInvalid for an adapter of another base.
    """
    settled = settle(adapter, starts_from_adapter=model.adapter is not None, method=method)
    if model.adapter is not None:
        _check_start(adapter, settled, model, model.adapter)
    elif settled.type is not AdapterType.NONE:
        new_config(_weightless(model), settled)
    return settled


def shown(settled: Adapter, model: CheckedModel) -> Adapter:
    """`settled` with what a continued adapter brings along, for people to read."""
    if settled.from_ is not AdapterFrom.CONTINUE or model.adapter is None:
        return settled
    facts = model.adapter.facts
    update = {"type": facts.type, "rank": facts.rank, "alpha": int(facts.alpha)}
    return settled.model_copy(update=update)


def check_head_is_bare(settled: Adapter, model: CheckedModel) -> None:
    """Raise UserError InvalidSpec when the output head would carry the adapter: TRL computes
    log-probabilities from the head's own weights."""
    if settled.type is AdapterType.NONE:
        return
    base = _weightless(model)
    head = output_head(base)
    if settled.from_ is AdapterFrom.CONTINUE and model.adapter is not None:
        layers = list(layout_of(adapter_on(base, model.adapter.folder, dropout=0.0)))
    else:
        layers = find_targets(base, filled_in(settled).target_modules or []).names
    if head in layers:
        raise UserError(
            Reason.INVALID_SPEC,
            f"training.engine TRL passes an adapter on the output head ({head}) over: train other "
            "layers, or write Native",
            where=TARGETS,
        )


def _check_start(
    adapter: Adapter, settled: Adapter, model: CheckedModel, start: CheckedAdapter
) -> None:
    with_adapter = adapter_on(_weightless(model), start.folder, dropout=0.0)
    check_weights(with_adapter, start.folder)
    layout = layout_of(with_adapter)
    base = with_adapter.unload()
    if settled.from_ is AdapterFrom.CONTINUE:
        given = adapter.target_modules
        targets = set(find_targets(base, given).names) if given else set(layout)
        _check_given(adapter, targets, start.facts, layout)
    elif settled.type is not AdapterType.NONE:
        new_config(base, settled)


def _check_given(given: Adapter, targets: set[str], facts: AdapterFacts, layout: Layout) -> None:
    """Raise UserError when `given`, which names the layers `targets`, asks for another adapter
    than the one with `layout`."""
    ranks, alphas = ({name: pair[i] for name, pair in layout.items()} for i in (0, 1))
    same = {
        "type": given.type in (None, facts.type),
        "rank": given.rank in (None, facts.rank),
        "alpha": given.alpha in (None, facts.alpha),
        "targetModules": targets == set(layout),
        "rankPattern": _agrees(given.rank_pattern, "rankPattern", ranks),
        "alphaPattern": _agrees(given.alpha_pattern, "alphaPattern", alphas),
    }
    other = [field for field, is_same in same.items() if not is_same]
    if other:
        raise UserError(
            Reason.INVALID_SPEC,
            f"Continue trains the adapter as it is ({facts.type}, rank {facts.rank}, alpha "
            f"{facts.alpha}, {len(layout)} layers): remove {', '.join(other)}, or write from: "
            "Merge to start a new adapter",
            where="spec.adapter",
        )


def _agrees(pattern: dict[str, int] | None, field: str, values: Mapping[str, float]) -> bool:
    given = values_by_layer(list(values), pattern or {}, field)
    return all(values[name] == value for name, value in given.items())


def _weightless(model: CheckedModel) -> Any:
    """The model of config.json on torch's meta device: layers and shapes, no weights."""
    try:
        config = AutoConfig.from_pretrained(
            model.model_folder, local_files_only=True, trust_remote_code=False
        )
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            Reason.MODEL_INVALID,
            f"no model can be built from config.json ({type(error).__name__}: {error})",
            where=model.start.model_uri,
        ) from error
