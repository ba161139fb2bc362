"""Cross entropy and log-probabilities over a large vocabulary without all logits at once.

    logits = hidden @ weight.T        [L, V], CHUNK_LOGITS of them at a time

Where the gradient is known up to a factor (a plain sum), it is computed in the forward pass while
the chunk's logits are there; where it depends on all log-probabilities, the chunk's logits are
computed again in the backward pass. A frozen head costs no weight gradient.
"""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch.autograd import Function

CHUNK_LOGITS = 2**23
"""Logits of a chunk: 32 MiB as fp32."""


def chunked_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Sum of -log softmax(hidden @ weight.T)[targets]: float32 [].

    Args:
        hidden: [L, H], in the type of the computation.
        weight: [V, H] of the head.
        targets: int64 [L].
    """
    return cast("torch.Tensor", _CrossEntropy.apply(hidden, weight, targets))  # type: ignore[no-untyped-call]


def chunked_logprobs(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """log softmax(hidden @ weight.T)[targets]: float32 [L]. Arguments as above."""
    return cast("torch.Tensor", _LogProbs.apply(hidden, weight, targets))  # type: ignore[no-untyped-call]


class _CrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        total = torch.zeros((), device=hidden.device)
        factors = _Factors(hidden, weight)
        gradients = _Gradients(hidden, weight, ctx.needs_input_grad)
        for part in _chunks(hidden, weight):
            logits = factors.logits(part)
            total -= _log_softmax_at(logits, targets[part]).sum()
            if gradients.wanted:
                gradients.add(part, factors, _minus_one_hot(logits, targets[part]))
        ctx.save_for_backward(*gradients.tensors())
        ctx.kinds = gradients.kinds
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        saved = iter(ctx.saved_tensors)
        return (*(next(saved) * grads[0] if kind else None for kind in ctx.kinds), None)


class _LogProbs(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        factors = _Factors(hidden, weight)
        found = [
            _log_softmax_at(factors.logits(part), targets[part]) for part in _chunks(hidden, weight)
        ]
        ctx.save_for_backward(hidden, weight, targets)
        ctx.compute_type = factors.dtype
        return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        hidden, weight, targets = ctx.saved_tensors
        factors = _Factors(hidden, weight, ctx.compute_type)
        gradients = _Gradients(hidden, weight, ctx.needs_input_grad)
        for part in _chunks(hidden, weight):
            slopes = _minus_one_hot(factors.logits(part), targets[part])
            gradients.add(part, factors, slopes.mul_(-grads[0][part, None]))
        return gradients.hidden, gradients.weight, None


class _Factors:
    """Both factors of the head's product in the type that it is computed in."""

    def __init__(
        self, hidden: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype | None = None
    ) -> None:
        device = hidden.device.type
        mixed = torch.is_autocast_enabled(device)
        self.dtype = dtype or (torch.get_autocast_dtype(device) if mixed else hidden.dtype)
        self.hidden = hidden.detach().to(self.dtype)
        self.weight = weight.detach().to(self.dtype)

    def logits(self, part: slice) -> torch.Tensor:
        """float32 [chunk, V], a tensor of its own."""
        return torch.mm(self.hidden[part], self.weight.t()).float()


class _Gradients:
    """Gradients towards both factors, as far as they are wanted."""

    def __init__(self, hidden: torch.Tensor, weight: torch.Tensor, needs: tuple[bool, ...]) -> None:
        self.hidden = torch.empty_like(hidden) if needs[0] else None
        self.weight = torch.zeros_like(weight) if needs[1] else None
        self.kinds = needs[:2]
        self.wanted = any(self.kinds)

    def add(self, part: slice, factors: _Factors, slopes: torch.Tensor) -> None:
        """Take a chunk's gradient towards its logits: float32 [chunk, V]."""
        typed = slopes.to(factors.dtype)
        if self.hidden is not None:
            self.hidden[part] = torch.mm(typed, factors.weight)
        if self.weight is not None:
            self.weight += torch.mm(typed.t(), factors.hidden[part])

    def tensors(self) -> list[torch.Tensor]:
        """Those that are there."""
        return [tensor for tensor in (self.hidden, self.weight) if tensor is not None]


def _chunks(hidden: torch.Tensor, weight: torch.Tensor) -> Iterator[slice]:
    size = max(1, CHUNK_LOGITS // len(weight))
    return (slice(begin, begin + size) for begin in range(0, len(hidden), size))


def _log_softmax_at(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    picked = logits.gather(1, targets[:, None]).squeeze(1)
    return picked - torch.logsumexp(logits, 1)


def _minus_one_hot(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """softmax(logits) - one_hot(targets), in the memory of `logits`."""
    logits.sub_(torch.logsumexp(logits, 1, keepdim=True)).exp_()
    logits.scatter_add_(
        1, targets[:, None], torch.full_like(targets[:, None], -1, dtype=logits.dtype)
    )
    return logits
