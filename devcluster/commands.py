"""Running a program to its end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcluster.errors import Refusal, failure


def run(
    command: Sequence[str | Path],
    *,
    advice: str = "Correct this and run the same command again.",
    stdin: str | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Output of a program that must succeed; CommandFailed shows the end of what it printed."""
    result = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        shown = " ".join(str(word) for word in command[:3])
        raise failure(shown, result.stderr + result.stdout[-2000:], advice)
    return result.stdout


def succeeds(command: Sequence[str | Path], timeout: float = 20.0) -> bool:
    """Whether a program exists and ends with 0."""
    return output_of(command, timeout) is not None


def output_of(command: Sequence[str | Path], timeout: float = 20.0) -> str | None:
    """What a program prints, or None if it is missing, fails or hangs."""
    try:
        result = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout if result.returncode == 0 else None


def program(name: str, advice: str) -> Path:
    """Path of a program that has to be installed."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/go/bin:/usr/sbin")
    if found is None:
        raise Refusal(f"The program {name} is missing: {advice}.")
    return Path(found)
