"""Methods as pure losses; the engine wraps, steps, skips and saves."""

from finetune_api.spec import RANKED, FineTuneJobSpec, Method

from finetune_trainer.methods import dpo, kto, orpo, ranking, reward, sft
from finetune_trainer.methods.objective import Objective
from finetune_trainer.prepared import PreparedSplit


def objective_of(spec: FineTuneJobSpec, train: PreparedSplit) -> Objective:
    """What training under a resolved spec on the rows of `train` minimises."""
    match spec.method:
        case Method.SFT | Method.CPT:
            return sft.OBJECTIVE
        case Method.DPO:
            assert spec.dpo is not None, "resolve() fills it in"
            return dpo.objective(spec.dpo)
        case Method.KTO:
            assert spec.kto is not None, "resolve() fills it in"
            return kto.objective(spec.kto, train.row_values)
        case Method.REWARD:
            assert spec.reward is not None, "resolve() fills it in"
            return reward.objective(spec.reward)
        case Method.ORPO:
            assert spec.orpo is not None, "resolve() fills it in"
            return orpo.objective(spec.orpo)
        case Method.PPO | Method.GRPO:
            raise ValueError("what these minimise belongs to the answers that the model writes")


def measurement_of(spec: FineTuneJobSpec) -> Objective:
    """What is measured on held-out rows before and after training, without a reference."""
    if spec.method is Method.KTO:
        return kto.DESIRABLE_ROWS
    if spec.method is Method.REWARD:
        return reward.RANKING
    return ranking.RANKING if spec.method in RANKED else sft.OBJECTIVE
