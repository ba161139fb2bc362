"""Looks at a model folder before any accelerator is taken; weights are not read."""

import fnmatch
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_api.errors import FineTuneError, UserError
from finetune_api.hashing import canonical_digest
from finetune_api.reasons import Reason
from transformers import AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from finetune_trainer.storage import Download, ObjectInfo, Store
from finetune_trainer.storage.addresses import file_path, relative_to, scheme_of

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "*.tiktoken",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
)
VOCABULARY_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
MODEL_FILES = ("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json")
PICKLED_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
INDEX_FILE = "model.safetensors.index.json"


@dataclass(frozen=True)
class CheckedModel:
    """A model that training can start from."""

    tokenizer: Any
    """A fast Transformers tokenizer."""
    tokenizer_digest: str
    """Over names and content of the tokenizer's files."""
    digest: str
    """Over the folder; see `folder_digest`."""


def check_model(store: Store, uri: str, folder: Path, sequence_length: int) -> CheckedModel:
    """Download the small files of the model at `uri` into `folder` and check them.

    Raises UserError ModelInvalid, or InvalidSpec when `sequence_length` is beyond the model.
    """
    base = uri.rstrip("/")
    files = {relative_to(info.uri, base): info for info in store.list(base)}
    _check_files(files, uri)
    small = (*TOKENIZER_FILES, "config.json", INDEX_FILE)
    store.download_files(
        [Download(info, folder / name) for name, info in files.items() if _matches(name, small)]
    )
    config = _read_json(folder / "config.json", uri)
    check_config(config, uri, sequence_length)
    _check_index(folder / INDEX_FILE, files, uri)
    return CheckedModel(
        _load_tokenizer(folder, uri), _tokenizer_digest(folder), folder_digest(files)
    )


def folder_digest(files: Mapping[str, ObjectInfo]) -> str:
    """Digest of a model folder: over the sorted (name, size, identity) of its model and
    tokenizer files.

    Identity is the SHA-256 of the content for file://, for hf:// what the hub says (SHA-256, or
    the git blob of a small file), and the ETag for s3://, since weights are too big to be read
    here. The ETag of an object uploaded in parts depends on their size, so a
    copy of a model may count as another model; it never happens the other way round.
    """
    entries = [
        [name, info.size, _identity(info)]
        for name, info in sorted(files.items())
        if _matches(name, (*MODEL_FILES, *TOKENIZER_FILES))
    ]
    return canonical_digest(entries)


def check_config(config: Mapping[str, Any], uri: str, sequence_length: int) -> None:
    """Check config.json: our kind of model, no code of its own, long enough."""
    where = f"{uri.rstrip('/')}/config.json"
    if "auto_map" in config:
        raise _invalid(
            "asks for code from the model's folder (auto_map), which is not run; use a model "
            "that Transformers knows",
            where,
        )
    architectures = config.get("architectures") or []
    known = {name for names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() for name in _all(names)}
    if not isinstance(architectures, list) or not known & set(map(str, architectures)):
        shown = ", ".join(str(name)[:64] for name in architectures) or "none"
        raise _invalid(
            f"architectures ({shown}) names no causal language model that Transformers knows",
            where,
        )
    longest = config.get("max_position_embeddings")
    if isinstance(longest, int) and sequence_length > longest:
        raise UserError(
            Reason.INVALID_SPEC,
            f"training.sequenceLength is {sequence_length}, the model takes at most {longest} "
            "tokens (max_position_embeddings); lower it",
            where="spec.training.sequenceLength",
        )


def _check_files(files: Mapping[str, ObjectInfo], uri: str) -> None:
    if not files:
        raise UserError(
            Reason.STORAGE_NOT_FOUND,
            "the model's folder holds nothing or does not exist; check its address",
            where=uri,
        )
    if "config.json" not in files:
        is_adapter = "adapter_config.json" in files
        hint = " (this is an adapter; give the full model)" if is_adapter else ""
        raise _invalid(f"the folder has no config.json{hint}", uri)
    if not any(_matches(name, ("*.safetensors",)) for name in files):
        if any(_matches(name, PICKLED_WEIGHTS) for name in files):
            raise _invalid(
                "the weights are pickled, which can run code; convert to safetensors", uri
            )
        raise _invalid("the folder has no *.safetensors weights", uri)
    if not any(name in files for name in VOCABULARY_FILES):
        raise _invalid("the folder has no tokenizer (tokenizer.json or tokenizer.model)", uri)


def _check_index(path: Path, files: Mapping[str, ObjectInfo], uri: str) -> None:
    """All weight files that the index names must be there."""
    if not path.exists():
        return
    weight_map = _read_json(path, uri).get("weight_map")
    if not isinstance(weight_map, dict):
        raise _invalid("the index has no weight_map", f"{uri}/{INDEX_FILE}")
    missing = sorted({str(name) for name in weight_map.values()} - set(files))
    if missing:
        raise _invalid(f"{len(missing)} weight files are missing, the first is {missing[0]}", uri)


def _load_tokenizer(folder: Path, uri: str) -> Any:
    config_path = folder / "tokenizer_config.json"
    if config_path.exists() and "auto_map" in _read_json(config_path, uri):
        raise _invalid("the tokenizer asks for code of its own (auto_map), which is not run", uri)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except FineTuneError:  # a signal's
        raise
    except Exception as error:
        raise _invalid(
            f"the tokenizer cannot be loaded ({type(error).__name__}); save it with "
            "tokenizer.save_pretrained so that there is a tokenizer.json",
            uri,
        ) from error
    if not tokenizer.is_fast:
        raise _invalid("the tokenizer has no fast form; save it with a tokenizer.json", uri)
    return tokenizer


def _tokenizer_digest(folder: Path) -> str:
    digests = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and _matches(path.relative_to(folder).as_posix(), TOKENIZER_FILES)
    }
    return canonical_digest(digests)


def _identity(info: ObjectInfo) -> str:
    if scheme_of(info.uri) != "file":
        return info.etag
    with file_path(info.uri).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path, uri: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _invalid(f"{path.name} is not JSON", uri) from error
    if not isinstance(value, dict):
        raise _invalid(f"{path.name} is not a JSON object", uri)
    return value


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether `name` fits a pattern; patterns without a slash mean files of the folder itself."""
    return any(
        fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
        for pattern in patterns
    )


def _all(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _invalid(message: str, where: str) -> UserError:
    return UserError(Reason.MODEL_INVALID, message, where=where)
