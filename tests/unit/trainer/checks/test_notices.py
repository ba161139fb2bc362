import pytest
from finetune_trainer.checks.notices import find_notices


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Text © 2020 Acme Inc", "Copyright", "© 2020 Acme Inc"),
        ("Copyright (c) 2019-2021 Jo", "Copyright", "Copyright (c) 2019-2021 Jo"),
        ("end. All rights reserved.", "Copyright", "All rights reserved"),
        ("(c) 2019", "Copyright", "(c) 2019"),
        ("Alle Rechte vorbehalten", "Copyright", "Alle Rechte vorbehalten"),
        ("版权所有", "Copyright", "版权所有"),
        ("Draft\nCONFIDENTIAL\nPumps", "Confidential", "CONFIDENTIAL"),
        ("Proprietary and confidential", "Confidential", "Proprietary and confidential"),
        ("For internal use only.", "Confidential", "For internal use only"),
        ("Nur für den internen Gebrauch", "Confidential", "Nur für den internen Gebrauch"),
    ],
)
def test_a_notice_is_found(text: str, kind: str, value: str) -> None:
    assert [(h.kind, text[h.start : h.end].strip()) for h in find_notices(text)] == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "see (c) below and (b) above",
        "copyright law protects works",
        "he keeps it confidential for friends",
        "a proprietary format",
    ],
)
def test_a_word_of_a_sentence_is_no_notice(text: str) -> None:
    assert find_notices(text) == []
