import base64
import json
import string

import pytest
from finetune_trainer.checks.secrets import find_secrets

from benchmarks.checks.prose import seeded

_LETTERS = string.ascii_letters + string.digits


def letters(count: int, alphabet: str = _LETTERS) -> str:
    """Some that no repository should hold as they stand."""
    return "".join(seeded(3).choices(alphabet, k=count))


def token(header: object) -> str:
    parts = (header, {"sub": "42", "name": "Kim"})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join([*(part.rstrip("=") for part in encoded), letters(43)])


SECRETS = {
    "AwsAccessKey": "AKIA" + letters(16, string.ascii_uppercase),
    "GitHubToken": "ghp_" + letters(36),
    "GitLabToken": "glpat-" + letters(20),
    "SlackToken": "xoxb-920184756320-" + letters(24),
    "ModelApiKey": "sk-ant-api03-" + letters(90),
    "HuggingFaceToken": "hf_" + letters(34),
    "GoogleApiKey": "AIza" + letters(35),
    "StripeKey": "sk_live_" + letters(24),
    "NpmToken": "npm_" + letters(36),
    "SendGridKey": f"SG.{letters(22)}.{letters(43)}",
    "TwilioKey": "SK" + letters(32, "0123456789abcdef"),
    "WebToken": token({"alg": "HS256"}),
    "PrivateKey": f"-----BEGIN PRIVATE KEY-----\n{letters(400)}\n-----END PRIVATE KEY-----",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_found_where_it_stands(kind: str) -> None:
    text = f'key = "{SECRETS[kind]}", keep it'
    start = text.index(SECRETS[kind])
    assert [(h.kind, h.start, h.end) for h in find_secrets(text)] == [
        (kind, start, start + len(SECRETS[kind]))
    ]


def test_of_an_address_only_the_password_is_the_secret() -> None:
    text = "postgres://svc:t0pfSecr3t@db.acme.io/live"
    [hit] = find_secrets(text)
    assert (hit.kind, text[hit.start : hit.end]) == ("UrlPassword", "t0pfSecr3t")


@pytest.mark.parametrize(
    "text",
    [
        "sk-your-key-here-with-some-more-words-behind-it",
        "ghp_" + "x" * 36,
        "AKIAIOSFODNN7EXAMPLE",
        "hf_${TOKEN}",
        "glpat-" + "0" * 20,
        "https://user:password@example.com/ and redis://:${PASSWORD}@cache:6379",
        "postgres://postgres:postgres@localhost/db",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "eyJ.eyJ.abc and " + token({"no": "algorithm"}),
        "task-" + letters(40),
        letters(64, "0123456789abcdef"),
        base64.b64encode(letters(90).encode()).decode(),
    ],
)
def test_placeholders_and_random_text_are_no_secrets(text: str) -> None:
    assert find_secrets(text) == []


def test_a_hit_does_not_show_what_was_found() -> None:
    for secret in SECRETS.values():
        assert secret not in repr(find_secrets(secret))
