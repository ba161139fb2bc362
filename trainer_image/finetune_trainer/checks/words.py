"""Words of a text, of any script, as numbers."""

import re
import unicodedata

import numpy as np
import numpy.typing as npt
import xxhash

Words = npt.NDArray[np.uint32]

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
"""Scripts without spaces between words. Korean has them."""
_SEPARATORS = (
    r"\s!-/:-@\[-`{-~\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf\u037e\u055d\u0589\u05be\u060c\u061b"
    r"\u061f\u066a-\u066d\u06d4\u0964\u0965\u2000-\u206f\u2190-\u2bff\u2e00-\u2e7f\u3000-\u3004"
    r"\u3008-\u3020\ufe10-\ufe6f"
)
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_WORD = re.compile(rf"[{_UNSPACED}]|[^{_SEPARATORS}{_UNSPACED}]+")
_ONE_UNSPACED = re.compile(rf"[{_UNSPACED}]")


def normalised(text: str) -> str:
    """NFKC, lower case, every run of white space one space; marks and signs stay."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.lower().split())


def words_of(normal: str) -> list[str]:
    """The words of a normalised text without punctuation.

    A character of a script without spaces (Chinese, Japanese, Thai, Khmer ...) is a word.
    """
    return (_ASCII_WORD if normal.isascii() else _WORD).findall(normal)


def hashes_of(words: list[str]) -> Words:
    """[N] The lower half of XXH3 of each word."""
    digest = xxhash.xxh3_64_intdigest
    return np.array([digest(word.encode()) for word in words], np.uint64).astype(np.uint32)


def count_unspaced(text: str) -> int:
    """Characters of scripts without spaces."""
    return 0 if text.isascii() else len(_ONE_UNSPACED.findall(text))
