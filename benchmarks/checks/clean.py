"""Rows without faults, full of what looks like some."""

import base64
import uuid
from collections.abc import Callable
from random import Random

from benchmarks.checks.prose import sentence


def clean_row(random: Random) -> str:
    """Three sentences with one to three decoys between them."""
    parts = [sentence(random) for _ in range(3)]
    for _ in range(random.randint(1, 3)):
        parts.insert(random.randint(0, len(parts)), random.choice(DECOYS)(random))
    return " ".join(parts)


def digits(random: Random, count: int) -> str:
    """A number of `count` digits that does not begin with 0."""
    return str(random.randint(10 ** (count - 1), 10**count - 1))


def letters(random: Random, count: int, alphabet: str) -> str:
    """`count` letters."""
    return "".join(random.choices(alphabet, k=count))


_HEX = "0123456789abcdef"
_BASE62 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _order(r: Random) -> str:
    name = r.choice(
        [
            "Order no.",
            "order",
            "Bestellnummer",
            "Commande n°",
            "pedido",
            "订单编号",
            "Invoice #",
            "SKU",
            "Tracking number",
            "Serial",
            "Ticket",
            "ASIN",
            "Artikelnummer",
            "Ref.",
        ]
    )
    value = r.choice(
        [
            digits(r, r.randint(6, 19)),
            f"{digits(r, 3)}-{digits(r, 7)}-{digits(r, 7)}",
            "-".join(digits(r, 4) for _ in range(4)),
            f"{digits(r, 4)} {digits(r, 4)} {digits(r, 4)}",
        ]
    )
    return f"{name} {value}"


def _bare_number(r: Random) -> str:
    return f"{r.choice(['id=', 'x = ', '', 'n: ', 'result '])}{digits(r, r.randint(7, 20))}"


def _hash(r: Random) -> str:
    return letters(r, r.choice([8, 12, 24, 32, 40, 64, 128]), _HEX)


def _uuid(r: Random) -> str:
    value = str(uuid.UUID(int=r.getrandbits(128), version=4))
    return r.choice([value, value.upper(), "{" + value + "}", value.replace("-", "")])


def _isbn(r: Random) -> str:
    return r.choice(
        [
            f"ISBN 978-{r.randint(0, 9)}-{digits(r, 3)}-{digits(r, 5)}-{r.randint(0, 9)}",
            f"ISBN-13: 978{digits(r, 10)}",
            f"EAN {digits(r, 13)}",
            f"ISSN {digits(r, 4)}-{digits(r, 4)}",
            f"doi:10.{digits(r, 4)}/{digits(r, 7)}.{digits(r, 7)}",
            f"arXiv:{digits(r, 4)}.{digits(r, 5)}",
        ]
    )


def _version(r: Random) -> str:
    value = ".".join(str(r.randint(0, r.choice([9, 30, 250]))) for _ in range(4))
    return r.choice(
        [
            f"version {value}",
            f"v{value}",
            f"foo=={value}",
            f"Release {value} is out",
            f"firmware {value}",
            f"see section {r.randint(1, 9)}.{r.randint(1, 9)}.{r.randint(1, 9)}.{r.randint(1, 9)}",
            f"Chrome/{r.randint(60, 140)}.0.0.0",
            f"libfoo-{value}.tar.gz",
            f"§ {r.randint(1, 9)}.2.4.1",
            f"Abschnitt 3.{r.randint(1, 9)}.1.2",
            f"OID 1.3.6.1.4.1.{digits(r, 5)}",
            f"版本 {value}",
        ]
    )


def _address(r: Random) -> str:
    return r.choice(
        [
            f"10.{r.randint(0, 255)}.3.{r.randint(1, 254)}",
            f"192.168.1.{r.randint(1, 254)}",
            "127.0.0.1",
            f"203.0.113.{r.randint(1, 254)}",
            f"198.51.100.{r.randint(1, 254)}",
            "2001:db8::8a2e:370:7334",
            "fe80::1ff:fe23:4567:890a",
            "::1",
            "0.0.0.0:8080",
            "MAC 3c:22:fb:9a:01:7e",
            "std::vector<int> a::b",
        ]
    )


def _reserved(r: Random) -> str:
    return r.choice(
        [
            "mail info@example.com",
            "user@example.org",
            "bob@host.invalid",
            "root@localhost",
            "a@b.test",
            "git@github.com:team/project.git",
            "12345+bob@users.noreply.github.com",
            "no-reply@shop.de",
            "@pytest.fixture",
            "lodash@4.17.21",
            "icon@2x.png",
            "y = x@self.w.T",
            "call me @ noon",
            "https://user:password@example.com/",
            "postgres://postgres:postgres@localhost:5432/db",
            "redis://:${REDIS_PASSWORD}@cache:6379",
            "phone (212) 555-0147",
            "Tel. +1 415 555 0199",
        ]
    )


