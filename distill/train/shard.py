"""A frozen base that no rank holds whole: FSDP2 of its decoder layers.

Every rank holds a part of each layer's weights. A layer is gathered when it is computed, forward
and again backward, while the one before it is still at work. Embedding, last norm and head are
whole on every rank: FSDP would keep them gathered from the forward pass to the end of the backward
pass, when memory is shortest. Adapters are whole too: gradients, optimizer, checkpoints and what is
published are those of an unsharded run.

All ranks gather together, so each takes as many passes as any other; a rank that has fewer rows
than another computes idle ones. Only adapters can be trained: nothing here shares out gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from distill.train import ranks
from distill.train.attention import ALIGNMENT
from distill.train.device import Device


def share_out(model: PreTrainedModel, device: Device) -> None:
    """Spread the weights of the first rank over all ranks' devices, a layer at a time.

    Args:
        model: With its weights on the first rank; on the others, on the meta device.
        device: Of every rank.
    """
    mesh = init_device_mesh(device.kind, (ranks.count(),))
    decoder: Any = model.base_model
    for layer in decoder.layers:
        _allocate(layer, device)
        _receive(layer)
        fully_shard(layer, mesh=mesh)
    layers, decoder.layers = decoder.layers, nn.ModuleList()
    _allocate(model, device)
    model.tie_weights()  # head and embedding, allocated anew, are two tensors
    _receive(model)
    decoder.layers = layers
    whole = {each for each in decoder.parameters() if not isinstance(each, DTensor)}
    # Below one root, a layer is gathered while the one before it is computed.
    fully_shard(decoder, mesh=mesh, ignored_params=whole)
    settings = [model.generation_config]
    dist.broadcast_object_list(settings)
    model.generation_config = settings[0]


def is_sharded(model: nn.Module) -> bool:
    """Whether no rank holds the model, with or without its adapter, whole."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    return isinstance(base.base_model, FSDPModule)


def evened(rows: list[dict[str, Tensor]], device: torch.device) -> list[dict[str, Tensor]]:
    """Return the rows and as many idle ones as make them as many as any rank has."""
    most = torch.tensor(len(rows), device=device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return rows + [_idle_row()] * (int(most) - len(rows))


def _idle_row() -> dict[str, Tensor]:
    """Return a row, of samples or of pairs, whose loss and gradient are 0."""
    count = 2 * ALIGNMENT  # a single tile would be a shape to compile for
    none = torch.zeros(0, dtype=torch.int64)
    start = torch.zeros(1, dtype=torch.int64)
    return {
        "ids": torch.zeros(count, dtype=torch.int64),
        "depth": torch.zeros(count, dtype=torch.int64),
        "stop": torch.arange(1, count + 1),
        "sources": start,
        "labels": start,
        "weights": torch.zeros(1),
        "pairs": none,
        "edges": none,
        "signs": torch.zeros(0),
        "count": torch.zeros(0),
    }


def _allocate(module: nn.Module, device: Device) -> None:
    if ranks.is_first():
        module.to(device.kind)
    else:
        module.to_empty(device=device.kind)


def _receive(module: nn.Module) -> None:
    for tensor in [*module.parameters(), *module.buffers()]:
        dist.broadcast(tensor.detach(), 0)
