"""Log-probabilities of label tokens under a causal language model.

The head runs only at positions that predict a label, and in chunks where all its logits at once
would take too much memory.
"""

import inspect
from typing import Any

import torch
from torch.nn import functional

from finetune_trainer.engine.batches import MicroBatch
from finetune_trainer.engine.targets import reward_head
from finetune_trainer.methods.chunked import chunked_cross_entropy, chunked_logprobs

FULL_LOGITS = 2**26
"""Logits of one forward pass (labels x vocabulary) up to which they are computed at once:
256 MiB as fp32."""
_PROBE_TOKENS = 4


class LabelScorer:
    """Scores the labels of micro-batches; the model is called inside DDP's forward."""

    def __init__(self, model: torch.nn.Module, *, full_logits: int = FULL_LOGITS) -> None:
        self.model = model
        self._base = base_of(model)
        takes = inspect.signature(self._base.forward).parameters
        self._keeps = "logits_to_keep" in takes
        self._takes_bounds = any(each.kind is each.VAR_KEYWORD for each in takes.values())
        self._full_logits = full_logits
        self._head_is_plain: bool | None = None

    def logprobs(self, batch: MicroBatch, temperature: float = 1.0) -> torch.Tensor:
        """log p(label | tokens before it in its row): float32 [L], in nats.

        Args:
            temperature: what logits are divided by, as when the label was drawn.
        """
        if self._in_chunks(batch):
            hidden, weight, targets = self._before_head(batch)
            return chunked_logprobs(hidden / temperature, weight, targets)
        targets = batch.targets.flatten()[batch.label_positions]
        logits = self.label_logits(batch).float() / temperature
        return -functional.cross_entropy(logits, targets, reduction="none")

    def cross_entropy(self, batch: MicroBatch) -> torch.Tensor:
        """Sum of -log p over all labels: float32 []."""
        if self._in_chunks(batch):
            hidden, weight, targets = self._before_head(batch)
            return chunked_cross_entropy(hidden, weight, targets)
        targets = batch.targets.flatten()[batch.label_positions]
        return functional.cross_entropy(self.label_logits(batch).float(), targets, reduction="sum")

    def row_logprobs(self, batch: MicroBatch) -> torch.Tensor:
        """Sum of log p over the labels of each row: float32 [N]; [1] of zero for a dummy."""
        totals = torch.zeros(max(1, batch.rows), device=batch.label_rows.device)
        return totals.index_add(0, batch.label_rows, self.logprobs(batch))

    def row_rewards(self, batch: MicroBatch) -> torch.Tensor:
        """What a reward model gives each row, read at its last token: float32 [N]; [1] for a
        dummy."""
        return self._rewards_at(batch, batch.last_positions)

    def label_rewards(self, batch: MicroBatch) -> torch.Tensor:
        """What a reward model gives the text before each label: float32 [L]."""
        return self._rewards_at(batch, batch.label_positions)

    def _rewards_at(self, batch: MicroBatch, positions: torch.Tensor) -> torch.Tensor:
        head = reward_head(self._base)
        assert head is not None, "the model has a reward head"
        inputs = {name: value for name, value in self._inputs(batch).items() if value is not None}
        output = self._base.base_model(**inputs)
        last = output.last_hidden_state.flatten(0, 1)[positions]
        rewards: torch.Tensor = getattr(self._base, head)(last)
        return rewards.float().squeeze(1)

    def label_logits(self, batch: MicroBatch) -> torch.Tensor:
        """Logits at the positions that predict a label: [L, vocabulary]."""
        if batch.attention_mask is None and self._keeps:
            output = self.model(**self._inputs(batch), logits_to_keep=batch.label_positions)
            return torch.as_tensor(output.logits[0])
        logits = self.model(**self._inputs(batch)).logits
        return torch.as_tensor(logits.flatten(0, 1)[batch.label_positions])

    def _in_chunks(self, batch: MicroBatch) -> bool:
        head = self._base.get_output_embeddings()
        if type(head) is not torch.nn.Linear or head.bias is not None:
            return False
        if batch.labels * head.out_features <= self._full_logits:
            return False
        if self._head_is_plain is None:
            self._head_is_plain = self._probe(head)
        return self._head_is_plain

    def _before_head(self, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(hidden states [L, H], the head's weight [V, H], targets [L])."""
        output = self._base.get_decoder()(**self._inputs(batch))
        hidden = output.last_hidden_state.flatten(0, 1)[batch.label_positions]
        targets = batch.targets.flatten()[batch.label_positions]
        return hidden, self._base.get_output_embeddings().weight, targets

    def _inputs(self, batch: MicroBatch) -> dict[str, Any]:
        inputs = {
            "input_ids": batch.input_ids,
            "position_ids": batch.position_ids,
            "attention_mask": batch.attention_mask,
            "use_cache": False,
        }
        if self._takes_bounds and batch.row_bounds is not None:
            inputs["cu_seq_lens_q"] = batch.row_bounds
        return inputs

    @torch.no_grad()
    def _probe(self, head: torch.nn.Linear) -> bool:
        """Whether logits are the head's product and nothing else: some architectures scale or
        cap them."""
        training = self._base.training
        self._base.eval()
        try:
            ids = torch.arange(_PROBE_TOKENS, device=head.weight.device)[None]
            logits = self._base(input_ids=ids, use_cache=False).logits
            hidden = self._base.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
            return torch.equal(logits, head(hidden))
        finally:
            self._base.train(training)


def base_of(model: Any) -> Any:
    """The Transformers model inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
