"""Which language a text is in."""

import functools
import re
from dataclasses import dataclass
from typing import Any

from finetune_trainer.checks.words import count_unspaced

UNDETERMINED = "und"
"""ISO 639-2's code for a language that is not known."""
LEAST_CHARACTERS = 40
LEAST_PROBABILITY = 0.65
_MOST_CHARACTERS = 1_200
_MACRO = dict.fromkeys(("wuu", "yue", "hak", "nan", "gan", "hsn", "cdo", "lzh"), "zh")
"""Chinese languages, which are written alike, as the one code that people expect."""
_NO_LANGUAGE = frozenset({"zxx", "mul", "mis"})
_UNSPACED_WORTH = 3
"""A character of a script without spaces says as much as three letters."""
_NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]{1,200}`|\b(?:https?|ftp)://\S+|\bwww\.\S+|"
    r"[\w.+-]{1,64}@[\w-]{1,63}\.[\w.]{2,63}|<[^<>\n]{1,200}>|\[[A-Z_]{2,30}_\d{1,9}\]",
    re.DOTALL,
)
_MARKS = re.compile(r"[`~<\[@]|://|www\.")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Language:
    """An ISO 639 code, "und" if it is not sure, and how probable it is (0 to 1)."""

    code: str
    probability: float


def language_of(text: str) -> Language:
    """The language of the prose in a text; blocks of code and addresses do not count.

    Looks at 1,200 characters at most: the beginning, the middle and the end. "und" below 40
    characters (a Chinese or Thai one counts three times) or a probability of .65, which is
    where the classifier starts to guess (the threshold of FineWeb's pipeline).
    """
    prose = _prose(text)
    if len(prose) < LEAST_CHARACTERS:
        weight = len(prose) + (_UNSPACED_WORTH - 1) * count_unspaced(prose)
        if weight < LEAST_CHARACTERS:
            return Language(UNDETERMINED, 0.0)
    code, probability = _identifier().classify(prose)
    if probability < LEAST_PROBABILITY or code in _NO_LANGUAGE:
        return Language(UNDETERMINED, float(probability))
    return Language(_MACRO.get(code, str(code)), float(probability))


def _prose(text: str) -> str:
    text = _sample(text, 4 * _MOST_CHARACTERS)
    if _MARKS.search(text):
        text = _NOT_PROSE.sub(" ", text)
    return _sample(_SPACE.sub(" ", text).strip(), _MOST_CHARACTERS)


def _sample(text: str, most: int) -> str:
    """Three equal pieces of a longer text."""
    if len(text) <= most:
        return text
    third = most // 3
    middle = (len(text) - third) // 2
    return "\n".join((text[:third], text[middle : middle + third], text[-third:]))


@functools.cache
def _identifier() -> Any:
    """The classifier, which takes .8 s to load: once per process, when it is first needed."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
