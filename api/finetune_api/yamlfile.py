"""Reads YAML as kubectl does, so that a file means the same here and there.

kubectl turns YAML into JSON with Go's resolver: `2e-4` is a number (PyYAML alone says string),
`y` and `on` are booleans, a date stays a string, and a key given twice is an error.
"""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from finetune_api.errors import UserError
from finetune_api.reasons import Reason

_PREFIX = "tag:yaml.org,2002:"
_GO_HAS_OTHER_RULES = {_PREFIX + name for name in ("timestamp", "int", "float")}


class _KubectlLoader(yaml.SafeLoader):
    """SafeLoader with Go's scalar rules and unique keys."""


_KubectlLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag not in _GO_HAS_OTHER_RULES]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_KubectlLoader.add_implicit_resolver(
    _PREFIX + "int",
    re.compile(
        r"^[-+]?(0[bB]_*[01][01_]*|0[xX]_*[0-9a-fA-F][0-9a-fA-F_]*|0[oO]?_*[0-7][0-7_]*|[1-9][0-9_]*|0)$"
    ),
    list("-+0123456789"),
)
_KubectlLoader.add_implicit_resolver(
    _PREFIX + "float",
    re.compile(
        r"^([-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9][0-9_]*)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)
_KubectlLoader.add_implicit_resolver(_PREFIX + "bool", re.compile(r"^(y|Y|n|N)$"), list("yYnN"))
_BOOLEANS = {**yaml.constructor.SafeConstructor.bool_values, "y": True, "n": False}


def _boolean(loader: _KubectlLoader, node: yaml.ScalarNode) -> bool:
    return bool(_BOOLEANS[str(loader.construct_scalar(node)).lower()])


def _integer(loader: _KubectlLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    digits = text.lstrip("+-")
    octal = digits.startswith("0") and digits.isdigit()
    value = int(digits, 8) if octal else int(digits, 0)
    return -value if text.startswith("-") else value


def _float(loader: _KubectlLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    value = float(re.sub(r"\.(?=inf|nan)", "", text))
    if not math.isfinite(value):
        line = node.start_mark.line + 1
        raise UserError(Reason.INVALID_SPEC, f"infinite and NaN are no JSON values (line {line})")
    return value


def _mapping(loader: _KubectlLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    written = [key for key, _ in node.value if key.tag != _PREFIX + "merge"]
    keys = [loader.construct_object(key) for key in written]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            line = written[index].start_mark.line + 1
            raise UserError(Reason.INVALID_SPEC, f"key {key!r} is given twice (line {line})")
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


def _refuse(_loader: _KubectlLoader, node: yaml.Node) -> None:
    line = node.start_mark.line + 1
    raise UserError(Reason.INVALID_SPEC, f"{node.tag} is no JSON value (line {line})")


_KubectlLoader.add_constructor(_PREFIX + "bool", _boolean)
_KubectlLoader.add_constructor(_PREFIX + "int", _integer)
_KubectlLoader.add_constructor(_PREFIX + "float", _float)
_KubectlLoader.add_constructor(_PREFIX + "map", _mapping)
for _name in ("timestamp", "binary", "set", "omap", "pairs"):
    _KubectlLoader.add_constructor(_PREFIX + _name, _refuse)


def load_documents(text: str) -> list[Any]:
    """All non-empty documents of a YAML stream. Raises UserError with the line at fault."""
    try:
        documents = list(yaml.load_all(text, Loader=_KubectlLoader))
    except yaml.YAMLError as error:
        raise UserError(Reason.INVALID_SPEC, f"not YAML: {error}") from error
    return [document for document in documents if document is not None]


def load_document(path: Path) -> Any:
    """The one document of the file at `path`. Raises UserError."""
    try:
        documents = load_documents(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(Reason.INVALID_SPEC, f"cannot be read: {error}", where=str(path)) from error
    if len(documents) != 1:
        raise UserError(
            Reason.INVALID_SPEC,
            f"holds {len(documents)} documents; give a file with one FineTuneJob",
            where=str(path),
        )
    return documents[0]
