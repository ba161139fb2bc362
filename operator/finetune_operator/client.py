"""A thin asynchronous client of the Kubernetes API: JSON documents in and out.

`kubernetes.aio` reads the kubeconfig or the pod's service account and renews tokens; requests go
through aiohttp directly, which is twice as fast as the generated models.
"""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from finetune_operator.kinds import Document, Kind

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30)
PAGE_SIZE = 500
CLOSING_SECONDS = 0.1
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True)
class Cause:
    """One field at fault, in the words of the API server."""

    reason: str
    field: str
    message: str


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(
        self, code: int, reason: str, message: str, causes: tuple[Cause, ...] = ()
    ) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.causes = causes

    @property
    def not_found(self) -> bool:
        """Whether the object or its kind does not exist."""
        return self.code == 404

    @property
    def conflict(self) -> bool:
        """Whether the object changed meanwhile, or a precondition failed."""
        return self.code == 409 and self.reason != "AlreadyExists"

    @property
    def already_exists(self) -> bool:
        """Whether an object of that name is there already."""
        return self.reason == "AlreadyExists"


def _nothing() -> None:
    """No fence."""


class Client:
    """Typed access to the few verbs that the operator uses."""

    def __init__(self, configuration: Any, session: aiohttp.ClientSession) -> None:
        self._configuration = configuration
        self._session = session
        self._host = configuration.host.rstrip("/")
        self.fence: Callable[[], None] = _nothing
        """Called before each write; ends the process when the leadership is lost."""
        self.writes = 0
        """Requests sent that may have changed something."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Document:
        """One object. Raises ApiError."""
        return await self._request("GET", kind.path(namespace, name))

    async def list_all(
        self, kind: Kind, namespace: str | None, selector: str = ""
    ) -> tuple[list[Document], str]:
        """All objects, read consistently in pages, and the list's resourceVersion."""
        items: list[Document] = []
        query = {"limit": str(PAGE_SIZE)}
        if selector:
            query["labelSelector"] = selector
        while True:
            page = await self._request("GET", kind.path(namespace), query=query)
            items += page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = token

    async def create(self, kind: Kind, namespace: str, document: Document) -> Document:
        """POST a new object. Raises ApiError."""
        return await self._write("POST", kind.path(namespace), document)

    async def check(self, kind: Kind, namespace: str, document: Document) -> None:
        """Whether the API server would take a new object, fields that it does not know refused;
        nothing is made. Raises ApiError."""
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        await self._request("POST", kind.path(namespace), query=query, body=document)

    async def update(self, kind: Kind, namespace: str, name: str, document: Document) -> Document:
        """PUT an object whose metadata carries the resourceVersion that was read."""
        return await self._write("PUT", kind.path(namespace, name), document)

    async def patch_status(
        self, kind: Kind, namespace: str, name: str, resource_version: str, status: Document
    ) -> Document:
        """Merge `status`, only if the object is still at `resource_version`."""
        body = {"metadata": {"resourceVersion": resource_version}, "status": status}
        path = kind.path(namespace, name) + "/status"
        return await self._write("PATCH", path, body, content_type=MERGE_PATCH)

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        propagation: str = "Foreground",
    ) -> Document | None:
        """Delete only the object with `uid`; None when it is gone already."""
        body: Document = {"propagationPolicy": propagation}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            return await self._write("DELETE", kind.path(namespace, name), body)
        except ApiError as error:
            if error.not_found or (error.conflict and "uid" in error.message.lower()):
                return None
            raise

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server has the kind now."""
        try:
            found = await self._request("GET", kind.root)
        except ApiError as error:
            if error.not_found:
                return False
            raise
        return any(resource["name"] == kind.plural for resource in found["resources"])

    async def _write(
        self, method: str, path: str, body: Document, content_type: str = "application/json"
    ) -> Document:
        self.fence()
        self.writes += 1
        return await self._request(method, path, body=body, content_type=content_type)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Document | None = None,
        content_type: str = "application/json",
    ) -> Document:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        token = await self._configuration.get_api_key_with_prefix("BearerToken")
        if token:
            headers["Authorization"] = token
        data = None if body is None else json.dumps(body)
        async with self._session.request(
            method, self._host + path, params=query, data=data, headers=headers
        ) as response:
            if response.status >= 400:
                raise await _error(response)
            return await response.json()  # type: ignore[no-any-return]


async def _error(response: aiohttp.ClientResponse) -> ApiError:
    text = await response.text()
    try:
        status = json.loads(text)
        words = status.get("reason") or "", status.get("message") or ""
        return ApiError(response.status, *words, _causes(status))
    except (ValueError, AttributeError):
        return ApiError(response.status, response.reason or "", text[:300])


def _causes(status: Document) -> tuple[Cause, ...]:
    found = (status.get("details") or {}).get("causes") or []
    return tuple(
        Cause(c.get("reason", ""), c.get("field", ""), c.get("message", "")) for c in found
    )


@asynccontextmanager
async def connect(kubeconfig: str | None = None) -> AsyncIterator[Client]:
    """A client for the cluster of `kubeconfig`, of KUBECONFIG, or of the pod that this runs in."""
    configuration = kubernetes_client.Configuration()
    in_pod = "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ
    if in_pod and kubeconfig is None:
        kubernetes_config.load_incluster_config(client_configuration=configuration)
    else:
        await kubernetes_config.load_kube_config(kubeconfig, client_configuration=configuration)
    context = await asyncio.to_thread(_tls, configuration)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=64), timeout=REQUEST_TIMEOUT
    )
    async with session:
        yield Client(configuration, session)
    # aiohttp only begins to close its TLS connections; a loop that ends now would leave them open.
    await asyncio.sleep(CLOSING_SECONDS)


def _tls(configuration: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(
        cafile=configuration.ssl_ca_cert, cadata=getattr(configuration, "ca_cert_data", None)
    )
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if getattr(configuration, "disable_strict_ssl_verification", False):
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
