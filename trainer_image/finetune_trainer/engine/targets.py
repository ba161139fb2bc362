"""Which layers carry an adapter: names, shell globs and all-linear against a loaded model."""

import fnmatch
from dataclasses import dataclass
from typing import Any

import torch
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.resolve import ALL_LINEAR
from transformers.pytorch_utils import Conv1D

_NAMES_SHOWN = 20
_GLOB = frozenset("*?[")
_REWARD_HEADS = ("score", "classifier")
"""Names that Transformers gives the head of models for sequence classification."""
TARGETS = "spec.adapter.targetModules"


@dataclass(frozen=True)
class Targets:
    """The layers that carry an adapter."""

    names: list[str]
    """Full names, in the model's order."""
    for_peft: str | list[str]
    """The same as PEFT's target_modules: short where no glob is among them."""


def linear_layers(base: Any) -> list[str]:
    """Full names of the linear layers, in the model's order."""
    kinds = (torch.nn.Linear, Conv1D)
    return [name for name, part in base.named_modules() if isinstance(part, kinds)]


def find_targets(base: Any, entries: list[str]) -> Targets:
    """The layers that `entries` name: by name, shell glob or all-linear.

    Raises UserError InvalidSpec for an entry that matches no linear layer of `base`, and for the
    output head of a model whose embeddings are tied to it.
    """
    linear, head = linear_layers(base), output_head(base)
    matched = {entry: _matching(entry, linear, head) for entry in entries}
    unknown = [entry for entry, names in matched.items() if not names]
    if unknown:
        raise no_such_layer(unknown, linear, TARGETS)
    chosen = {name for names in matched.values() for name in names}
    tied = getattr(getattr(base, "config", None), "tie_word_embeddings", False)
    if tied and head in chosen:
        raise UserError(
            Reason.INVALID_SPEC,
            f"{head} shares its weights with the input embeddings, so it cannot carry an adapter",
            where=TARGETS,
        )
    names = [name for name in linear if name in chosen]
    if entries == [ALL_LINEAR]:
        return Targets(names, ALL_LINEAR)
    in_full = any(entry == ALL_LINEAR or is_glob(entry) for entry in entries)
    return Targets(names, names if in_full else list(entries))


def layer_pattern(targeted: list[str], pattern: dict[str, int], field: str) -> dict[str, int]:
    """`pattern` as PEFT's rank_pattern or alpha_pattern: names stay short, globs become full names.

    Takes and raises what `values_by_layer` does.
    """
    by_layer = values_by_layer(targeted, pattern, field)
    if any(key == ALL_LINEAR or is_glob(key) for key in pattern):
        return by_layer
    return dict(pattern)


def values_by_layer(targeted: list[str], pattern: dict[str, int], field: str) -> dict[str, int]:
    """Full name of a layer -> its value in `pattern`, for the layers that it names.

    Args:
        targeted: full names of the layers that carry the adapter.
        field: wire name of the pattern.

    Raises UserError InvalidSpec for a key that names none of them, and for two keys that give
    one layer different values: a map has no order that could decide.
    """
    where = f"spec.adapter.{field}"
    values: dict[str, int] = {}
    given: dict[str, str] = {}
    for key, value in pattern.items():
        names = _matching(key, targeted, head=None)
        if not names:
            raise no_such_layer([key], targeted, where)
        for name in names:
            other = given.setdefault(name, key)
            if values.setdefault(name, value) != value:
                raise UserError(
                    Reason.INVALID_SPEC,
                    f"{other} and {key} give {name} different values; let each layer be named once",
                    where=where,
                )
    return values


def no_such_layer(unknown: list[str], known: list[str], where: str) -> UserError:
    """The error for names that no layer has; it says which there are."""
    short = sorted({name.rpartition(".")[2] for name in known})[:_NAMES_SHOWN]
    example = f", in full such as {known[0]}" if known else ""
    layers = "linear layer" if where == TARGETS else "layer with an adapter"
    return UserError(
        Reason.INVALID_SPEC,
        f"the model has no {layers} named {', '.join(unknown)}; it has {', '.join(short)}{example} "
        f"(or write {ALL_LINEAR})",
        where=where,
    )


def is_glob(entry: str) -> bool:
    """Whether `entry` is a shell glob over full names."""
    return not _GLOB.isdisjoint(entry)


def _matching(entry: str, names: list[str], head: str | None) -> list[str]:
    """The names that `entry` stands for; all-linear leaves the output head out."""
    if entry == ALL_LINEAR:
        return [name for name in names if name != head]
    if is_glob(entry):
        return [name for name in names if fnmatch.fnmatchcase(name, entry)]
    return [name for name in names if name == entry or name.endswith(f".{entry}")]


def output_head(base: Any) -> str | None:
    """Full name of the layer that makes logits, or rewards."""
    if name := reward_head(base):
        return name
    head = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    return next((name for name, part in base.named_modules() if part is head), None)


def reward_head(base: Any) -> str | None:
    """Name of the layer that scores whole texts, of models that do."""
    names = (
        name for name in _REWARD_HEADS if isinstance(getattr(base, name, None), torch.nn.Module)
    )
    return next(names, None)
