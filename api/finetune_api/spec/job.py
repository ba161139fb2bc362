"""The whole wish."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from finetune_api.fields import RECIPE, ApiModel, Name, Rule
from finetune_api.spec.adapter import Adapter, AdapterFrom, AdapterType
from finetune_api.spec.data import FORMATS_OF, Data, RowFormat, TooLongMode
from finetune_api.spec.method import ONLINE, RANKED, Method
from finetune_api.spec.methods import Cpt, Dpo, Grpo, Kto, Orpo, Ppo, Reward
from finetune_api.spec.model import ModelSource, RewardModelSource
from finetune_api.spec.output import BestMetric, Checkpoints, Output, Restarts, Storage
from finetune_api.spec.pods import PodTemplate, Preparation, Workers
from finetune_api.spec.training import Training
from finetune_api.trl_rules import trl_rules


class StopAfter(StrEnum):
    """A stage after which a job is complete."""

    DATA = "Data"
    BASELINE = "Baseline"


class Evaluation(ApiModel):
    """Measurements before and after training."""

    enabled: bool = True
    """Measure cross entropy and generate an answer before and after training."""
    max_new_tokens: Annotated[int | None, Field(ge=1, le=8192)] = None
    """Longest generated answer in tokens; 256 when absent."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.enabled || !has(self.maxNewTokens)",
            "with enabled false no answer is generated: remove maxNewTokens",
            lambda evaluation: evaluation.enabled or evaluation.max_new_tokens is None,
        ),
    )


def _formats_rule(method: Method) -> Rule:
    """Rows of a format that `method` does not train on are refused at once."""
    allowed = (RowFormat.AUTO, *FORMATS_OF[method])
    names = [form.value for form in allowed]
    fits = f"(source, !has(source.format) || source.format in {names})"

    def holds(spec: "FineTuneJobSpec") -> bool:
        sources = [*spec.data.train, *(spec.data.evaluation or [])]
        return spec.method is not method or all(source.format in allowed for source in sources)

    return Rule(
        f"self.method != '{method}' || (self.data.train.all{fits}"
        f" && (!has(self.data.evaluation) || self.data.evaluation.all{fits}))",
        f"method {method} trains on rows of the format {' or '.join(names[1:])}; set format to "
        "one of these or leave it out",
        holds,
    )


BLOCKS = {method.lower(): method for method in Method if method is not Method.SFT}
"""Blocks of the spec that belong to one method."""


def _block_rule(name: str, method: Method) -> Rule:
    return Rule(
        f"self.method == '{method}' || !has(self.{name})",
        f"the block {name} belongs to method {method}: remove it, or change the method",
        lambda spec: spec.method is method or getattr(spec, name) is None,
    )


def _online_rules(method: Method) -> tuple[Rule, ...]:
    """The block of a method that writes answers, and the room that they have."""
    block = method.lower()
    return (
        Rule(
            f"self.method != '{method}' || has(self.{block})",
            f"method {method} needs the block {block}: write {block}.maxNewTokens, the longest "
            "answer",
            lambda spec: spec.method is not method or getattr(spec, block) is not None,
        ),
        Rule(
            f"!has(self.{block}) || self.{block}.maxNewTokens < self.training.sequenceLength",
            "training.sequenceLength holds a prompt and its answer: it must be greater than "
            f"{block}.maxNewTokens",
            lambda spec: (
                getattr(spec, block) is None
                or getattr(spec, block).max_new_tokens < spec.training.sequence_length
            ),
        ),
    )


