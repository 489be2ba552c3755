"""How fast FlexAttention goes over a trie row, by the sizes of its tiles.

One layer of Qwen2.5-7B (28 query heads, 4 KV heads, 128 wide, bf16), forward and
backward, over the row of a workload: FLOP/s count the visible pairs only. Beside it, torch's
FlashAttention and cuDNN kernels, causal over one of the samples alone, and the own tokens of all
over what they share (no mask; what a cascade merged by log-sum-exp would leave to them). Needs a
GPU.

    python benchmarks/trie_attention.py --budget 120

Prints a table; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import flex_attention

from distill.student.render import Sample
from distill.train.attention import ALIGNMENT, TrieMask, flex
from distill.train.trie import pack, padded

HEADS, KV_HEADS, WIDTH = 28, 4, 128
FORWARD: dict[str, dict[str, Any]] = {
    f"fwd {m}x{n} w{warps} s{stages}": {
        "fwd_BLOCK_M": m, "fwd_BLOCK_N": n, "fwd_num_warps": warps, "fwd_num_stages": stages,
    }
    for m, n, warps, stages in (
        (128, 128, 8, 2), (128, 64, 8, 3), (128, 64, 4, 3), (128, 128, 8, 3), (64, 64, 4, 3),
    )
}  # fmt: skip
BACKWARD: dict[str, dict[str, Any]] = {
    f"bwd {m1},{n1} {m2},{n2} w{warps} s{stages}": {
        "bwd_BLOCK_M1": m1, "bwd_BLOCK_N1": n1, "bwd_BLOCK_M2": m2, "bwd_BLOCK_N2": n2,
        "bwd_num_warps": warps, "bwd_num_stages": stages,
    }
    for m1, n1, m2, n2, warps, stages in (
        (64, 128, 128, 64, 8, 3), (64, 128, 128, 64, 8, 2), (64, 64, 64, 64, 4, 3),
        (64, 128, 128, 64, 4, 2), (32, 128, 128, 32, 4, 3), (64, 64, 64, 64, 4, 2),
        (128, 128, 128, 128, 8, 2), (32, 64, 64, 32, 4, 3),
    )
}  # fmt: skip
VARIANTS = {"default": {}, **BACKWARD, **FORWARD, "prescaled": {"PRESCALE_QK": True}}


def heads(length: int, batch: int = 1) -> list[Tensor]:
    return [
        torch.randn(batch, count, length, WIDTH, device="cuda", dtype=torch.bfloat16)
        .requires_grad_()
        for count in (HEADS, KV_HEADS, KV_HEADS)
    ]  # fmt: skip


def clock(attend: Callable[[], Tensor]) -> tuple[float, float]:
    """Return milliseconds of the forward and of the backward pass."""
    output = attend()
    grad = torch.randn_like(output)
    spent = np.zeros(2)
    for number in range(8):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(3)]
        marks[0].record()
        output = attend()
        marks[1].record()
        output.backward(grad)
        marks[2].record()
        torch.cuda.synchronize()
        if number >= 3:
            spent += [marks[0].elapsed_time(marks[1]), marks[1].elapsed_time(marks[2])]
    return float(spent[0] / 5), float(spent[1] / 5)


def new_shapes(keys: int) -> list[float]:
    """Return how much longer cuDNN takes for some shapes at first, in milliseconds."""
    found = []
    for more in (1, 2, 3, 4):
        query, (_, key, value) = heads(more * 1024)[0], heads(keys + 8 * more)
        spent = []
        for _ in range(3):
            torch.cuda.synchronize()
            started = time.perf_counter()
            with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
                nn.functional.scaled_dot_product_attention(
                    query, key, value, enable_gqa=True
                ).sum().backward()
            torch.cuda.synchronize()
            spent.append(1000 * (time.perf_counter() - started))
        found.append(round(spent[0] - spent[2], 1))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=120, help="seconds")
    for name, default in (("shared", 3000), ("own", 300), ("examples", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    began = time.perf_counter()
    rng = np.random.default_rng(0)
    shared, length = rng.integers(0, 9999, options.shared), options.shared + options.own
    samples = [
        Sample(
            np.concatenate([shared, rng.integers(0, 9999, options.own)]).astype(np.int32),
            np.ones(length, np.float32),
        )
        for _ in range(options.examples)
    ]
    row = padded(pack(samples, 1 << 20)[0], ALIGNMENT)
    work = 4 * HEADS * WIDTH * float(np.sum(row.depth + 1))
    tiles = TrieMask(torch.from_numpy(row.stop).cuda()).tiles()
    result: dict[str, Any] = {"device": torch.cuda.get_device_name(0), "row": len(row.ids)}
    print(f"{len(row.ids):,} tokens{'':14}{'ms fwd':>9}{'ms bwd':>9}{'TFLOP/s':>9}")

    def report(name: str, attend: Callable[[], Tensor], flop: float) -> None:
        try:
            forward, backward = clock(attend)
        except Exception as error:
            result[name] = {"failed": repr(error)[:200]}
            return
        speed = round(3.5 * flop / (forward + backward) / 1e9, 1)
        result[name] = {"fwd_ms": round(forward, 3), "bwd_ms": round(backward, 3), "tflops": speed}
        print(f"{name:28}{forward:9.2f}{backward:9.2f}{speed:9.1f}", flush=True)

    each, dense = heads(length), nn.functional.scaled_dot_product_attention
    query, (_, key, value) = heads(len(row.ids) - options.shared)[0], heads(options.shared)
    across = 4.0 * HEADS * WIDTH * options.shared * query.shape[2]
    for name, backend in (
        ("flash", SDPBackend.FLASH_ATTENTION),
        ("cudnn", SDPBackend.CUDNN_ATTENTION),
    ):
        with sdpa_kernel(backend):
            report(
                f"{name}, one sample",
                lambda: dense(*each, is_causal=True, enable_gqa=True),
                2 * HEADS * WIDTH * float(length) ** 2,
            )
            report(
                f"{name}, own on shared",
                lambda: dense(query, key, value, enable_gqa=True),
                across,
            )
    given = heads(len(row.ids))
    mask = TrieMask(torch.from_numpy(row.stop).cuda())
    mask.parts()  # a prompt has to come back once
    mask = TrieMask(mask.stop)
    parts, left = mask.parts(), mask.tiles()
    both: Any = torch.compile(flex, dynamic=False)
    report("cuDNN where no mask is needed", lambda: both(*given, WIDTH**-0.5, left, parts), work)
    result["new_shape_ms"] = new_shapes(options.shared)
    print("a shape that is new to cuDNN, ms", *result["new_shape_ms"])
    for name, kernel in VARIANTS.items():
        if time.perf_counter() - began > options.budget:
            break
        compiled: Any = torch.compile(flex_attention, dynamic=False)
        report(
            name,
            lambda kernel=kernel, compiled=compiled: compiled(
                *given, block_mask=tiles, enable_gqa=True, kernel_options=kernel or None
            ),
            work,
        )
    timed = {name: found for name, found in result.items()
             if name in VARIANTS and "fwd_ms" in found}  # fmt: skip
    if timed:
        forward = min((n for n in timed if n not in BACKWARD), key=lambda n: timed[n]["fwd_ms"])
        backward = min((n for n in timed if n not in FORWARD), key=lambda n: timed[n]["bwd_ms"])
        result["best"] = VARIANTS[forward] | VARIANTS[backward]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
