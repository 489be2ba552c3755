"""When an audit can be called passed or failed."""

from itertools import product
from math import comb

import pytest

from distill.audit import AuditState, Disputed, audit
from distill.proportion import wilson


def at(reviewed, wrong, sample=100, population=5000, limit=0.05):
    return audit(reviewed, wrong, sample=sample, population=population, limit=limit)


@pytest.mark.parametrize(
    ("reviewed", "wrong", "state"),
    [
        (0, 0, "none"),
        (99, 0, "open"),  # below the limit since the 74th, but the sample is not complete
        (100, 0, "passed"),
        (100, 1, "open"),
        (100, 9, "open"),
        (100, 10, "failed"),
        (40, 10, "failed"),  # it fails even if the other 60 are right
        (40, 9, "open"),
        (400, 9, "passed"),
    ],
)
def test_states(reviewed, wrong, state):
    assert at(reviewed, wrong).state == state


def test_failed_early_is_failed_at_the_end():
    for wrong in range(1, 40):
        early = at(wrong, wrong).state is AuditState.FAILED
        assert early == (at(100, wrong).state is AuditState.FAILED)


def test_a_sample_cannot_be_larger_than_the_data_set_and_then_settles_it():
    found = at(30, 12, population=30)
    assert (found.state, found.sample) == ("passed", 30)
    assert at(29, 0, population=30).state == "open"


def test_needed_is_the_first_number_of_reviews_that_passes():
    assert at(10, 0).needed == 100
    one = at(10, 1).needed
    assert wilson(1, one).high < 0.05 <= wilson(1, one - 1).high
    assert at(one, 1).state == "passed"
    assert at(20, 5, population=150).needed == 150, "every row, if the interval is too wide"
    assert at(100, 0).needed is None


@pytest.mark.parametrize(("wrong", "needed"), [(0, 73), (1, 110), (3, 173)])
def test_the_numbers_of_the_guide(wrong, needed):
    assert at(10, wrong, sample=50).needed == needed


def test_in_words():
    assert at(0, 0).in_words() == "no row was reviewed"
    assert at(100, 2).in_words() == (
        "open: 2 of 100 reviewed rows wrong (95% interval 0.6-7.0%, limit 5%)"
    )


# --- a stratum of rows whose samples disagree -----------------------------------------------------


def divided(among, wrong_among, others, wrong_others, rows=500, population=5000, **fields):
    settings = {"sample": 100, "limit": 0.05} | fields
    disputed = Disputed(rows=rows, reviewed=among, wrong=wrong_among, first=20)
    return audit(
        among + others,
        wrong_among + wrong_others,
        population=population,
        disputed=disputed,
        **settings,
    )


def test_the_rate_of_a_stratum_counts_by_its_share_of_the_rows():
    found = divided(20, 10, 80, 0)
    assert found.rate == pytest.approx(0.05), "half of a tenth of the rows"
    assert found.low < 0.05 < found.high
    assert "10 of 100 reviewed rows wrong, 10 of 20 disputed ones" in found.in_words()


def test_nothing_is_said_before_every_stratum_was_looked_at():
    found = divided(20, 3, 0, 0)
    assert (found.state, found.rate, found.low, found.high) == ("open", None, 0, 1)


def test_reviews_in_the_proportions_of_the_rows_are_one_random_sample():
    alike, whole = divided(10, 1, 90, 1), at(100, 2)
    assert (alike.rate, alike.low, alike.high) == pytest.approx((whole.rate, whole.low, whole.high))


def test_a_divided_audit_passes_and_fails():
    assert divided(20, 0, 80, 0).state == "passed"
    assert divided(20, 0, 79, 0).state == "open"
    assert divided(20, 0, 80, 12).state == "failed"
    assert divided(20, 20, 30, 20).state == "failed", "even if the other 50 are right"


def test_needed_of_a_divided_audit_passes_when_reached():
    found = divided(20, 1, 30, 1)
    among = found.disputed.among(found.needed, 5000)
    assert divided(among, 1, found.needed - among, 1).state == "passed"
    assert divided(among, 1, found.needed - among - 1, 1).state == "open"


@pytest.mark.parametrize(("of_disputed", "of_others"), [(0.3, 0.01), (0.05, 0.05), (0.6, 0.0)])
def test_the_interval_of_a_divided_audit_covers_the_true_rate(of_disputed, of_others):
    """All outcomes of 20 disputed and 80 other reviews, each with its probability."""
    true = 0.1 * of_disputed + 0.9 * of_others
    covered = 0.0
    for a, b in product(range(21), range(81)):
        chance = _binomial(20, a, of_disputed) * _binomial(80, b, of_others)
        found = divided(20, a, 80, b)
        covered += chance * (found.low <= true <= found.high)
    assert covered > 0.93


def _binomial(n, k, p):
    return comb(n, k) * p**k * (1 - p) ** (n - k)
