"""Values that must be found, in many ways of writing; every value is invented."""

import base64
import json
from collections.abc import Callable
from random import Random

from benchmarks.checks.clean import digits, letters

Planted = tuple[str, str]
"""What stands around a value, with {} for it, and the value."""

_NAMES = [
    "maria.lopez",
    "j.smith",
    "anna_k",
    "bob42",
    "o'neil",
    "li-wei",
    "jürgen",
    "sales.emea",
    "k",
    "pat+lists",
    "f.x.maier",
]
_HOSTS = [
    "nordwind-technik.de",
    "acme-pumps.com",
    "mail.kyoto.ac.jp",
    "contoso.co.uk",
    "foo.io",
    "xn--mller-kva.de",
    "bücher.ch",
    "hospital.org.br",
    "uni-graz.at",
    "startup.ai",
    "firma.consulting",
    "sub.dept.agency.gov.au",
    "web.de",
]
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BASE62 = _UPPER + _UPPER.lower() + "0123456789"
_URL64 = _BASE62 + "-_"
_HEX = "0123456789abcdef"


def email(r: Random) -> Planted:
    """Plain, in mark-up, in logs, in CSV, full width, spelt out."""
    local, host = r.choice(_NAMES) + r.choice(["", digits(r, 2)]), r.choice(_HOSTS)
    value = f"{local}@{host}"
    ways = [
        ("{}", value),
        ("<{}>", value),
        ("mailto:{}?subject=Hi", value),
        ("E-Mail: {};", value),
        ('{{"from": "{}", "to": null}}', value),
        ("[write](mailto:{})", value),
        ("x,{},1999-01-01", value),
        ("`{}`", value),
        ("({})", value),
        ("联系{}，谢谢", value),
        ("**{}**", value),
        ("user={}&x=1", value),
        ("{}", value.upper() if value.isascii() else value),
        ("'{}'", value),
        ("Best\nK.\n{}", value),
        ("{}", f"{local.replace(chr(39), '')} [at] {host}"),
        ("{}", f"{local.replace(chr(39), '')}(at){host}"),
        ("邮箱：{}", value.replace("@", "＠")),
        ("{}.", value),
        ("To: K <{}>, L", value),
    ]
    return r.choice(ways)


def phone(r: Random) -> Planted:
    """International anywhere; national behind a word in many languages."""

    def d(count: int) -> str:
        return digits(r, count)

    us = f"{r.choice([212, 415, 646, 713, 808])}", f"{r.randint(222, 554)}", d(4)
    international = [
        f"+49 {r.randint(151, 179)} {d(8)}",
        f"+49{r.randint(151, 179)}{d(7)}",
        f"+49 (0)30 {d(4)}-{d(3)}",
        f"+1 ({us[0]}) {us[1]}-{us[2]}",
        f"+1{''.join(us)}",
        f"+1-{'-'.join(us)}",
        f"+1.{'.'.join(us)}",
        f"+44 20 {d(4)} {d(4)}",
        f"+44 7{d(3)} {d(6)}",
        f"+33 {r.randint(1, 9)} " + " ".join(d(2) for _ in range(4)),
        f"+86 13{r.randint(0, 9)} {d(4)} {d(4)}",
        f"+91 9{d(4)} {d(5)}",
        f"+55 11 9{d(4)}-{d(4)}",
        f"(+34) 6{d(8)}",
        f"+81-90-{d(4)}-{d(4)}",
        f"+971 50 {d(3)} {d(4)}",
        f"+353 1 {d(3)} {d(4)}",
        f"＋82 10-{d(4)}-{d(4)}",
    ]
    national = [
        ("Tel.: {}", f"030 / {d(4)} {d(3)}"),
        ("Telefon {}", f"0{r.randint(151, 179)}-{d(7)}"),
        ("call me at {}", f"({us[0]}) {us[1]}-{us[2]}"),
        ("Phone: {}", "-".join(us)),
        ("phone number is {}", ".".join(us)),
        ("Mobile {}", f"07{d(3)} {d(6)}"),
        ("tél. {}", "0" + str(r.randint(1, 7)) + " " + " ".join(d(2) for _ in range(4))),
        ("手机：{}", f"13{d(9)}"),
        ("电话{}", f"010-{d(8)}"),
        ("móvil: {}", f"6{d(2)} {d(3)} {d(3)}"),
        ("Fax {}", f"089/{d(6)}-{d(2)}"),
        ("WhatsApp {}", f"9{d(4)} {d(5)}"),
        ("тел. {}", f"8 (495) {d(3)}-{d(2)}-{d(2)}"),
        ('{{"phone": "{}"}}', "".join(us)),
        ("携帯 {}", f"090-{d(4)}-{d(4)}"),
        ("Cell: {}", " ".join(us)),
        ("Handy-Nr. {}", f"0{r.randint(151, 179)} {d(8)}"),
        ("you can reach me on {}", f"0{d(3)} {d(6)}"),
        ("{} (mobile)", "-".join(us)),
        ("Telefonnummer lautet {}", f"0711 {d(7)}"),
        ("tel:{}", f"0{d(9)}"),
        ("Ring us: {}", f"01{d(3)} {d(6)}"),
        ("전화 {}", f"02-{d(4)}-{d(4)}"),
        ("telefono {}", f"06 {d(4)} {d(4)}"),
        ("my number is {}, text me", "-".join(us)),
        ("T: {}", f"0{d(2)} {d(3)} {d(4)}"),
    ]
    if r.random() < 0.4:
        lead = r.choice(["{}", "({})", "T {}", "Dial {} now", "{} oder", "contact,{},x", "tel:{}"])
        return lead, r.choice(international)
    return r.choice(national)


