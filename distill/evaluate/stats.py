"""The statistics a comparison rests on: intervals of proportions, tests of paired ones.

    one share, independent cases          `wilson`
    one share, cases in clusters          `clustered_wilson`
    difference of two paired shares       `paired_difference` (Newcombe), `mcnemar` (exact)
    the same with cases in clusters       `clustered`: bootstrap interval, sign-flip test
    a ratio or another function of them   `bootstrap`
    many tests at once                    `holm`
    repeated trials                       `pass_k`
    before the run: what could be seen    `minimum_detectable`

Everything is on the standard library; what draws at random has a fixed seed, so that the same
answers give the same numbers. `benchmarks/stats_coverage.py` measures coverage and error rates.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from distill.proportion import Z95, Interval, wilson

Z80 = 0.8416212335729143
"""The one-sided 80% quantile: the usual power."""
RESAMPLES = 2000
"""Bootstrap resamples and sign flips; a p-value of 0.05 is then known to 0.01."""


def mcnemar(wins: int, losses: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (1947).

    Under the hypothesis of no difference each discordant pair falls either way with equal chance,
    so the smaller count is binomial(wins + losses, 1/2).

    Args:
        wins: Cases only the first model got right.
        losses: Cases only the second model got right.
    """
    n, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    # Integers first: both sides exceed a float's range from about a thousand pairs on.
    return min(1.0, float(2 * tail / 2**n))


def paired_difference(both: int, wins: int, losses: int, neither: int) -> Interval:
    """Return the 95% interval of the difference of two paired proportions.

    Method 10 of Newcombe (Statistics in Medicine 17, 1998, pp. 2635-2650): the Wilson limits of
    the two shares, joined by their correlation with a continuity correction.

    Args:
        both: Cases both models got right.
        wins: Cases only the first got right; the difference is first minus second.
        losses: Cases only the second got right.
        neither: Cases neither got right.
    """
    n = both + wins + losses + neither
    if n == 0:
        return Interval(-1.0, 1.0)
    first, second = both + wins, both + losses
    p, q = first / n, second / n
    p_low, p_high = wilson(first, n)
    q_low, q_high = wilson(second, n)
    phi = _correlation(both, wins, losses, neither)

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    low = (p - q) - reach(p - p_low, q_high - q)
    high = (p - q) + reach(p_high - p, q - q_low)
    return Interval(low, high)


def _correlation(both: int, wins: int, losses: int, neither: int) -> float:
    margins = (both + wins) * (losses + neither) * (both + losses) * (wins + neither)
    if margins == 0:
        return 0.0
    product = float(both * neither - wins * losses)
    if product > 0:
        product = max(product - (both + wins + losses + neither) / 2, 0.0)
    return product / math.sqrt(margins)


# --- clusters ---------------------------------------------------------------------------------

Cluster = Sequence[float]
"""Sums over one cluster: how many cases it has, then one sum per quantity."""


def clustered_wilson(clusters: Sequence[tuple[int, int]]) -> Interval:
    """Return the 95% interval of a share whose cases come in clusters.

    Wilson's interval at the effective number of cases (Korn and Graubard, Survey Methodology 24,
    1998, pp. 193-201): the number over the design effect, which is the variance found between
    clusters over that of as many independent cases, and less for few clusters. How well that
    variance is known depends on how evenly the clusters contribute to it (Satterthwaite): where
    nearly all are right, the few that are not decide alone. Never more than the cases there are.
    Where all cases are right or all are wrong, nothing shows how far those of a cluster go
    together; each cluster then counts as one case.

    Args:
        clusters: Per cluster: right cases, cases.
    """
    m, n = len(clusters), sum(size for _, size in clusters)
    right = sum(hits for hits, _ in clusters)
    if m == n or m < 2:
        return wilson(right, n)
    share = right / n
    if share in (0, 1):
        return wilson(share * m, m)
    squares = [(hits - share * size) ** 2 for hits, size in clusters]
    between = sum(squares) * m / (m - 1)
    effective = n * share * (1 - share) * n / between if between else n
    effective = min(n, effective * (Z95 / _student_t95(_degrees(squares))) ** 2)
    return wilson(share * effective, effective)


def _degrees(squares: Sequence[float]) -> float:
    """Return the degrees of freedom of a variance that is the mean of these squares.

    Satterthwaite's (Biometrics Bulletin 2, 1946, pp. 110-114): twice the square of its mean over
    its variance. That is their number for squares of normal numbers, and less when few of them are
    most of the sum (3 at the least); one is lost to the mean they were taken from.
    """
    m, total = len(squares), sum(squares)
    spread = m * sum(square * square for square in squares) / total**2 - 1 if total else 0.0
    return min(m - 1, max(3.0, 2 * m / spread) if spread else m - 1)


class Clustered(NamedTuple):
    """A paired difference of cases that come in clusters."""

    low: float
    high: float
    p_value: float
    clusters: int


def clustered(differences: Mapping[str, Sequence[float]]) -> Clustered | None:
    """Return interval and test of a mean difference whose cases come in clusters.

    Cases of one family (wordings of one idea, questions on one tool document) are right or wrong
    together, so their number overstates what is known. The interval resamples whole clusters; the
    test flips the sign of whole clusters, which is as good as chance when nothing differs.

    Args:
        differences: Cluster -> one difference per case: 1 won, 0 equal, -1 lost.

    Returns:
        None with fewer than two clusters: nothing can be said.
    """
    sums = [(float(len(d)), float(sum(d))) for d in differences.values() if d]
    if len(sums) < 2:
        return None
    interval = bootstrap(sums, lambda total: total[1] / total[0])
    assert interval is not None
    return Clustered(*interval, _sign_flip([s for _, s in sums]), len(sums))


