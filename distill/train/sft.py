"""Supervised fine-tuning on trie rows: trl's trainer with another collator and loss.

One batch is `batch_size` examples with all their samples, packed into one or more rows; one
optimizer step is one batch, whose rows accumulate their gradients. The loss is the weighted mean
over the supervised tokens of the whole step, so rows and batches change nothing but speed.

With several ranks each draws the same batch and packs its own part. Ranks may have different
numbers of rows, none included, so gradients are not reduced by hooks of the backward pass but once
after the last row. Where the base is sharded, idle rows make them equal.

Everything else is the Trainer's: schedule, clipping, logging, checkpoints, seeds, resuming.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput
from trl.trainer.sft_trainer import SFTTrainer

from distill.errors import TrainError
from distill.student.render import Sample
from distill.train import ranks
from distill.train.accuracy import Exam
from distill.train.attention import TrieMask
from distill.train.shard import evened, is_sharded
from distill.train.trie import Row, pack, padded, share

Batch = dict[str, Any]
"""{"rows": one dict of tensors a row (fields of `Row`), "logical": [1] tokens unpacked,
"executed": [1] tokens packed, "examples": [B] their numbers}."""

_TIE = 1e-4
"""A nat of loss against a share of accuracy: a single turn outweighs any loss."""


class TrieCollator:
    """Turns example numbers into the packed rows of one batch."""

    def __init__(
        self, examples: Sequence[Sequence[Sample]], row_tokens: int, alignment: int = 1
    ) -> None:
        """Take the samples of every example, training first, then validation.

        Args:
            examples: Their samples, by number.
            row_tokens: Most distinct tokens of a row.
            alignment: Rows are padded to a multiple of so many tokens.
        """
        self._examples = examples
        self._row_tokens = row_tokens
        self._alignment = alignment

    def __call__(self, features: Sequence[dict[str, int]]) -> Batch:
        """Pack the samples of the numbered examples."""
        samples = [s for feature in features for s in self._examples[feature["example"]]]
        rows = pack(share(samples, ranks.rank(), ranks.count()), self._row_tokens)
        logical = torch.tensor([sum(row.logical for row in rows)])
        executed = torch.tensor([sum(len(row.ids) for row in rows)])
        tensors = [row_tensors(padded(row, self._alignment)) for row in rows]
        numbers = torch.tensor([feature["example"] for feature in features])
        return {"rows": tensors, "logical": logical, "executed": executed, "examples": numbers}


class TrieTrainer(SFTTrainer):
    """`SFTTrainer` over the batches of a `TrieCollator`."""

    loss_is_scaled_for_ga = True  # type: ignore[assignment]
    exam: Exam | None = None
    """Asked at each validation."""
    _latest: Sequence[int] = ()
    """Examples of the last training batch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what `SFTTrainer` does; the ranks start from the first one's adapter."""
        super().__init__(*args, **kwargs)
        if ranks.count() > 1:
            assert self.model is not None
            for parameter in _trained(self.model):
                torch.distributed.broadcast(parameter.data, 0)

    def create_accelerator_and_postprocess(self) -> None:
        """Make the accelerator; it does not wrap the model in DDP, which would reduce by hooks."""
        super().create_accelerator_and_postprocess()
        self.accelerator.prepare_model = partial(
            self.accelerator.prepare_model, evaluation_mode=True
        )

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Accumulate the gradients of a batch's rows; return their summed loss."""
        self._latest = inputs["examples"].tolist()
        bare = self.accelerator.unwrap_model(model)
        total = torch.zeros((), device=self.args.device)
        for row in self._evened(bare, inputs["rows"]):
            step = super().training_step(bare, row, num_items_in_batch)  # type: ignore[no-untyped-call]
            total += step
        if ranks.count() > 1:
            _add_up_gradients(bare)
        for name in ("executed", "logical"):
            count = self._over_ranks(inputs[name].to(self.args.device))
            self._metrics["train"][f"{name}_tokens"].append(int(count))
        return self._over_ranks(total)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: Batch,
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor, None, None]:
        """Return the loss of one validation batch."""
        weight = self._over_ranks(self._get_num_items_in_batch([inputs], self.args.device))
        bare = self.accelerator.unwrap_model(model)
        total = torch.zeros((), device=self.args.device)
        with torch.no_grad():
            for row in self._evened(bare, inputs["rows"]):
                total += self.compute_loss(bare, self._prepare_inputs(row), False, weight)
        return self._over_ranks(total), None, None

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor]:
        """Return the next batch and its summed weight on all ranks."""
        batches, weight = super().get_batch_samples(epoch_iterator, num_batches, device)
        assert isinstance(weight, Tensor)
        return batches, self._over_ranks(weight)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return one row's share of the weighted mean loss.

        Args:
            model: The student.
            inputs: The tensors of one row.
            return_outputs: Not used; the Trainer's signature.
            num_items_in_batch: Summed weight of the whole optimizer step.
        """
        assert num_items_in_batch is not None  # `_get_num_items_in_batch` always counts
        found = edge_log_probs(model, inputs)
        total: Tensor = -(found * inputs["weights"]).sum() / num_items_in_batch
        return total

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Validate; add the accuracy of greedy answers and the score checkpoints are chosen by.

        The score is the accuracy, and among equals the lower loss.
        """
        output = super().evaluation_loop(*args, **kwargs)
        metrics = output.metrics
        assert metrics is not None  # the loop always measures
        metrics["eval_score"] = -_TIE * min(metrics["eval_loss"], 10.0)
        if self.exam:
            found = self.exam.accuracy(self.accelerator.unwrap_model(self.model))
            # Rounding may differ between ranks, the decision which checkpoint is kept may not.
            shares = torch.tensor(found / ranks.count(), device=self.args.device)
            accuracy = float(self._over_ranks(shares))
            metrics["eval_turn_accuracy"] = accuracy
            metrics["eval_score"] += accuracy
        return output

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log; refuse a loss that is not a number.

        Raises:
            TrainError: It is not.
        """
        for name in ("loss", "eval_loss"):
            if not math.isfinite(logs.get(name, 0.0)):
                numbers = ", ".join(map(str, self._latest))
                raise TrainError(
                    f"{name} is {logs[name]!r} at step {self.state.global_step}, after the batch "
                    f"of training examples {numbers} (counted from 0 among those kept); lower "
                    "train.learning_rate; the last good checkpoint is kept"
                )
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Batch) -> int:
        """Estimate the work of a batch: one product forward, one for the input gradients."""
        assert self.model is not None
        return 4 * sum(p.numel() for p in self.model.parameters()) * _executed(inputs)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: the run writes its own."""

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> Tensor:
        return _weight(batch_samples).to(device)

    def _get_dataloader(self, *args: Any, **kwargs: Any) -> DataLoader[Any]:
        """Return a loader of whole batches: their samples are shared out, not the examples."""
        loader = super()._get_dataloader(*args, **kwargs)
        sharded = loader.batch_sampler
        if isinstance(sharded, BatchSamplerShard):
            sharded.num_processes, sharded.process_index = 1, 0
            sharded.even_batches = False
        return loader

    def _evened(self, model: nn.Module, rows: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Return as many rows on each rank as its passes have to be."""
        return evened(rows, self.args.device) if is_sharded(model) else rows

    def _over_ranks(self, value: Tensor) -> Tensor:
        found: Tensor = self.accelerator.reduce(value, "sum")
        return found

    def _send_telemetry(self) -> None:
        """Send none."""


def _add_up_gradients(model: nn.Module) -> None:
    """Replace the gradients of what is trained by their sum over all ranks."""
    trained = _trained(model)
    for parameter in trained:
        if parameter.grad is None:  # this rank has had no row
            parameter.grad = torch.zeros_like(parameter)
    together = torch.cat([p.grad.flatten() for p in trained if p.grad is not None])
    torch.distributed.all_reduce(together)
    parts = torch.split(together, [p.numel() for p in trained])
    for parameter, part in zip(trained, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def edge_log_probs(model: nn.Module, row: dict[str, Tensor]) -> Tensor:
    """Return the log-probability of each supervised token of a row."""
    found: Tensor = model(
        input_ids=row["ids"][None],
        position_ids=row["depth"][None],
        edges=(row["sources"], row["labels"]),
        **TrieMask(row["stop"], row["sources"]).arguments(),
    )
    return found


def numbered(start: int, stop: int) -> Dataset:
    """Return the data set of example numbers that the Trainer draws batches from."""
    return Dataset.from_dict({"example": list(range(start, stop))})


def row_tensors(row: Row) -> dict[str, Tensor]:
    """Return what the loss needs of a row."""
    names = ("ids", "depth", "stop", "sources", "labels", "weights")
    return {name: torch.from_numpy(getattr(row, name)) for name in names}


def _weight(batches: Sequence[Batch]) -> Tensor:
    found = [row["weights"].sum() for batch in batches for row in batch["rows"]]
    return torch.stack(found).sum() if found else torch.zeros(())


def _executed(batch: Batch) -> int:
    return int(batch["executed"])
