"""What the command line says of a result."""

from finetune_api.spec import Method
from finetune_api.status import EvaluationStatus, Measurement
from finetune_cli.text import evaluation_lines


def test_pairs_are_told_by_how_many_are_ranked_rightly_too() -> None:
    before = Measurement(cross_entropy="5.2", preference_accuracy="0.5")
    after = Measurement(cross_entropy="5.3", preference_accuracy="0.7")
    lines = list(evaluation_lines(EvaluationStatus(before=before, after=after), Method.DPO))
    assert lines[1] == "held-out pairs ranked rightly: 0.5 before, 0.7 after (share)"
    rows = EvaluationStatus(before=Measurement(cross_entropy="5.2"))
    assert len(list(evaluation_lines(rows, Method.SFT))) == 1


def test_a_reward_models_cross_entropy_is_that_of_a_pair() -> None:
    measured = EvaluationStatus(before=Measurement(cross_entropy="0.7"))
    (line,) = evaluation_lines(measured, Method.REWARD)
    assert (
        line == "held-out cross entropy: 0.7 before, not measured after (nats per pair of answers)"
    )
