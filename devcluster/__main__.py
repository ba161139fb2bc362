"""python -m devcluster up | down | status | env | images | api"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster import external
from devcluster.apionly import api_server
from devcluster.down import down
from devcluster.errors import DevclusterError, Refusal
from devcluster.images import IMAGES, images
from devcluster.paths import Layout, layout
from devcluster.preflight import not_root
from devcluster.status import status
from devcluster.up import up
from devcluster.variables import environment, shell_exports


def main() -> int:
    """Run one command; an error is a message on stderr and exit code 1."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _dispatch(arguments, layout())
    except DevclusterError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devcluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="bring the cluster up or back to health")
    start.add_argument("--kubeconfig", help="use this cluster ($FINETUNE_KUBECONFIG)")
    end = commands.add_parser("down", help="end the cluster")
    end.add_argument("--purge", action="store_true", help="remove images and all state too")
    commands.add_parser("status", help="what runs; exit code 0 if all is well")
    shown = commands.add_parser("env", help="shell exports for kubectl, helm and S3")
    shown.add_argument("--json", action="store_true", help="as one JSON object")
    build = commands.add_parser("images", help="build the project's images for the node")
    build.add_argument("names", nargs="*", choices=[*IMAGES, []], default=[], metavar="NAME")
    commands.add_parser("api", help="an API server alone, until Ctrl-C")
    return parser


def _dispatch(arguments: argparse.Namespace, place: Layout) -> int:
    match arguments.command:
        case "up":
            _up(place, arguments.kubeconfig or os.environ.get("FINETUNE_KUBECONFIG"))
        case "down":
            _down(place, purge=arguments.purge)
        case "status":
            _require_root()
            return 0 if status(place) else 1
        case "env":
            found = environment()
            print(json.dumps(found) if arguments.json else shell_exports(found))
        case "images":
            _require_root()
            with _alone(place):
                images(place, arguments.names)
        case "api":
            _api()
    return 0


def _up(place: Layout, kubeconfig: str | None) -> None:
    if kubeconfig:
        external.use(place, Path(kubeconfig))
    elif external.kind_available():
        external.use_kind(place)
    else:
        _require_root()
        with _alone(place):
            up(place)


def _down(place: Layout, *, purge: bool) -> None:
    if external.recorded(place) is not None:
        external.forget(place)
        return
    _require_root()
    if place.home.exists() or place.run.exists():
        with _alone(place):
            down(place, purge=purge)


def _api() -> None:
    with api_server() as server:
        print(f"export KUBECONFIG={server.kubeconfig}", flush=True)
        signal.pause()


def _require_root() -> None:
    if reason := not_root(os.geteuid()):
        raise Refusal(reason)


@contextmanager
def _alone(place: Layout) -> Iterator[None]:
    """Two commands at once would undo each other's work; the second waits."""
    place.home.mkdir(parents=True, exist_ok=True)
    with (place.home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
