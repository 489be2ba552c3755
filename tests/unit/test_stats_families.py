"""Statistics of families, many tests, repeated trials, and planning."""

from __future__ import annotations

import math
import random

import pytest

from distill.evaluate.runner import widths_to_try
from distill.evaluate.stats import (
    _degrees,
    bootstrap,
    clustered,
    clustered_wilson,
    gap_closed,
    holm,
    mcnemar,
    minimum_detectable,
    pass_k,
)
from distill.proportion import wilson


def test_families_widen_the_interval_and_soften_the_test():
    alone = clustered({str(n): [1.0 if n < 12 else 0.0] for n in range(40)})
    together = clustered({str(n): [1.0 if n < 3 else 0.0] * 4 for n in range(10)})
    assert alone is not None and together is not None
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    assert alone.p_value < 0.01 < together.p_value


def test_a_share_is_worth_the_cases_its_families_are():
    """25 families of 4: all alike, they are 25 cases; as if drawn singly, they are 100."""
    alike = [(4, 4)] * 15 + [(0, 4)] * 10
    worth_25 = clustered_wilson(alike)
    assert worth_25.low < wilson(15, 25).low and worth_25.high > wilson(15, 25).high
    # Design effect 4 * 25/24, and t(24) = 2.064 for 1.960: 100 / 4.1667 / 1.1089 cases.
    assert worth_25 == pytest.approx(wilson(0.6 * 21.64, 21.64), abs=1e-3)
    mixed = [(2, 4), (3, 4), (2, 4), (3, 4), (2, 4)] * 5
    assert clustered_wilson(mixed) == wilson(60, 100), "never more than the cases there are"
    assert clustered_wilson([(1, 1), (0, 1), (1, 1)]) == wilson(2, 3), "every case its own"


def test_few_families_deciding_alone_widen_the_interval():
    """As much is known of 2 families that failed among 60 as those 2 tell, not as 60 would."""
    even = [(3, 4)] * 60 + [(4, 4)] * 30
    uneven = [(4, 4)] * 88 + [(0, 30)] * 2
    assert clustered_wilson(even) == wilson(300, 360), "spread over many: worth every case"
    assert _degrees([1.0] * 60 + [0.0] * 30) == 89
    assert _degrees([1.0] * 9 + [0.0] * 81) == pytest.approx(2 * 90 / 9)
    assert _degrees([1.0] * 2 + [0.0] * 88) == pytest.approx(2 * 90 / 44)
    assert _degrees([0.0] * 9) == 8
    low, high = clustered_wilson(uneven)
    assert high - low > 0.3


def test_families_that_all_did_the_same_count_once_each():
    assert clustered_wilson([(5, 5)] * 12) == wilson(12, 12)
    assert clustered_wilson([(0, 5)] * 12) == wilson(0, 12)
    assert clustered_wilson([]) == (0.0, 1.0)


def test_pass_k_goes_by_families():
    successes = [4] * 40 + [0] * 40
    families = [str(n // 8) for n in range(80)]
    value, plain = pass_k(successes, 4, 2)
    assert pass_k(successes, 4, 2, families)[0] == value == 0.5
    wide = pass_k(successes, 4, 2, families)[1]
    assert wide.high - wide.low > 2 * (plain.high - plain.low)


def test_few_families_are_flipped_exactly():
    found = clustered({str(n): [1.0] for n in range(5)})
    assert found is not None
    assert found.p_value == pytest.approx(2 / 2**5)
    assert found.p_value == pytest.approx(mcnemar(5, 0))


def test_families_in_which_nothing_differs():
    found = clustered({"a": [0.0, 0.0], "b": [0.0]})
    assert found is not None
    assert (found.low, found.high, found.p_value, found.clusters) == (0, 0, 1.0, 2)
    assert clustered({"a": [1.0, 1.0]}) is None


def test_the_same_answers_give_the_same_numbers():
    rng = random.Random(5)
    data = {str(n): [float(rng.randint(-1, 1))] * rng.randint(1, 4) for n in range(30)}
    assert clustered(data) == clustered(data)


def test_the_bootstrap_agrees_with_theory_on_a_mean():
    rng = random.Random(3)
    rows = [(1.0, rng.gauss(5, 2)) for _ in range(400)]
    interval = bootstrap(rows, lambda total: total[1] / total[0])
    assert interval is not None
    mean = math.fsum(x for _, x in rows) / 400
    assert interval.low == pytest.approx(mean - 1.96 * 0.1, abs=0.03)
    assert interval.high == pytest.approx(mean + 1.96 * 0.1, abs=0.03)


def test_the_gap_closed():
    closed = gap_closed([(10, 2, 5, 8)] * 12)
    assert closed is not None
    assert closed[0] == pytest.approx(0.5)
    assert closed[1] == pytest.approx((0.5, 0.5))
    assert gap_closed([(10, 8, 5, 8)] * 12) is None, "no gap, nothing to close"
    assert gap_closed([]) is None


def test_a_gap_that_may_be_none_has_no_interval():
    rng = random.Random(1)
    rows = [(1, rng.random() < 0.5, rng.random() < 0.5, rng.random() < 0.52) for _ in range(30)]
    assert gap_closed([tuple(map(float, row)) for row in rows]) is None


def test_holm_is_holms():
    # Holm's own procedure by hand: 4 * 0.01, 3 * 0.02, 2 * 0.03, 1 * 0.04, never decreasing.
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.02})
    expected = {"a": 0.04, "d": 0.06, "c": 0.06, "b": 0.06}
    assert adjusted == pytest.approx(expected)
    assert holm({"a": 0.9, "b": 0.8})["a"] == 1.0
    assert holm({}) == {}


def test_pass_k_by_hand():
    value, interval = pass_k([4, 2, 0], trials=4, k=2)
    assert value == pytest.approx((1 + 1 / 6 + 0) / 3)
    assert interval is not None and interval.low <= value <= interval.high
    everything, sure = pass_k([3] * 20, trials=3, k=3)
    assert everything == 1.0
    assert sure is not None and sure.low == pytest.approx(0.839, abs=1e-3)


# Connor's sample size for a difference of 10 points among 30% discordant pairs is 234 without
# the term for the exact test (1.96 sqrt(.3) + .8416 sqrt(.29), squared, over .01).
def test_the_minimum_detectable_difference():
    n = ((1.959964 * math.sqrt(0.3) + 0.841621 * math.sqrt(0.29)) / 0.1) ** 2
    assert n == pytest.approx(233, abs=1)
    assert minimum_detectable(round(n) + 10, 0.3) == pytest.approx(0.1, abs=5e-4)
    assert minimum_detectable(0, 0.3) == 1.0
    assert minimum_detectable(2, 0.3) == 1.0
    assert minimum_detectable(4000, 0.3) < 0.03


def test_sizes_grow_and_end_with_all_cases():
    assert widths_to_try(234) == [50, 75, 100, 125, 156, 195, 234]
    assert widths_to_try(30) == [30]
