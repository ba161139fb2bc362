"""Processes that turn chunks of rows into tokens, on all cores that this pod may use."""

import gc
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

from finetune_api.errors import InternalError
from finetune_api.reasons import Reason

from finetune_trainer.cpus import available_cpus, end_with_parent
from finetune_trainer.preparation.row_work import Batch, RowTask, RowWorker, RowWorkerMaker

SMALL_BYTES = 12 * 2**20
"""Up to this much data one process is done sooner than others have started."""
_AHEAD = 2
"""Tasks that wait for each process, so that none is idle; they bound the memory."""


def warm_up(size: int) -> None:
    """Let a server of processes import what they need, where `size` bytes of data will be read by
    several: it does so while other things are done, and once for all of them."""
    if size > SMALL_BYTES and available_cpus() > 1:
        _context()
        forkserver.ensure_running()


def _context() -> BaseContext:
    # Processes are forked from one that has neither threads nor torch.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@contextmanager
def crew(
    make: RowWorkerMaker, size: int
) -> Iterator[Callable[[Iterable[RowTask]], Iterator[Batch]]]:
    """What becomes of tasks, in the order of the tasks.

    Args:
        make: makes the worker of a process.
        size: bytes of data. Little data, or one core, is worked off in this process.

    Raises InternalError when a process dies.
    """
    processes = available_cpus()
    if processes == 1 or size <= SMALL_BYTES:
        with closing(make()) as work:
            yield lambda tasks: map(work, tasks)
        return
    pool = ProcessPoolExecutor(processes, _context(), _begin, (make,))
    try:
        yield lambda tasks: _in_order(pool, tasks, processes * _AHEAD)
    except BrokenProcessPool as error:
        raise InternalError(
            Reason.INTERNAL_ERROR,
            "a process that reads rows died, most likely for want of memory: raise "
            "preparation.resources, or lower its CPUs",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, tasks: Iterable[RowTask], ahead: int) -> Iterator[Batch]:
    pending: deque[Future[Batch]] = deque()
    for task in tasks:
        pending.append(pool.submit(_run, task))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


_workers: list[RowWorker] = []
"""The worker of this process, once it has begun."""


def _begin(make: RowWorkerMaker) -> None:
    end_with_parent()  # the server of processes, which ends with ours
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    _workers.append(make())
    gc.freeze()  # what lives now, lives on


def _run(task: RowTask) -> Batch:
    return _workers[0](task)
