"""One line per finished step with its seconds, safe to call from several threads."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_BEGAN = time.monotonic()
_LOCK = threading.Lock()


def say(text: str) -> None:
    """A line for a person, on stderr, so that `env` and `api` can be piped."""
    with _LOCK:
        print(f"[{time.monotonic() - _BEGAN:6.1f}s] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str, *, announce: bool = False) -> Iterator[None]:
    """Tell how long the block took; `announce` says so at its start too, for the long ones."""
    began = time.monotonic()
    if announce:
        say(f"{text} ...")
    try:
        yield
    except BaseException:
        say(f"{text}: FAILED after {time.monotonic() - began:.1f} s")
        raise
    say(f"{text}: {time.monotonic() - began:.1f} s")
