"""Defaults that depend on the method: one pure function, whose result is frozen in the run file."""

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import (
    Adapter,
    AdapterFrom,
    AdapterType,
    Best,
    Checkpoints,
    Data,
    Dpo,
    Evaluation,
    FineTuneJobSpec,
    KlController,
    Kto,
    LossOn,
    Method,
    Mixing,
    MixingStop,
    Orpo,
    Ppo,
    Reward,
    Strategy,
    TooLongMode,
    Training,
)
from finetune_api.status import Effective

ALL_LINEAR = "all-linear"
RANK = 16
ALPHA = 32
KL_TARGET = "6"
_LEARNING_RATES = {
    # (low-rank adapter, full weights)
    Method.CPT: ("2e-4", "2e-5"),
    Method.SFT: ("2e-4", "2e-5"),
    Method.DPO: ("5e-6", "5e-7"),
    Method.KTO: ("5e-6", "5e-7"),
    Method.REWARD: ("1e-4", "1e-5"),
    Method.ORPO: ("5e-5", "5e-6"),
    Method.PPO: ("1e-5", "1e-6"),
    Method.GRPO: ("1e-5", "1e-6"),
}
_DROPOUT = {Method.CPT: "0.05", Method.SFT: "0.05"}
"""Of adapters. Elsewhere none: it is noise between a policy and its reference."""
_MAX_TOO_LONG_SHARE = "0.05"
_MAX_NEW_TOKENS = 256


def resolve(spec: FineTuneJobSpec) -> FineTuneJobSpec:
    """The same wish with every setting that has a meaning filled in.

    What depends on the start model (an adapter brings its own rank) is left to `settle`.
    Idempotent: resolving twice gives the same spec.
    """
    return spec.model_copy(
        update={
            "data": _resolve_data(spec),
            "adapter": _resolve_adapter(spec.adapter, spec.method),
            "training": _resolve_training(spec),
            "evaluation": _resolve_evaluation(spec),
            "checkpoints": _resolve_checkpoints(spec),
            "dpo": (spec.dpo or Dpo()) if spec.method is Method.DPO else None,
            "kto": _resolve_kto(spec),
            "reward": (spec.reward or Reward()) if spec.method is Method.REWARD else None,
            "orpo": (spec.orpo or Orpo()) if spec.method is Method.ORPO else None,
            "ppo": _resolve_ppo(spec.ppo),
            "workers": spec.workers.model_copy(update={"strategy": Strategy.DDP}),
        }
    )


def effective(resolved: FineTuneJobSpec) -> Effective:
    """What status.effective shows of a resolved spec."""
    return Effective(
        adapter=resolved.adapter,
        training=resolved.training,
        dpo=resolved.dpo,
        kto=resolved.kto,
        reward=resolved.reward,
        orpo=resolved.orpo,
        ppo=resolved.ppo,
        grpo=resolved.grpo,
        strategy=resolved.workers.strategy,
    )


def settle(adapter: Adapter, *, starts_from_adapter: bool, method: Method) -> Adapter:
    """The resolved `adapter` once it is known what the start model is.

    A new adapter gets its rank, alpha and layers; one that is continued keeps its own, so that
    only `from` and `dropout` are left. Idempotent. Raises UserError InvalidSpec where `from`
    does not go with the start model.
    """
    choice = adapter.from_
    if choice is None:
        trained_further = AdapterFrom.MERGE if method is Method.REWARD else AdapterFrom.CONTINUE
        choice = trained_further if starts_from_adapter else AdapterFrom.NEW
    if choice is AdapterFrom.NEW and starts_from_adapter:
        raise _refused(
            "the start model is an adapter: write Continue to train it further, or Merge to merge "
            "it into its base and start a new adapter on that"
        )
    if choice is not AdapterFrom.NEW and not starts_from_adapter:
        raise _refused(f"the start model is a full model, with no adapter to {choice}: remove from")
    if adapter.type is AdapterType.NONE:
        if choice is AdapterFrom.CONTINUE:
            raise _refused(
                "type None trains all weights and the start model is an adapter: write Merge to "
                "merge it into its base first"
            )
        return adapter
    if choice is AdapterFrom.CONTINUE:
        return Adapter(from_=choice, dropout=adapter.dropout)
    return filled_in(adapter.model_copy(update={"from_": choice}))


