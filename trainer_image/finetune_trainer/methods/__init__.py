"""Methods as pure losses; the engine wraps, steps, skips and saves."""

from finetune_api.spec import RANKED, FineTuneJobSpec, Method

from finetune_trainer.methods import dpo, orpo, ranking, sft
from finetune_trainer.methods.objective import Objective


def objective_of(spec: FineTuneJobSpec) -> Objective:
    """What training under a resolved spec minimises."""
    match spec.method:
        case Method.SFT | Method.CPT:
            return sft.OBJECTIVE
        case Method.DPO:
            assert spec.dpo is not None, "resolve() fills it in"
            return dpo.objective(spec.dpo)
        case Method.ORPO:
            assert spec.orpo is not None, "resolve() fills it in"
            return orpo.objective(spec.orpo)


def measurement_of(spec: FineTuneJobSpec) -> Objective:
    """What is measured on held-out rows before and after training, without a reference."""
    return ranking.RANKING if spec.method in RANKED else sft.OBJECTIVE
