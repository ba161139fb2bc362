"""Which hosts a job may talk to: not this machine, not a cloud's metadata service.

A job's `storage.endpoint` is the user's text, while the pod that contacts it may hold more
rights than the user. Every request's host is resolved and looked at before it is sent.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from finetune_api.errors import InfrastructureError, UserError
from finetune_api.reasons import Reason

_METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")
)

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_host(url: str, *, allow_loopback: bool, setting: str = "storage.endpoint") -> None:
    """Refuse the host of `url` when it is, or resolves to, a forbidden address.

    Args:
        setting: what the user changes to name another host.

    Raises UserError InvalidSpec, or InfrastructureError StorageUnavailable for a name that
    does not resolve.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    for address in _addresses(host, setting):
        kind = _forbidden(address, allow_loopback)
        if kind is not None:
            raise UserError(
                Reason.INVALID_SPEC,
                f"{host} is {kind}, which jobs may not contact; give another address",
                where=setting,
            )


def _forbidden(address: IpAddress, allow_loopback: bool) -> str | None:
    """What is wrong with `address`, or None."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return _forbidden(mapped, allow_loopback)
    if address.is_link_local or address in _METADATA_ADDRESSES:
        return "a link-local or metadata address"
    if address.is_multicast:
        return "a multicast address"
    if (address.is_loopback or address.is_unspecified) and not allow_loopback:
        return "an address of the pod itself"
    return None


def _addresses(host: str, setting: str) -> list[IpAddress]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InfrastructureError(
            Reason.STORAGE_UNAVAILABLE,
            f"the name {host} does not resolve; check {setting}",
            where=setting,
        ) from error
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