def filled_in(adapter: Adapter) -> Adapter:
    """`adapter` with the defaults of a new one."""
    return adapter.model_copy(
        update={
            "type": adapter.type or AdapterType.LORA,
            "rank": adapter.rank or RANK,
            "alpha": adapter.alpha or ALPHA,
            "target_modules": adapter.target_modules or [ALL_LINEAR],
        }
    )


def _refused(message: str) -> UserError:
    return UserError(Reason.INVALID_SPEC, message, where="spec.adapter.from")


def _resolve_adapter(adapter: Adapter, method: Method) -> Adapter:
    if adapter.type is AdapterType.NONE:
        return adapter
    return adapter.model_copy(update={"dropout": adapter.dropout or _DROPOUT.get(method, "0")})


def _resolve_data(spec: FineTuneJobSpec) -> Data:
    data = spec.data
    if spec.method is not Method.CPT and data.checks.too_long is not TooLongMode.FAIL:
        share = data.checks.max_too_long_share or _MAX_TOO_LONG_SHARE
        checks = data.checks.model_copy(update={"max_too_long_share": share})
        data = data.model_copy(update={"checks": checks})
    if data.mixing is Mixing.CONCAT:
        return data
    weighted = [s.model_copy(update={"weight": s.weight or "1"}) for s in data.train]
    stop = data.mixing_stop or MixingStop.FIRST_EXHAUSTED
    return data.model_copy(update={"train": weighted, "mixing_stop": stop})


def _resolve_evaluation(spec: FineTuneJobSpec) -> Evaluation:
    """The length of answers, where some are generated."""
    evaluation = spec.evaluation
    if not evaluation.enabled or spec.method is Method.REWARD:
        return evaluation
    longest = evaluation.max_new_tokens or _MAX_NEW_TOKENS
    return evaluation.model_copy(update={"max_new_tokens": longest})


def _resolve_training(spec: FineTuneJobSpec) -> Training:
    training = spec.training
    low_rank, full = _LEARNING_RATES[spec.method]
    learning_rate = full if spec.adapter.type is AdapterType.NONE else low_rank
    epochs = None if training.max_steps is not None else training.epochs or "1"
    loss_on = training.loss_on or LossOn.COMPLETION if spec.method is Method.SFT else None
    return training.model_copy(
        update={
            "epochs": epochs,
            "learning_rate": training.learning_rate or learning_rate,
            "loss_on": loss_on,
        }
    )


def _resolve_kto(spec: FineTuneJobSpec) -> Kto | None:
    """Absent weights stay so: the rows decide."""
    kto = spec.kto or Kto()
    if spec.method is not Method.KTO:
        return None
    if kto.desirable_weight is None and kto.undesirable_weight is None:
        return kto
    return kto.model_copy(
        update={
            "desirable_weight": kto.desirable_weight or "1",
            "undesirable_weight": kto.undesirable_weight or "1",
        }
    )


def _resolve_ppo(ppo: Ppo | None) -> Ppo | None:
    if ppo is None or ppo.kl_controller is KlController.FIXED:
        return ppo
    return ppo.model_copy(update={"kl_target": ppo.kl_target or KL_TARGET})


def _resolve_checkpoints(spec: FineTuneJobSpec) -> Checkpoints:
    """Whoever stops early wants the step that was best, not the last one."""
    if spec.training.early_stopping is None or spec.checkpoints.best is not None:
        return spec.checkpoints
    return spec.checkpoints.model_copy(update={"best": Best()})
