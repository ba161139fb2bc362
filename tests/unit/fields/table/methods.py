"""Blocks that belong to one method."""

from typing import Any

from tests.unit.fields.bench import SHARED
from tests.unit.fields.entry import Effect, Observe, Refusal, Table
from tests.unit.fields.observe.engine import losses, units_read
from tests.unit.fields.observe.prepare import epoch, train_rows
from tests.unit.fields.observe.stages import card

GENERAL = f"{SHARED}/general.jsonl"
DOCUMENTS = {
    "method": "CPT",
    "data": {"train": [{"uri": f"{SHARED}/documents.jsonl"}]},
    "cpt": {"replay": [{"uri": GENERAL, "share": "0.25"}]},
}
PAIRS = {"method": "DPO", "data": {"train": [{"uri": f"{SHARED}/pairs.jsonl"}]}}


def _replay(*values: Any, seen: tuple[Observe, ...]) -> Effect:
    return Effect(values, seen, DOCUMENTS)


def _dpo(*values: str) -> Effect:
    return Effect(values, (losses,), PAIRS)


CPT: Table = {
    "cpt.replay.uri": _replay(GENERAL, f"{SHARED}/more-general.jsonl", seen=(train_rows,)),
    "cpt.replay.format": Refusal("Text", "Messages", "replay rows are documents", DOCUMENTS),
    "cpt.replay.fields": _replay(None, {"text": "body"}, seen=(train_rows,)),
    "cpt.replay.template": _replay(None, "{{ title }}: {{ text }}", seen=(train_rows,)),
    "cpt.replay.license": _replay("mit", "cc-by-4.0", seen=(card,)),
    "cpt.replay.share": _replay("0.25", "0.5", seen=(epoch, units_read)),
}
FEEDBACK = {"method": "KTO", "data": {"train": [{"uri": f"{SHARED}/feedback.jsonl"}]}}
KTO: Table = {
    "kto.beta": Effect(("0.1", "0.5"), (losses,), FEEDBACK),
    "kto.desirableWeight": Effect((None, "1", "3"), (losses,), FEEDBACK),
    "kto.undesirableWeight": Effect((None, "1", "3"), (losses,), FEEDBACK),
}
RANKINGS = {
    "method": "Reward",
    "data": {"train": [{"uri": f"{SHARED}/rankings.jsonl", "format": "Ranking"}]},
}
REWARD: Table = {
    "reward.centerCoefficient": Effect(("0", "1"), (losses,), RANKINGS),
    "reward.margin": Effect((False, True), (losses,), RANKINGS),
}
ORPO: Table = {"orpo.beta": Effect(("0.1", "1"), (losses,), {**PAIRS, "method": "ORPO"})}
DPO: Table = {
    "dpo.beta": _dpo("0.1", "0.5"),
    "dpo.loss": _dpo("Sigmoid", "IPO", "Hinge"),
    "dpo.labelSmoothing": _dpo("0", "0.2"),
    "dpo.sftWeight": _dpo("0", "1"),
}
