"""Stands between a client and a real S3 server and breaks answers as networks and stores do."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_BLOCK = 2**16


@dataclass
class Fault:
    """What happens to one GET of an object."""

    status: int | None = None
    """Answer with this status and `code`, asking nobody."""
    code: str = "SlowDown"
    cut_after: int | None = None
    """Reset the connection after so many bytes of the body."""
    stall_after: int | None = None
    """Send nothing more after so many bytes, until the relay ends."""
    spoil: bool = False
    """Change the first byte of the body."""
    before: Callable[[], object] | None = None
    """Called before the server is asked."""


@dataclass
class Relay:
    """The faults that wait for the next GETs of objects, and what was asked."""

    endpoint: str = ""
    faults: deque[Fault] = field(default_factory=deque)
    ranges: list[str | None] = field(default_factory=list)
    """Range header of each GET of an object, in order."""
    ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def relay_to(server: str) -> Iterator[Relay]:
    """A relay to the S3 server at the URL `server`."""
    relay, target = Relay(), urlsplit(server).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self) -> None:
            _serve(self, relay, target)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    made = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    relay.endpoint = f"http://127.0.0.1:{made.server_address[1]}"
    try:
        yield relay
    finally:
        relay.ended.set()
        made.shutdown()
        made.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients that hang up are part of the play."""


def _serve(handler: BaseHTTPRequestHandler, relay: Relay, target: str) -> None:
    length = int(handler.headers.get("Content-Length") or 0)
    body = handler.rfile.read(length) if length else None
    fault = Fault()
    if handler.command == "GET" and "list-type" not in handler.path:
        relay.ranges.append(handler.headers.get("Range"))
        fault = relay.faults.popleft() if relay.faults else fault
    if fault.before is not None:
        fault.before()
    if fault.status is not None:
        return _refuse(handler, fault)
    connection = HTTPConnection(target)
    try:
        connection.request(handler.command, handler.path, body, dict(handler.headers.items()))
        _pass_on(handler, connection.getresponse(), fault, relay)
    finally:
        connection.close()


def _refuse(handler: BaseHTTPRequestHandler, fault: Fault) -> None:
    text = f"<Error><Code>{fault.code}</Code><Message>no</Message></Error>".encode()
    handler.send_response(fault.status or 500)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)


def _pass_on(
    handler: BaseHTTPRequestHandler, answer: HTTPResponse, fault: Fault, relay: Relay
) -> None:
    handler.send_response_only(answer.status)
    for name, value in answer.getheaders():
        if name.lower() not in ("connection", "transfer-encoding"):
            handler.send_header(name, value)
    handler.end_headers()
    sent = 0
    while block := answer.read(_BLOCK):
        if fault.spoil and sent == 0:
            block = bytes([block[0] ^ 1]) + block[1:]
        limit = fault.cut_after if fault.cut_after is not None else fault.stall_after
        if limit is not None and sent + len(block) > limit:
            handler.wfile.write(block[: limit - sent])
            handler.wfile.flush()
            if fault.stall_after is not None:
                relay.ended.wait()
            handler.close_connection = True
            return
        handler.wfile.write(block)
        sent += len(block)
