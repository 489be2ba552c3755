"""The interval of one proportion, which the evaluation and the audit of a data set both rest on."""

from __future__ import annotations

import math
from typing import NamedTuple

Z95 = 1.959963984540054
"""The two-sided 95% quantile of the standard normal distribution."""


class Interval(NamedTuple):
    """A 95% interval."""

    low: float
    high: float


def wilson(successes: float, n: float) -> Interval:
    """Return the 95% score interval of a proportion (Wilson 1927); (0, 1) when `n` is 0.

    An effective number of cases need not be whole.
    """
    if n == 0:
        return Interval(0.0, 1.0)
    share, spread = successes / n, Z95 * Z95 / n
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(low, high)
