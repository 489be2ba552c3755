"""Wording of generated requests: sentence frames, and numbers, times and lists in words.

    phrase(rng, "[Could you |Please ]dim the {room} light to {value}[?|.]", room=..., value=...)

Square brackets hold alternatives separated by `|` (one may be empty) and may be nested; braces are
filled afterwards. All choices come from the `random.Random` passed in.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import date, time

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
_FRACTIONS = {0: "the hour", 15: "quarter past", 30: "half past", 45: "quarter to"}
_INNERMOST = re.compile(r"\[([^\[\]]*)\]")
_OPENING = re.compile(r"(?<=[a-z\d][.!?] )[a-z](?!\S*@)")

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def phrase(rng: random.Random, frames: str | Sequence[str], **slots: object) -> str:
    """Choose a frame, choose among its alternatives, fill its slots, and tidy the sentence."""
    text = frames if isinstance(frames, str) else rng.choice(frames)
    while match := _INNERMOST.search(text):
        choice = rng.choice(match[1].split("|"))
        text = text[: match.start()] + choice + text[match.end() :]
    text = re.sub(r" +", " ", text.format(**slots)).strip()
    text = re.sub(r" ([,.?!])", r"\1", text)
    first = text.split(" ", 1)[0]
    has_digit = any(c.isdigit() for c in first)  # an id, which must stay as it is
    return text if has_digit else text[:1].upper() + text[1:]


def sentences(text: str) -> str:
    """Open every sentence after the first with a capital, unless with an email address."""
    return _OPENING.sub(lambda match: match[0].upper(), text)


def in_words(number: int) -> str:
    """Return 0 to 999 in words: 42 -> forty-two."""
    if number >= 100:
        hundreds, rest = divmod(number, 100)
        tail = f" and {in_words(rest)}" if rest else ""
        return f"{_ONES[hundreds]} hundred{tail}"
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")


def amount(rng: random.Random, number: int) -> str:
    """Return a number in digits (two times in three) or in words."""
    return in_words(number) if rng.random() < 1 / 3 else str(number)


def clock(rng: random.Random, moment: time) -> str:
    """Return a time as people write it: 18:30, 6:30 pm, half past six in the evening."""
    hour, minute = moment.hour, moment.minute
    twelve = hour % 12 or 12
    style = rng.randrange(3)
    if style == 0 or (style == 2 and minute not in _FRACTIONS):
        return f"{moment:%H:%M}"
    if style == 1:
        return f"{twelve}{f':{minute:02d}' if minute else ''} {'am' if hour < 12 else 'pm'}"
    part = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening"
    if minute == 0:
        return f"{in_words(twelve)} {part}"
    named = twelve % 12 + 1 if minute == 45 else twelve
    return f"{_FRACTIONS[minute]} {in_words(named)} {part}"


def listed(items: Sequence[str], word: str = "and") -> str:
    """Return items as a list in a sentence: a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def day(moment: date) -> str:
    """Return a date in words without its year: 5 March."""
    return f"{moment.day} {moment:%B}"


def dates(moment: date) -> tuple[str, ...]:
    """Return a date as people write it: 5 March, March 5, the 5th of March, 2026-03-05."""
    teen = moment.day // 10 == 1
    ending = "th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(moment.day % 10, "th")
    exact = f"the {moment.day}{ending} of {moment:%B}"
    return day(moment), f"{moment:%B} {moment.day}", exact, moment.isoformat()
