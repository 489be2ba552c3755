"""Turning requests away, the way a loaded provider does.

A seeded share of the requests is rejected before it is answered: two in three with 429 and a short
`Retry-After`, the others with an overload status and no hint. The same request is rejected at most
`MOST_REJECTIONS` times in a row, so a client that retries always gets through. What is rejected
depends on the request's text alone, not on the order of arrival.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

MOST_REJECTIONS = 2


@dataclass(frozen=True)
class Rejection:
    """One request turned away; `retry_after_s` None means overload rather than throttling."""

    retry_after_s: float | None


class Busy:
    """Decides which requests are turned away. Safe to share between threads."""

    def __init__(self, rate: float, seed: int) -> None:
        """Reject `rate` (0 to 1) of the distinct requests."""
        self._rate = rate
        self._seed = seed
        self._rejected: dict[str, int] = {}
        self._lock = threading.Lock()

    def reject(self, request: str) -> Rejection | None:
        """Return how `request` is turned away this time, or None when it is to be answered."""
        rng = random.Random(f"{self._seed}/busy/{request}")
        if rng.random() >= self._rate:
            return None
        planned = [
            Rejection(round(rng.uniform(0.1, 0.3), 2) if rng.random() < 0.67 else None)
            for _ in range(rng.randint(1, MOST_REJECTIONS))
        ]
        with self._lock:
            done = self._rejected.pop(request, 0)
            if done == len(planned):
                return None
            self._rejected[request] = done + 1
        return planned[done]
