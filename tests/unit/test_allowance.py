"""Headers of rate limits, as Anthropic and OpenAI document them and as others fill them."""

from __future__ import annotations

import pytest

from distill.teachers.allowance import Allowance, read_allowance


def openai(limit: str, left: str, reset: str) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": limit,
        "x-ratelimit-remaining-requests": left,
        "x-ratelimit-reset-requests": reset,
    }


def anthropic(limit: str, left: str) -> dict[str, str]:
    return {
        "anthropic-ratelimit-requests-limit": limit,
        "anthropic-ratelimit-requests-remaining": left,
        "anthropic-ratelimit-requests-reset": "2026-11-22T10:00:01Z",
    }


@pytest.mark.parametrize(
    ("headers", "allowance"),
    [
        (anthropic("120", "119"), Allowance(2.0, 119)),
        (anthropic("120", "0"), Allowance(2.0, 0)),
        (openai("600", "599", "100ms"), Allowance(10.0, 599)),
        (openai("60", "0", "1m0s"), Allowance(1.0, 0)),
        (openai("10000", "9876", "0.744s"), Allowance(10000 / 60, 9876)),
    ],
)
def test_a_limit_by_the_minute_is_read(headers: dict[str, str], allowance: Allowance):
    assert read_allowance(headers) == allowance


@pytest.mark.parametrize(
    "headers",
    [
        {},
        openai("14400", "14370", "2m59.56s"),  # by the day
        openai("200", "199", "7m12s"),  # by the day
        openai("60", "59", "59s"),  # a window of a minute that opens anew
        openai("60", "60", "0s"),  # says nothing of its refill
        openai("60", "59", "soon"),
        openai("60", "59", ""),
        openai("many", "59", "1s"),
        openai("0", "0", "1s"),
        openai("-1", "-1", "0s"),
        anthropic("0", "0"),
        anthropic("", "1"),
        anthropic("9" * 400, "9" * 400),
        openai("9" * 400, "0", "1s"),
        openai("9" * 5000, "0", "1s"),
        {"x-ratelimit-limit-requests": "60"},
    ],
)
def test_what_is_not_a_minutes_bucket_is_left_alone(headers: dict[str, str]):
    assert read_allowance(headers) is None
