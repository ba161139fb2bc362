"""What a licence asks for, by its name."""

import functools
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Licence:
    """What is known of a licence."""

    spdx: str | None
    """An SPDX expression; LicenseRef-... for one that SPDX has no name for; None if none is
    stated."""
    known: bool
    """Whether the terms below are those of the licence, not of an unknown name."""
    non_commercial: bool = False
    no_derivatives: bool = False
    share_alike: bool = False
    """Adapted works need the same licence (CC BY-SA and the like)."""
    copyleft: bool = False
    """Derived programs need the same licence (GPL and the like)."""


_ALIASES = {
    "apache": "Apache-2.0", "apache 2": "Apache-2.0", "apache 2.0": "Apache-2.0",
    "apache2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0", "apache license version 2.0": "Apache-2.0",
    "asl 2.0": "Apache-2.0",
    "mit license": "MIT", "the mit license": "MIT", "expat": "MIT",
    "bsd": "BSD-3-Clause", "new bsd": "BSD-3-Clause", "bsd 3": "BSD-3-Clause",
    "bsd 2": "BSD-2-Clause",
    "bsd 3 clause": "BSD-3-Clause", "bsd 2 clause": "BSD-2-Clause",
    "cc0": "CC0-1.0", "cc zero": "CC0-1.0", "public domain": "CC0-1.0", "pddl": "PDDL-1.0",
    "odc by": "ODC-By-1.0", "odc by 1.0": "ODC-By-1.0", "odbl": "ODbL-1.0",
    "unlicense": "Unlicense",
    "gpl": "GPL-3.0-or-later", "gpl3": "GPL-3.0-only", "gplv3": "GPL-3.0-only",
    "gpl 3.0": "GPL-3.0-only",
    "gplv2": "GPL-2.0-only", "gpl 2.0": "GPL-2.0-only", "agpl 3.0": "AGPL-3.0-only",
    "agplv3": "AGPL-3.0-only",
    "lgpl": "LGPL-3.0-or-later", "lgpl 3.0": "LGPL-3.0-only", "lgpl 2.1": "LGPL-2.1-only",
    "mpl": "MPL-2.0", "mpl2": "MPL-2.0", "gfdl": "GFDL-1.3-or-later", "wtfpl": "WTFPL",
    "afl 3.0": "AFL-3.0",
    "cdla permissive 2.0": "CDLA-Permissive-2.0", "cdla sharing 1.0": "CDLA-Sharing-1.0",
    "artistic 2.0": "Artistic-2.0",
    "etalab 2.0": "etalab-2.0", "isc license": "ISC",
}  # fmt: skip
"""Names in use, without case and punctuation -> SPDX."""
_REFERENCES = {
    "llama2": "Llama-2", "llama 2": "Llama-2", "llama3": "Llama-3", "llama 3": "Llama-3",
    "llama3.1": "Llama-3.1",
    "llama 3.1": "Llama-3.1", "llama3.2": "Llama-3.2", "llama 3.2": "Llama-3.2",
    "llama3.3": "Llama-3.3",
    "llama 3.3": "Llama-3.3", "llama4": "Llama-4", "llama 4": "Llama-4", "gemma": "Gemma",
    "openrail": "OpenRAIL",
    "openrail++": "OpenRAIL-PP", "creativeml openrail m": "CreativeML-OpenRAIL-M",
    "bigscience openrail m": "BigScience-OpenRAIL-M",
    "bigscience bloom rail 1.0": "BigScience-BLOOM-RAIL-1.0",
    "bigcode openrail m": "BigCode-OpenRAIL-M", "qwen": "Qwen", "qwen research": "Qwen-Research",
    "deepseek": "DeepSeek", "mistral ai research license": "MRL", "mnpl": "MNPL",
    "fair noncommercial research license": "FAIR-NC",
    "apple amlr": "Apple-AMLR", "intel research": "Intel-Research", "c uda": "C-UDA",
    "proprietary": "Proprietary",
    "commercial": "Proprietary", "internal": "Proprietary", "all rights reserved": "Proprietary",
}  # fmt: skip
"""Licences without an SPDX name: of models, and of what an organisation owns."""
_RESEARCH_ONLY = frozenset(
    {"Qwen-Research", "MRL", "MNPL", "FAIR-NC", "Apple-AMLR", "Intel-Research"}
)
_MISSING = frozenset(
    {
        "",
        "unknown",
        "none",
        "other",
        "n a",
        "na",
        "null",
        "unspecified",
        "not specified",
        "tbd",
        "undefined",
    }
)
_CREATIVE_COMMONS = re.compile(
    r"(?:creative commons|cc)[ -]?(by(?:[ -](?:nc|nd|sa))*)(?:[ -]v?(\d(?:\.\d)?))?"
)
_LONG_COMMONS = (
    (re.compile(r"\battribution\b"), "by"), (re.compile(r"\bnon ?commercial\b"), "nc"),
    (re.compile(r"\bno ?deriv(?:ative)?s?(?: works)?\b"), "nd"),
    (re.compile(r"\bshare ?alike\b"), "sa"),
)  # fmt: skip
_NON_COMMERCIAL = re.compile(r"-NC\b|noncommercial|non-commercial", re.I)
_NO_DERIVATIVES = re.compile(r"-ND\b")
_SHARE_ALIKE = re.compile(r"-SA\b|^ODbL|^CDLA-Sharing|^GFDL|^C-UDA")
_COPYLEFT = re.compile(
    r"^(?:A|L)?GPL-|^(?:MPL|EPL|EUPL|CDDL|OSL|SSPL|CECILL|MS-RL|QPL)\b|^CPAL-", re.I
)


