"""Where training runs and in what precision: decided by the machine, never by a flag.

bfloat16 needs hardware for it: on a CPU without, it is slower than float32.
"""

from __future__ import annotations

import os
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


def choose_device() -> Device:
    """Pick the GPU when there is one, else the CPU with all cores this process may use."""
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return Device("cuda", torch.bfloat16 if fast else torch.float32)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    abilities = torch.cpu.get_capabilities()
    fast = abilities.get("avx512_bf16") or abilities.get("amx_bf16") or abilities.get("bf16")
    return Device("cpu", torch.bfloat16 if fast else torch.float32)
