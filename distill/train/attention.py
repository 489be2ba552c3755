"""Attention over a trie row: a query sees the keys whose subtree it lies in.

Registered with transformers as `distill_trie`; the model is called with `**mask.arguments()` of
the row's `TrieMask`. Three exact implementations:

flex    accelerators: FlexAttention. The mask is computed from one integer a key; tiles that no or
        every query sees are known beforehand, so most tiles are skipped or need no mask. Query
        heads share a KV head without copies of it. The row's length is a multiple of 128.
blocks  CPU: the row in blocks of queries, cut where the trie branches. The keys a block can see
        are the path from the root to its first position, and the block itself; they are gathered,
        so a query costs the length of its own sample and not that of the row. Plain matrix
        products: on two cores with bfloat16 instructions 2.6 times as fast as torch's flash kernel
        for the CPU, which has none. Probabilities are kept for the backward pass: O(N x sample
        length) memory a layer. The last layer answers only the queries somebody asks for.
dense   SDPA under an [N, N] mask: the reference in tests.

No dropout and no sliding windows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface

from distill.train.cascade import available, cascade, rectangles

NAME = "distill_trie"
_BLOCK = 256
"""Most queries of a block: its scores then stay in the caches."""
_STRIDE = 64
"""Where the trie does not branch, a block may end after a multiple of so many positions."""
_BLOCK_COST = 16_000
"""What a block costs beyond its scores, in scores: some thirty operations on small tensors."""
ALIGNMENT = 128
"""FlexAttention's tiles: a row on an accelerator is padded to a multiple of it."""


@dataclass(frozen=True)
class Block:
    """Queries that lie close together, and the keys that any of them can see."""

    queries: slice | Tensor
    """Consecutive ones, or the numbers of some of these."""
    keys: tuple[slice, ...]
    """Runs of the path from the root, then the block itself."""
    first_hidden: int
    """Keys before this one (counted in `keys`) are seen by all queries."""
    hidden: Tensor
    """[queries, keys - first_hidden] True where a query does not see a key."""


class TrieMask:
    """Who sees whom in one row, in the form each implementation wants (made on first use)."""

    def __init__(self, stop: Tensor, asked: Tensor | None = None) -> None:
        """Describe one row.

        Args:
            stop: [N] end of the subtree below each position.
            asked: [E] positions whose output of the last layer is used; all when left out.
        """
        self.stop = stop
        self.asked = asked
        self._tiles: BlockMask | None = None
        self._parts: Tensor | None = None
        self._dense: Tensor | None = None
        self._blocks: list[Block] | None = None
        self._asked_blocks: list[Block] | None = None

    def arguments(self) -> dict[str, Any]:
        """Return what the model is called with so that its layers see the mask."""
        if self.stop.device.type == "cpu":
            return {"trie": self}
        parts = self.parts() if available(self.stop.device) else None
        return {"parts": parts, "attention_mask": self.tiles()}

    def parts(self) -> Tensor:
        """Return the rectangles that need no mask, [R, 4] on the CPU; see `cascade`."""
        if self._parts is None:
            self._parts = torch.from_numpy(rectangles(self.stop.cpu().numpy()))
        return self._parts

    def tiles(self) -> BlockMask:
        """Return FlexAttention's mask: which tiles are skipped, whole, or to be masked.

        Where `parts` were asked for, their queries do not see their keys.
        """
        if self._tiles is None:
            stop = self.stop.to(torch.int32, copy=True)
            for key, key_end, query, _ in () if self._parts is None else self._parts.tolist():
                stop[key:key_end] = query
            by_tile = stop.view(-1, ALIGNMENT)
            first = torch.arange(0, len(stop), ALIGNMENT, device=stop.device)[:, None]
            before = first.T < first
            whole = before & (by_tile.amin(1) >= first + ALIGNMENT)
            some = ((first.T == first) | (before & (by_tile.amax(1) > first))) & ~whole

            def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
                return (key <= query) & (query < stop[key])

            self._tiles = BlockMask.from_kv_blocks(
                *_listed(some),
                *_listed(whole),
                BLOCK_SIZE=ALIGNMENT,
                mask_mod=seen,
                seq_lengths=(len(stop), len(stop)),
            )
        return self._tiles

    def dense(self) -> Tensor:
        """Return the mask as booleans [1, 1, N, N], True where a query sees a key."""
        if self._dense is None:
            index = torch.arange(len(self.stop), device=self.stop.device)
            seen = (index[None, :] <= index[:, None]) & (index[:, None] < self.stop[None, :])
            self._dense = seen[None, None]
        return self._dense

    def blocks(self) -> list[Block]:
        """Return the blocks of the row, in order."""
        if self._blocks is None:
            stop = self.stop.numpy()
            self._blocks = [_block(stop, start, end) for start, end in pairwise(_cuts(stop))]
        return self._blocks

    def asked_blocks(self) -> list[Block]:
        """Return the blocks of the row with only the queries that were asked for."""
        if self.asked is None:
            return self.blocks()
        if self._asked_blocks is None:
            asked = self.asked.unique()  # type: ignore[no-untyped-call]
            few = (_only(block, asked) for block in self.blocks())
            self._asked_blocks = [block for block in few if len(block.hidden)]
        return self._asked_blocks


