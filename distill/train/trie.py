"""Samples of one batch as a token trie: each distinct (prefix, token) becomes one position.

Tool-call samples share their long prompts. Sorted, their common prefixes are adjacent, so one pass
over the sorted samples lays the trie out in depth-first order:

    samples  [7 8 1 2]  [7 8 1 3]  [7 8 4]
    row      ids    7 8 1 2 3 4
             depth  0 1 2 3 3 2        position in the sample
             stop   6 6 5 4 5 6        end of the subtree below each position

A position attends to the positions whose subtree it lies in: `k <= q < stop[k]`, one integer a
key. An *edge* is a supervised token: where it is predicted from, what it is, and the summed weight
of all samples that use it, so that the loss and gradient are those of the separate samples.

Pure numpy; knows nothing of models, devices or where samples come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from distill.student.render import Sample

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """A trie in depth-first order: what one forward pass computes."""

    ids: Ints
    """[N] token ids."""
    depth: Ints
    """[N] position of each token in its samples."""
    stop: Ints
    """[N] end (exclusive) of the subtree below each position."""
    sources: Ints
    """[E] position each supervised token is predicted from."""
    labels: Ints
    """[E] the supervised tokens."""
    weights: Floats
    """[E] their summed weights."""
    logical: int
    """Tokens of the separate samples."""


def pack(samples: Sequence[Sample], row_tokens: int) -> list[Row]:
    """Pack samples into as few distinct tokens as rows of `row_tokens` allow.

    A sample is never cut: one that is longer than `row_tokens` gets a longer row.
    """
    ordered = sorted(samples, key=_order)
    shared = _shared_prefixes(ordered)
    cuts = _cuts([len(sample.ids) for sample in ordered], shared, row_tokens)
    return [_lay_out(ordered[a:b], shared[a:b]) for a, b in pairwise(cuts)]


def share(samples: Sequence[Sample], rank: int, ranks: int) -> list[Sample]:
    """Return one rank's part of a batch; the parts have about as many distinct tokens each.

    Parts are runs of the sorted samples, so that little is computed on more than one rank. There
    may be fewer parts than ranks.
    """
    ordered = sorted(samples, key=_order)
    lengths = [len(sample.ids) for sample in ordered]
    cuts = _even_cuts(lengths, _shared_prefixes(ordered), ranks)
    return ordered[cuts[rank] : cuts[rank + 1]]


@dataclass(frozen=True)
class PairRow(Row):
    """A row of whole pairs.

    The margin of a pair is the sum of sign x log-probability over its entries; what its chosen and
    rejected answers share has cancelled out.
    """

    pairs: Ints
    """[M] pair of each entry, counted in this row."""
    edges: Ints
    """[M] edge of each entry."""
    signs: Floats
    """[M] 1 for chosen, -1 for rejected."""
    count: int
    """Pairs."""


def pack_pairs(
    pairs: Sequence[tuple[Sample, Sample]], row_tokens: int, *, apart: bool = False
) -> list[PairRow]:
    """Pack (chosen, rejected) into rows of whole pairs, halving what is too long for a row.

    A weight above 0 supervises a token, whatever it is.

    Args:
        pairs: What to pack.
        row_tokens: Most distinct tokens of a row.
        apart: Every answer counts as a pair of its own, with nothing to subtract: chosen and
            rejected of pair n become the entries 2n and 2n + 1.
    """
    ordered = sorted(pairs, key=lambda pair: _order(pair[0]))
    row = _lay_out_pairs(ordered, apart)
    if len(row.ids) <= row_tokens or len(ordered) == 1:
        return [row]
    half = len(ordered) // 2
    parts = (ordered[:half], ordered[half:])
    return [row for part in parts for row in pack_pairs(part, row_tokens, apart=apart)]


def share_pairs(
    pairs: Sequence[tuple[Sample, Sample]], rank: int, ranks: int
) -> list[tuple[Sample, Sample]]:
    """Return one rank's part of the pairs of a batch; see `share`."""
    ordered = sorted(pairs, key=lambda pair: _order(pair[0]))
    lengths = [len(_lay_out_pairs([pair]).ids) for pair in ordered]
    cuts = _even_cuts(lengths, _shared_prefixes([chosen for chosen, _ in ordered]), ranks)
    return ordered[cuts[rank] : cuts[rank + 1]]


RowType = TypeVar("RowType", bound=Row)


def padded(row: RowType, multiple: int) -> RowType:
    """Lengthen a row to a multiple of so many positions; the new ones see only themselves."""
    count = -len(row.ids) % multiple
    zeros, index = np.zeros(count, np.int64), np.arange(len(row.ids), len(row.ids) + count)
    return replace(
        row,
        ids=np.concatenate([row.ids, zeros]),
        depth=np.concatenate([row.depth, zeros]),
        stop=np.concatenate([row.stop, index + 1]),
    )


def _order(sample: Sample) -> bytes:
    return sample.ids.astype(">u4").tobytes()


