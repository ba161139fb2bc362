"""method, model and data."""

from tests.unit.fields.bench import SHARED
from tests.unit.fields.entry import Refusal, Table, effect
from tests.unit.fields.observe.engine import losses, units_read
from tests.unit.fields.observe.prepare import epoch, held_out_rows, is_prepared, train_rows
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
DATA: Table = {
    **MODEL,
    **TRAIN,
    **EVALUATION,
    "data.mixing": effect(
        ("Concat", "Interleave"), epoch, units_read, data={"train": [QUESTIONS, OTHERS]}
    ),
    "data.mixingStop": effect(("FirstExhausted", "AllExhausted"), epoch, units_read, data=TWO),
    "data.checks.maxInvalidRows": effect(
        (0, 1), is_prepared, data={"train": [{"uri": f"{SHARED}/one-bad.jsonl"}]}
    ),
    "data.checks.maxTooLongShare": effect(
        ("0.01", "0.5"), is_prepared, data={"train": [{"uri": f"{SHARED}/one-long.jsonl"}]}
    ),
}
