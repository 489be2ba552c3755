"""The processes that train together, one a GPU, as `torchrun` or `accelerate launch` starts them.

Every rank draws the same batch and computes its own part of it; gradients are added up before the
optimizer step, so the ranks hold the same weights throughout. Only the first writes.
"""

from __future__ import annotations

import os


def rank() -> int:
    """Return the number of this process."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """Return how many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes."""
    return rank() == 0