def _shared_prefixes(ordered: Sequence[Sample]) -> list[int]:
    """Return the length of the prefix each sample shares with the one before it."""
    lengths = [0]
    for before, after in pairwise(ordered):
        n = min(len(before.ids), len(after.ids))
        differs = before.ids[:n] != after.ids[:n]
        lengths.append(int(differs.argmax()) if differs.any() else n)
    return lengths[: len(ordered)]


def _cuts(lengths: Sequence[int], shared: Sequence[int], row_tokens: int) -> list[int]:
    """Choose where rows begin so that the fewest tokens are computed twice.

    Every cut repeats the prefix shared across it; shortest path over the cuts, rows within budget.
    """
    count = len(lengths)
    best, previous = [0] + [-1] * count, [0] * (count + 1)
    for end in range(1, count + 1):
        size = 0
        for start in range(end - 1, -1, -1):
            size += lengths[start] - (shared[start + 1] if start + 1 < end else 0)
            if size > row_tokens and start < end - 1:
                break
            cost = best[start] + shared[start]
            if best[end] < 0 or cost <= best[end]:
                best[end], previous[end] = cost, start
    cuts = [count]
    while cuts[-1] > 0:
        cuts.append(previous[cuts[-1]])
    return cuts[::-1]


def _even_cuts(lengths: Sequence[int], shared: Sequence[int], parts: int) -> list[int]:
    """Choose where each part begins so that the largest has the fewest distinct tokens."""
    low, high = max(lengths, default=0), sum(lengths)
    while low < high:  # the least budget under which the parts suffice
        middle = (low + high) // 2
        if len(_filled(lengths, shared, middle)) <= parts:
            high = middle
        else:
            low = middle + 1
    starts = _filled(lengths, shared, low)
    return starts + [len(lengths)] * (parts + 1 - len(starts))


def _filled(lengths: Sequence[int], shared: Sequence[int], budget: int) -> list[int]:
    """Return where parts begin when each takes as many samples as its budget allows."""
    starts, size = [0], 0
    for number, length in enumerate(lengths):
        more = length - (shared[number] if number > starts[-1] else 0)
        if size + more > budget and number > starts[-1]:
            starts.append(number)
            size, more = 0, length
        size += more
    return starts


def _lay_out(ordered: Sequence[Sample], shared: Sequence[int]) -> Row:
    """Return the row of sorted samples."""
    ids, depth, stop, paths = _walk(ordered, shared)
    source, weights = np.full(len(ids), -1, np.int64), np.zeros(len(ids), np.float32)
    for sample, path in zip(ordered, paths, strict=True):
        source[path[1:]] = path[:-1]
        weights[path[1:]] += sample.weights[1:]
    edges = np.flatnonzero(weights)
    return Row(
        ids=ids,
        depth=depth,
        stop=stop,
        sources=source[edges],
        labels=ids[edges],
        weights=weights[edges],
        logical=sum(len(s.ids) for s in ordered),
    )


def _walk(ordered: Sequence[Sample], shared: Sequence[int]) -> tuple[Ints, Ints, Ints, list[Ints]]:
    """Lay sorted samples out in depth-first order.

    Returns:
        Token, depth and end of the subtree of each position, and the positions of each sample.
    """
    keep = [0, *shared[1:]]
    total = sum(len(s.ids) for s in ordered) - sum(keep)
    ids, depth = np.empty(total, np.int64), np.empty(total, np.int64)
    stop, paths = np.full(total, total, np.int64), []
    path, used = np.empty(0, np.int64), 0
    for sample, common in zip(ordered, keep, strict=True):
        stop[path[common:]] = used
        new = np.arange(used, used + len(sample.ids) - common)
        path = np.concatenate([path[:common], new])
        ids[new] = sample.ids[common:]
        depth[new] = np.arange(common, len(sample.ids))
        paths.append(path)
        used += len(new)
    return ids, depth, stop, paths


def _lay_out_pairs(pairs: Sequence[tuple[Sample, Sample]], apart: bool = False) -> PairRow:
    """Return the row of sorted pairs."""
    signed = [
        (sample, 2 * pair + place if apart else pair, 1 if apart else 1 - 2 * place)
        for pair, both in enumerate(pairs)
        for place, sample in enumerate(both)
    ]
    signed.sort(key=lambda entry: _order(entry[0]))
    ordered = [sample for sample, _, _ in signed]
    ids, depth, stop, paths = _walk(ordered, _shared_prefixes(ordered))
    source = np.full(len(ids), -1, np.int64)
    net: Counter[tuple[int, int]] = Counter()
    for (sample, pair, sign), path in zip(signed, paths, strict=True):
        source[path[1:]] = path[:-1]
        for position in path[1:][sample.weights[1:] > 0].tolist():
            net[pair, position] += sign
    entries = np.array([(*key, sign) for key, sign in net.items() if sign], np.int64).reshape(-1, 3)
    targets, edges = np.unique(entries[:, 1], return_inverse=True)
    return PairRow(
        ids=ids,
        depth=depth,
        stop=stop,
        sources=source[targets],
        labels=ids[targets],
        weights=np.ones(len(targets), np.float32),
        logical=sum(len(sample.ids) for sample in ordered),
        pairs=entries[:, 0],
        edges=edges,
        signs=entries[:, 2].astype(np.float32),
        count=len(pairs) * (1 + apart),
    )
