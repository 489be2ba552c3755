"""The student's model as training sees it: attention over tries, edges instead of logits, speed.

    log_probs = model(input_ids=..., position_ids=..., edges=(sources, labels), **mask.arguments())

returns the log-probability of every supervised token, [E] in float32: only the positions a token
is predicted from reach the head, and the logits exist for a few of them at a time. Without `edges`
the model is what it was, so it can still generate.

The last layer's MLP is computed for these positions only. On a GPU every layer is compiled: one
graph for all layers but the last, a second that fits any row length as soon as a second length is
seen. The layers of a sharded base are gathered outside of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from distill.errors import StudentError, TrainError
from distill.student.base import Base
from distill.student.manifest import ADAPTER, MERGED, Manifest, read_manifest
from distill.train import attention, ranks
from distill.train.device import Device
from distill.train.shard import share_out

LOGITS_AT_ONCE = 2**27
"""Half a gigabyte of float32."""


def load_student(
    base: Base, device: Device, method: str = "lora", *, sharded: bool = False
) -> PreTrainedModel:
    """Load the base's weights, ready for tries.

    Args:
        base: The base.
        device: Where it is trained.
        method: qlora: with linear layers in 4 bits; full: in float32, as the optimizer keeps them.
        sharded: Share the weights out over the ranks' devices; only the first rank reads them, into
            the memory of its CPU.

    Raises:
        StudentError: They cannot be loaded, or attend in another way.
        TrainError: There is nothing to pack them into 4 bits with.
    """
    options: dict[str, Any] = {"dtype": torch.float32 if method == "full" else device.dtype}
    if method == "qlora":
        options |= _four_bits(device)
    try:
        model = (_outline if sharded and not ranks.is_first() else _read)(base, options)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StudentError(f"cannot load the model in {str(base.folder)!r}: {reason}") from error
    kinds = set(getattr(model.config, "layer_types", None) or ()) - {"full_attention"}
    if kinds or getattr(model.config, "sliding_window", None):
        raise StudentError(
            f"student.base {base.name!r} has layers with "
            f"{', '.join(sorted(kinds)) or 'sliding_attention'}; only full attention can be trained"
        )
    if sharded:
        share_out(model, device)
    return prepare(model, compiled=device.kind == "cuda")


def _read(base: Base, options: dict[str, Any]) -> Any:
    return AutoModelForCausalLM.from_pretrained(base.folder, **options)


def _outline(base: Base, options: dict[str, Any]) -> Any:
    """Return the model without storage for its weights."""
    shape: Any = AutoConfig.from_pretrained(base.folder)
    build: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        return build(shape, **options)


def load_trained(base: Base, device: Device, run_dir: Path) -> tuple[Any, Manifest]:
    """Load the student that a finished run has kept, and its manifest."""
    manifest = read_manifest(run_dir)
    if manifest.method == "full":
        base = replace(base, folder=run_dir / MERGED)
    model: Any = load_student(base, device, manifest.method)
    if manifest.method != "full":
        model = PeftModel.from_pretrained(model, str(run_dir / ADAPTER))
    return model.to(device.kind).eval(), manifest


def _four_bits(device: Device) -> dict[str, Any]:
    if find_spec("bitsandbytes") is None:
        raise TrainError(
            "train.method 'qlora' needs bitsandbytes; pip install 'tool-distill[qlora]', or set "
            "train.method to 'lora'"
        )
    packing = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=device.dtype,
    )
    return {"quantization_config": packing, "device_map": {"": device.kind}}


def prepare(model: PreTrainedModel, *, compiled: bool) -> PreTrainedModel:
    """Make a causal language model take tries and return the log-probabilities of edges."""
    attention.register()
    model.set_attn_implementation(attention.NAME)
    model.config.use_cache = False
    original, ask = model.forward, _answering_only_where_asked(model)

    def forward(self: Any, *args: Any, edges: Any = None, **kwargs: Any) -> Any:
        ask(None if edges is None else edges[0].unique())
        if edges is None:
            return original(*args, **kwargs)
        for unused in ("labels", "return_dict"):  # peft hands them on, mostly as None
            kwargs.pop(unused, None)
        sources, labels = edges
        hidden = self.base_model(*args, use_cache=False, **kwargs).last_hidden_state[0]
        return log_probs(hidden[sources], self.get_output_embeddings().weight, labels)

    model.forward = MethodType(forward, model)
    if compiled:
        compile_layers(model)
    return model


def _answering_only_where_asked(model: Any) -> Callable[[Tensor | None], None]:
    """Let the last layer's MLP be computed at some positions only; it adds nothing to the others.

    Returns:
        What tells it the positions, or that all are wanted.
    """
    mlp = model.base_model.layers[-1].mlp
    whole = mlp.forward
    asked: list[Tensor] = []

    def forward(x: Tensor) -> Tensor:
        if not asked:
            every: Tensor = whole(x)
            return every
        (positions,) = asked
        answers: Tensor = whole(_Picked.apply(x, positions))  # type: ignore[no-untyped-call]
        return torch.zeros_like(x).index_copy(1, positions, answers)

    def ask(positions: Tensor | None) -> None:
        asked[:] = [] if positions is None else [positions]

    mlp.forward = forward
    return ask


class _Picked(torch.autograd.Function):
    """Some of the positions of [1, N, H], each once: the gradient is copied, not added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, positions: Tensor) -> Tensor:
        ctx.save_for_backward(positions)
        ctx.length = x.shape[1]
        picked: Tensor = x.index_select(1, positions)
        return picked

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (positions,) = ctx.saved_tensors
        whole = grad.new_zeros(grad.shape[0], ctx.length, grad.shape[2])
        return whole.index_copy(1, positions, grad), None


