"""Where training runs and in what precision: decided by the machine, never by a flag.

bfloat16 needs hardware for it: on a CPU without, it is slower than float32.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Device:
    """The place and precision of the base's weights and activations."""

    kind: str
    """cuda or cpu."""
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """What it is, for people."""
        if self.kind == "cuda":
            return torch.cuda.get_device_name(0)
        return f"CPU, {torch.get_num_threads()} threads"

    @property
    def memory_bytes(self) -> int | None:
        """The GPU's memory; None on a CPU, whose memory others share."""
        if self.kind == "cuda":
            return int(torch.cuda.get_device_properties(0).total_memory)
        return None

    def matrix_flop_per_s(self) -> float:
        """Measure the speed of matrix products here, in a fraction of a second."""
        size = 8192 if self.kind == "cuda" else 512
        left = torch.randn(size, size, device=self.kind, dtype=self.dtype)
        best = float("inf")
        for _ in range(5):
            started = time.perf_counter()
            float((left @ left)[0, 0])  # waits for the GPU
            best = min(best, time.perf_counter() - started)
        return 2 * size**3 / best


def choose_device() -> Device:
    """Pick the GPU when there is one, else the CPU with all cores this process may use."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return Device("cuda", torch.bfloat16 if fast else torch.float32)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    abilities = torch.cpu.get_capabilities()
    fast = abilities.get("avx512_bf16") or abilities.get("amx_bf16") or abilities.get("bf16")
    return Device("cpu", torch.bfloat16 if fast else torch.float32)
