"""TRL's Triton kernels, which are compiled when they are first called."""

import os
import shutil

from trl.kernels import chunked_logprob


def compile_only_where_possible() -> None:
    """Let TRL compute in plain torch where Triton would find no C compiler, as in the trainer's
    image; it has that form of its kernels too, for devices without Triton."""
    compilers = (os.environ.get("CC"), shutil.which("gcc"), shutil.which("clang"))
    if not any(compilers):
        chunked_logprob._TRITON_AVAILABLE = False