def read_licence(name: str | None) -> Licence:
    """What a name or an SPDX expression says; any spelling of the usual ones.

    The marks are those of the name, not legal advice. In an expression with OR the mildest
    choice counts, with AND all of them.
    """
    plain = _plain(name or "")
    if plain in _MISSING:
        return Licence(None, known=False)
    if plain in _REFERENCES:
        reference = _REFERENCES[plain]
        return Licence(
            f"LicenseRef-{reference}", known=True, non_commercial=reference in _RESEARCH_ONLY
        )
    expression = _ALIASES.get(plain) or _commons(plain) or (name or "").strip()
    parsed = _parsed(expression)
    if parsed is None:
        label = re.sub(r"[^A-Za-z0-9.]+", "-", (name or "").strip()).strip("-")[:64] or "Unnamed"
        label = label.removeprefix("LicenseRef-")
        return Licence(f"LicenseRef-{label}", known=False, non_commercial=_non_commercial(label))
    return _marked(parsed)


def concerns(data: Licence, model: Licence | None, where: str) -> list[str]:
    """Sentences for people about data of a licence that a model of a licence is to learn from.

    where: what the data is called, which begins each sentence. model: None if nothing is known.
    """
    if data.spdx is None:
        return [f"{where} states no licence: nobody has said that a model may learn from it."]
    found = []
    if not data.known:
        found.append(
            f"{where} has the licence {data.spdx}, whose terms are not known here: read it."
        )
    if data.non_commercial:
        found.append(
            f"{where} is for non-commercial use only ({data.spdx}): a model for a business may "
            f"not learn from it."
        )
    if data.no_derivatives:
        found.append(
            f"{where} may not be adapted ({data.spdx}): whether a tuned model is an adaptation "
            f"is disputed."
        )
    if data.share_alike or data.copyleft:
        found += _same_licence(data, model, where)
    return found


def _same_licence(data: Licence, model: Licence | None, where: str) -> list[str]:
    """What a licence that passes itself on means beside the model's."""
    asks = f"{where} asks that works made from it keep its licence ({data.spdx})"
    if model is None or model.spdx is None:
        return [
            f"{asks}: whether a tuned model is such a work is disputed; the model's licence is "
            f"not stated."
        ]
    if model.spdx == data.spdx:
        return []
    return [
        f"{asks}, and the model's is {model.spdx}: whether a tuned model is such a work is "
        f"disputed."
    ]


def _plain(name: str) -> str:
    plain = re.sub(r"[\s_,()/-]+", " ", name.lower()).strip(" .")
    plain = re.sub(
        r"\b(?:licen[cs]e agreement|community licen[cs]e(?: agreement)?|international|unported|"
        r"generic)\b",
        "",
        plain,
    )
    return re.sub(r"\s+", " ", plain).strip()


def _commons(plain: str) -> str | None:
    """An SPDX name for a spelling of a Creative Commons licence."""
    found = _CREATIVE_COMMONS.search(plain)
    if found:
        terms = found[1].replace(" ", "-").upper()
        version = found[2] or "4.0"
    elif "creative commons" in plain and "attribution" in plain:
        terms = "-".join(short for words, short in _LONG_COMMONS if words.search(plain)).upper()
        numbers = re.search(r"\d(?:\.\d)?", plain)
        version = numbers[0] if numbers else "4.0"
    else:
        return None
    return f"CC-{terms}-{version if '.' in version else version + '.0'}"


@functools.cache
def _symbols() -> Any:
    """SPDX's names, which take some time to read."""
    import license_expression

    return license_expression.get_spdx_licensing()


def _parsed(expression: str) -> Any | None:
    """The expression, if SPDX knows every name in it."""
    import license_expression

    if len(expression) > 256:
        return None
    try:
        return _symbols().parse(expression, validate=True)
    except (license_expression.ExpressionError, license_expression.ParseError):
        return None


def _marked(parsed: Any) -> Licence:
    """The marks of an expression: of its mildest choice where it leaves one."""
    operator = str(getattr(parsed, "operator", "")).strip()
    if not getattr(parsed, "args", ()) or operator not in ("AND", "OR"):
        return _of_name(str(parsed))
    parts = [_marked(part) for part in parsed.args]
    joined = any if operator == "AND" else all
    return Licence(
        spdx=str(parsed),
        known=joined(part.known for part in parts)
        if operator == "OR"
        else all(part.known for part in parts),
        non_commercial=joined(part.non_commercial for part in parts),
        no_derivatives=joined(part.no_derivatives for part in parts),
        share_alike=joined(part.share_alike for part in parts),
        copyleft=joined(part.copyleft for part in parts),
    )


def _of_name(spdx: str) -> Licence:
    return Licence(
        spdx=spdx,
        known=True,
        non_commercial=_non_commercial(spdx),
        no_derivatives=_NO_DERIVATIVES.search(spdx) is not None,
        share_alike=_SHARE_ALIKE.search(spdx) is not None,
        copyleft=_COPYLEFT.match(spdx) is not None,
    )


def _non_commercial(name: str) -> bool:
    return _NON_COMMERCIAL.search(name) is not None
