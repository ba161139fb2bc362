"""The process that reads people's files: `python -m finetune_trainer.ingest.child PARENT OUTPUT`.

It takes requests on standard input and ends with it. A file that makes it crash costs this
process only; the converter then starts another.
"""

import errno
import logging
import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest import confine, readers
from finetune_trainer.ingest.failure import UnreadableFile, over_memory, over_output
from finetune_trainer.ingest.messages import READY, Reply, Request, decode_request, encode

_SPENT = 4
"""A child that keeps more than this part of its memory limit after a file is replaced."""


def main() -> None:
    """Serve requests until standard input ends."""
    parent, output = int(sys.argv[1]), int(sys.argv[2])
    confine.tie_to_parent(parent)
    # The converter ends this process; a signal to the whole group is for the converter.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    confine.give_up_rights(output)
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    _silence()
    fresh = confine.address_space()
    for line in sys.stdin.buffer:
        request = decode_request(line)
        fresh += _import(request)
        replies.write(READY)
        replies.write(encode(_answer(request, fresh)))


def _silence() -> None:
    """Readers print and log what they find, which may be text of the file."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def _import(request: Request) -> int:
    """Import what the request needs; returns the bytes of address space that took."""
    confine.unbind_memory()
    before = confine.address_space()
    readers.prepare(request.kind, request.compression)
    return confine.address_space() - before


def _answer(request: Request, fresh: int) -> Reply:
    limits = request.limits
    confine.bound_processor_time(2 * limits.seconds_for(Path(request.path).stat().st_size))
    confine.bound_memory(fresh + limits.memory)
    try:
        reply = Reply(rows=readers.convert(request))
    except UnreadableFile as error:
        reply = Reply(fault=error.fault, message=error.message)
    except MemoryError:
        reply = _fault(over_memory(limits.memory))
    except RecursionError:
        reply = _fault(UnreadableFile(Fault.FILE, "is nested too deeply to be read"))
    except OSError as error:
        reply = _system_error(error, request)
    except Exception as error:  # noqa: BLE001 (any fault of a parser is a fault of its file)
        reply = _fault(_damaged(error, request))
    grown = confine.address_space() - fresh
    return replace(reply, spent=grown > limits.memory / _SPENT)


def _system_error(error: OSError, request: Request) -> Reply:
    if error.errno == errno.EFBIG:
        return _fault(over_output(request.limits.output))
    if error.errno == errno.ENOMEM:
        return _fault(over_memory(request.limits.memory))
    if error.errno is None:  # parsers raise it for damaged files
        return _fault(_damaged(error, request))
    return Reply(error=error.errno)


def _damaged(error: Exception, request: Request) -> UnreadableFile:
    kind = request.kind
    return UnreadableFile(
        Fault.FILE, f"is damaged or no {kind} file: it cannot be read ({type(error).__name__})"
    )


def _fault(error: UnreadableFile) -> Reply:
    return Reply(fault=error.fault, message=error.message)


if __name__ == "__main__":
    main()
