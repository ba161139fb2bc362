"""A file that cannot be read, and the bounds that reading it has."""

from dataclasses import dataclass

from finetune_trainer.data.faults import MAX_MESSAGE, Fault

_MIB = 2**20


class UnreadableFile(Exception):
    """A file that gives no rows; the message never holds content of the file."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message[:MAX_MESSAGE]


@dataclass(frozen=True)
class Limits:
    """What converting one file may use; beyond it the file is reported as Fault.LIMIT."""

    memory: int = 2 * 2**30
    """Bytes of address space beyond what the fresh process has."""
    seconds: float = 60
    """Wall-clock time for a file of up to 1 MiB as stored; see `seconds_for`."""
    output: int = 32 * 2**30
    """Bytes written to one file: the rows, or what a compressed file inflates to."""
    ratio: int = 200
    """Inflated bytes for each stored one, once more than `ratio_after` bytes were inflated."""
    ratio_after: int = 256 * _MIB
    """Inflated bytes up to which any ratio is taken: small files of zeros compress well."""

    def seconds_for(self, size: int) -> float:
        """Seconds for a file of `size` bytes: a quarter of `seconds` more for each MiB over 1."""
        return self.seconds * (1 + max(0, size - _MIB) / _MIB / 4)

    def check_inflated(self, inflated: int, stored: int) -> None:
        """Raise UnreadableFile LIMIT if `stored` bytes inflated to too many."""
        if inflated > self.output:
            raise over_output(self.output)
        if inflated > self.ratio_after and inflated > self.ratio * stored:
            raise UnreadableFile(
                Fault.LIMIT,
                f"inflates to more than {self.ratio} times its size, as a decompression bomb "
                "does; give it uncompressed",
            )


def over_output(limit: int) -> UnreadableFile:
    """The fault of a file that becomes more than `limit` bytes."""
    return UnreadableFile(
        Fault.LIMIT, f"becomes more than {limit / _MIB:,.0f} MiB when read; split the file"
    )


def over_memory(limit: int) -> UnreadableFile:
    """The fault of a file that needs more than `limit` bytes of memory."""
    return UnreadableFile(
        Fault.LIMIT, f"needs more than {limit / _MIB:,.0f} MiB of memory to read; split the file"
    )


def over_time(limit: float) -> UnreadableFile:
    """The fault of a file that takes longer than `limit` seconds."""
    return UnreadableFile(
        Fault.LIMIT, f"takes longer than {limit:,.0f} s to read; split or simplify the file"
    )
