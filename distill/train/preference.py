"""Learning from right and wrong answers on trie rows.

Chosen, rejected and all pairs of a batch share one trie: a prompt is computed once. The reference
model is the student with its adapter off, over the same row: no second model and no second packing.

Direct preference optimization (Rafailov et al., arXiv 2305.18290) sets the answers of a pair
against each other; what they have in common cancels out and is not even supervised:

    margin  m = log p(chosen) - log p(rejected)
    loss    -log sigmoid(beta (m - m of the reference)), the mean over the pairs of a step

Kahneman-Tversky optimization (Ethayarajh et al., arXiv 2402.01306) judges each answer alone,
against how far the student has moved on answers that do not belong to their prompts:

    gain    g = log p(answer) - log p(answer) of the reference
    drift   k = the mean gain of every prompt with another pair's answers, at least 0, no gradient
    loss    1 - sigmoid(beta (g - k)) if right, 1 - sigmoid(beta (k - g)) if wrong; the mean

To prefer on top of a tuned student, merge its adapter first: the reference is then that student.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor, nn

from distill.student.render import Sample
from distill.train import ranks
from distill.train.sft import Batch, TrieTrainer, edge_log_probs, row_tensors
from distill.train.trie import PairRow, pack, pack_pairs, padded, share, share_pairs


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
        return self._batch(features, self._rows(pairs))

    def _rows(
        self, pairs: Sequence[tuple[Sample, Sample]], *, apart: bool = False
    ) -> list[PairRow]:
        mine = share_pairs(pairs, ranks.rank(), ranks.count())
        return pack_pairs(mine, self._row_tokens, apart=apart) if mine else []

    def _batch(self, features: Sequence[dict[str, int]], rows: Sequence[PairRow]) -> Batch:
        return {
            "rows": [pair_tensors(padded(row, self._alignment)) for row in rows],
            "logical": torch.tensor([sum(row.logical for row in rows)]),
            "executed": torch.tensor([sum(len(row.ids) for row in rows)]),
            "examples": torch.tensor([feature["example"] for feature in features]),
        }


class AnswerCollator(PairCollator):
    """The same for answers that are judged alone; adds the rows that the drift is measured on."""

    def __call__(self, features: Sequence[dict[str, int]]) -> Batch:
        """Pack the numbered pairs, and their prompts with the answers of the pair before."""
        numbers = [feature["example"] for feature in features]
        pairs = [self._pairs[number] for number in numbers]
        others = [*pairs[-1:], *pairs[:-1]]
        if len(pairs) == 1:  # its own answers would be no drift
            others = [self._pairs[(numbers[0] + 1) % len(self._pairs)]]
        both = zip(pairs, others, strict=True)
        strange = [sample for pair, other in both for sample in exchanged(pair, other)]
        mine = share(strange, ranks.rank(), ranks.count())
        rows = [padded(row, self._alignment) for row in pack(mine, self._row_tokens)]
        batch = self._batch(features, self._rows(pairs, apart=True))
        return batch | {"strange": [row_tensors(row) for row in rows]}


class PreferenceTrainer(TrieTrainer):
    """`TrieTrainer` over the batches of a `PairCollator`."""

    beta: float = 0.1
    """How strongly the student is held to the reference."""
    _marks: tuple[Tensor | float, int] = (0.0, 0)
    """Pairs of the current batch whose chosen answer gained more, and pairs, on this rank."""

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Learn from the batch's rows; log the share of pairs that are right, on all ranks."""
        self._begin(model, inputs)
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._log_marks("train")
        return loss

    def prediction_step(
        self,
        model: nn.Module,
        inputs: Batch,
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor, None, None]:
        """Return the loss of one validation batch; log the share of pairs that are right."""
        self._begin(model, inputs)
        found = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        self._log_marks("eval")
        return found

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return one row's share of the mean loss; `num_items_in_batch` counts pairs."""
        assert num_items_in_batch is not None
        gain = self.beta * self._gain(model, inputs)
        self._note(gain > 0)
        total: Tensor = -nn.functional.logsigmoid(gain).sum() / num_items_in_batch
        return total

    def _gain(self, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """Return what the adapter adds to the margins of a row."""
        reference = self.accelerator.unwrap_model(model)
        with torch.no_grad(), reference.disable_adapter():
            start = margins(reference, inputs)
        return margins(model, inputs) - start

    def _begin(self, model: nn.Module, inputs: Batch) -> None:
        """Get ready for a batch."""
        self._marks = (0.0, 0)

    def _note(self, right: Tensor) -> None:
        """Count the pairs of a row whose chosen answer gained more."""
        before, count = self._marks
        self._marks = (before + right.sum(), count + len(right))

    def _log_marks(self, mode: str) -> None:
        right, count = self._marks
        mine = torch.tensor([float(right), count], device=self.args.device)
        everywhere, pairs = self._over_ranks(mine).tolist()
        self._metrics[mode]["pair_accuracy"].append(everywhere / pairs)

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> Tensor:
        count = sum(len(row["count"]) for batch in batch_samples for row in batch["rows"])
        return torch.tensor(float(count), device=device)


class AnswerTrainer(PreferenceTrainer):
    """`PreferenceTrainer` over the batches of an `AnswerCollator`."""

    drift: Tensor | float = 0.0
    """Of the current batch."""

    def _begin(self, model: nn.Module, inputs: Batch) -> None:
        """Measure the drift of the batch's rows."""
        super()._begin(model, inputs)
        self.drift = self._measured(model, inputs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return one row's share of the mean loss; `num_items_in_batch` counts answers."""
        assert num_items_in_batch is not None
        gain = self._gain(model, inputs)
        right, wrong = gain.detach().view(-1, 2).unbind(1)
        self._note(right > wrong)
        total: Tensor = answer_losses(gain, self.drift, self.beta).sum() / num_items_in_batch
        return total

    def _measured(self, model: nn.Module, inputs: Batch) -> Tensor:
        """Return the drift; every rank measures its part of the rows."""
        bare = self.accelerator.unwrap_model(model)
        rows = [self._prepare_inputs(row) for row in self._evened(bare, inputs["strange"])]
        total = self._over_ranks(movement(bare, rows))
        return (total / (2 * len(inputs["examples"]))).clamp(min=0)


def answer_losses(gain: Tensor, drift: Tensor | float, beta: float) -> Tensor:
    """Return the loss of each answer, [2n] right and wrong by turns."""
    signs = gain.new_tensor([1.0, -1.0]).repeat(len(gain) // 2)
    return 1 - torch.sigmoid(beta * signs * (gain - drift))


@torch.no_grad()
def movement(model: nn.Module, rows: Sequence[dict[str, Tensor]]) -> Tensor:
    """Return the summed gain of all samples of some rows.

    Args:
        model: The student, with an adapter that can be switched off.
        rows: Of `exchanged` samples, none included.
    """
    total = torch.zeros((), device=next(model.parameters()).device)
    for row in rows:
        total += (edge_log_probs(model, row) * row["weights"]).sum()
    with model.disable_adapter():  # type: ignore[operator]
        for row in rows:
            total -= (edge_log_probs(model, row) * row["weights"]).sum()
    return total


def margins(model: nn.Module, row: dict[str, Tensor]) -> Tensor:
    """Return log p(chosen) - log p(rejected) of each pair of a row."""
    entries = edge_log_probs(model, row)[row["edges"]] * row["signs"]
    return entries.new_zeros(len(row["count"])).index_add(0, row["pairs"], entries)


def exchanged(pair: tuple[Sample, Sample], other: tuple[Sample, Sample]) -> list[Sample]:
    """Return the prompt of a pair with each answer of another one."""
    return [_answered(mine, theirs) for mine, theirs in zip(pair, other, strict=True)]


def _answered(mine: Sample, theirs: Sample) -> Sample:
    prompt, answer = mine.ids[mine.weights == 0], theirs.ids[theirs.weights > 0]
    weights = np.concatenate([np.zeros(len(prompt)), np.ones(len(answer))]).astype(np.float32)
    return Sample(np.concatenate([prompt, answer]), weights)


def pair_tensors(row: PairRow) -> dict[str, Tensor]:
    """Return a row as tensors; `count` becomes a vector of one entry a pair."""
    kept = {f.name: getattr(row, f.name) for f in fields(row) if f.name not in ("logical", "count")}
    return {name: torch.from_numpy(value) for name, value in kept.items()} | {
        "count": torch.ones(row.count)
    }
