"""Keys and passwords in a text: known prefixes and shapes, no guesses by randomness."""

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from finetune_trainer.checks.hits import Hit, without_overlaps, word_set


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str
    signs: tuple[str, ...]
    """One of these stands in every text that holds such a secret: what makes clean text cheap."""
    pattern: re.Pattern[str]
    """Its group `value` is the secret."""
    holds: Callable[[str], bool]
    """Whether a match is a secret."""


def find_secrets(text: str) -> list[Hit]:
    """Places of secrets; the kind names the issuer. Placeholders are none.

    Sources: the issuers' published formats. No rule looks at randomness alone: that finds
    hashes, identifiers and base64, not secrets.
    """
    hits = [
        Hit(rule.kind, *found.span("value"))
        for rule in _RULES
        if any(sign in text for sign in rule.signs)
        for found in rule.pattern.finditer(text)
        if rule.holds(found[0]) and not _placeholder(found["value"])
    ]
    return without_overlaps(hits) if len(hits) > 1 else hits


_PLACEHOLDER = re.compile(
    r"example|EXAMPLE|x{4}|X{4}|your|YOUR|placeholder|PLACEHOLDER|\*{3}|\.{3}|…|[<>]|\$\{|\{\{|%\(|"
    r"dummy|DUMMY|fake|FAKE|redacted|REDACTED|changeme|CHANGEME|insert|INSERT|replace|REPLACE|"
    r"sample|SAMPLE|0123456789|1234567890|abcdefgh|ABCDEFGH|0{8}"
)
"""In one case each: in both together, one key in a thousand would hold such a word."""
_LEAST_LETTERS = 6
"""A secret of fewer different characters is somebody's filler."""
_WEAK = word_set(
    "password passwd pass pwd secret admin root test guest user username postgres mysql "
    "changeme token key mypassword pw p w x xx xxx secretpassword password123 hunter2 foo bar "
    "rabbitmq redis passwort contraseña motdepasse mot_de_passe"
)
"""Passwords that documentation uses."""


def _placeholder(value: str) -> bool:
    return _PLACEHOLDER.search(value) is not None


def _random(value: str) -> bool:
    """Has as many different characters as a key of this length has."""
    return len(set(value)) >= _LEAST_LETTERS


def _key(value: str) -> bool:
    """Has digits and letters as a key has, which a name of words does not."""
    return (
        len(set(value)) >= 14
        and any(letter.isdigit() for letter in value)
        and any(letter.isalpha() for letter in value[4:])
    )


def _web_token(value: str) -> bool:
    """Whether the first part is a JOSE header (RFC 7519), and it is not the example of it."""
    header, claims, _ = value.split(".")
    try:
        algorithm = json.loads(_from_base64(header)).get("alg")
        return isinstance(algorithm, str) and b"John Doe" not in _from_base64(claims)
    except (ValueError, AttributeError):
        return False


def _from_base64(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise ValueError("no base64") from error


_URL = re.compile(
    r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://(?P<user>[^\s:/@'\"<>]{0,64}):(?P<value>[^\s/@'\"<>]{3,128})"
    r"@(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])"
)
_EXAMPLE_HOST = re.compile(r"(?:^|\.)(?:example(?:\.\w+)?|test|invalid)$|^(?:host|hostname)$", re.I)


def _url_password(value: str) -> bool:
    found = _URL.match(value)
    if found is None:
        return False
    user, password, host = found["user"].lower(), found["value"], found["host"]
    filler = password.lower() in _WEAK or password.lower() == user or len(set(password)) < 3
    template = password[0] in "$%{[(" or (password.isupper() and "_" in password)
    return not (filler or template or _EXAMPLE_HOST.search(host))


def _private_key(value: str) -> bool:
    body = value.split("-----")[2]
    return len(re.findall(r"[A-Za-z0-9+/]", body)) >= 64 and len(set(body)) > 16


def _rule(kind: str, signs: str, pattern: str, holds: Callable[[str], bool] = _random) -> _Rule:
    bounded = rf"(?<![A-Za-z0-9_-])(?P<value>{pattern})(?![A-Za-z0-9_])"
    return _Rule(kind, tuple(signs.split()), re.compile(bounded), holds)


_RULES = (
    _rule("AwsAccessKey", "AKIA ASIA", r"A[KS]IA[A-Z2-7]{16}"),
    _Rule(
        "AwsSecretKey",
        ("ecret_access_key", "ecretAccessKey", "SECRET_ACCESS_KEY"),
        re.compile(
            r"(?i:secret_?access_?key)[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?P<value>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"
        ),
        _random,
    ),
    _rule("GitHubToken", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,255}"),
    _rule("GitHubToken", "github_pat_", r"github_pat_[A-Za-z0-9_]{40,255}"),
    _rule("GitLabToken", "glpat-", r"glpat-[A-Za-z0-9_.-]{20,300}"),
    _rule("SlackToken", "xox xapp-", r"(?:xox[abeoprs]|xapp)-[A-Za-z0-9.-]{10,400}", _key),
    _rule("SlackWebhook", "hooks.slack.com",
    r"https://hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,32}"),
    _rule("ModelApiKey", "sk-",
    r"sk-(?:(?:proj|svcacct|admin|ant-api\d\d|ant|or-v1)-[A-Za-z0-9_-]{24,400}|"
    r"[A-Za-z0-9]{32,400})", _key),
    _rule("HuggingFaceToken", "hf_ api_org_", r"(?:hf|api_org)_[A-Za-z0-9]{30,64}"),
    _rule("GoogleApiKey", "AIza", r"AIza[A-Za-z0-9_-]{35}"),
    _rule("GoogleOAuthSecret", "GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{28}"),
    _rule("StripeKey", "_live_", r"(?:sk|rk)_live_[A-Za-z0-9]{16,255}"),
    _rule("NpmToken", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _rule("SendGridKey", "SG.", r"SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{32,64}"),
    _rule("TwilioKey", "SK", r"SK[0-9a-f]{32}"),
    _Rule(
        "AzureStorageKey",
        ("AccountKey=",),
        re.compile(r"AccountKey=(?P<value>[A-Za-z0-9+/]{86}==)"),
        _random,
    ),
    _rule("WebToken", "eyJ",
    r"eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{16,2000}", _web_token),
    _Rule(
        "PrivateKey",
        ("PRIVATE KEY",),
        re.compile(
            r"(?P<value>-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----"
            r"[^-]{64,20000}(?:-----END (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----)?)"
        ),
        _private_key,
    ),
    _Rule("UrlPassword", ("://",), _URL, _url_password),
)  # fmt: skip