def register() -> None:
    """Make `attn_implementation="distill_trie"` known to transformers."""
    AttentionInterface.register(NAME, trie_attention)
    AttentionMaskInterface.register(NAME, lambda **_: None)


def trie_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: BlockMask | None,
    *,
    scaling: float,
    trie: TrieMask | None = None,
    parts: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within a trie row.

    Args:
        module: The attention layer.
        query: [1, heads, N, D].
        key: [1, KV heads, N, D]; each serves heads / KV heads queries.
        value: As `key`.
        attention_mask: Who sees whom, for FlexAttention.
        scaling: Factor of the scores.
        trie: Who sees whom, for the CPU.
        parts: What is not in `attention_mask` because it needs no mask.

    Returns:
        The output [1, N, heads, D], and None for the weights.
    """
    query, key = query.to(value.dtype), key.to(value.dtype)  # autocast: rotation was in float32
    if trie is not None:
        layer: Any = module
        last = layer.layer_idx == layer.config.num_hidden_layers - 1
        asked = trie.asked_blocks() if last else trie.blocks()
        return blocks(query, key, value, scaling, asked).transpose(1, 2), None
    assert attention_mask is not None
    output = flex(query, key, value, scaling, attention_mask, parts)
    return output.transpose(1, 2), None


def flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float,
    tiles: BlockMask,
    parts: Tensor | None = None,
) -> Tensor:
    """Attend by FlexAttention, and to `parts` by cuDNN; shapes as in `trie_attention`."""
    # A graph for any length then knows that no tile is cut off.
    torch._check(query.shape[2] % ALIGNMENT == 0)  # type: ignore[no-untyped-call]
    # Uncompiled it would make an [N, N] matrix a head; within a compiled layer it is compiled.
    attend: Any = flex_attention if torch.compiler.is_compiling() else _compiled_flex()
    given = {"block_mask": tiles, "scale": scaling, "enable_gqa": True}
    if parts is None:
        output: Tensor = attend(query, key, value, **given)
        return output
    own, more = attend(query, key, value, return_aux=AuxRequest(lse=True), **given)
    return cascade(query, key, value, own, more.lse, parts, scaling)


@cache
def _compiled_flex() -> Any:
    return torch.compile(flex_attention)


def dense(query: Tensor, key: Tensor, value: Tensor, scaling: float, trie: TrieMask) -> Tensor:
    """Attend under the [N, N] mask; shapes as in `trie_attention`, output as `query`."""
    groups = query.shape[1] // key.shape[1]  # SDPA's own grouping rules out its fused kernels
    keys, values = (x.repeat_interleave(groups, 1) for x in (key, value))
    return nn.functional.scaled_dot_product_attention(
        query, keys, values, attn_mask=trie.dense(), scale=scaling
    )


def blocks(query: Tensor, key: Tensor, value: Tensor, scaling: float, parts: list[Block]) -> Tensor:
    """Attend block by block; shapes as in `trie_attention`, output as `query`."""
    return _Blocks.apply(  # type: ignore[no-untyped-call,no-any-return]
        query, key, value, scaling, parts
    )


def _listed(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Return a boolean matrix of tiles as counts [1, 1, Q] and column numbers [1, 1, Q, K]."""
    order = torch.argsort(tiles.int(), dim=1, descending=True, stable=True)
    return tiles.sum(1, dtype=torch.int32)[None, None], order.int()[None, None]


def _cuts(stop: NDArray[np.int64]) -> list[int]:
    """Choose where blocks begin so that the row costs least: a shortest path over the places."""
    places, depth = _places(stop)
    best, previous = [0.0], [0]
    for end in range(1, len(places)):
        first = end - 1
        while first and places[end] - places[first - 1] <= _BLOCK:
            first -= 1
        starts = np.arange(first, end)
        queries = places[end] - places[starts]
        costs = np.array(best[first:]) + _BLOCK_COST + queries * (depth[starts] + queries)
        least = int(costs.argmin())
        best.append(float(costs[least]))
        previous.append(first + least)
    chosen = [len(places) - 1]
    while chosen[-1] > 0:
        chosen.append(previous[chosen[-1]])
    return [int(places[number]) for number in reversed(chosen)]


