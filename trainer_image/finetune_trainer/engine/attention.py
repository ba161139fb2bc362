"""Attention of packed rows on CPUs: each row over itself alone.

SDPA with the block-diagonal mask of a pack of T tokens computes all T x T scores, most of them to
throw them away; row by row it computes those that count.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "row_by_row"
_sdpa: Callable[..., tuple[torch.Tensor, None]] = sdpa_attention_forward


def row_by_row_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA of Transformers for each row of a pack: ([1, T, heads, D], None).

    Args:
        query, key, value: [1, heads, T, D]; several lines, or without the next, plain SDPA.
        attention_mask: bool [1, 1, T, T], True where a query may look; it may allow less than
            the whole row before it (sliding windows).
        cu_seq_lens_q: int [N + 1], 0 and the end of each row.
    """
    if cu_seq_lens_q is None or len(query) > 1:
        return _sdpa(module, query, key, value, attention_mask, **options)
    bounds = cu_seq_lens_q.tolist()
    sizes = [end - begin for begin, end in pairwise(bounds)]
    # Split, not sliced: the gradient of a slice is as large as the whole.
    rows = zip(*(torch.split(part, sizes, 2) for part in (query, key, value)), strict=True)
    found = [
        _sdpa(module, q, k, v, _mask_of(attention_mask, begin, end), **options)[0]
        for (q, k, v), (begin, end) in zip(rows, pairwise(bounds), strict=True)
    ]
    return torch.cat(found, 1), None


def _mask_of(mask: torch.Tensor | None, begin: int, end: int) -> torch.Tensor | None:
    """The row's block of `mask`; None, which means causal, where it allows all tokens before."""
    if mask is None:
        return None
    block = mask[..., begin:end, begin:end]
    size = end - begin
    return None if int(block.sum()) == size * (size + 1) // 2 else block


AttentionInterface.register(NAME, row_by_row_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
