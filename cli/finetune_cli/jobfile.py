"""Finds FineTuneJobs in YAML files and puts other addresses into them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from finetune_api.job import KIND
from finetune_api.yamlfile import load_documents

from finetune_cli.codes import UsageError

Document = dict[str, Any]

_SCHEME = re.compile(r"^[a-z0-9]+://")


def read_text(path: Path) -> str:
    """The file's text; "-" is standard input's path on Linux, /dev/stdin."""
    try:
        return Path("/dev/stdin" if str(path) == "-" else path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def job_documents(path: Path) -> list[Any]:
    """The FineTuneJobs among the documents of a file, or all when none is one.

    A file may hold a Secret or a Namespace beside the job, as for `kubectl apply`.
    """
    documents = load_documents(read_text(path))
    jobs = [d for d in documents if isinstance(d, dict) and d.get("kind") == KIND]
    return jobs or documents


def one_job(path: Path) -> Document:
    """The file's only FineTuneJob."""
    documents = job_documents(path)
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise UsageError(f"{path} holds {len(documents)} jobs; give a file with one {KIND}")
    return documents[0]


def as_uri(address: str) -> str:
    """A `file://` address for a path; addresses stay as they are, and so do the wildcards of a
    path that is a pattern, which is one that names no file."""
    if _SCHEME.match(address):
        return address
    path = Path(address).expanduser().resolve()
    return path.as_uri() if path.exists() else _with_wildcards(path.as_uri())


def _with_wildcards(uri: str) -> str:
    for encoded, wildcard in (("%2A", "*"), ("%5B%21", "[!"), ("%5B", "["), ("%5D", "]")):
        uri = uri.replace(encoded, wildcard)
    return uri


def local_path(uri: str) -> str:
    """The path that a `file://` address stands for; other addresses stay as they are."""
    return unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri


def replace_addresses(
    document: Document,
    *,
    model: str | None = None,
    reward_model: str | None = None,
    train: Sequence[str] | None = None,
    evaluation: Sequence[str] | None = None,
    replay: Sequence[str] | None = None,
    domain_text: Sequence[str] | None = None,
) -> None:
    """Put the given paths or addresses in place of those in `document`, which is changed."""
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return
    if model is not None and isinstance(spec.get("model"), dict):
        spec["model"].pop("fromJob", None)
        spec["model"]["uri"] = as_uri(model)
    if reward_model is not None:
        if not isinstance(spec.get("rewardModel"), dict):
            raise UsageError("--reward-model was given, and the job has no rewardModel")
        spec["rewardModel"].pop("fromJob", None)
        spec["rewardModel"]["uri"] = as_uri(reward_model)
    _replace_sources(spec, "data.train", "--train", train)
    _replace_sources(spec, "data.evaluation", "--evaluation", evaluation)
    _replace_sources(spec, "cpt.replay", "--replay", replay)
    _replace_sources(spec, "data.domainText", "--domain-text", domain_text)


def _replace_sources(
    spec: Document, place: str, option: str, addresses: Sequence[str] | None
) -> None:
    block, _, field = place.partition(".")
    holder = spec.get(block, {})
    if not addresses or not isinstance(holder, dict):
        return
    sources = holder.get(field) or []
    if len(sources) != len(addresses):
        raise UsageError(
            f"{place} has {len(sources)} sources and {option} was given "
            f"{len(addresses)} times; give it once for each source"
        )
    for source, address in zip(sources, addresses, strict=True):
        source["uri"] = as_uri(address)
