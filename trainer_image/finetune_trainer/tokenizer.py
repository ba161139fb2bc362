"""Loading a tokenizer from a folder on this machine."""

import json
from pathlib import Path
from typing import Any

from finetune_api.errors import FineTuneError, UserError
from finetune_api.reasons import Reason
from transformers import AutoTokenizer

CONFIG_FILE = "tokenizer_config.json"


def load_tokenizer(folder: Path, uri: str = "") -> Any:
    """The fast Transformers tokenizer in `folder`.

    Raises UserError ModelInvalid, naming `uri`, for one that is broken, slow or asks for code.
    """
    if _asks_for_code(folder / CONFIG_FILE, uri):
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


def _asks_for_code(config: Path, uri: str) -> bool:
    try:
        settings = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    except (ValueError, RecursionError) as error:
        raise _invalid(f"{CONFIG_FILE} is not JSON", uri) from error
    if not isinstance(settings, dict):
        raise _invalid(f"{CONFIG_FILE} is not a JSON object", uri)
    return "auto_map" in settings


def _invalid(message: str, uri: str) -> UserError:
    return UserError(Reason.MODEL_INVALID, message, where=uri)
