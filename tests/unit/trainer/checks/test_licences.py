import pytest
from finetune_trainer.checks.licences import Licence, concerns, read_licence


@pytest.mark.parametrize(
    ("name", "spdx"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("Apache 2.0", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("MIT License", "MIT"),
        ("cc0", "CC0-1.0"),
        ("odc-by", "ODC-By-1.0"),
        ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
        ("CC BY-NC-ND 4.0", "CC-BY-NC-ND-4.0"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        ("mit OR gpl-3.0-only", "MIT OR GPL-3.0-only"),
        ("llama3", "LicenseRef-Llama-3"),
        ("proprietary", "LicenseRef-Proprietary"),
    ],
)
def test_names_in_use_are_known(name: str, spdx: str) -> None:
    licence = read_licence(name)
    assert (licence.spdx, licence.known) == (spdx, True)


@pytest.mark.parametrize("name", [None, "", "unknown", "other", "N/A"])
def test_no_name_is_no_licence(name: str | None) -> None:
    assert read_licence(name) == Licence(None, known=False)


def test_a_name_that_nobody_knows_stays_a_name() -> None:
    assert read_licence("Acme Data Terms v2") == Licence(
        "LicenseRef-Acme-Data-Terms-v2", known=False
    )


def test_marks_are_those_of_the_licence() -> None:
    assert read_licence("cc-by-nc-sa-4.0").non_commercial
    assert read_licence("cc-by-nc-sa-4.0").share_alike
    assert read_licence("cc-by-nd-4.0").no_derivatives
    assert read_licence("agpl-3.0").copyleft
    assert not read_licence("MIT OR GPL-3.0-only").copyleft
    assert read_licence("MIT AND GPL-3.0-only").copyleft


def test_people_read_what_to_look_at() -> None:
    model = read_licence("apache-2.0")
    assert concerns(read_licence("mit"), model, "faq.jsonl") == []
    [missing] = concerns(read_licence(None), model, "faq.jsonl")
    assert missing.startswith("faq.jsonl states no licence")
    assert len(concerns(read_licence("cc-by-nc-nd-4.0"), model, "faq.jsonl")) == 2
    [same] = concerns(read_licence("cc-by-sa-4.0"), model, "faq.jsonl")
    assert "Apache-2.0" in same
    assert concerns(read_licence("cc-by-sa-4.0"), read_licence("cc-by-sa-4.0"), "x") == []
    assert "not stated" in concerns(read_licence("gpl-3.0"), None, "x")[0]
    assert "not known" in concerns(read_licence("Acme Terms"), model, "x")[0]
