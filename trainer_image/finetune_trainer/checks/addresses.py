"""Addresses of machines on the public internet."""

import ipaddress
import re

from finetune_trainer.checks.hits import SPACED, Hit, holds

_V4 = re.compile(
    rf"(?<![{SPACED}+~^<>-])(?<!\d\.)(?<![=<>~^!]=)(?<![A-Za-z]/)"
    rf"\d{{1,3}}\.\d{{1,3}}\.\d{{1,3}}\.\d{{1,3}}(?![{SPACED}-])(?!\.[a-z0-9])"
)
_V6 = re.compile(
    rf"(?<![{SPACED}:])(?<!\d\.)[23][0-9A-Fa-f]{{3}}:[0-9A-Fa-f:]{{3,34}}"
    rf"(?![{SPACED}])"
)
_VERSION_WORDS = re.compile(
    r"(?:\b(?:v|ver|versions?|versión|versione|versão|release|rev|revision|build|firmware|driver|"
    r"section|sections|"
    r"sec|chapter|clause|paragraph|abschnitt|kapitel|ziffer|article|annex|table|figure|oid|"
    r"upgraded?(?: to)?|patch|sdk|api)\b\.?|§|版本|第|версия|"
    r"バージョン)\W*(?:\d[\d.]*\W{1,6}(?:\w{1,4}\W{1,3})?)?$",
    re.IGNORECASE,
)
_ADDRESS_WORDS = re.compile(
    r"\b(?:ips?|ip[ _-]?addr(?:ess)?|address|hosts?|server|client|ping|ssh|dns|resolver|"
    r"nameserver|"
    r"from|peer|remote|login|logged|connect\w*|inet|proxy|gateway|firewall|ban(?:ned)?|"
    r"block(?:ed)?|"
    r"adresse|servidor|serveur)(?!_\d)\b|地址|服务器|адрес|//$",
    re.IGNORECASE,
)
_DOCUMENTATION = ipaddress.ip_network("3fff::/20")
"""RFC 9637; Python's own lists know the older ranges for documentation."""
_SMALL = 32


def find_ip_addresses(text: str) -> list[Hit]:
    """Global addresses of version 4 and 6; no ranges of documentation or of private networks.

    Four small numbers with dots are a section or a version more often than an address: they
    count only after a word that speaks of machines.
    """
    hits = []
    for found in _V4.finditer(text):
        lead = text[max(0, found.start() - 28) : found.start()]
        if _is_v4(found[0], lead):
            hits.append(Hit("IpAddress", found.start(), found.end()))
    for found in _V6.finditer(text):
        value = found[0].rstrip(":")
        if _is_v6(value):
            hits.append(Hit("IpAddress", found.start(), found.start() + len(value)))
    return hits


def _is_v4(value: str, lead: str) -> bool:
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        return False
    if not address.is_global or address.is_multicast or _VERSION_WORDS.search(lead):
        return False
    small = all(int(octet) < _SMALL for octet in value.split("."))
    return not small or holds(_ADDRESS_WORDS, lead, 0, len(lead))


def _is_v6(value: str) -> bool:
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return address.is_global and address not in _DOCUMENTATION
