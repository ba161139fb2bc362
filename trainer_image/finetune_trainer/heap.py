"""What garbage collection looks at."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settled_heap() -> Iterator[None]:
    """Leave what lives now out of garbage collection until the context ends.

    The modules of torch and transformers alone are so many objects that to look at them all, which
    frees none, takes a quarter of a second each time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
