"""What can be wrong with a row, or with a file that rows are read from."""

from enum import StrEnum

MAX_FIELD = 128
MAX_MESSAGE = 256


class Fault(StrEnum):
    """Kinds of bad rows and unreadable files, as the report counts them."""

    ENCODING = "NotUtf8"
    LINE_LENGTH = "LineTooLong"
    JSON = "NotJson"
    NOT_AN_OBJECT = "NotAnObject"
    MISSING = "FieldMissing"
    TYPE = "WrongType"
    EMPTY = "Empty"
    TURNS = "BadTurns"
    TOOLS = "BadTools"
    TEMPLATE = "TemplateRefused"
    MASK = "NoLossMask"
    NO_LABELS = "NoLabelTokens"
    PAIR = "NoPair"
    RECORD = "BadRecord"
    FILE = "UnreadableFile"
    SCANNED = "NeedsOcr"
    LIMIT = "OverLimit"


OF_FILES = frozenset({Fault.FILE, Fault.SCANNED, Fault.LIMIT})
"""Faults of a file as a whole."""


class InvalidRow(Exception):
    """A row that cannot be trained on; the message never holds a value of the row."""

    def __init__(self, fault: Fault, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message[:MAX_MESSAGE]
        self.field = field[:MAX_FIELD] if field is not None else None

    def __reduce__(self) -> tuple[type["InvalidRow"], tuple[Fault, str, str | None]]:
        return InvalidRow, (self.fault, self.message, self.field)


def kind_of(value: object) -> str:
    """The JSON word for the type of `value`, to be shown in its place."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"
