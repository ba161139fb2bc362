"""Rows that hold more than a method asks for: rankings as pairs, pairs as judged answers."""

from itertools import combinations

from finetune_api.spec import Method

from finetune_trainer.data.feedback import Feedback
from finetune_trainer.data.preference import Preference
from finetune_trainer.data.ranking import Ranking
from finetune_trainer.data.rendering import Example


def expanded(example: Example, method: Method) -> list[Example]:
    """What `method` trains on of one row; all of it has one prompt, and so one group.

    A ranking is every pair of a better and a worse answer (DPO, ORPO); equal scores make none.
    A pair is a desirable and an undesirable answer (KTO).
    """
    match example:
        case Ranking() if method in (Method.DPO, Method.ORPO):
            return [*_pairs(example)]
        case Preference(_, chosen, rejected) if method is Method.KTO:
            return [Feedback(chosen, desirable=True), Feedback(rejected, desirable=False)]
        case _:
            return [example]


def _pairs(ranking: Ranking) -> list[Preference]:
    judged = zip(ranking.answers, ranking.scores, strict=True)
    return [
        Preference(ranking.prompt, better, worse)
        for (better, high), (worse, low) in combinations(judged, 2)
        if high > low
    ]
