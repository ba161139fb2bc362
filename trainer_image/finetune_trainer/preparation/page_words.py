"""Numbers and names as people read them."""

from collections.abc import Mapping

from finetune_trainer.checks.language import UNDETERMINED
from finetune_trainer.data.faults import Fault

MOST_CHARACTERS = 256
"""Of an address or a message that are shown; the .json file has the whole."""
_SHOWN_HIDDEN = frozenset({"\u200c", "\u200d"})
"""Joiners: they shape letters and emoji, and reorder nothing."""
_ODD_SPACES = frozenset("\r\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029")
_FAULTS: Mapping[Fault, str] = {
    Fault.ENCODING: "not UTF-8",
    Fault.LINE_LENGTH: "line too long",
    Fault.JSON: "not JSON",
    Fault.NOT_AN_OBJECT: "not an object",
    Fault.MISSING: "field missing",
    Fault.TYPE: "field of a wrong type",
    Fault.EMPTY: "empty",
    Fault.TURNS: "turns out of order",
    Fault.TOOLS: "tools that cannot be used",
    Fault.TEMPLATE: "refused by the chat template",
    Fault.MASK: "learnt part not found",
    Fault.NO_LABELS: "nothing to learn",
    Fault.PAIR: "no usable pair",
    Fault.RECORD: "damaged record",
    Fault.FILE: "file not readable",
    Fault.SCANNED: "scanned pages without text",
    Fault.LIMIT: "over a limit of what is read",
}
"""Kinds of invalid rows, as the end of "invalid: "."""
_CHECKS: Mapping[str, str] = {
    "personalData": "Personal data",
    "license": "Licence",
    "leakage": "Leakage into evaluation",
}
_LANGUAGES: Mapping[str, str] = {
    UNDETERMINED: "not sure",
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech",
    "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "et": "Estonian", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew",
    "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "ms": "Malay",
    "nb": "Norwegian Bokmål", "nl": "Dutch", "nn": "Norwegian Nynorsk", "no": "Norwegian",
    "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak",
    "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil",
    "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip


def number(count: int) -> str:
    """With thousands separators."""
    return f"{count:,}"


def counted(count: int, thing: str) -> str:
    """1 row, 2 rows, 3,000 rows."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def share(part: int, whole: int) -> str:
    """A percentage; what is not all or nothing does not look like it."""
    if not part or part == whole:
        return "100%" if part else "0%"
    percent = 100 * part / whole
    if percent < 0.1:
        return "under 0.1%"
    return "over 99.9%" if percent > 99.9 else f"{percent:.1f}%"


def fault_in_words(kind: str) -> str:
    """NotUtf8 is "not UTF-8"."""
    known = kind in Fault.__members__.values()
    return _FAULTS[Fault(kind)] if known else kind


def check_in_words(check: str) -> str:
    """The name of a check of data.checks, to begin a line."""
    return _CHECKS.get(check, check.capitalize())


def language_in_words(code: str) -> str:
    """German (de)."""
    name = _LANGUAGES.get(code)
    return f"{name} ({code})" if name else code


def is_hidden(character: str) -> bool:
    """Whether a character cannot be seen, or changes how others are: control and format
    characters, those that turn the direction of writing, and what is no character."""
    if character.isprintable() or character in _SHOWN_HIDDEN:
        return False
    return character in _ODD_SPACES or not character.isspace()


def with_marks(text: str) -> str:
    """`text` with the number of each hidden character in its place."""
    return "".join(f"[U+{ord(each):04X}]" if is_hidden(each) else each for each in text)


def visible(text: str, most: int = MOST_CHARACTERS) -> str:
    """One line in which nothing is hidden; its middle is left out where it is long."""
    line = with_marks(_cut(text, most).replace("\n", " "))
    return _cut(line, 2 * most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} … {text[-(most // 2) :]}"
