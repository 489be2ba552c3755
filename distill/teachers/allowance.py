"""What the headers of an answer say of the account's limit on requests.

Anthropic and OpenAI keep such a limit as a bucket that refills all the time, and tell with every
answer how much it holds, what is left, and when it will be full again:

    anthropic-ratelimit-requests-limit: 50       x-ratelimit-limit-requests: 500
    anthropic-ratelimit-requests-remaining: 49   x-ratelimit-remaining-requests: 499
                                                 x-ratelimit-reset-requests: 120ms

Anthropic's is a minute's. Behind the names of OpenAI a server may count by the day, or in windows:
that shows in the time until it is full, and then nothing is read. Neither are limits on tokens:
what a call takes is only known after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MINUTE_S = 60.0
ALIKE = 2.0
"""A bucket of a minute refills as fast as its size says, give or take this factor: remainders are
rounded."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


@dataclass(frozen=True)
class Allowance:
    """How many calls an account may make."""

    per_s: float
    """Calls a second."""
    left: int
    """Calls that may be made at once."""


def read_allowance(headers: Mapping[str, str]) -> Allowance | None:
    """Return the limit on requests; None: nothing is said of it, or nothing that is understood."""
    try:
        vendor = "anthropic-ratelimit-requests"
        if f"{vendor}-limit" in headers:
            limit, left = (int(headers[f"{vendor}-{name}"]) for name in ("limit", "remaining"))
        else:
            limit, left = (
                int(headers[f"x-ratelimit-{name}-requests"]) for name in ("limit", "remaining")
            )
            refilled = (limit - left) / _seconds(headers["x-ratelimit-reset-requests"])
            if not 1 / ALIKE <= refilled * MINUTE_S / limit <= ALIKE:
                return None
        return Allowance(limit / MINUTE_S, min(left, limit)) if limit > 0 else None
    except (KeyError, ValueError, ArithmeticError):
        return None


def _seconds(text: str) -> float:
    """Read a duration such as `20ms`, `1s` or `6m0s`."""
    amounts = _AMOUNT.findall(text)
    if "".join(number + unit for number, unit in amounts) != text:
        raise ValueError(text)
    return sum(float(number) * _UNITS[unit] for number, unit in amounts)
