"""What the command line says of a result."""

from finetune_api.status import EvaluationStatus, Measurement
from finetune_cli.text import evaluation_lines


def test_pairs_are_told_by_how_many_are_ranked_rightly_too() -> None:
    before = Measurement(cross_entropy="5.2", preference_accuracy="0.5")
    after = Measurement(cross_entropy="5.3", preference_accuracy="0.7")
    lines = list(evaluation_lines(EvaluationStatus(before=before, after=after)))
    assert lines[1] == "held-out pairs ranked rightly: 0.5 before, 0.7 after (share)"
    rows = EvaluationStatus(before=Measurement(cross_entropy="5.2"))
    assert len(list(evaluation_lines(rows))) == 1
