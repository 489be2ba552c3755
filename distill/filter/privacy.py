"""Keys and personal data in a trace: what there is, and stand-ins for it.

Keys and tokens are found by detect-secrets (its named vendors, not its entropy guesses), telephone
numbers by phonenumbers (written with a country code), card numbers by their check digit. A stand-in
depends on nothing but the value it stands for: the same address becomes the same stand-in in a
question, in arguments, in results and in every other trace, and keeps its shape.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple

import phonenumbers
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import RegexBasedDetector
from stdnum import luhn

from distill.traces import Trace
from distill.types import AssistantMessage, Message, ToolCall

SECRET, EMAIL, PHONE, CARD = "secret", "email", "phone", "card"
PERSONAL = (EMAIL, PHONE, CARD)

_EMAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}")
_CARD = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*KEY-----|\Z)", re.S
)
_GUESSES = {
    "Base64HighEntropyString",
    "HexHighEntropyString",
    "IPPublicDetector",
    "KeywordDetector",
}
"""Detectors that flag every address and whatever is called a password."""


class ModelKeyDetector(RegexBasedDetector):
    """Keys of model providers in the shapes detect-secrets does not know yet."""

    secret_type = "Model provider key"
    denylist = [re.compile(r"\bsk-(?:ant|proj|or|svcacct)-[A-Za-z0-9_-]{20,}")]


class Found(NamedTuple):
    """Something a data set should not hold."""

    kind: str
    value: str


def found_in(trace: Trace, kinds: frozenset[str]) -> list[tuple[int, Found]]:
    """Return (message, what was found there) for the given kinds."""
    return [
        (index, found)
        for index, message in enumerate(trace.messages)
        for text in _texts(message)
        for found in _scan(text, kinds)
        if found.kind in kinds
    ]


def masked(trace: Trace, kinds: frozenset[str]) -> Trace:
    """Return the trace with stand-ins for everything of these kinds, its task included."""
    values = {found for _, found in found_in(trace, kinds)}
    if not values:
        return trace
    messages = tuple(_plain(message) for message in trace.messages)
    text = trace.model_copy(update={"messages": messages}).model_dump_json()
    for found in sorted(values, key=lambda one: (-len(one.value), one)):
        text = text.replace(_in_json(found.value), _in_json(stand_in(found)))
    return Trace.model_validate_json(text)


@lru_cache(maxsize=8192)
def _scan(text: str, kinds: frozenset[str]) -> tuple[Found, ...]:
    """Return what a text holds, in the order of the kinds; looks for no more than is asked for."""
    secrets = _secrets(text) if SECRET in kinds else ()
    personal = _personal(text) if not kinds.isdisjoint(PERSONAL) else ()
    return tuple(dict.fromkeys([*secrets, *personal]))


def stand_in(found: Found) -> str:
    """Return what is written instead: of the same shape, and nobody's."""
    mark = hashlib.sha256(found.value.casefold().encode()).hexdigest()
    if found.kind == EMAIL:
        return f"person-{mark[:8]}@example.com"
    digits = iter(f"{int(mark, 16):078d}" * 64)
    letters = iter(mark.translate(str.maketrans("0123456789", "ghijklmnop")) * 64)
    return "".join(_like(sign, digits, letters) for sign in found.value)


def _like(sign: str, digits: Iterator[str], letters: Iterator[str]) -> str:
    if sign.isdecimal():
        return next(digits)
    if sign.isalpha():
        letter = next(letters)
        return letter.upper() if sign.isupper() else letter
    return sign


def _secrets(text: str) -> Iterator[Found]:
    yield from (Found(SECRET, block) for block in _KEY_BLOCK.findall(text))
    for pattern in _patterns():
        for match in pattern.finditer(text):
            if "PRIVATE KEY" not in match.group():
                yield Found(SECRET, match.group())


def _personal(text: str) -> Iterator[Found]:
    if "@" in text:
        yield from (Found(EMAIL, address) for address in _EMAIL.findall(text))
    if "+" in text:
        matches = phonenumbers.PhoneNumberMatcher(text, None)
        yield from (Found(PHONE, match.raw_string) for match in matches)
    for number in _CARD.findall(text):
        if luhn.is_valid(re.sub(r"[ -]", "", number)):
            yield Found(CARD, number)


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Return the patterns of detect-secrets' named vendors, and ours."""
    classes: Iterable[type] = get_mapping_from_secret_type_to_class().values()
    named = [one() for one in classes if issubclass(one, RegexBasedDetector)]
    kept = [one for one in named if type(one).__name__ not in _GUESSES]
    return tuple(p for one in [*kept, ModelKeyDetector()] for p in one.denylist)


def _texts(message: Any) -> Iterator[str]:
    if message.content:
        yield message.content
    if isinstance(message, AssistantMessage):
        yield from (_written(call) for call in message.tool_calls)


def _plain(message: Message) -> Message:
    """Return a message with its arguments as they are scanned."""
    if not isinstance(message, AssistantMessage):
        return message
    calls = (call.model_copy(update={"arguments": _written(call)}) for call in message.tool_calls)
    return message.model_copy(update={"tool_calls": tuple(calls)})


def _written(call: ToolCall) -> str:
    """Return arguments as rows have them: an address could hide behind an escaped @."""
    if "\\" not in call.arguments:
        return call.arguments
    try:
        return json.dumps(call.parsed(), ensure_ascii=False)
    except ValueError:
        return call.arguments  # found by another check


def _in_json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1]