def compile_layers(model: PreTrainedModel, **options: Any) -> None:
    """Compile every decoder layer; `options` are torch.compile's."""
    # Beyond its limit torch would run layers uncompiled, attention with an [N, N] matrix a head.
    torch._dynamo.config.recompile_limit = 64
    # The first layer's input else has no gradient, which would make a graph of its own.
    model.enable_input_require_grads()  # type: ignore[no-untyped-call]
    layers: Any = model.base_model.layers
    sharded = isinstance(layers[0], FSDPModule)
    for layer in layers:
        if sharded:  # its hooks cannot be part of a graph
            layer.forward = torch.compile(layer.forward, **options)
        else:
            layer.compile(**options)


def log_probs(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Return the log-probability of each label.

    Args:
        hidden: [E, H] what the head reads.
        weight: [V, H] the head.
        labels: [E] token ids.

    Returns:
        [E] in float32.
    """
    return _LogProbs.apply(hidden, weight, labels)  # type: ignore[no-untyped-call,no-any-return]


class _LogProbs(torch.autograd.Function):
    """Log-softmax at one index, over chunks of rows.

    Under a frozen head the gradient of a row is known up to its factor as soon as its logits are:
    it is computed with them. Where the head is trained, the backward pass computes logits anew.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        chosen = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        wants_hidden, ctx.wants_weight, _ = ctx.needs_input_grad
        slope = torch.empty_like(hidden) if wants_hidden and not ctx.wants_weight else None
        for part in _chunks(len(labels), len(weight)):
            logits = nn.functional.linear(hidden[part], weight)
            shares = torch.log_softmax(logits, -1, dtype=torch.float32)
            chosen[part] = shares.gather(-1, labels[part, None])[:, 0]
            if slope is not None:
                slope[part] = _less_one(shares.exp_(), labels[part]).to(weight.dtype) @ weight
        ctx.save_for_backward(*((slope,) if slope is not None else (hidden, weight, labels)))
        return chosen

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.wants_weight:
            (slope,) = ctx.saved_tensors
            return (slope * -grad[:, None]).to(slope.dtype), None, None
        hidden, weight, labels = ctx.saved_tensors
        d_hidden = torch.empty_like(hidden)
        d_weight = torch.zeros_like(weight, dtype=torch.float32)
        for part in _chunks(len(labels), len(weight)):
            logits = nn.functional.linear(hidden[part], weight)
            shares = torch.softmax(logits, -1, dtype=torch.float32)
            d_logits = (_less_one(shares, labels[part]) * -grad[part, None]).to(weight.dtype)
            d_hidden[part] = d_logits @ weight
            d_weight += d_logits.T @ hidden[part]
        return d_hidden, d_weight.to(weight.dtype), None


def _less_one(shares: Tensor, labels: Tensor) -> Tensor:
    """Subtract 1 from the probability of each row's label, in place."""
    return shares.scatter_add_(-1, labels[:, None], shares.new_full((len(labels), 1), -1.0))


def _chunks(rows: int, width: int) -> list[slice]:
    size = max(1, LOGITS_AT_ONCE // width)
    return [slice(start, start + size) for start in range(0, rows, size)]