def _places(stop: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where a block may begin or end, in order, and the length of the path up to there."""
    index = np.arange(len(stop))
    # Positions on the path to q: those before it less those whose subtree has ended.
    depth = index - np.cumsum(np.bincount(stop, minlength=len(stop) + 1))[:-1]
    branches = np.flatnonzero(np.r_[True, np.diff(depth) != 1])
    after = index - branches[np.searchsorted(branches, index, "right") - 1]
    places = np.flatnonzero(after % _STRIDE == 0)
    return np.append(places, len(stop)), depth[places]


def _block(stop: NDArray[np.int64], start: int, end: int) -> Block:
    path = np.flatnonzero(stop[:start] > start)
    keys = np.concatenate([path, np.arange(start, end)])
    queries = np.arange(start, end)[:, None]
    hidden = (keys > queries) | (queries >= stop[keys])
    partly = np.flatnonzero(hidden.any(0))
    first = int(partly[0]) if len(partly) else len(keys)
    bounds = [0, *(np.flatnonzero(np.diff(keys) != 1) + 1).tolist(), len(keys)]
    runs = (slice(int(keys[a]), int(keys[b - 1]) + 1) for a, b in pairwise(bounds))
    return Block(slice(start, end), tuple(runs), first, torch.from_numpy(hidden[:, first:]))


def _only(block: Block, asked: Tensor) -> Block:
    """Return a block of consecutive queries with those asked for."""
    assert isinstance(block.queries, slice)
    start = block.queries.start
    inside = asked[(asked >= start) & (asked < block.queries.stop)]
    return replace(block, queries=inside, hidden=block.hidden[inside - start])


class _Blocks(torch.autograd.Function):
    """Softmax attention block by block; query heads are folded onto the KV head they share.

    The output of a query that is in no block is zero.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float, blocks: list[Block]
    ) -> Tensor:
        _, heads, length, width = query.shape
        grouped = (query * scaling).view(key.shape[1], -1, length, width)
        both = torch.cat([key[0], value[0]])  # gathered together: half as many operations
        output, kept = torch.zeros_like(grouped), []
        for block in blocks:
            keys, values = _gather(both, block)
            scores = _fold(grouped, block) @ keys.transpose(1, 2)
            late = scores.view(*grouped.shape[:2], -1, scores.shape[-1])[..., block.first_hidden :]
            late.masked_fill_(block.hidden, -torch.inf)
            shares = torch.softmax(scores, -1)
            _unfold(output, block, shares @ values)
            kept.append(shares)
        ctx.save_for_backward(grouped, both, *kept)
        ctx.scaling, ctx.blocks = scaling, blocks
        return output.view(1, heads, length, width)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grouped, both, *kept = ctx.saved_tensors
        d_output = grad.reshape(grouped.shape)
        d_query = torch.zeros_like(grouped)
        d_both = torch.zeros(both.shape, dtype=torch.float32)
        for block, shares in zip(ctx.blocks, kept, strict=True):
            keys, values = _gather(both, block)
            d_result = _fold(d_output, block)
            d_shares = d_result @ values.transpose(1, 2)
            d_scores = torch._softmax_backward_data(d_shares, shares, -1, shares.dtype)
            _unfold(d_query, block, d_scores @ keys)
            d_keys = d_scores.transpose(1, 2) @ _fold(grouped, block)
            _scatter(d_both, torch.cat([d_keys, shares.transpose(1, 2) @ d_result]), block)
        d_query = d_query.mul_(ctx.scaling).view(grad.shape)
        d_key, d_value = d_both.to(both.dtype)[:, None].chunk(2)
        return d_query, d_key.transpose(0, 1), d_value.transpose(0, 1), None, None


def _fold(x: Tensor, block: Block) -> Tensor:
    """Return a block of [KV heads, group, N, D] as [KV heads, group * queries, D]."""
    return x[:, :, block.queries].flatten(1, 2)


def _unfold(x: Tensor, block: Block, part: Tensor) -> None:
    """Write a folded block back to its place in [KV heads, group, N, D]."""
    x[:, :, block.queries] = part.view(*x.shape[:2], -1, x.shape[-1])


def _gather(both: Tensor, block: Block) -> tuple[Tensor, ...]:
    """Return the keys and the values of a block from those of the row, [2 KV heads, N, D]."""
    return torch.cat([both[:, run] for run in block.keys], 1).chunk(2)


def _scatter(total: Tensor, part: Tensor, block: Block) -> None:
    """Add the gradient of a block's gathered keys and values to that of all."""
    start = 0
    for run in block.keys:
        end = start + run.stop - run.start
        total[:, run].add_(part[:, start:end])
        start = end
