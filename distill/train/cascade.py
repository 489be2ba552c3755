"""Keys that a whole range of queries sees, attended without a mask by cuDNN.

In a trie row most of the work is own tokens over a shared prompt. Such rectangles of whole tiles
are taken out of FlexAttention's mask; their results are merged with its by log-sum-exp:

    lse = log(sum_i exp(lse_i))        output = sum_i exp(lse_i - lse) output_i

The backward pass gives cuDNN the merged output and log-sum-exp: its gradients are then those of
the whole softmax, restricted to its keys. Exact, apart from rounding; GPUs only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEAST_KEYS = 4
"""Tiles of keys from which on a rectangle is worth its merging."""
QUERIES_STEP = 8
"""Its queries come in multiples of so many tiles: cuDNN plans every new shape anew."""
LEAST_AREA = 256
"""Tiles of a rectangle worth two more kernels."""


def rectangles(ends: NDArray[np.int64]) -> list[tuple[int, int, int, int]]:
    """Choose what is attended without a mask; no key and no query is in two rectangles.

    Args:
        ends: [T] for each tile of keys, the tile of queries (exclusive) up to which the tiles
            after it see all of it.

    Returns:
        (first key, end of the keys, first query, end of the queries) in tiles, largest first.
    """
    found: list[tuple[int, int, int, int]] = []
    ends = ends.copy()
    while True:
        best, area = (0, 0, 0, 0), LEAST_AREA - 1
        for first in range(len(ends)):
            after = np.arange(first + 1, len(ends) + 1)
            queries = np.minimum.accumulate(ends[first:]) - after
            queries -= queries % QUERIES_STEP
            areas = np.where(after - first >= LEAST_KEYS, (after - first) * queries, 0)
            last = int(areas.argmax())
            if areas[last] > area:
                stop = int(after[last])
                best, area = (first, stop, stop, stop + int(queries[last])), int(areas[last])
        if not best[1]:
            return found
        found.append(best)
        first, start, _, end = best
        ends[first:end] = 0
        ends[:first] = np.minimum(ends[:first], start)


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
        parts: [R, 4] the rectangles in positions, on the CPU.
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
        kept, new = torch.exp(own_lse - lse)[..., None], torch.exp(part_lse - lse)[..., None]
        output: Tensor = (own.float() * kept + part.float() * new).to(own.dtype)
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


@torch.library.custom_op("distill::cascade", mutates_args=())
def _forward(
    query: Tensor, key: Tensor, value: Tensor, parts: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    """Return output and log-sum-exp over the rectangles; 0 and -inf where there is none."""
    output = torch.zeros_like(query)
    lse = torch.full(query.shape[:3], -torch.inf, dtype=torch.float32, device=query.device)
    for first, stop, start, end in parts.tolist():
        output[:, :, start:end], lse[:, :, start:end] = _attend(
            query[:, :, start:end], key[:, :, first:stop], value[:, :, first:stop], scaling
        )
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
    for first, stop, start, end in parts.tolist():
        queries, keys = slice(start, end), slice(first, stop)
        found = _attend_backward(
            grad[:, :, queries], query[:, :, queries], key[:, :, keys], value[:, :, keys],
            output[:, :, queries], lse[:, :, queries], scaling,
        )  # fmt: skip
        for slope, part, where in zip(slopes, found, (queries, keys, keys), strict=True):
            slope[:, :, where] = part
    return slopes


@_backward.register_fake
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, lse: Tensor,
    parts: Tensor, scaling: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _attend(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """Return output and log-sum-exp [1, heads, N] of attention without a mask."""
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
