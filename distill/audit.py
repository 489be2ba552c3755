"""The audit: what reviewing a random sample says about the error rate of a whole data set.

A reviewer finds each row of the sample right or wrong (a mended row was wrong). The audit has
passed when the 95% interval of the error rate lies below the limit, failed when it lies above, and
is open in between. Two rules keep it honest. It cannot pass before the planned sample is complete,
because looking after every row and stopping at a good moment would pass too often; it fails early
only when it would fail even if all the rest were right. And once every row of the data set was
reviewed there is nothing left to estimate: it has passed, whatever was wrong is out or mended.

The interval is Wilson's for a simple random sample; a sample with the data set's own shares of
each kind is a little better than that.

Rows whose samples disagree ("disputed") may be looked at more often than their share. Then they are
a stratum: the rate of each stratum counts by its share of the data set, not of the reviews. The
interval is Wilson's at that rate, for the number of reviews that would be worth as much in one
random sample, at least: the smallest of (reviews / share) over the strata. That is a bound, since
the sum of w^2 p q / n over strata of share w is at most max(w / n) times the sum of w p q, and that
sum is at most the p q of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from distill.proportion import Interval, wilson
from distill.types import Frozen

MOST_REVIEWS = 10_000
"""`Audit.needed` looks no further."""


class AuditState(StrEnum):
    """What can be said by now."""

    NONE = "none"
    OPEN = "open"
    PASSED = "passed"
    FAILED = "failed"


class Disputed(Frozen):
    """The stratum of the rows whose samples disagree."""

    rows: int
    reviewed: int
    wrong: int
    first: int
    """So many of them are reviewed before all other rows."""

    def among(self, reviews: int, population: int) -> int:
        """Return how many of the first `reviews` rows of the order are disputed."""
        drawn = round(reviews * self.rows / population)
        return min(self.rows, max(drawn, min(self.first, reviews)))


class Found(NamedTuple):
    """One row of the data set, as far as an audit goes."""

    disputed: bool
    wrong: bool | None
    """None: it was not reviewed."""


class Audit(Frozen):
    """The state of an audit; made by `audit`."""

    state: AuditState
    reviewed: int
    wrong: int
    """Rejected or mended."""
    low: float
    """Lower end of the 95% interval of the error rate."""
    high: float
    sample: int
    """Rows that were to be reviewed."""
    population: int
    """Rows the sample was drawn from: what the filter's checks kept for training."""
    limit: float
    """Largest acceptable error rate."""
    disputed: Disputed | None = None
    """Counted among all the others, too; None: there are none, or they are not told apart."""

    @property
    def rate(self) -> float | None:
        """Estimated share of wrong rows; None while nothing is known of a stratum."""
        return _rate(self._strata(self.reviewed))

    def _strata(self, reviews: int) -> list[_Stratum]:
        return _strata(reviews, self.reviewed, self.wrong, self.population, self.disputed)

    @property
    def needed(self) -> int | None:
        """Reviews at which it passes if no further row is wrong; None: out of reach."""
        if self.state in (AuditState.PASSED, AuditState.FAILED):
            return None
        for n in range(max(self.sample, self.wrong, 1), min(self.population, MOST_REVIEWS)):
            if _interval(self._strata(n)).high < self.limit:
                return n
        return self.population if self.population <= MOST_REVIEWS else None

    def in_words(self) -> str:
        """Return one line for terminals and cards."""
        if self.state is AuditState.NONE:
            return "no row was reviewed"
        among = self.disputed
        disputed = f", {among.wrong} of {among.reviewed} disputed ones" if among else ""
        return (
            f"{self.state}: {self.wrong} of {self.reviewed} reviewed rows wrong{disputed} "
            f"(95% interval {100 * self.low:.1f}-{100 * self.high:.1f}%, limit "
            f"{100 * self.limit:g}%)"
        )


def audit_rows(rows: Iterable[Found], *, sample: int, first: int, limit: float) -> Audit:
    """Judge what has been reviewed by now of these rows.

    Args:
        rows: All rows of the data set, those that reviews took out among them.
        sample: Rows that were to be reviewed; more may have been.
        first: Disputed rows that are reviewed before all others; 0: they are not told apart.
        limit: Largest acceptable error rate.
    """
    rows = list(rows)
    among = [row for row in rows if row.disputed] if first else []
    disputed = Disputed(
        rows=len(among), reviewed=_reviewed(among), wrong=_wrong(among), first=first
    )
    return audit(
        _reviewed(rows),
        _wrong(rows),
        sample=sample,
        population=len(rows),
        limit=limit,
        disputed=disputed if among else None,
    )


def _reviewed(rows: Sequence[Found]) -> int:
    return sum(row.wrong is not None for row in rows)


def _wrong(rows: Sequence[Found]) -> int:
    return sum(row.wrong is True for row in rows)


def audit(
    reviewed: int,
    wrong: int,
    *,
    sample: int,
    population: int,
    limit: float,
    disputed: Disputed | None = None,
) -> Audit:
    """Judge what has been reviewed by now.

    Args:
        reviewed: Rows that were reviewed.
        wrong: Those of them that were rejected or mended.
        sample: Rows that were to be reviewed; more may have been.
        population: Rows the sample was drawn from.
        limit: Largest acceptable error rate.
        disputed: What is known of the disputed ones among them.
    """
    planned = max(min(sample, population), reviewed)
    now, then = (_strata(n, reviewed, wrong, population, disputed) for n in (reviewed, planned))
    low, high = _interval(now)
    return Audit(
        state=_state(now, then, reviewed, planned, population, limit),
        reviewed=reviewed,
        wrong=wrong,
        low=low,
        high=high,
        sample=planned,
        population=population,
        limit=limit,
        disputed=disputed,
    )


class _Stratum(NamedTuple):
    share: float
    """Of the data set."""
    reviewed: int
    wrong: int


def _strata(
    reviews: int, reviewed: int, wrong: int, population: int, disputed: Disputed | None
) -> list[_Stratum]:
    """Return the strata once there are `reviews` reviews, if no further row is wrong."""
    if disputed is None:
        return [_Stratum(1, reviews, wrong)]
    others, more = reviewed - disputed.reviewed, reviews - reviewed
    among = disputed.reviewed
    if more:
        among = min(max(disputed.among(reviews, population), among), among + more)
    share = disputed.rows / population
    return [
        _Stratum(share, among, disputed.wrong),
        _Stratum(1 - share, others + more - (among - disputed.reviewed), wrong - disputed.wrong),
    ]


def _rate(strata: Sequence[_Stratum]) -> float | None:
    strata = [one for one in strata if one.share]
    if not all(one.reviewed for one in strata):
        return None
    return sum(one.share * one.wrong / one.reviewed for one in strata)


def _interval(strata: Sequence[_Stratum]) -> Interval:
    if len(strata) == 1:
        return wilson(strata[0].wrong, strata[0].reviewed)
    rate = _rate(strata)
    if rate is None:
        return Interval(0.0, 1.0)
    worth = min(one.reviewed / one.share for one in strata if one.share)
    return wilson(rate * worth, worth)


def _state(
    now: Sequence[_Stratum],
    then: Sequence[_Stratum],
    reviewed: int,
    planned: int,
    population: int,
    limit: float,
) -> AuditState:
    """Return the state, given the strata now and once the sample is complete."""
    if reviewed == 0:
        return AuditState.NONE
    if reviewed >= population:
        return AuditState.PASSED
    if _interval(then).low > limit:
        return AuditState.FAILED
    if reviewed == planned and _interval(now).high < limit:
        return AuditState.PASSED
    return AuditState.OPEN
