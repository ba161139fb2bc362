"""The small files that a start model hands over to what is trained from it: tokenizer, chat
template and generation settings. Those in an adapter's folder win over its base's."""

import fnmatch
import shutil
from pathlib import Path

VOCABULARY_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
CHAT_TEMPLATE = "chat_template.jinja"
TEMPLATE_FILES = (CHAT_TEMPLATE, "chat_template.json", "additional_chat_templates/*.jinja")
TOKENIZER_FILES = (
    *VOCABULARY_FILES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "*.tiktoken",
    *TEMPLATE_FILES,
)
GENERATION_CONFIG = "generation_config.json"
HANDED_OVER = (*TOKENIZER_FILES, GENERATION_CONFIG)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether `name` fits a pattern; patterns without a slash mean files of the folder itself."""
    return any(
        fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
        for pattern in patterns
    )


def hand_over(base: Path, adapter: Path | None, target: Path) -> None:
    """Copy the files that `base` and `adapter` hand over into `target`.

    A vocabulary in the adapter's folder takes the place of the base's tokenizer as a whole, so
    that no file of the one is read with a file of the other; a chat template does so for
    templates.
    """
    files = _files(base)
    if adapter is not None:
        own = _files(adapter)
        for group, deciding in (
            (_without(TOKENIZER_FILES, TEMPLATE_FILES), VOCABULARY_FILES),
            (TEMPLATE_FILES, TEMPLATE_FILES),
            ((GENERATION_CONFIG,), (GENERATION_CONFIG,)),
        ):
            if any(matches(name, deciding) for name in own):
                files = {name: path for name, path in files.items() if not matches(name, group)}
                files |= {name: path for name, path in own.items() if matches(name, group)}
    for name, path in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)


def _files(folder: Path) -> dict[str, Path]:
    """Files of `folder` that are handed over, by relative name."""
    found = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    return {name: path for name, path in found.items() if matches(name, HANDED_OVER)}


def _without(patterns: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(pattern for pattern in patterns if pattern not in others)
