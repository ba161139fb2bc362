"""Serves /progress and /metrics of a pod, from the file that its work writes."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from finetune_api.progress import (
    PROGRESS_PATH,
    PROGRESS_PORT,
    PROGRESS_PORT_VARIABLE,
    Progress,
    Stage,
)
from pydantic import ValidationError

_METRICS_PATH = "/metrics"
_TIMEOUT_SECONDS = 5


def progress_port() -> int:
    """The port to serve on; 0 where nothing is to be served."""
    return int(os.environ.get(PROGRESS_PORT_VARIABLE, PROGRESS_PORT))


def start_server(progress_file: Path, port: int, host: str = "") -> ThreadingHTTPServer:
    """Serve on `port` in a daemon thread until the process ends or shutdown() is called.

    Raises OSError when the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_SECONDS

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path not in (PROGRESS_PATH, _METRICS_PATH):
                return self._answer(404, "text/plain", b"not found\n")
            progress = read_progress(progress_file)
            if progress is None:
                return self._answer(503, "text/plain", b"no progress yet\n")
            if path == PROGRESS_PATH:
                body = progress.model_dump_json(by_alias=True, exclude_none=True).encode()
                return self._answer(200, "application/json", body)
            return self._answer(200, "text/plain; version=0.0.4", metrics_text(progress).encode())

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: the log is for training."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="progress-server", daemon=True).start()
    return server


def read_progress(path: Path) -> Progress | None:
    """The progress in `path`, or None before rank 0 has written any."""
    try:
        return Progress.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def metrics_text(progress: Progress) -> str:
    """Progress in Prometheus' text format."""
    values: dict[str, str | int | None] = {
        "step": progress.step,
        "total_steps": progress.total_steps,
        "loss": progress.loss,
        "reward": progress.reward,
        "learning_rate": progress.learning_rate,
        "tokens_per_second": progress.tokens_per_second,
        "eta_seconds": progress.eta_seconds,
    }
    lines = []
    for name, value in values.items():
        if value is not None:
            lines += [f"# TYPE finetune_{name} gauge", f"finetune_{name} {value}"]
    lines.append("# TYPE finetune_stage gauge")
    for stage in Stage:
        lines.append(f'finetune_stage{{stage="{stage.value}"}} {int(stage is progress.stage)}')
    return "\n".join(lines) + "\n"
