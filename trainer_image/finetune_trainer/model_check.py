"""Looks at the start model before any accelerator is taken; of weights it reads an adapter's."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from finetune_api.errors import UserError
from finetune_api.hashing import canonical_digest
from finetune_api.reasons import Reason
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from finetune_trainer.adapter_config import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    AdapterFacts,
    read_adapter_config,
)
from finetune_trainer.data.chat import Chat
from finetune_trainer.handover import (
    HANDED_OVER,
    TOKENIZER_FILES,
    VOCABULARY_FILES,
    hand_over,
    matches,
)
from finetune_trainer.start import Start, resolve_start
from finetune_trainer.start_files import (
    ADAPTER_FILES,
    MODEL_FILES,
    Files,
    StartRecord,
    chosen,
    list_folder,
    start_digest,
    weights_digest,
)
from finetune_trainer.storage import Download, Store
from finetune_trainer.storage.addresses import checked_target
from finetune_trainer.tokenizer import load_tokenizer

PICKLED_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
INDEX_FILE = "model.safetensors.index.json"


@dataclass(frozen=True)
class CheckedAdapter:
    """A LoRA adapter that can be trained further or merged."""

    facts: AdapterFacts
    folder: Path
    """Copy of its files."""


@dataclass(frozen=True)
class CheckedModel:
    """A model, perhaps with an adapter on it, that training can start from."""

    tokenizer: Any
    """A fast Transformers tokenizer."""
    tokenizer_digest: str
    """Over names and content of the tokenizer's files."""
    digest: str
    """Over the folders; see `start_files.start_digest`."""
    start: Start
    """Where its parts lie."""
    model_files: Files
    adapter_files: Files
    model_folder: Path
    """Copy of the model's small files."""
    adapter: CheckedAdapter | None
    """The adapter that training starts from."""

    def record(self, recipe_hash: str) -> StartRecord:
        """What the trainer compares with what it finds."""
        return StartRecord.of(self.start, recipe_hash, self.model_files, self.adapter_files)


class Role(Enum):
    """What a model is there for."""

    START = "start"
    """Training starts from it."""
    REWARD = "reward"
    """It scores answers."""


def check_model(
    store: Store, uri: str, folder: Path, sequence_length: int, role: Role = Role.START
) -> CheckedModel:
    """Download the small files of the model behind `uri` into `folder` and check them; of an
    adapter its weights too.

    Raises UserError ModelInvalid, or InvalidSpec when `sequence_length` is beyond the model.
    """
    start = resolve_start(store, uri)
    files = list_folder(store, start.model_uri)
    _check_files(files, start.model_uri)
    small = folder / "model"
    _download(store, files, (*HANDED_OVER, "config.json", INDEX_FILE), small)
    config = _read_json(small / "config.json", start.model_uri)
    scores = role is Role.REWARD and start.adapter_uri is None
    check_config(config, start.model_uri, sequence_length, scores=scores)
    _check_index(small / INDEX_FILE, files, start.model_uri)
    model_files = chosen(files, MODEL_FILES)
    adapter: CheckedAdapter | None = None
    adapter_files: Files = {}
    if start.adapter_uri is not None:
        _check_base(start, model_files)
        adapter, adapter_files = _check_adapter(store, start.adapter_uri, folder / "adapter", role)
    tokenizer = folder / "tokenizer"
    hand_over(small, adapter.folder if adapter else None, tokenizer)
    return CheckedModel(
        tokenizer=load_tokenizer(tokenizer, uri),
        tokenizer_digest=_tokenizer_digest(tokenizer),
        digest=start_digest(model_files, adapter_files),
        start=start,
        model_files=model_files,
        adapter_files=adapter_files,
        model_folder=small,
        adapter=adapter,
    )


def _download(store: Store, files: Files, patterns: tuple[str, ...], folder: Path) -> None:
    wanted = ((info, name) for name, info in files.items() if matches(name, patterns))
    store.download_files([Download(i, checked_target(folder, name)) for i, name in wanted])


def _check_base(start: Start, model_files: Files) -> None:
    if start.base_digest not in (None, weights_digest(model_files)):
        raise _invalid(
            f"is not the base that the adapter {start.adapter_uri} was trained on: its "
            "configuration or weights were written anew; put the old ones back",
            start.model_uri,
        )


