"""A stand-in for the Hugging Face Hub: what it answers about models, and their files.

Spoken as the hub does: /api/models/ORG/NAME/revision/REV?blobs=True tells a commit and its files,
/ORG/NAME/resolve/COMMIT/PATH gives a file, or redirects to another host for large ones; errors
carry X-Error-Code.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

MAIN = "a" * 40
"""Commit of the branch main."""
LARGE = (".safetensors", ".bin")
"""Files in large-file storage."""


@dataclass
class Repository:
    """Files by path, at each revision."""

    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False
    token: str | None = None
    """The token that may see it; others are told that it does not exist (or is gated)."""

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """(commit, files)."""
        commit = MAIN if revision == "main" else revision
        files = self.revisions.get(commit)
        return None if files is None else (commit, files)


@dataclass
class Hub:
    """The stand-in's content, and what it was asked."""

    endpoint: str = ""
    storage: str = ""
    """Another host, that large files lie on."""
    repositories: dict[str, Repository] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    """Status codes of the next answers."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """(path, headers by lower-case name) of each request, both hosts."""
    spoiled: bool = False
    """Send another first byte of large files."""

    def add(self, name: str, files: dict[str, bytes], **more: Any) -> Repository:
        """A repository with one commit on main."""
        self.repositories[name] = Repository({MAIN: files}, **more)
        return self.repositories[name]

    def add_folder(self, name: str, folder: Path) -> Repository:
        """The same of the files in a folder."""
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        return self.add(name, files)

    def paths(self) -> list[str]:
        """Paths that were asked for, in order."""
        return [path for path, _ in self.asked]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub on this machine."""
    hub = Hub()
    servers = [_serve(hub, _Api), _serve(hub, _Storage)]
    hub.endpoint, hub.storage = (f"http://127.0.0.1:{each.server_address[1]}" for each in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _serve(hub: Hub, kind: type["_Handler"]) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type(kind.__name__, (kind,), {"hub": hub}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.asked.append((self.path, headers))
        if self.hub.failures:
            return self.answer(self.hub.failures.pop(0))
        return self.serve(unquote(urlsplit(self.path).path))

    def serve(self, path: str) -> None:
        raise NotImplementedError

    def answer(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_content(self, content: bytes, headers: Mapping[str, str]) -> None:
        """A body, or the range of it that was asked for."""
        asked = self.headers.get("Range")
        if asked is None:
            return self.answer(200, headers, content)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1]
        told = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return self.answer(206, {**headers, "Content-Range": told}, part)


class _Api(_Handler):
    def serve(self, path: str) -> None:
        if path.startswith("/api/models/"):
            organisation, name, _, revision = path.removeprefix("/api/models/").split("/")
            return self._info(f"{organisation}/{name}", revision)
        _, organisation, name, _, revision, file = path.split("/", 5)
        return self._file(f"{organisation}/{name}", revision, file)

    def _find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """What lies there; None when an error has been answered."""
        repository = self.hub.repositories.get(name)
        known = self.headers.get("Authorization") == f"Bearer {repository and repository.token}"
        if repository is None or (repository.token and not repository.gated and not known):
            self.answer(404 if self.headers.get("Authorization") else 401, _error("RepoNotFound"))
            return None
        found = repository.at(revision)
        if found is None:
            self.answer(404, _error("RevisionNotFound"))
        return found

    def _info(self, name: str, revision: str) -> None:
        found = self._find(name, revision)
        if found is not None:
            siblings = [_sibling(path, content) for path, content in found[1].items()]
            document = {"id": name, "sha": found[0], "siblings": siblings}
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _file(self, name: str, revision: str, path: str) -> None:
        found = self._find(name, revision)
        if found is None:
            return None
        repository = self.hub.repositories[name]
        if repository.gated and self.headers.get("Authorization") != f"Bearer {repository.token}":
            signed_in = "Authorization" in self.headers
            return self.answer(403 if signed_in else 401, _error("GatedRepo"))
        content = found[1].get(path)
        if content is None:
            return self.answer(404, _error("EntryNotFound"))
        if not path.endswith(LARGE):
            etag = f'"{_blob_id(content)}"'
            return self.send_content(content, {"X-Repo-Commit": found[0], "ETag": etag})
        sha256 = hashlib.sha256(content).hexdigest()
        return self.answer(
            302,
            {
                "Location": f"{self.hub.storage}/{sha256}?signed=yes",
                "X-Repo-Commit": found[0],
                "X-Linked-ETag": f'"{sha256}"',
                "X-Linked-Size": str(len(content)),
            },
        )


class _Storage(_Handler):
    def serve(self, path: str) -> None:
        for repository in self.hub.repositories.values():
            for files in repository.revisions.values():
                for content in files.values():
                    if hashlib.sha256(content).hexdigest() == path.strip("/"):
                        if self.hub.spoiled:
                            content = bytes([content[0] ^ 1]) + content[1:]
                        return self.send_content(content, {"ETag": '"of-the-storage"'})
        return self.answer(404)


def _sibling(path: str, content: bytes) -> dict[str, Any]:
    told: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": _blob_id(content)}
    if path.endswith(LARGE):
        sha256 = hashlib.sha256(content).hexdigest()
        told["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
    return told


def _blob_id(content: bytes) -> str:
    """The name that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _error(code: str) -> dict[str, str]:
    return {"X-Error-Code": code, "X-Error-Message": f"no: {code}"}
