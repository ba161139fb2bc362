"""Prepared rows as the tensors that TRL's trainers take: tokens and loss masks are those of our
engine, and TRL neither renders nor cuts anything."""

import numpy as np
import torch

from finetune_trainer.arrays import Int64
from finetune_trainer.engine.batches import IGNORED
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


def kto_batch(split: PreparedSplit, partners: PreparedSplit, units: Int64) -> Batch:
    """The rows `units` [N] with their labels, and their partners as what TRL makes of completions
    that it moves from row to row."""
    ids, attended, is_label = _padded(split, units)
    others, others_attended, others_label = _padded(partners, units)
    return {
        "input_ids": ids,
        "attention_mask": attended,
        "completion_mask": is_label.long(),
        "KL_input_ids": others,
        "KL_attention_mask": others_attended,
        "KL_completion_mask": others_label.long(),
        "label": torch.from_numpy(split.row_values[units] > 0),
    }


def reward_batch(split: PreparedSplit, units: Int64, padding: int, *, margin: bool) -> Batch:
    """The pairs `units` [N / 2]: all better answers, then all worse ones.

    Args:
        padding: token that a reward model knows the end of a row by.
        margin: give the difference of the scores along.
    """
    rows = split.rows_of(units).reshape(-1, 2).T.ravel()
    ids, attended, _ = _padded(split, rows, padding)
    batch = {"input_ids": ids, "attention_mask": attended}
    if margin:
        better, worse = split.row_values[rows].reshape(2, -1)
        batch["margin"] = torch.from_numpy(better - worse)
    return batch


def tokens_in(batch: Batch) -> int:
    """Tokens without padding."""
    return int(batch["attention_mask"].sum())


def labels_in(batch: Batch) -> int:
    """Label tokens; nothing predicts a row's first token, and a reward model predicts none."""
    if "labels" in batch:
        return int((batch["labels"][:, 1:] != IGNORED).sum())
    if "completion_mask" not in batch:
        return 0
    return int(batch["completion_mask"][:, 1:].sum())


def _padded(
    split: PreparedSplit, rows: Int64, padding: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(token ids, 1 on tokens, whether a token is a label), each [N, T]."""
    shape = (len(rows), int(split.lengths[rows].max()))
    ids, attended = np.full(shape, padding, np.int64), np.zeros(shape, np.int64)
    is_label = np.zeros(shape, bool)
    for line, row in enumerate(rows):
        tokens, spans = split.row(int(row))
        ids[line, : len(tokens)] = tokens
        attended[line, : len(tokens)] = 1
        for start, end in spans:
            is_label[line, start:end] = True
    return torch.from_numpy(ids), torch.from_numpy(attended), torch.from_numpy(is_label)
