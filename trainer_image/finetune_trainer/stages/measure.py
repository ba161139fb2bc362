"""Measures a model: cross entropy on held-out rows, and one answer to a sample question."""

from pathlib import Path
from typing import Any

import torch
from finetune_api.spec import Method
from finetune_api.status import Measurement
from transformers import AutoTokenizer, StoppingCriteriaList

from finetune_trainer.engine.interrupt import interrupted
from finetune_trainer.engine.model import computing
from finetune_trainer.engine.scoring import measure_split
from finetune_trainer.engine.settings import StopRequestedError
from finetune_trainer.methods import measurement_of
from finetune_trainer.methods.ranking import ACCURACY
from finetune_trainer.methods.sft import CROSS_ENTROPY
from finetune_trainer.online.generation import StopWhenAsked
from finetune_trainer.online.grpo import told_of
from finetune_trainer.prepared import Prepared
from finetune_trainer.progress import REWARD
from finetune_trainer.stages.context import Run
from finetune_trainer.stages.online import Answering

_LONGEST_TEXT = 512
"""Characters of a question or answer that status has room for."""


def measure(
    run: Run,
    model: torch.nn.Module,
    prepared: Prepared,
    tokenizer_folder: Path,
    name: str,
    answering: Answering | None = None,
) -> Measurement | None:
    """Measure `model`; collective. None when evaluation is off or no row is held out.

    Args:
        name: tells this measurement from others of the run.
        answering: how the model answers prompts, where it is trained on its own answers.

    Raises InterruptedRunError.
    """
    split = prepared.evaluation
    if not run.file.spec.evaluation.enabled or not len(split):
        return None
    try:
        if answering is not None:
            means = told_of(*answering.measure(model))
        else:
            means = measure_split(
                run.comm,
                model,
                split,
                objective=measurement_of(run.file.spec),
                settings=run.scoring_settings(split),
            )
    except StopRequestedError as error:
        raise interrupted("the measurement is done again when the run goes on") from error
    answer = None
    if run.comm.is_first and sample_question(run, prepared) is not None:
        prompt = prepared.metadata.samples[0].prompt_text_rendered
        answer = _answer(run, model, tokenizer_folder, prompt)[:_LONGEST_TEXT]
    # The others wait here, looking for a request to stop, not inside a collective.
    run.comm.share(f"measured/{name}", value=True)
    if not means.keys() & {CROSS_ENTROPY, REWARD}:
        return None  # KTO without a desirable row held out
    return Measurement(
        cross_entropy=_shown(means.get(CROSS_ENTROPY)),
        reward_mean=_shown(means.get(REWARD)),
        preference_accuracy=_shown(means.get(ACCURACY)),
        answer=answer,
    )


def _shown(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"


def sample_question(run: Run, prepared: Prepared) -> str | None:
    """The last turn before the answer of the first sample; a reward model answers none."""
    if run.file.spec.method is Method.REWARD:
        return None
    for sample in prepared.metadata.samples[:1]:
        content = sample.prompt_messages[-1].get("content") if sample.prompt_messages else None
        return str(content or sample.prompt_text_rendered)[:_LONGEST_TEXT]
    return None


def _answer(run: Run, model: Any, tokenizer_folder: Path, prompt: str) -> str:
    """The greedy answer to `prompt`, without special tokens."""
    tokenizer = AutoTokenizer.from_pretrained(
        tokenizer_folder, local_files_only=True, trust_remote_code=False
    )
    encoded = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    ids = encoded["input_ids"].to(run.comm.device)
    longest = run.file.spec.evaluation.max_new_tokens
    assert longest is not None
    room = int(getattr(model.config, "max_position_embeddings", 2**31)) - ids.shape[1]
    if room < 1:
        return ""
    model.eval()
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    with torch.no_grad(), computing(run.file.spec.training.precision, run.comm.device):
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=min(longest, room),
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=pad,
            use_cache=True,
            stopping_criteria=StoppingCriteriaList([StopWhenAsked(run.comm)]),
        )
    run.comm.check_stop()
    return str(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)).strip()
