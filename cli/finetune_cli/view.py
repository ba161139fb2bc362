"""Shows progress: a live bar on a terminal, one line for each change elsewhere."""

import sys
import time
from types import TracebackType
from typing import Protocol, Self, TextIO

from finetune_api.progress import Progress

from finetune_cli.text import progress_numbers

_QUIET_SECONDS = 15.0
_QUIET_PERCENT = 10


class View(Protocol):
    """Where progress is shown; a context manager that cleans the terminal up."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def note(self, line: str) -> None:
        """Print a line for good."""

    def show(self, label: str, progress: Progress | None) -> None:
        """Show what is going on now; called again with the same as often as one likes."""


def make_view(stream: TextIO | None = None) -> View:
    """The view that fits the stream."""
    out = stream or sys.stdout
    if out.isatty():
        from finetune_cli.bar import BarView

        return BarView(out)
    return LineView(out)


class LineView:
    """Plain lines: at each change of label, each tenth of the way, or each quarter minute."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._label = ""
        self._percent = 0
        self._text = ""
        self._at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def note(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def show(self, label: str, progress: Progress | None) -> None:
        numbers = progress_numbers(progress) if progress else ""
        text = f"{label}: {numbers}" if numbers else label
        percent = (progress.stage_percent or progress.percent) if progress else 0
        moved = text != self._text and (
            percent - self._percent >= _QUIET_PERCENT
            or time.monotonic() - self._at > _QUIET_SECONDS
        )
        if label != self._label or moved:
            self._label, self._percent, self._text = label, percent, text
            self._at = time.monotonic()
            self.note(text)