def _placeholder(r: Random) -> str:
    return r.choice(
        [
            "OPENAI_API_KEY=sk-your-key-here",
            "sk-" + "x" * 40,
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_" + "x" * 36,
            "HF_TOKEN=hf_...",
            "token: ${GITHUB_TOKEN}",
            "export KEY=<your key>",
            "AIza" + "X" * 35,
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
            "sk-learn-style-pipelines-for-everyone",
            "glpat-" + "0" * 20,
            "Bearer eyJ...",
            "sk-ant-api03-" + "A" * 40,
            "SG.xxxxx.yyyyy",
            "npm_" + "a" * 36,
            "AccountKey=<base64>",
            'class="sk-folding-cube sk-cube-grid-item-3"',
            "task-" + letters(r, 36, _HEX),
        ]
    )


def _code(r: Random) -> str:
    return r.choice(
        [
            f"x = 0x{letters(r, 16, _HEX)}",
            f"for i in range({digits(r, 8)}):",
            f"seed={digits(r, 10)}",
            "a[1:2, 3:4] @ b.T",
            f"timestamp {r.randint(1_500_000_000, 1_900_000_000)}",
            f"port {r.randint(1024, 65535)}",
            f"{r.randint(2000, 2030)}-{r.randint(10, 12)}-{r.randint(10, 28)}T13:15:42.123456Z",
            f"git checkout {letters(r, 40, _HEX)}",
            f"sha256:{letters(r, 64, _HEX)}",
            f"#{letters(r, 6, _HEX)}",
            "r'\\d{3}-\\d{2}-\\d{4}'",
            f"part 12{r.randint(0, 9)}-45-{digits(r, 4)}",
        ]
    )


def _base64(r: Random) -> str:
    return base64.b64encode(r.randbytes(r.randint(16, 200))).decode()


def _price(r: Random) -> str:
    return r.choice(
        [
            f"$1,{digits(r, 3)},{digits(r, 3)}.99",
            f"{r.randint(1, 9)}.{digits(r, 3)}.{digits(r, 3)},00 EUR",
            f"USD {digits(r, 7)}",
            f"the phone costs {r.randint(100, 999)}.{r.randint(10, 99)} euros",
            f"{r.randint(1, 9)} {digits(r, 3)} {digits(r, 3)} Kč",
            f"pi is 3.14159265358979{digits(r, 2)}",
            f"6.022{digits(r, 4)}e+23",
            f"the years 19{digits(r, 2)}-20{r.randint(10, 29)}",
            f"lat 48.{digits(r, 7)}, lon 11.{digits(r, 7)}",
            f"population {r.randint(1, 99)} {digits(r, 3)} {digits(r, 3)}",
            f"{digits(r, 3)}x{digits(r, 4)} pixels",
        ]
    )


def _wrong_iban(r: Random) -> str:
    """Looks like an account number; its remainder by 97 is not 1."""
    country, length = r.choice([("DE", 18), ("FR", 23), ("ES", 20), ("NL", 14), ("AT", 16)])
    body = digits(r, length)
    right = 98 - int(body + "".join(str(int(c, 36)) for c in country) + "00") % 97
    wrong = right % 97 + 1
    return f"{country}{wrong:02}" + r.choice(["", " "]) + body


def _wrong_card(r: Random) -> str:
    """Looks like a card; its check digit is wrong."""
    body = r.choice(["4", "51", "55", "2221", "6011"])
    body += digits(r, 15 - len(body))
    total = sum(sum(divmod(2 * int(c), 10)) if i % 2 == 0 else int(c) for i, c in enumerate(body))
    value = body + str((-total + r.randint(1, 9)) % 10)
    grouped = r.choice([" ", "-", ""]).join(value[i : i + 4] for i in range(0, 16, 4))
    return r.choice(["", "card ", "visa: "]) + grouped


DECOYS: tuple[Callable[[Random], str], ...] = (
    _order,
    _bare_number,
    _hash,
    _uuid,
    _isbn,
    _version,
    _address,
    _reserved,
    _placeholder,
    _code,
    _base64,
    _price,
    _wrong_iban,
    _wrong_card,
    lambda r: letters(r, r.randint(20, 60), _BASE62),
)
