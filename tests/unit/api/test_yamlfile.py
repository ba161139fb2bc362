"""A file means the same to us and to kubectl.

The expectations are what `kubectl label --local -f FILE -o json` printed for the same scalars.
"""

from pathlib import Path

import pytest
from finetune_api.errors import UserError
from finetune_api.yamlfile import load_document, load_documents


@pytest.mark.parametrize(
    ("scalar", "meaning"),
    [
        ("2e-4", 0.0002),
        ("2e4", 20000.0),
        ("1e5_0", 1e50),
        (".5", 0.5),
        ("1.", 1.0),
        ("1_0.5", 10.5),
        ("010", 8),
        ("0o10", 8),
        ("08", 8.0),
        ("0x10", 16),
        ("0b11", 3),
        ("-0x10", -16),
        ("+1", 1),
        ("1_000", 1000),
        ("y", True),
        ("on", True),
        ("NO", False),
        ("TRUE", True),
        ("tRue", "tRue"),
        ("~", None),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("2024-01-02", "2024-01-02"),
        ("12e", "12e"),
        ("0x_", "0x_"),
        ("1.5.2", "1.5.2"),
        ('"2e-4"', "2e-4"),
        ("'010'", "010"),
    ],
)
def test_scalars_mean_what_kubectl_takes_them_for(scalar: str, meaning: object) -> None:
    (document,) = load_documents(f"key: {scalar}")
    assert document == {"key": meaning}
    assert type(document["key"]) is type(meaning)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3", "key 'a' is given twice \\(line 3\\)"),
        ("a: {b: 1, b: 1}", "key 'b' is given twice"),
        ("a: [1", "not YAML"),
        ("a: *nowhere", "not YAML"),
        ("a: !!python/object:os.system x", "not YAML"),
        ("a: &x\n  b: *x", "not YAML"),
        ("a: .inf", "infinite and NaN are no JSON values \\(line 1\\)"),
        ("a: -.Inf", "infinite and NaN"),
        ("a: .nan", "infinite and NaN"),
        ("\na: !!binary aGk=", "binary is no JSON value \\(line 2\\)"),
        ("a: !!set {b}", "set is no JSON value"),
    ],
)
def test_what_has_no_meaning_in_json_is_refused(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        load_documents(text)


def test_merge_keys_and_empty_documents_work() -> None:
    text = "---\n---\na: &a {x: 1}\nb: {<<: *a, k: 2}\n---\n"
    assert load_documents(text) == [{"a": {"x": 1}, "b": {"x": 1, "k": 2}}]


def test_a_file_must_hold_one_readable_document(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    with pytest.raises(UserError, match="cannot be read"):
        load_document(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load_document(file)
    file.write_text("a: 1\n---\nb: 2\n")
    with pytest.raises(UserError, match="holds 2 documents") as caught:
        load_document(file)
    assert caught.value.where == str(file)
    file.write_text("a: 1\n")
    assert load_document(file) == {"a": 1}
