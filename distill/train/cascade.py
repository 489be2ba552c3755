"""Keys that a whole range of queries sees, attended without a mask by cuDNN.

In a trie row most of the work is own tokens over a shared prompt. A piece of a path that does not
branch (keys a to b, subtree up to s) is seen whole by every query from b to s: this rectangle is
taken out of FlexAttention's mask. Its results are merged with the others by log-sum-exp:

    lse = log(sum_i exp(lse_i))        output = sum_i exp(lse_i - lse) output_i

The backward pass gives cuDNN the merged output and log-sum-exp: its gradients are then those of
the whole softmax, restricted to its keys. Exact, apart from rounding; GPUs only.

Used from Hopper on, where it was measured.

Rectangles end where the piece ends and not at a tile: a tile of keys that all queries see in part
would else be gone through by a single program a KV head, which takes longer than all the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEAST_KEYS = 256
"""A piece of fewer is not worth reading its queries once more."""
LEAST_AREA = 2**22
"""Pairs of query and key from which on a rectangle is worth two more kernels."""
QUERIES_STEP = 2048
"""Its queries come in multiples of so many: cuDNN takes a tenth of a second for a new shape."""
MOST = 8
"""Rectangles of a row."""

_lengths: set[int] = set()
"""Of the pieces so far, for the same reason: a prompt comes back with every batch, what two samples
happen to share does not."""


def available(device: torch.device) -> bool:
    """Whether cuDNN attends faster than FlexAttention there."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def rectangles(stop: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose what is attended without a mask: the largest pieces whose length was there before.

    Args:
        stop: [N] end of the subtree below each position.

    Returns:
        [MOST, 4] first key, end of the keys, first query, end of the queries; in the order of the
        row, then zeros. No key is in two, a query may be. The queries are the subtree's last.
    """
    starts = np.flatnonzero(np.r_[True, stop[1:] != stop[:-1]])
    ends = np.r_[starts[1:], len(stop)]
    lengths, last = ends - starts, stop[starts]
    queries = (last - ends) // QUERIES_STEP * QUERIES_STEP
    areas = lengths * queries
    worth = np.flatnonzero((lengths >= LEAST_KEYS) & (areas >= LEAST_AREA))
    known = [n for n in worth.tolist() if int(lengths[n]) in _lengths]
    _lengths.update(lengths[worth].tolist())
    kept = sorted(sorted(known, key=lambda n: -areas[n])[:MOST])
    found = np.zeros((MOST, 4), np.int64)
    found[: len(kept)] = np.stack([starts, ends, last - queries, last], 1)[kept]
    return found


def cascade(
    query: Tensor, key: Tensor, value: Tensor, own: Tensor, own_lse: Tensor, parts: Tensor,
    scaling: float,
) -> Tensor:  # fmt: skip
    """Merge attention to the rectangles into that to all other keys.

    Args:
        query: [1, heads, N, D].
        key: [1, KV heads, N, D].
        value: As `key`.
        own: [1, heads, N, D] the output over all other keys.
        own_lse: [1, heads, N] its log-sum-exp.
        parts: [MOST, 4] the `rectangles`, on the CPU.
        scaling: Factor of the scores.

    Returns:
        The output over all keys, as `own`.
    """
    merged: Tensor = _Cascade.apply(  # type: ignore[no-untyped-call]
        query, key, value, own, own_lse, parts, scaling
    )
    return merged


class _Cascade(torch.autograd.Function):
    """Plain arithmetic around two operators, so that a compiled layer fuses it."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, own: Tensor, own_lse: Tensor,
        parts: Tensor, scaling: float,
    ) -> Tensor:  # fmt: skip
        part, part_lse = _forward(query, key, value, parts, scaling)
        lse = torch.logaddexp(own_lse, part_lse)
        output = _mixed(own, torch.exp(own_lse - lse), part, torch.exp(part_lse - lse))
        ctx.save_for_backward(query, key, value, own, own_lse, parts, output, lse)
        ctx.scaling = scaling
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, own, own_lse, parts, output, lse = ctx.saved_tensors
        share, wide = torch.exp(own_lse - lse), grad.float()
        d_own_lse = share * (wide * (own.float() - output.float())).sum(-1)
        d_own = (wide * share[..., None]).to(own.dtype)
        found = _backward(grad, query, key, value, output, lse, parts, ctx.scaling)
        return *found, d_own, d_own_lse, None, None


def _mixed(one: Tensor, share: Tensor, other: Tensor, rest: Tensor) -> Tensor:
    return (one.float() * share[..., None] + other.float() * rest[..., None]).to(one.dtype)


@torch.library.custom_op("distill::cascade", mutates_args=())
def _forward(
    query: Tensor, key: Tensor, value: Tensor, parts: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    """Return output and log-sum-exp over the rectangles; 0 and -inf where there is none."""
    output = torch.zeros_like(query)
    lse = torch.full(query.shape[:3], -torch.inf, dtype=torch.float32, device=query.device)
    reached = 0
    for first, stop, start, end in _listed(parts):
        found, its_lse = _attend(
            query[:, :, start:end], key[:, :, first:stop], value[:, :, first:stop], scaling
        )
        if start < reached:  # queries of a rectangle before
            before, old = output[:, :, start:end], lse[:, :, start:end]
            new = torch.logaddexp(old, its_lse)
            found = _mixed(before, torch.exp(old - new), found, torch.exp(its_lse - new))
            its_lse = new
        output[:, :, start:end], lse[:, :, start:end] = found, its_lse
        reached = max(reached, end)
    return output, lse


@_forward.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, parts: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(query), query.new_empty(query.shape[:3], dtype=torch.float32)


@torch.library.custom_op("distill::cascade_backward", mutates_args=())
def _backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, lse: Tensor,
    parts: Tensor, scaling: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return what the rectangles add to the gradients of query, key and value."""
    slopes = torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)
    for first, stop, start, end in _listed(parts):
        queries, keys = slice(start, end), slice(first, stop)
        found = _attend_backward(
            grad[:, :, queries], query[:, :, queries], key[:, :, keys], value[:, :, keys],
            output[:, :, queries], lse[:, :, queries], scaling,
        )  # fmt: skip
        for slope, part, where in zip(slopes, found, (queries, keys, keys), strict=True):
            slope[:, :, where] += part
    return slopes


@_backward.register_fake
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, lse: Tensor,
    parts: Tensor, scaling: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _listed(parts: Tensor) -> list[list[int]]:
    return parts[parts[:, 1] > 0].tolist()


def _attend(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """Return output and log-sum-exp [1, heads, N]."""
    found = torch.ops.aten._scaled_dot_product_cudnn_attention(
        query, key, value, None, True, 0.0, False, False, scale=scaling
    )
    return found[0], found[1].reshape(query.shape[:3])


def _attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, lse: Tensor,
    scaling: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of query, key and value."""
    unused = torch.empty((), dtype=torch.int64, device=query.device)  # without dropout, no seeds
    found: tuple[Tensor, Tensor, Tensor] = (
        torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
            grad, query, key, value, output, lse[..., None].contiguous(), unused, unused, None,
            None, None, query.shape[2], key.shape[2], 0.0, False, scale=scaling,
        )
    )  # fmt: skip
    return found
