"""Prepared rows as the tensors that TRL's trainers take: tokens and loss masks are those of our
engine, and TRL neither renders nor cuts anything."""

import numpy as np
import torch

from finetune_trainer.engine.batches import IGNORED, Int64
from finetune_trainer.prepared import PreparedSplit

Batch = dict[str, torch.Tensor]
"""input_ids and attention_mask, int64 [N, T], padded on the right, and what a method adds."""


def sft_batch(split: PreparedSplit, units: Int64) -> Batch:
    """The rows of `units` [N]; labels int64 [N, T] are -100 where nothing is learnt."""
    ids, attended, is_label = _padded(split, split.rows_of(units))
    labels = ids.masked_fill(~is_label, IGNORED)
    return {"input_ids": ids, "attention_mask": attended, "labels": labels}


def dpo_batch(split: PreparedSplit, units: Int64) -> Batch:
    """The pairs `units` [N / 2]: all chosen rows, then all rejected ones; completion_mask int64
    [N, T] is 1 on tokens that count."""
    rows = split.rows_of(units).reshape(-1, 2).T.ravel()
    ids, attended, is_label = _padded(split, rows)
    return {"input_ids": ids, "attention_mask": attended, "completion_mask": is_label.long()}


def tokens_in(batch: Batch) -> int:
    """Tokens without padding."""
    return int(batch["attention_mask"].sum())


def labels_in(batch: Batch) -> int:
    """Label tokens; nothing predicts a row's first token."""
    if "labels" in batch:
        return int((batch["labels"][:, 1:] != IGNORED).sum())
    return int(batch["completion_mask"][:, 1:].sum())


def _padded(split: PreparedSplit, rows: Int64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(token ids, 1 on tokens, whether a token is a label), each [N, T]."""
    shape = (len(rows), int(split.lengths[rows].max()))
    ids, attended = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    is_label = np.zeros(shape, bool)
    for line, row in enumerate(rows):
        tokens, spans = split.row(int(row))
        ids[line, : len(tokens)] = tokens
        attended[line, : len(tokens)] = 1
        for start, end in spans:
            is_label[line, start:end] = True
    return torch.from_numpy(ids), torch.from_numpy(attended), torch.from_numpy(is_label)
