"""The words of an answer: does it ask, does it say what it must, is a call stuck in it."""

from __future__ import annotations

import re
from collections.abc import Sequence

QUESTION_MARKS = re.compile(r"[?\uff1f\u061f]")
"""Latin, full-width and Arabic."""

MARKUP = re.compile(
    r"</?tool_call>|</?function_call>|<function=|\[TOOL_CALLS\]|\[tool_calls\]|<\|python_tag\|>"
    r"|<\|tool_calls?(?:_begin)?\|>|</?tool_response>"
    r'|\{\s*"name"\s*:\s*"[^"]+"\s*,\s*"(?:arguments|parameters)"\s*:'
)
"""How the common model families write a call; in an answer's text it means that none was made."""


def asks(text: str) -> bool:
    """Return whether the text holds a question."""
    return bool(QUESTION_MARKS.search(text))


def call_markup(text: str) -> str | None:
    """Return the call markup that stands in the text, or None."""
    found = MARKUP.search(text)
    return found.group() if found else None


def missing_mention(text: str, mentions: Sequence[Sequence[str]]) -> Sequence[str] | None:
    """Return the first group of words of which the text contains none, or None.

    Case and typographic apostrophes are ignored, and a number is not found inside a longer one.
    """
    plain = _plain(text)
    return next((g for g in mentions if not any(_contains(plain, word) for word in g)), None)


def _plain(text: str) -> str:
    return " ".join(text.replace("\u2019", "'").casefold().split())


def _contains(plain: str, word: str) -> bool:
    pattern = re.escape(_plain(word))
    before = r"(?<!\d)(?<!\d[.,:])" if word[:1].isdigit() else ""
    after = r"(?![.,:]?\d)" if word[-1:].isdigit() else ""
    return re.search(before + pattern + after, plain) is not None
