"""The live bar on a terminal."""

from types import TracebackType
from typing import Self, TextIO

from finetune_api.progress import Progress
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from finetune_cli.text import progress_numbers


class BarView:
    """A spinner, the stage, a bar once steps are known, and the numbers beside it."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._bar = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[numbers]}"),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def note(self, line: str) -> None:
        self._console.print(escape(line), soft_wrap=True)

    def show(self, label: str, progress: Progress | None) -> None:
        if self._task is None:
            self._task = self._bar.add_task("", total=None, numbers="")
        known = progress is not None and progress.total_steps > 0
        self._bar.update(
            self._task,
            description=escape(label),
            total=progress.total_steps if progress and known else None,
            completed=progress.step if progress else 0,
            numbers=progress_numbers(progress) if progress else "",
        )
