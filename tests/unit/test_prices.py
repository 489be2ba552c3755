from __future__ import annotations

import pytest

from distill.config import Prices
from distill.teachers.prices import TABLE, cost_usd, price_of
from distill.types import Usage

MILLION = 1_000_000


def test_every_kind_of_token_has_its_own_price():
    usage = Usage(
        input_tokens=6 * MILLION,
        cached_tokens=2 * MILLION,
        cache_write_tokens=1 * MILLION,
        output_tokens=1 * MILLION,
        reasoning_tokens=MILLION // 2,
    )
    prices = Prices(input=10, output=100, cached=1, cache_write=12)
    # 3 fresh x 10, 2 cached x 1, 1 written x 12, 1 out x 100 (reasoning is part of it)
    assert cost_usd("anything", usage, prices) == pytest.approx(30 + 2 + 12 + 100)


def test_without_cache_prices_cached_tokens_cost_what_fresh_ones_do():
    usage = Usage(input_tokens=MILLION, cached_tokens=MILLION // 2)
    assert cost_usd("anything", usage, Prices(input=4, output=0)) == pytest.approx(4)


def test_a_bundled_price_and_its_cache_rules():
    usage = Usage(input_tokens=MILLION, cached_tokens=MILLION)
    assert cost_usd("claude-haiku-4-5", usage) == pytest.approx(0.1)
    assert cost_usd("claude-haiku-4-5", Usage(output_tokens=MILLION)) == pytest.approx(5)


@pytest.mark.parametrize("suffix", ["-20251001", "-2026-10-01", "-latest", "@20251001"])
def test_a_dated_name_is_its_model(suffix: str):
    assert price_of("claude-haiku-4-5" + suffix) == price_of("claude-haiku-4-5")


@pytest.mark.parametrize("name", ["claude-haiku-4-5-mini", "gpt-6.2", "Qwen/Qwen3-32B", ""])
def test_another_model_has_no_price_rather_than_a_similar_one(name: str):
    assert price_of(name) is None
    assert cost_usd(name, Usage(input_tokens=5)) is None


def test_the_users_price_wins():
    assert price_of("claude-haiku-4-5", Prices(input=0, output=0)).input == 0


def test_long_calls_cost_more_or_are_unknown():
    assert price_of("claude-haiku-5-5", input_tokens=100_001).input == 0.50
    assert price_of("claude-haiku-5-5", input_tokens=100_000).input == 0.10
    assert price_of("gpt-6.2-sol", input_tokens=272_001) is None


def test_the_table_is_sane():
    for tiers in TABLE.values():
        assert tiers
        for tier in tiers:
            assert 0 < tier.prices.input < tier.prices.output
