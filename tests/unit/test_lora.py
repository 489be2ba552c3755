from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor, nn

from distill.train.lora import LoraLinear, lora_config


def layer(ours: bool, shape: tuple[int, int], dtype: torch.dtype) -> Any:
    """One linear layer under LoRA of rank 4 that adds a tenth of it, the adapter in float32."""
    torch.manual_seed(0)
    config = lora_config(4, 8.0)
    config.target_modules = ["0"]
    config.task_type = None
    if not ours:
        config._custom_modules = None
    base: Any = nn.Sequential(nn.Linear(*shape).to(dtype))
    model = get_peft_model(base, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = 0.1 * torch.randn(parameter.shape)
    return model


def results(model: Any, x: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Output, gradient of the input and of the adapter."""
    given = x.to(dtype).requires_grad_()
    output = model(given)
    output.backward(torch.linspace(-1, 1, output.numel()).view_as(output).to(dtype))
    trained = [p.grad for p in model.parameters() if p.requires_grad]
    return [found.detach().float() for found in (output, given.grad, *trained)]


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (24, 24)])
def test_the_layer_computes_what_pefts_does(shape: tuple[int, int]) -> None:
    x = torch.randn(3, 7, shape[0])
    ours, theirs = (layer(kind, shape, torch.float32) for kind in (True, False))
    assert isinstance(ours.base_model.model[0], LoraLinear)
    pairs = zip(results(ours, x, torch.float32), results(theirs, x, torch.float32), strict=True)
    assert max(error(*pair) for pair in pairs) < 1e-6


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (24, 24)])
def test_an_adapter_is_not_rounded_to_the_base(shape: tuple[int, int]) -> None:
    """With a base of zeros in bfloat16 all that is left is the adapter."""
    model = layer(True, shape, torch.bfloat16)
    a, b = (p.data for p in model.parameters() if p.requires_grad)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data.zero_()
    x = torch.randn(4096, shape[0]).bfloat16()
    with torch.no_grad():  # over many inputs what their products are rounded to averages out
        found = torch.linalg.lstsq(x.float(), model(x).float()).solution
    rounded = 2 * a.bfloat16().float().T @ b.bfloat16().float().T
    exact = 2 * a.T @ b.T
    assert error(found, exact) < 0.5 * error(rounded, exact)