def card(r: Random) -> Planted:
    """Of five issuers, in groups or behind a word."""
    prefix, length = r.choice(
        [
            ("4", 16),
            ("5" + str(r.randint(1, 5)), 16),
            ("37", 15),
            ("6011", 16),
            ("2221", 16),
            ("3056", 14),
        ]
    )
    body = prefix + letters(r, length - len(prefix) - 1, "0123456789")
    total = sum(
        sum(divmod(2 * int(c), 10)) if i % 2 == 0 else int(c) for i, c in enumerate(reversed(body))
    )
    value = body + str(-total % 10)
    ways = [
        ("my card is {} thanks", value),
        ('{{"card_number": "{}"}}', value),
        ("Kreditkarte {}", value),
        ("paid with Visa {}", value),
        ("carte bancaire : {}", value),
        ("{} exp 04/29 cvv 123", value),
        ("卡号{}", value),
        ("tarjeta {}", value),
        ("PAN={}", value),
    ]
    if length == 16:
        for gap in (" ", "-", "\u00a0"):
            grouped = gap.join(value[i : i + 4] for i in range(0, 16, 4))
            ways += [("{}", grouped), ("charge {} please", grouped), ("Mastercard: {}", grouped)]
    if length == 15:
        ways += [("Amex {}", f"{value[:4]} {value[4:10]} {value[10:]}")] * 3
    return r.choice(ways)


def iban(r: Random) -> Planted:
    """Of eight countries, with and without gaps."""
    country, shape = r.choice(
        [
            ("DE", "d18"),
            ("FR", "d20a1d2"),
            ("GB", "a4d14"),
            ("NL", "a4d10"),
            ("ES", "d20"),
            ("CH", "d17"),
            ("IT", "a1d22"),
            ("PL", "d24"),
            ("NO", "d11"),
            ("MT", "a4d23"),
        ]
    )
    body, kind, count = "", "", ""
    for letter in shape + "d":
        if letter in "ad":
            if kind:
                body += letters(r, int(count), _UPPER if kind == "a" else "0123456789")
            kind, count = letter, ""
        else:
            count += letter
    check = 98 - int("".join(str(int(c, 36)) for c in body + country + "00")) % 97
    value = f"{country}{check:02}{body}"
    gap = r.choice(["", " ", " ", "-", "\u00a0"])
    value = gap.join(value[i : i + 4] for i in range(0, len(value), 4))
    if r.random() < 0.1:
        value = value.lower()
    return r.choice(
        ["IBAN {}", "{}", "Konto: {}.", "pay to {} today", '"iban":"{}"', "IBAN:{} BIC X"]
    ), value


