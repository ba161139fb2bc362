"""Rules that score an answer from 0 to 1, by name in the spec."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import regex
from finetune_api.spec import RewardFunction, RewardFunctionType

log = logging.getLogger("finetune")

_SECONDS = 1.0
"""A pattern may look at one answer for this long; some take for ever on some texts."""
_FENCES = ("```", "```json")


@dataclass(frozen=True)
class Answered:
    """An answer that the model wrote."""

    text: str
    """Without special tokens."""
    tokens: int
    """Length, the token that ends it included."""
    wanted: str
    """The right answer, from the row; empty where it has none."""


Score = Callable[[Answered], float]


def score_of(function: RewardFunction) -> Score:
    """The rule that a resolved spec describes."""
    match function.type:
        case RewardFunctionType.REGEX:
            pattern = regex.compile(function.pattern or "")
            return lambda answer: float(_search(pattern, answer.text) is not None)
        case RewardFunctionType.EXACT_ANSWER:
            return _exact(regex.compile(function.pattern) if function.pattern else None)
        case RewardFunctionType.LENGTH:
            most = function.max_tokens or 1
            return lambda answer: min(1.0, max(0.0, 2.0 - answer.tokens / most))
        case RewardFunctionType.JSON_VALID:
            return lambda answer: float(_is_json(answer.text))


def _exact(pattern: Any) -> Score:
    def score(answer: Answered) -> float:
        said: str | None = answer.text
        if pattern is not None:
            found = _search(pattern, answer.text, last=True)
            said = found.group(1) if found else None
        return float(said is not None and said.strip() == answer.wanted.strip())

    return score


def _search(pattern: Any, text: str, *, last: bool = False) -> Any:
    """The first match, or the last; none where the search takes too long."""
    try:
        if not last:
            return pattern.search(text, timeout=_SECONDS)
        matches = list(pattern.finditer(text, timeout=_SECONDS))
    except TimeoutError:
        log.warning("a reward function's pattern took longer than %g s on an answer", _SECONDS)
        return None
    return matches[-1] if matches else None


def _is_json(text: str) -> bool:
    try:
        json.loads(_unfenced(text), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _unfenced(text: str) -> str:
    """What a fenced code block holds, or the text itself. A model may write fences and blank lines
    for ever, on which a pattern would take as long."""
    opening, _, rest = text.strip().partition("\n")
    content, _, closing = rest.rpartition("\n")
    fenced = opening.rstrip() in _FENCES and closing.strip() == _FENCES[0]
    return content if fenced else text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