class FineTuneJobSpec(ApiModel):
    """The wish: a model, data, a method, and where the result goes."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        *(_formats_rule(method) for method in Method),
        *(_block_rule(name, method) for name, method in BLOCKS.items()),
        Rule(
            "self.method == 'SFT' || !has(self.training.lossOn)",
            "training.lossOn belongs to method SFT: remove it",
            lambda spec: spec.method is Method.SFT or spec.training.loss_on is None,
        ),
        Rule(
            "self.method != 'CPT' || !has(self.data.checks.maxTooLongShare)",
            "method CPT cuts documents into blocks, so that none is too long: remove "
            "data.checks.maxTooLongShare",
            lambda spec: (
                spec.method is not Method.CPT or spec.data.checks.max_too_long_share is None
            ),
        ),
        Rule(
            "self.method != 'CPT' || self.data.checks.tooLong != 'Fail'",
            "method CPT cuts documents into blocks, so that none is too long: remove "
            "data.checks.tooLong",
            lambda spec: (
                spec.method is not Method.CPT or spec.data.checks.too_long is not TooLongMode.FAIL
            ),
        ),
        Rule(
            "self.method != 'Reward' || !has(self.evaluation.maxNewTokens)",
            "a reward model generates no answer: remove evaluation.maxNewTokens",
            lambda spec: spec.method is not Method.REWARD or spec.evaluation.max_new_tokens is None,
        ),
        Rule(
            "!has(self.checkpoints.best) || has(self.training.evalEverySteps)",
            "checkpoints.best chooses among evaluations: set training.evalEverySteps",
            lambda spec: (
                spec.checkpoints.best is None or spec.training.eval_every_steps is not None
            ),
        ),
        Rule(
            "!has(self.checkpoints.best) || self.checkpoints.best.metric != 'PreferenceAccuracy'"
            f" || self.method in {[method.value for method in RANKED]}",
            "checkpoints.best.metric PreferenceAccuracy belongs to methods that train on pairs "
            f"({', '.join(RANKED)}); write Loss",
            lambda spec: (
                spec.checkpoints.best is None
                or spec.checkpoints.best.metric is not BestMetric.PREFERENCE_ACCURACY
                or spec.method in RANKED
            ),
        ),
        Rule(
            "!self.output.merged || !has(self.adapter.type) || self.adapter.type != 'None'",
            "with adapter.type None the result is a whole model already: remove output.merged",
            lambda spec: not spec.output.merged or spec.adapter.type is not AdapterType.NONE,
        ),
        Rule(
            "!has(self.reward) || !self.reward.margin || (self.data.train.all(source, "
            "has(source.format) && source.format == 'Ranking') && (!has(self.data.evaluation) || "
            "self.data.evaluation.all(source, has(source.format) && source.format == 'Ranking')))",
            "reward.margin is the difference of scores: set format Ranking on all rows",
            lambda spec: (
                spec.reward is None
                or not spec.reward.margin
                or all(
                    source.format is RowFormat.RANKING
                    for source in [*spec.data.train, *(spec.data.evaluation or [])]
                )
            ),
        ),
        Rule(
            f"!has(self.rewardModel) || self.method in {[method.value for method in ONLINE]}",
            f"rewardModel scores what the model writes in method {' or '.join(ONLINE)}: remove it",
            lambda spec: spec.reward_model is None or spec.method in ONLINE,
        ),
        *(rule for method in ONLINE for rule in _online_rules(method)),
        Rule(
            "self.method != 'PPO' || has(self.rewardModel)",
            "nothing scores the answers: name a rewardModel",
            lambda spec: spec.method is not Method.PPO or spec.reward_model is not None,
        ),
        Rule(
            "!has(self.grpo) || has(self.rewardModel) || has(self.grpo.rewardFunctions)",
            "nothing scores the answers: name a rewardModel, or grpo.rewardFunctions",
            lambda spec: (
                spec.grpo is None
                or spec.reward_model is not None
                or spec.grpo.reward_functions is not None
            ),
        ),
        Rule(
            "self.method != 'Reward' || !has(self.adapter.from) || self.adapter.from != 'Continue'",
            "a reward model has another head than the start adapter's: write from: Merge, which is "
            "also what happens when it is absent",
            lambda spec: (
                spec.method is not Method.REWARD or spec.adapter.from_ is not AdapterFrom.CONTINUE
            ),
        ),
        Rule(
            "!has(self.stopAfter) || self.stopAfter != 'Baseline' || "
            "!has(self.evaluation.enabled) || self.evaluation.enabled",
            "stopAfter Baseline measures the untouched model: remove evaluation.enabled: false",
            lambda spec: spec.stop_after is not StopAfter.BASELINE or spec.evaluation.enabled,
        ),
        *trl_rules(Checkpoints()),
    )

    method: Annotated[Method, RECIPE]
    """CPT: continued pre-training on documents. SFT: answers to prompts. DPO: the better of two
    answers, measured from a reference. KTO: answers marked as desirable or not. ORPO: the better of
    two answers, in one stage and without a reference. Reward: a model that scores answers. PPO:
    answers that the model writes itself, scored by a reward model. GRPO: the same, each answer
    against others to its prompt."""
    model: Annotated[ModelSource, RECIPE]
    """The model that training starts from."""
    reward_model: RewardModelSource | None = None
    """The reward model that scores the model's answers (PPO, GRPO)."""
    data: Annotated[Data, RECIPE]
    """Rows to train on and rows to measure on."""
    adapter: Annotated[Adapter, RECIPE] = Field(default_factory=Adapter)
    """Low-rank adapters, or full weights."""
    training: Annotated[Training, RECIPE] = Field(default_factory=Training)
    """The optimisation."""
    cpt: Annotated[Cpt | None, RECIPE] = None
    """Settings of method CPT."""
    dpo: Dpo | None = None
    """Settings of method DPO."""
    kto: Kto | None = None
    """Settings of method KTO."""
    reward: Reward | None = None
    """Settings of method Reward."""
    orpo: Orpo | None = None
    """Settings of method ORPO."""
    ppo: Ppo | None = None
    """Settings of method PPO."""
    grpo: Grpo | None = None
    """Settings of method GRPO."""
    evaluation: Evaluation = Field(default_factory=Evaluation)
    """Measurements before and after training."""
    stop_after: StopAfter | None = None
    """Data ends the job when its data is checked and prepared: the report says what it found, and a
    job that trains on the same data finds it ready. Baseline also measures the untouched model on
    the held-out rows; nothing is trained or published."""
    workers: Workers = Field(default_factory=Workers)
    """The training pods."""
    preparation: Preparation = Field(default_factory=Preparation)
    """The CPU job that prepares data."""
    pod_template: PodTemplate = Field(default_factory=PodTemplate)
    """What the platform needs on the pods."""
    storage: Storage = Field(default_factory=Storage)
    """The S3-compatible store."""
    output: Output
    """Where results go."""
    checkpoints: Checkpoints = Field(default_factory=Checkpoints)
    """When work is saved."""
    restarts: Restarts = Field(default_factory=Restarts)
    """How often and how long to try."""
    suspend: bool = False
    """True saves a checkpoint and frees the pods; false goes on."""
    priority_class_name: Name | None = None
    """PriorityClass of the pods. A change takes effect with the next set of pods."""
    active_deadline_seconds: Annotated[int | None, Field(ge=1, le=31_536_000)] = None
    """Seconds from the first start after which the job fails."""
    ttl_seconds_after_finished: Annotated[int | None, Field(ge=0, le=31_536_000)] = None
    """Seconds after the end until the job's pods and other children are deleted."""


def answer_room(spec: FineTuneJobSpec) -> int:
    """Tokens of training.sequenceLength that are kept for the answer which the model writes itself;
    0 where rows hold the answers."""
    block = spec.ppo or spec.grpo
    return block.max_new_tokens if block is not None else 0


MUTABLE_FIELDS = frozenset({"suspend", "priority_class_name", "ttl_seconds_after_finished"})
"""Fields of the spec that may change after creation."""