def _check_adapter(
    store: Store, uri: str, folder: Path, role: Role
) -> tuple[CheckedAdapter, Files]:
    """The adapter at `uri`, and its files that count."""
    files = list_folder(store, uri)
    if ADAPTER_WEIGHTS not in files:
        if any(matches(name, PICKLED_WEIGHTS) for name in files):
            raise _invalid(
                "the adapter's weights are pickled, which can run code; convert to safetensors", uri
            )
        raise _invalid(f"the adapter has no {ADAPTER_WEIGHTS}", uri)
    others = [n for n in files if matches(n, ("*.safetensors",)) and n != ADAPTER_WEIGHTS]
    if others:
        raise _invalid(
            f"the folder holds an adapter and a model ({others[0]}); put them into two folders", uri
        )
    _download(store, files, ADAPTER_FILES, folder)
    config = _read_json(folder / ADAPTER_CONFIG, uri)
    if role is Role.REWARD:
        config = _without_head(config, uri)
    facts = read_adapter_config(config, f"{uri}/{ADAPTER_CONFIG}")
    return CheckedAdapter(facts, folder), chosen(files, ADAPTER_FILES)


def _without_head(config: dict[str, Any], uri: str) -> dict[str, Any]:
    """The configuration of a reward model's adapter without the head that it brings along."""
    if config.get("task_type") != "SEQ_CLS" or not config.get("modules_to_save"):
        raise _invalid(
            "is an adapter of a language model, which writes and does not score: give the folder "
            "of a job of method Reward",
            uri,
        )
    return {name: value for name, value in config.items() if name != "modules_to_save"}


def check_reward_model(
    store: Store, uri: str, folder: Path, sequence_length: int, policy: CheckedModel
) -> CheckedModel:
    """Check the reward model behind `uri`, which is to score what `policy` writes.

    Raises what `check_model` does, and UserError ModelInvalid where it reads other tokens.
    """
    model = check_model(store, uri, folder, sequence_length, Role.REWARD)
    if _reads(model) != _reads(policy):
        raise _invalid(
            "the reward model has another tokenizer or chat template than the model that is "
            "trained, so that it would score other texts: train it from the same model",
            uri,
        )
    return model


def _reads(model: CheckedModel) -> tuple[str, str]:
    """What decides which tokens a model reads: (tokenizer, chat template)."""
    chat = Chat(model.tokenizer)
    return model.tokenizer.backend_tokenizer.to_str(), chat.template_for()


def check_config(
    config: Mapping[str, Any], uri: str, sequence_length: int, *, scores: bool = False
) -> None:
    """Check config.json: our kind of model, no code of its own, long enough.

    Args:
        scores: it must be a model that gives a text one number.
    """
    where = f"{uri.rstrip('/')}/config.json"
    if "auto_map" in config:
        raise _invalid(
            "asks for code from the model's folder (auto_map), which is not run; use a model "
            "that Transformers knows",
            where,
        )
    architectures = config.get("architectures") or []
    kinds = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if scores:
        kinds = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    known = {name for names in kinds.values() for name in _all(names)}
    if not isinstance(architectures, list) or not known & set(map(str, architectures)):
        shown = ", ".join(str(name)[:64] for name in architectures) or "none"
        kind = "model for sequence classification" if scores else "causal language model"
        raise _invalid(f"architectures ({shown}) names no {kind} that Transformers knows", where)
    if scores and len(config.get("id2label") or {}) != 1:
        raise _invalid("a reward model gives one number, this one has other labels", where)
    longest = config.get("max_position_embeddings")
    if isinstance(longest, int) and sequence_length > longest:
        raise UserError(
            Reason.INVALID_SPEC,
            f"training.sequenceLength is {sequence_length}, the model takes at most {longest} "
            "tokens (max_position_embeddings); lower it",
            where="spec.training.sequenceLength",
        )


def _check_files(files: Files, uri: str) -> None:
    if not any(matches(name, ("*.safetensors",)) for name in files):
        if any(matches(name, PICKLED_WEIGHTS) for name in files):
            raise _invalid(
                "the weights are pickled, which can run code; convert to safetensors", uri
            )
        raise _invalid("the folder has no *.safetensors weights", uri)
    if not any(name in files for name in VOCABULARY_FILES):
        raise _invalid("the folder has no tokenizer (tokenizer.json or tokenizer.model)", uri)


def _check_index(path: Path, files: Files, uri: str) -> None:
    """All weight files that the index names must be there."""
    if not path.exists():
        return
    weight_map = _read_json(path, uri).get("weight_map")
    if not isinstance(weight_map, dict):
        raise _invalid("the index has no weight_map", f"{uri}/{INDEX_FILE}")
    missing = sorted({str(name) for name in weight_map.values()} - set(files))
    if missing:
        raise _invalid(f"{len(missing)} weight files are missing, the first is {missing[0]}", uri)


def _tokenizer_digest(folder: Path) -> str:
    digests = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and matches(path.relative_to(folder).as_posix(), TOKENIZER_FILES)
    }
    return canonical_digest(digests)


def _read_json(path: Path, uri: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _invalid(f"{path.name} is not JSON", uri) from error
    if not isinstance(value, dict):
        raise _invalid(f"{path.name} is not a JSON object", uri)
    return value


def _all(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _invalid(message: str, where: str) -> UserError:
    return UserError(Reason.MODEL_INVALID, message, where=where)
