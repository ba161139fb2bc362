"""What makes two preparations, and two results, the same."""

from collections.abc import Sequence
from typing import Any

from finetune_api.hashing import canonical_digest, recipe_hash
from finetune_api.spec import ONLINE, Adapter, FineTuneJobSpec, LossOn, answer_room

from finetune_trainer.data.rendering import needs_answer
from finetune_trainer.model_check import CheckedModel
from finetune_trainer.preparation.local_files import LocalSource, LocalSources
from finetune_trainer.prepared import PREPARED_VERSION
from finetune_trainer.version import TRAINER_VERSION


def data_digest(
    spec: FineTuneJobSpec,
    sources: LocalSources,
    tokenizer_digest: str,
    template: str | None,
) -> str:
    """Equal exactly when the same rows become the same tokens in the same units and splits, with
    the same report.

    Over the method, the content of the sources and how they are read, the tokenizer, the chat
    template, what is learnt of a row, the length limit, what decides the split, the checks, the
    licences and domain text that they look at, whether prompts need right answers, and the version
    of this code. Addresses are no part of it, nor are
    weights and shares: how much of each source an epoch reads is decided when it is read.
    """
    return canonical_digest(
        _online_part(spec)
        | _reported_part(spec, sources)
        | {
            "version": PREPARED_VERSION,
            "method": spec.method.value,
            "train": [_read_as(local) for local in sources.train],
            "replay": [_read_as(local) for local in sources.replay],
            "evaluation": [_read_as(local) for local in sources.evaluation],
            "tokenizer": tokenizer_digest,
            "template": template,
            "lossOn": (spec.training.loss_on or LossOn.COMPLETION).value,
            "sequenceLength": spec.training.sequence_length,
            "seed": spec.training.seed,
            "evaluationFraction": spec.data.evaluation_fraction,
            "groupBy": spec.data.group_by,
            "checks": spec.data.checks.to_wire(),
        }
    )


def _online_part(spec: FineTuneJobSpec) -> dict[str, Any]:
    """What decides over prompts that the model answers itself, beside what decides over all
    rows."""
    if spec.method not in ONLINE:
        return {}
    return {"answerRoom": answer_room(spec), "needsAnswer": needs_answer(spec)}


def _reported_part(spec: FineTuneJobSpec, sources: LocalSources) -> dict[str, Any]:
    """What decides over the report beside what decides over the tokens."""
    replay = spec.cpt.replay if spec.cpt else []
    licenses = [source.license for source in (*spec.data.train, *replay)]
    return {
        "licenses": [spec.model.license, *licenses],
        "domain": [local.digest for local in sources.domain],
    }


def recipe_digest(
    spec: FineTuneJobSpec,
    adapter: Adapter,
    model: CheckedModel,
    sources: Sequence[LocalSource],
    reward: CheckedModel | None = None,
) -> str:
    """The recipe hash, with content digests in place of the addresses of model and data.

    Args:
        adapter: that of `spec`, settled for the start model.
        reward: the reward model of `spec`, if it has one.
    """
    digests = {local.source.uri: local.digest for local in sources}
    digests[spec.model.address()] = model.digest
    if reward is not None and spec.reward_model is not None:
        digests[spec.reward_model.address()] = reward.digest
    settled = spec.model_copy(update={"adapter": adapter})
    return recipe_hash(settled, digests, TRAINER_VERSION)


def _read_as(local: LocalSource) -> dict[str, Any]:
    source = local.source
    return {
        "content": local.digest,
        "format": source.format.value,
        "fields": source.fields,
        "template": source.template,
    }
