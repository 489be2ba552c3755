"""What a call costs: dollars per million tokens by model.

The bundled figures are list prices of standard processing as published by third-party price
tables in November 2026 (`AS_OF`); prices change, so check yours and set `teacher.price` when it
differs. A model that is not listed has no price: its cost is unknown (None), never zero, and a
run with `collect.budget_usd` refuses to start.

A dated or `-latest` name counts as its model (`claude-haiku-4-5-20251001`); another suffix does
not, because `-mini` and `-pro` are priced differently. Where no cache price is listed, cached
tokens are counted as fresh ones: the true bill is then lower.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from distill.config import Prices, TeacherConfig
from distill.errors import ConfigError
from distill.types import Usage

AS_OF = "2026-11-22"
BATCH_SHARE = 0.5
"""What both vendors bill for a call in a batch, as a share of its price; cached tokens too."""


@dataclass(frozen=True)
class Tier:
    """The prices of calls with at most `up_to` input tokens (None: of any size)."""

    prices: Prices
    up_to: int | None = None


def _anthropic(price_in: float, price_out: float, read: float = 0.1) -> Prices:
    """Anthropic's rule: a cache write of 5 minutes costs 1.25 times, a read `read` times."""
    return Prices(
        input=price_in, output=price_out, cached=price_in * read, cache_write=price_in * 1.25
    )


def _any_size(prices: Prices) -> tuple[Tier, ...]:
    return (Tier(prices),)


def _up_to_272k(price_in: float, price_out: float) -> tuple[Tier, ...]:
    """OpenAI: dearer above 272,000 input tokens, by a factor that is not in our sources."""
    return (Tier(Prices(input=price_in, output=price_out), up_to=272_000),)


TABLE: dict[str, tuple[Tier, ...]] = {
    "claude-fable-5-2": _any_size(_anthropic(8, 40)),
    "claude-fable-5-1": _any_size(_anthropic(10, 50, read=0.025)),
    "claude-opus-5-5": _any_size(_anthropic(4, 20, read=0.05)),
    "claude-opus-4-8": _any_size(_anthropic(5, 25)),
    "claude-sonnet-5-5": _any_size(_anthropic(2, 10, read=0.05)),
    "claude-sonnet-4-6": _any_size(_anthropic(3, 15)),
    "claude-haiku-5-5": (
        Tier(_anthropic(0.10, 0.50, read=0.05), up_to=100_000),
        Tier(_anthropic(0.50, 2.50, read=0.05)),
    ),
    "claude-haiku-4-5": _any_size(_anthropic(1, 5)),
    "gpt-6.2-astra": _up_to_272k(8, 40),
    "gpt-6.2-sol": _up_to_272k(2, 10),
    "gpt-6.1-sol": _up_to_272k(2, 10),
    "gpt-6.1-terra": _up_to_272k(1, 5),
    "gpt-6-luna": _up_to_272k(0.10, 0.50),
    "gpt-5.6-terra": _up_to_272k(2, 12),
}

_DATED = re.compile(r"[-@](latest|\d{8}|\d{4}-\d{2}-\d{2})$")


def undated(model: str) -> str:
    """Return the name of the model that a dated or `-latest` name is a version of."""
    return _DATED.sub("", model)


def price_of(model: str, override: Prices | None = None, input_tokens: int = 0) -> Prices | None:
    """Return the prices of a call of `input_tokens`, or None when they are unknown."""
    if override is not None:
        return override
    for tier in TABLE.get(undated(model), ()):
        if tier.up_to is None or input_tokens <= tier.up_to:
            return tier.prices
    return None


def refuse_without_price(config: TeacherConfig, why: str, key: str = "teacher") -> None:
    """Raise if nobody knows what a teacher costs.

    Args:
        config: The teacher.
        why: What needs its price; begins the message.
        key: Where it stands in the config.

    Raises:
        ConfigError: The price is unknown.
    """
    if price_of(config.model, config.price) is None:
        raise ConfigError(
            f"{why}, but no price is known for {config.model!r}; set {key}.price "
            "{input, output} in dollars per million tokens"
        )


def cost_usd(
    model: str, usage: Usage, override: Prices | None = None, *, batch: bool = False
) -> float | None:
    """Return what a call cost in dollars, or None when the price is unknown."""
    prices = price_of(model, override, usage.input_tokens)
    if prices is None:
        return None
    cached = prices.input if prices.cached is None else prices.cached
    written = prices.input if prices.cache_write is None else prices.cache_write
    fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    total = (
        fresh * prices.input
        + usage.cached_tokens * cached
        + usage.cache_write_tokens * written
        + usage.output_tokens * prices.output
    )
    return total / 1e6 * (BATCH_SHARE if batch else 1)
