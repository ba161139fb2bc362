"""method, model and data."""

from typing import Any

from tests.unit.fields.bench import SHARED
from tests.unit.fields.entry import Effect, Refusal, Table, effect
from tests.unit.fields.observe.engine import losses, units_read
from tests.unit.fields.observe.operator import start_of_a_chain
from tests.unit.fields.observe.prepare import (
    checked,
    epoch,
    held_out_rows,
    is_prepared,
    relevance,
    train_rows,
)
from tests.unit.fields.observe.stages import card, measured, named_base

QUESTIONS = {"uri": f"{SHARED}/questions.jsonl"}
OTHERS = {"uri": f"{SHARED}/others.jsonl"}
URIS = (QUESTIONS["uri"], OTHERS["uri"])
COLUMNS = {"uri": f"{SHARED}/columns.jsonl"}
CHATS = {"uri": f"{SHARED}/chats.jsonl"}
EITHER = {"train": [{"uri": f"{SHARED}/either.jsonl"}]}
TEMPLATES = (None, "On {{ instruction }}")
FIELDS = (None, {"instruction": "ask"})
FORMATS = ("Messages", "Instruction")
LICENSES = ("mit", "cc-by-4.0")
MEASURED = {"enabled": True, "maxNewTokens": 1}
TWO = {"train": [QUESTIONS, OTHERS], "mixing": "Interleave"}

MODEL: Table = {
    "method": effect(("CPT", "SFT", "DPO"), train_rows, data=EITHER),
    "model.uri": effect(
        (f"{SHARED}/model", f"{SHARED}/other-model"), losses, measured, evaluation=MEASURED
    ),
    "model.fromJob.name": effect(("one", "two"), start_of_a_chain, model={}),
    "model.id": effect(("org/one", "org/two"), named_base),
    "model.license": effect(LICENSES, card),
}
TRAIN: Table = {
    "data.train.uri": effect(URIS, train_rows),
    "data.train.format": effect(FORMATS, train_rows, data={"train": [CHATS]}),
    "data.train.fields": effect(FIELDS, train_rows, data={"train": [COLUMNS]}),
    "data.train.template": effect(TEMPLATES, train_rows),
    "data.train.license": effect(LICENSES, card),
    "data.train.weight": effect(("1", "0.25"), epoch, units_read, data=TWO),
}
EVALUATION: Table = {
    "data.evaluation.uri": effect(URIS, held_out_rows, data={"train": [QUESTIONS]}),
    "data.evaluation.format": effect(
        FORMATS, held_out_rows, data={"train": [QUESTIONS], "evaluation": [CHATS]}
    ),
    "data.evaluation.fields": effect(
        FIELDS, held_out_rows, data={"train": [QUESTIONS], "evaluation": [COLUMNS]}
    ),
    "data.evaluation.template": effect(
        TEMPLATES, held_out_rows, data={"train": [QUESTIONS], "evaluation": [OTHERS]}
    ),
    "data.evaluation.license": effect(
        LICENSES, card, data={"train": [QUESTIONS], "evaluation": [OTHERS]}
    ),
    "data.evaluation.weight": Refusal(
        accepted=None,
        refused="1",
        sentence="evaluation rows are all read",
        within={"data": {"train": [QUESTIONS], "evaluation": [OTHERS]}},
    ),
    "data.evaluationFraction": effect(("0.1", "0.3"), held_out_rows),
}
KEPT = {"leakage": "Report", "secrets": "Report"}
"""Checks that would end a job unless it says so."""
LONGER = {"sequenceLength": 250}
FAULTY: dict[str, Any] = {"train": [{"uri": f"{SHARED}/faulty.jsonl"}], "checks": KEPT}
LEAKING = {"train": [QUESTIONS, OTHERS], "evaluation": [OTHERS], "checks": KEPT}
MODES = ("Off", "Report", "DropRows", "Fail")


def mode(values: tuple[str, ...] = MODES, **checks: Any) -> Effect:
    """Modes of a check, over rows in which every check finds something."""
    data = {**FAULTY, "checks": {**KEPT, **checks}}
    return effect(values, checked, data=data, training=LONGER)


CHECKS: Table = {
    "data.checks.personalData": mode(("Off", "Report", "Redact", "DropRows", "Fail")),
    "data.checks.secrets": mode(),
    "data.checks.duplicates": mode(),
    "data.checks.contradictions": mode(),
    "data.checks.quality": mode(),
    "data.checks.language": mode(("Report", "DropRows", "Fail"), languages=["en"]),
    "data.checks.languages": effect(
        (["en"], ["de"]),
        checked,
        data={**FAULTY, "checks": {**KEPT, "language": "DropRows"}},
        training=LONGER,
    ),
    "data.checks.license": mode(("Off", "Report", "Fail")),
    "data.checks.leakage": effect(MODES, checked, data=LEAKING),
    "data.checks.tooLong": effect(
        ("DropRows", "Fail"), is_prepared, data={"train": [{"uri": f"{SHARED}/one-long.jsonl"}]}
    ),
    "data.checks.maxInvalidRows": effect(
        (0, 1), is_prepared, data={"train": [{"uri": f"{SHARED}/one-bad.jsonl"}]}
    ),
    "data.checks.maxTooLongShare": effect(
        ("0.01", "0.5"), is_prepared, data={"train": [{"uri": f"{SHARED}/one-long.jsonl"}]}
    ),
}
DATA: Table = {
    **MODEL,
    **TRAIN,
    **EVALUATION,
    "data.mixing": effect(
        ("Concat", "Interleave"), epoch, units_read, data={"train": [QUESTIONS, OTHERS]}
    ),
    "data.mixingStop": effect(("FirstExhausted", "AllExhausted"), epoch, units_read, data=TWO),
    "data.groupBy": effect((None, "owner"), held_out_rows),
    "data.domainText.uri": effect(
        (f"{SHARED}/documents.jsonl", f"{SHARED}/general.jsonl"),
        relevance,
        data={"train": [QUESTIONS]},
    ),
    **CHECKS,
}