def social_security(r: Random) -> Planted:
    """With dashes, or behind its name."""
    parts = str(r.randint(100, 665)), f"{r.randint(1, 99):02}", f"{r.randint(1, 9999):04}"
    return r.choice(
        [
            ("SSN: {}", "-".join(parts)),
            ("{}", "-".join(parts)),
            ("social security number {}", "".join(parts)),
            ("ssn={}", "".join(parts)),
            ("SSN {}", " ".join(parts)),
            ("SS# 1: {} (social)", "-".join(parts)),
        ]
    )


def ip_address(r: Random) -> Planted:
    """In logs, URLs and sentences."""
    first = r.choice([8, 52, 91, 151, 185, 217])
    four = f"{first}.{r.randint(40, 250)}.{r.randint(0, 255)}.{r.randint(1, 254)}"
    six = r.choice(
        [
            f"2a01:4f8:{letters(r, 3, '123456789abc')}::{r.randint(1, 99)}",
            f"2606:4700:{digits(r, 4)}::1111",
            "2a02:" + ":".join(digits(r, 3) for _ in range(7)),
        ]
    )
    return r.choice(
        ["{}", "from {} port 22", "http://{}/", "[{}]", "{} - - GET /", "IP={}"]
    ), r.choice([four, four, six])


def _token(r: Random) -> str:

    def part(data: dict[str, str | int]) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")

    claims: dict[str, str | int] = {"sub": digits(r, 6), "iat": int(digits(r, 10))}
    head: dict[str, str | int] = {"alg": r.choice(["HS256", "RS256"]), "typ": "JWT"}
    return f"{part(head)}.{part(claims)}.{letters(r, 43, _URL64)}"


def _private_key(r: Random) -> str:
    name = r.choice(["RSA ", "", "EC ", "OPENSSH ", "ENCRYPTED "])
    body = "\n".join(letters(r, 64, _BASE62 + "+/") for _ in range(r.randint(2, 20)))
    return f"-----BEGIN {name}PRIVATE KEY-----\n{body}\n-----END {name}PRIVATE KEY-----"


_SECRETS: tuple[Callable[[Random], str], ...] = (
    lambda r: r.choice(["AKIA", "ASIA"]) + letters(r, 16, _UPPER + "234567"),
    lambda r: r.choice(["ghp_", "gho_", "ghs_"]) + letters(r, 36, _BASE62),
    lambda r: f"github_pat_{letters(r, 22, _BASE62)}_{letters(r, 59, _BASE62)}",
    lambda r: f"xoxb-{digits(r, 12)}-{digits(r, 13)}-{letters(r, 24, _BASE62)}",
    lambda r: "sk-" + letters(r, 48, _BASE62),
    lambda r: "sk-proj-" + letters(r, 100, _URL64) + "a1",
    lambda r: "sk-ant-api03-" + letters(r, 93, _URL64) + "AA",
    lambda r: "hf_" + letters(r, 34, _UPPER + _UPPER.lower()),
    lambda r: "AIza" + letters(r, 34, _URL64) + "A",
    lambda r: r.choice(["sk_live_", "rk_live_"]) + letters(r, 24, _BASE62),
    lambda r: "glpat-" + letters(r, 19, _URL64) + "k",
    lambda r: "npm_" + letters(r, 36, _BASE62),
    lambda r: "SK" + letters(r, 32, _HEX),
    lambda r: f"SG.{letters(r, 21, _URL64)}a.{letters(r, 42, _URL64)}b",
    _token,
    _private_key,
)


def secret(r: Random) -> Planted:
    """In code, in shells, in URLs and in sentences."""
    if r.random() < 0.1:
        return "{}@db.nordwind.de:5432/live", f"postgres://svc:{letters(r, 14, _BASE62)}"
    if r.random() < 0.06:
        return "AccountName=a;AccountKey={};Endpoint=b", letters(r, 86, _BASE62 + "+/") + "=="
    value = r.choice(_SECRETS)(r)
    ways = [
        "{}",
        "KEY={}",
        'token = "{}"',
        "Authorization: Bearer {}",
        "my key is {}, thanks",
        "`{}`",
        "'{}';",
        "<k>{}</k>",
        "密钥：{}。",
    ]
    return r.choice(ways), value


KINDS: dict[str, Callable[[Random], Planted]] = {
    "Email": email,
    "Phone": phone,
    "Card": card,
    "Iban": iban,
    "SocialSecurity": social_security,
    "IpAddress": ip_address,
    "Secret": secret,
}
