"""Measures a model: cross entropy on held-out rows, and one answer to a sample question."""

from pathlib import Path
from typing import Any

import torch
from finetune_api.spec import Method
from finetune_api.status import Measurement
from transformers import AutoTokenizer, StoppingCriteria, StoppingCriteriaList

from finetune_trainer.engine.interrupt import interrupted
from finetune_trainer.engine.model import computing
from finetune_trainer.engine.scoring import measure_split
from finetune_trainer.engine.settings import StopRequestedError
from finetune_trainer.methods import measurement_of
from finetune_trainer.methods.ranking import ACCURACY
from finetune_trainer.methods.sft import CROSS_ENTROPY
from finetune_trainer.prepared import Prepared
from finetune_trainer.stages.context import Run

_LONGEST_TEXT = 512
"""Characters of a question or answer that status has room for."""


def measure(
    run: Run, model: torch.nn.Module, prepared: Prepared, tokenizer_folder: Path, name: str
) -> Measurement | None:
    """Measure `model`; collective. None when evaluation is off or no row is held out.

    Args:
        name: tells this measurement from others of the run.

    Raises InterruptedRunError.
    """
    split = prepared.evaluation
    if not run.file.spec.evaluation.enabled or not len(split):
        return None
    try:
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
    if CROSS_ENTROPY not in means:
        return None  # KTO without a desirable row held out
    accuracy = means.get(ACCURACY)
    return Measurement(
        cross_entropy=f"{means[CROSS_ENTROPY]:.6g}",
        preference_accuracy=None if accuracy is None else f"{accuracy:.6g}",
        answer=answer,
    )


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
            stopping_criteria=StoppingCriteriaList([_StopWhenAsked(run)]),
        )
    run.comm.check_stop()
    return str(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)).strip()


class _StopWhenAsked(StoppingCriteria):  # type: ignore[misc]
    """Ends generation when the run was asked to stop."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        stop = self._run.comm.stop_is_known()
        return torch.full((len(input_ids),), stop, device=input_ids.device)
