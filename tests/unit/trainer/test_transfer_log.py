"""What is said of a download: enough to see it move, not more."""

import pytest
from finetune_trainer.transfer_log import TransferLog

MIB, GIB = 2**20, 2**30


class Told:
    """A log whose clock the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lines: list[str] = []
        self.log = TransferLog(self.lines.append, clock=lambda: self.now)

    def after(self, seconds: float, done: int, total: int) -> None:
        self.now += seconds
        self.log(done, total)


def test_a_line_says_how_much_and_how_fast_it_is_now() -> None:
    told = Told()
    told.after(5, GIB, 2 * GIB)
    told.after(5, GIB + 512 * MIB, 2 * GIB)

    assert told.lines == ["fetched 1.0 of 2.0 GiB, 205 MiB/s", "fetched 1.5 of 2.0 GiB, 102 MiB/s"]


def test_lines_are_five_seconds_apart() -> None:
    told = Told()
    for step in range(100):
        told.after(0.2, step * MIB, 1000 * MIB)

    assert len(told.lines) == 4


@pytest.mark.parametrize(("size", "lines"), [(MIB, 0), (100 * MIB, 1)])
def test_what_is_fetched_at_once_is_told_once_if_it_is_large(size: int, lines: int) -> None:
    told = Told()
    told.after(1, size, size)
    told.after(10, size, size)

    assert len(told.lines) == lines


def test_the_end_of_a_download_that_was_spoken_of_is_told() -> None:
    told = Told()
    told.after(6, MIB, 2 * MIB)
    told.after(1, 2 * MIB, 2 * MIB)

    assert told.lines[-1] == "fetched 2.0 of 2.0 MiB, 1 MiB/s"
