"""LoRA linear layers whose forward and backward touch the activations as rarely as possible.

peft's layer runs the adapter beside the base and adds the results in separate passes, with a copy
of the input in the adapter's precision. This one has both products end in one matrix:

    y  = (x A') (s B)' + b,  y += x W'          dx = (dy s B) A,  dx += dy W

where the second product adds up as it writes; where the result is at least twice as wide as what is
multiplied, both are one product instead: y = [x, x A'] [W, s B]'. Adapters stay float32 in the
optimizer. In bfloat16 they are used as two terms, the rounded adapter and what rounding took from
it: nearly as exact as peft's products in float32. It is peft's own layer otherwise: names, saving,
loading and switching the adapter off are unchanged.

In a compiled layer the second product is an operator of its own: torch.compile would replace the
addition in place by one that copies the first product.

A base in 4 bits (QLoRA; Dettmers et al., arXiv 2305.14314) is unpacked for each product and thrown
away again; `W` is then what was unpacked.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import Tensor, nn


@torch.library.custom_op("distill::accumulate", mutates_args={"total"})
def _operator(total: Tensor, left: Tensor, right: Tensor) -> None:
    total.addmm_(left, right)


@_operator.register_fake
def _(total: Tensor, left: Tensor, right: Tensor) -> None:
    return None


def accumulate(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add the product of two matrices to a third, in place."""
    if torch.compiler.is_compiling():
        _operator(total, left, right)
    else:
        total.addmm_(left, right)


def lora_config(rank: int, alpha: float) -> LoraConfig:
    """Return plain LoRA on all linear layers but the head, computed by `LoraLinear`."""
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # annotated int, used as a number
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    config._register_custom_module({nn.Linear: LoraLinear})
    return config


class LoraLinear(Linear):
    """peft's LoRA layer with the accumulated forward and backward."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return base plus adapter of `x` [..., in] as [..., out]."""
        if self.disable_adapters or self.merged:
            return super().forward(x, *args, **kwargs)
        (adapter,) = self.active_adapters
        base = self.get_base_layer()
        output: Tensor = _LoraProduct.apply(  # type: ignore[no-untyped-call]
            x,
            base.weight,
            base.bias,
            self.lora_A[adapter].weight,
            self.lora_B[adapter].weight,
            self.scaling[adapter],
            *packing(cast(Tensor, base.weight)),
        )
        return output


class _LoraProduct(torch.autograd.Function):
    """x W' + b + s (x A') B' for a frozen W and b."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        *packed: Any,
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        rank = len(a)
        a, b = _terms(a, x.dtype), _terms((b * scale).T, x.dtype)
        low = _summed(flat @ a.T, rank)
        matrix, more = unpacked(weight, *packed), _repeated(low, b)
        if _widens(*matrix.shape):
            wide = torch.cat([matrix, b.T], 1)
            output = nn.functional.linear(torch.cat([flat, more], 1), wide, bias)
        else:
            output = more @ b if bias is None else torch.addmm(bias, more, b)
            accumulate(output, flat, matrix.T)
        ctx.save_for_backward(flat, weight, a, b, low)
        ctx.scale, ctx.packed = scale, packed
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight, a, b, low = ctx.saved_tensors
        grad_flat = grad.reshape(-1, grad.shape[-1])
        d_low = _summed(grad_flat @ b.T, low.shape[1])
        d_a = (d_low.T @ flat).float()
        d_b = (grad_flat.T @ low).float() * ctx.scale
        others = (None for _ in ctx.packed)
        if not ctx.needs_input_grad[0]:  # the first layer reads frozen embeddings
            return None, None, None, d_a, d_b, None, *others
        matrix, more = unpacked(weight, *ctx.packed), _repeated(d_low, a)
        if _widens(*matrix.T.shape):
            d_x = torch.cat([grad_flat, more], 1) @ torch.cat([matrix, a])
        else:
            d_x = more @ a
            accumulate(d_x, grad_flat, matrix)
        return d_x.view(*grad.shape[:-1], -1), None, None, d_a, d_b, None, *others


def _terms(factor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a factor [rank, n] in another precision, and below it what rounding took from it."""
    rounded = factor.to(dtype)
    if dtype == factor.dtype:
        return rounded
    return torch.cat([rounded, (factor - rounded.to(factor.dtype)).to(dtype)])


def _summed(low: Tensor, rank: int) -> Tensor:
    """Add up what the terms of a factor have given: [N, terms x rank] as [N, rank]."""
    return low.view(len(low), -1, rank).sum(1, dtype=torch.float32).to(low.dtype)


def _repeated(low: Tensor, terms: Tensor) -> Tensor:
    """Return [N, rank] side by side once for each of the terms it is to be multiplied with."""
    return low.repeat(1, len(terms) // low.shape[1])


def _widens(width: int, depth: int) -> bool:
    """Whether copying what goes into a product is cheaper than another pass over its result."""
    return width >= 2 * depth


def packing(weight: Tensor) -> tuple[Any, ...]:
    """Return what bitsandbytes' nf4 weight is unpacked with; nothing for a plain matrix.

    Tensors and numbers one by one: an object among the arguments would keep a layer from being
    compiled.
    """
    state = getattr(weight, "quant_state", None)
    if state is None:
        return ()
    scales = state.state2
    return (
        state.absmax, scales.absmax, scales.code, scales.blocksize, state.offset,
        state.blocksize, state.shape[0], state.shape[1], state.dtype,
    )  # fmt: skip


def unpacked(weight: Tensor, *packed: Any) -> Tensor:
    """Return a weight as a matrix; `packed` is its `packing`."""
    if not packed:
        return weight
    scales, outer, code, outer_size, offset, size, rows, columns, dtype = packed
    ops = torch.ops.bitsandbytes
    inner = ops.dequantize_blockwise(scales, outer, code, outer_size, torch.float32) + offset
    matrix: Tensor = ops.dequantize_4bit(weight, inner, size, "nf4", [rows, columns], dtype)
    return matrix
