"""How large a request is, before anybody has counted its tokens.

Without the model's tokenizer a count can only be bounded. Vendors' tokenizers make one token of 3
to 4.5 bytes of English text or JSON, and of fewer in other scripts; two bytes is taken as the
worst case.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from distill.config import TeacherConfig
from distill.teachers.prices import BATCH_SHARE, price_of
from distill.types import Message, Tool

WORST_BYTES_PER_TOKEN = 2.0
_OUTPUT_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_PER_MESSAGE = 8
"""Tokens that a template puts around a message or a tool."""


def request_bytes(messages: Sequence[Message], tools: Sequence[Tool]) -> int:
    """Return the UTF-8 bytes of what a model is given to read."""
    texts = [message.model_dump_json(exclude_none=True) for message in messages]
    texts += [json.dumps(tool.as_function(), ensure_ascii=False) for tool in tools]
    return sum(len(text.encode()) for text in texts)


def worst_input_tokens(messages: Sequence[Message], tools: Sequence[Tool]) -> int:
    """Return more tokens than the request will count."""
    parts = len(messages) + len(tools)
    return round(request_bytes(messages, tools) / WORST_BYTES_PER_TOKEN) + _PER_MESSAGE * parts


def most_output_tokens(config: TeacherConfig) -> int:
    """Return the limit of output tokens that is really sent: `teacher.extra` may set it too."""
    extra = [config.extra[name] for name in _OUTPUT_FIELDS if name in config.extra]
    return max([config.max_tokens, *(value for value in extra if isinstance(value, int))])


def worst_case_usd(
    config: TeacherConfig,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    *,
    batch: bool = False,
) -> float | None:
    """Return the most a call may cost: everything fresh or written to a cache, the longest answer.

    Args:
        config: The teacher.
        messages: The conversation that will be sent.
        tools: The tools that will be sent.
        batch: It is sent in a batch.

    Returns:
        Dollars; None when the price is unknown.
    """
    tokens = worst_input_tokens(messages, tools)
    prices = price_of(config.model, config.price, tokens)
    if prices is None:
        return None
    dearest = max(prices.input, prices.cached or 0.0, prices.cache_write or 0.0)
    whole = (tokens * dearest + most_output_tokens(config) * prices.output) / 1e6
    return whole * (BATCH_SHARE if batch else 1)
