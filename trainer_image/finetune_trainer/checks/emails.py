"""E-mail addresses, plain and written so that programs should not see them."""

import re
import unicodedata

from finetune_trainer.checks.hits import Hit, word_set

_LOCAL = re.compile(r"[^\W_](?:[\w.!#$%&'*+/=?^`{|}~-]{0,62}[\w+*=~-])?\Z|_[\w.+-]{0,62}\w\Z")
_DOMAIN = re.compile(
    r"(?:[^\W_](?:[^\W_]|-){0,62}\.){1,6}(xn--[a-z0-9-]{2,40}|[^\W\d_]{2,18})(?![\w-])"
)
_LOCAL_REACH = 64
_DOMAIN_REACH = 255
_AT_SIGNS = "@＠"
_SPELT = re.compile(
    r"(?<![\w.])([\w+-]+(?:\.[\w+-]+)*)"
    r"(?:\s?[\[({<]\s?(?:at|AT|ät|arroba)\s?[\])}>]\s?|\s(?:at|AT)\s)"
    r"((?:[\w-]{1,63}(?:\s?[\[({<]\s?(?:dot|DOT|punkt|punto)\s?[\])}>]\s?|\s(?:dot|DOT)\s|"
    r"\.)){1,4})"
    r"([A-Za-z]{2,12})(?!\w)"
)
_SPELT_DOT = re.compile(r"[\[({<]\s?(?:at|AT|ät|arroba)\s?[\])}>]|\s(?:dot|DOT)\s")

_GENERIC = word_set(
    "com org net edu gov mil int info biz name pro aero coop museum jobs mobi travel cat tel "
    "post asia app dev page cloud tech online site store shop blog xyz club live life world "
    "today news agency studio design digital email solutions services systems software "
    "company group team work works network support center care health clinic legal law "
    "finance bank money consulting engineering academy school university institute science "
    "research education community foundation social media photo photos photography art "
    "gallery music video film games fun top space website host press wiki zone global "
    "international berlin hamburg koeln london paris wien tokyo nyc amsterdam brussels swiss "
    "eus bzh scot wales istanbul africa google"
)
"""Generic top-level domains that people have addresses at; every two letters count as well."""
_NO_DOMAINS = frozenset({"self.to", "self.is"})
"""What the product of two matrices looks like."""
_RESERVED_TLD = frozenset({"test", "invalid", "localhost", "example", "local", "internal"})
_RESERVED = re.compile(
    r"(?:^|\.)(?:example\.(?:com|org|net|edu|[a-z]{2})|noreply\.github\.com|"
    r"(?:your|my)-?(?:domain|company|site|email|server|org|organization)\.[a-z.]+|domain\.tld)$"
)
_MACHINES = re.compile(r"(?:no|do-?not)[-_.]?reply|git|mailer-daemon|x+|\.+")
_FILES = frozenset({"js", "py", "md", "sh", "rs", "ts", "so", "cc", "pl", "ai", "ps"})
"""Suffixes of files that are countries as well: no address without letters before the dot."""


def find_emails(text: str) -> list[Hit]:
    """Addresses of people; none at names that are reserved for examples (RFC 2606, RFC 6761).

    Looks both ways from each @, 64 and 255 characters (RFC 5321), so the time is linear. Misses
    quoted local parts and rare generic top-level domains.
    """
    hits = [hit for sign in _AT_SIGNS if sign in text for hit in _around(text, sign)]
    if _SPELT_DOT.search(text):
        hits += [
            Hit("Email", found.start(), found.end())
            for found in _SPELT.finditer(text)
            if _spelt_domain(found[2], found[3]) and not _MACHINES.fullmatch(found[1].lower())
        ]
    return hits


def _around(text: str, sign: str) -> list[Hit]:
    hits = []
    at = text.find(sign)
    while at >= 0:
        hit = _address(text, at)
        if hit is not None:
            hits.append(hit)
        at = text.find(sign, at + 1)
    return hits


def _address(text: str, at: int) -> Hit | None:
    """The address around one @."""
    domain = _DOMAIN.match(text, at + 1, at + 1 + _DOMAIN_REACH)
    if domain is None:
        return None
    before = text[max(0, at - _LOCAL_REACH) : at]
    start = _local_start(before)
    if start is None or _in_url(text, at - len(before) + start):
        return None
    local = before[start:]
    if _MACHINES.fullmatch(local.lower()) or not _personal(domain[0], domain[1]):
        return None
    return Hit("Email", at - len(before) + start, domain.end())


def _local_start(before: str) -> int | None:
    """Where the local part begins in the characters before an @."""
    start = len(before)
    while start and (before[start - 1].isalnum() or before[start - 1] in "._+-'%&=~#*"):
        start -= 1
    start += len(before[start:]) - len(before[start:].lstrip(".'-+%&=~#*"))
    return start if _LOCAL.match(before, start) else None


def _in_url(text: str, start: int) -> bool:
    """Whether what stands before the @ is the user or the password of an address."""
    lead = text[max(0, start - 80) : start]
    return re.search(r"://[^\s/@]*$", lead) is not None


def _personal(domain: str, top: str) -> bool:
    if top != top.lower() and top != top.upper():
        return False
    domain = unicodedata.normalize("NFKC", domain).lower()
    top = top.lower()
    if top in _RESERVED_TLD or _RESERVED.search(domain) or domain in _NO_DOMAINS:
        return False
    name = domain.rsplit(".", 1)[0]
    if top in _FILES and not any(letter.isalpha() for letter in name):
        return False
    if domain.startswith(("self.", "torch.", "np.")):
        return False
    return len(top) == 2 or top in _GENERIC or top.startswith("xn--") or not top.isascii()


def _spelt_domain(names: str, top: str) -> bool:
    name = re.sub(r"\s?[\[({<]\s?(?:dot|DOT|punkt|punto)\s?[\])}>]\s?|\s(?:dot|DOT)\s", ".", names)
    return _personal(name + top, top)
