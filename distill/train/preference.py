"""Direct preference optimization on trie rows (Rafailov et al., arXiv 2305.18290).

Chosen, rejected and all pairs of a batch share one trie: a pair's prompt is computed once, and what
its two answers have in common cancels out of the margin and is not even supervised. The reference
model is the student with its adapter off, over the same row: no second model and no second packing.

    margin  m = log p(chosen) - log p(rejected)
    loss    -log sigmoid(beta (m - m of the reference)), the mean over the pairs of a step

To prefer on top of a tuned student, merge its adapter first: the reference is then that student.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor, nn

from distill.student.render import Sample
from distill.train import ranks
from distill.train.sft import Batch, TrieTrainer, edge_log_probs
from distill.train.trie import PairRow, pack_pairs, padded, share_pairs


class PairCollator:
    """Turns pair numbers into the packed rows of one batch."""

    def __init__(
        self, pairs: Sequence[tuple[Sample, Sample]], row_tokens: int, alignment: int = 1
    ) -> None:
        """Take (chosen, rejected) of every pair; see `TrieCollator`."""
        self._pairs = pairs
        self._row_tokens = row_tokens
        self._alignment = alignment

    def __call__(self, features: Sequence[dict[str, int]]) -> Batch:
        """Pack the numbered pairs."""
        pairs = [self._pairs[feature["example"]] for feature in features]
        mine = share_pairs(pairs, ranks.rank(), ranks.count())
        rows = pack_pairs(mine, self._row_tokens) if mine else []
        return {
            "rows": [pair_tensors(padded(row, self._alignment)) for row in rows],
            "logical": torch.tensor([sum(row.logical for row in rows)]),
            "executed": torch.tensor([sum(len(row.ids) for row in rows)]),
            "examples": torch.tensor([feature["example"] for feature in features]),
        }


class PreferenceTrainer(TrieTrainer):
    """`TrieTrainer` over the batches of a `PairCollator`."""

    beta: float = 0.1
    """How strongly the student is held to the reference."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return one row's share of the mean loss; `num_items_in_batch` counts pairs."""
        assert num_items_in_batch is not None
        reference = self.accelerator.unwrap_model(model)
        with torch.no_grad(), reference.disable_adapter():
            start = margins(reference, inputs)
        gain = self.beta * (margins(model, inputs) - start)
        mode = "train" if model.training else "eval"
        self._metrics[mode]["pair_accuracy"].append((gain > 0).float().mean().item())
        total: Tensor = -nn.functional.logsigmoid(gain).sum() / num_items_in_batch
        return total

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> Tensor:
        count = sum(len(row["count"]) for batch in batch_samples for row in batch["rows"])
        return torch.tensor(float(count), device=device)


def margins(model: nn.Module, row: dict[str, Tensor]) -> Tensor:
    """Return log p(chosen) - log p(rejected) of each pair of a row."""
    entries = edge_log_probs(model, row)[row["edges"]] * row["signs"]
    return entries.new_zeros(len(row["count"])).index_add(0, row["pairs"], entries)


def pair_tensors(row: PairRow) -> dict[str, Tensor]:
    """Return a row as tensors; `count` becomes a vector of one entry a pair."""
    kept = {f.name: getattr(row, f.name) for f in fields(row) if f.name not in ("logical", "count")}
    return {name: torch.from_numpy(value) for name, value in kept.items()} | {
        "count": torch.ones(row.count)
    }