def bootstrap(
    clusters: Sequence[Cluster], statistic: Callable[[Sequence[float]], float | None]
) -> Interval | None:
    """Return the 95% percentile interval of a statistic of totals, by resampling clusters.

    The percentiles are widened for few clusters: a bootstrap draws with the spread of a sample,
    which is too small by sqrt((m - 1) / m), and from a normal where a t distribution is due.

    Args:
        clusters: Sums of each cluster.
        statistic: From the totals of one resample; None where it is not defined.

    Returns:
        None when it is undefined in more than one resample of forty.
    """
    rng = random.Random(len(clusters))
    m = len(clusters)
    values = []
    for _ in range(RESAMPLES):
        drawn = rng.choices(clusters, k=m)
        value = statistic([math.fsum(column) for column in zip(*drawn, strict=True)])
        if value is not None:
            values.append(value)
    if len(values) < 0.975 * RESAMPLES or m < 2:
        return None
    tail = 0.5 * math.erfc(_student_t95(m - 1) * math.sqrt(m / (m - 1)) / math.sqrt(2))
    low, high = quantile(values, tail), quantile(values, 1 - tail)
    assert low is not None and high is not None
    return Interval(low, high)


def _sign_flip(sums: Sequence[float]) -> float:
    """Return the two-sided p-value of the clusters' sum when each could have any sign."""
    moving = [abs(s) for s in sums if s]
    observed = abs(math.fsum(sums))
    if len(moving) <= 11:  # few enough to try them all
        signs: Sequence[int] = range(2 ** len(moving))
        reached = sum(_flipped(moving, sign) >= observed - 1e-9 for sign in signs)
        return reached / len(signs)
    rng = random.Random(len(moving))
    draws = (_flipped(moving, rng.getrandbits(len(moving))) for _ in range(RESAMPLES))
    return (1 + sum(drawn >= observed - 1e-9 for drawn in draws)) / (1 + RESAMPLES)


def _flipped(sizes: Sequence[float], signs: int) -> float:
    return abs(math.fsum(s if signs >> n & 1 else -s for n, s in enumerate(sizes)))


def _student_t95(degrees: float) -> float:
    """Return the two-sided 95% quantile of Student's t (Cornish-Fisher, good to 0.01 from 3 on)."""
    z, n = Z95, degrees
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3


def gap_closed(clusters: Sequence[Cluster]) -> tuple[float, Interval] | None:
    """Return (student - base) / (teacher - base) with its interval.

    Args:
        clusters: Per cluster: cases, right answers of base, student and teacher.

    Returns:
        None where the teacher is not clearly better than the base: there is no gap to close.
    """

    def ratio(total: Sequence[float]) -> float | None:
        _, base, student, teacher = total
        return (student - base) / (teacher - base) if teacher > base else None

    totals = [math.fsum(column) for column in zip(*clusters, strict=True)] if clusters else []
    closed = ratio(totals) if totals else None
    interval = bootstrap(clusters, ratio) if closed is not None else None
    return None if closed is None or interval is None else (closed, interval)


# --- many tests, many trials, and planning ----------------------------------------------------


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values adjusted for testing them all (Holm 1979).

    Rejecting where the adjusted value is below 0.05 keeps the chance of any false rejection
    among them below 0.05.
    """
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = highest
    return adjusted


def pass_k(
    successes: Sequence[int], trials: int, k: int, clusters: Sequence[str] = ()
) -> tuple[float, Interval | None]:
    """Return the chance that `k` independent trials of a case are all right, with its interval.

    Each case gives the unbiased C(c, k) / C(n, k) (Yao et al. 2024); clusters are resampled.

    Args:
        successes: Right trials of each case.
        trials: Trials of each case, at least `k`.
        k: How many trials have to be right.
        clusters: Which cluster each case is of; empty: every case is its own.
    """
    shares = [math.comb(c, k) / math.comb(trials, k) for c in successes]
    mean = math.fsum(shares) / len(shares)
    if min(shares) == max(shares):  # resampling equal numbers knows no spread
        return mean, wilson(round(mean * len(shares)), len(shares)) if mean in (0, 1) else None
    grouped: dict[str, list[float]] = {}
    for cluster, one in zip(clusters or map(str, range(len(shares))), shares, strict=True):
        grouped.setdefault(cluster, []).append(one)
    sums = [(float(len(group)), math.fsum(group)) for group in grouped.values()]
    return mean, bootstrap(sums, lambda total: total[1] / total[0])


def minimum_detectable(n: int, discordant: float) -> float:
    """Return the smallest true difference that McNemar's test sees in 4 of 5 runs.

    Connor's formula (Biometrics 43, 1987, pp. 207-211) at 5% two-sided and 80% power, with one over
    the difference added for the exact test, which rejects a little less than the asymptotic one;
    solved for the difference. 1 when no difference would do.

    Args:
        n: Paired cases.
        discordant: Share of cases only one of the two models gets right.
    """

    def needed(difference: float) -> float:
        spread = max(discordant, difference)
        root = math.sqrt(max(0.0, spread - difference * difference))
        asymptotic = ((Z95 * math.sqrt(spread) + Z80 * root) / difference) ** 2
        return asymptotic + 1 / difference

    low, high = 1e-6, 1.0
    if n == 0 or needed(high) > n:
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if needed(middle) > n else (low, middle)
    return high


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the linearly interpolated quantile of unsorted values; None when there are none."""
    if not values:
        return None
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
