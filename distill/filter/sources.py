"""What had been said when a call was made, and whether a value can have come from it.

A string is found when its words are, ends of words and punctuation aside; a number when it is
said, in digits or English words, or follows from what was said by a change of unit, a fraction or
one addition; dates and times as in `moments`. What cannot be traced is not proved wrong: it is what
a model made up, or knew from elsewhere.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import phonenumbers
from num2words import num2words

from distill.filter.moments import date_derivable, dates_in, time_derivable, times_in
from distill.types import Json

FREE_WORDS = 3
"""A text of so many words that stands nowhere in the conversation is the model's own wording; only
what is specific in it (numbers, codes, addresses) has to come from somewhere."""

MARK = 3
"""Choices of so few letters ("all", "off", "DE") stand in texts by chance."""

_CODES = re.compile(r"\b(?:iso|code|codes|abbreviation|iata)\b")
"""How a schema says that a value is a code."""
_DIGITS = re.compile(
    r"(?<![\w.])[-\u2212]?\d+(?:,\d{3})+(?:\.\d+)?|(?<![\w.])[-\u2212]?\d+(?:\.\d+)?"
)
_WORDS = re.compile(r"[^\W_]+")
_FRACTIONS: Mapping[str, tuple[float, ...]] = {
    "three quarters": (75, 0.75, 45),
    "two thirds": (67, 66, 0.67),
    "half": (50, 0.5, 30),
    "third": (33, 0.33, 20),
    "quarter": (25, 0.25, 15),
    "fifth": (20, 0.2),
    "tenth": (10, 0.1),
    "couple": (2,),
    "pair": (2,),
    "both": (2,),
    "twice": (2,),
    "double": (2, 200),
    "dozen": (12,),
    "hundred": (100,),
    "thousand": (1000,),
    "minute": (1,),
    "hour": (1, 60),
    "day": (1, 24),
    "week": (1, 7),
    "fortnight": (2, 14),
    "year": (1, 12),
    "full": (100,),
    "fully": (100,),
}
"""English words that stand for numbers (a third of the brightness, of an hour)."""
_UNITS = (60, 3600, 7, 24, 100, 1000)
"""Factors between units a user and a tool may count in."""


@dataclass(frozen=True)
class Facts:
    """What one text holds."""

    text: str
    """Case-folded."""
    plain: str
    """Its words, one blank around each."""
    numbers: frozenset[float]
    dates: frozenset[dt.date]
    times: frozenset[dt.time]


@lru_cache(maxsize=4096)
def facts(text: str) -> Facts:
    """Read one text."""
    folded = text.casefold()
    plain = _plain(folded)
    return Facts(folded, plain, _numbers(folded, plain), dates_in(folded), times_in(folded))


class Sources:
    """What was said, in the order it was said."""

    def __init__(
        self, said: Sequence[str], results: Sequence[str], used: Collection[str] = ()
    ) -> None:
        """Read the texts.

        Args:
            said: What system and user said, and what the assistant said in earlier user turns; the
                last one is the request that is being answered.
            results: What the tools returned.
            used: Values the answer to that request uses somewhere.
        """
        self.used = used
        self.asking = facts(said[-1]).plain if said else ""
        spoken = [facts(text) for text in said]
        every = [*spoken, *(facts(text) for text in results)]
        self.text = "\n".join(one.text for one in every)
        self.plain = "".join(one.plain for one in every)
        self.words = frozenset(self.plain.split())
        self.asked = frozenset[float]().union(*(one.numbers for one in spoken))
        self.numbers = frozenset[float]().union(*(one.numbers for one in every))
        self.dates = frozenset[dt.date]().union(*(one.dates for one in every))
        self.times = frozenset[dt.time]().union(*(one.times for one in every))

    def lead_to(self, value: Json, schema: Mapping[str, Any]) -> bool:
        """Return whether a scalar can have come from here.

        Args:
            value: A string, number, boolean or null.
            schema: JSON Schema of the value, {} when unknown.
        """
        if value is None or isinstance(value, bool) or _given_by(schema, value):
            return True
        if choices := _choices(schema):
            return self._chosen(value, choices)
        if isinstance(value, int | float):
            return self._number(value, schema)
        return self._string(str(value), schema)

    def mention(self, words: str) -> bool:
        """Return whether these words stand somewhere, in this order."""
        return _plain(words.casefold()) in self.plain

    def _chosen(self, value: Json, choices: Sequence[Json]) -> bool:
        """A choice is an interpretation, unless another choice was named and is used nowhere."""
        if not isinstance(value, str) or self.heard(value):
            return True
        others = (one for one in choices if isinstance(one, str) and one != value)
        named = (one for one in others if len(one) > MARK and _plain(one.casefold()) in self.asking)
        return all(one in self.used for one in named)

    def heard(self, value: str) -> bool:
        """Return whether any word of a text stands somewhere."""
        return any(self._word(word) for word in _plain(value.casefold()).split())

    def _string(self, value: str, schema: Mapping[str, Any]) -> bool:
        text = value.strip()
        if not text or self.mention(text):
            return True
        if moment := _moment(text):
            return all(self._moment(part) for part in moment)
        if _is_code(text, schema):
            return True  # for what was said in words
        words = _plain(text.casefold()).split()
        if len(words) >= FREE_WORDS and not _is_specific(text):
            return all(self._word(word) for word in words if any(map(str.isdigit, word)))
        if _is_specific(text):
            # A number may be reckoned from others, that of an identifier (tv-38) may not.
            return all(self._word(word, reckoned=text.isdecimal()) for word in words)
        return sum(map(self._word, words)) * 2 >= len(words)

    def _word(self, word: str, *, reckoned: bool = True) -> bool:
        if word in self.words:
            return True
        if any(map(str.isdigit, word)):
            number = int(word) if word.isdecimal() else None
            if number is None or number == 0 or number in self.numbers:
                return number is not None
            return reckoned and self._number(number, {})
        stem = word if len(word) < 5 else word[: -2 if len(word) > 6 else -1]
        return len(stem) > 3 and any(other.startswith(stem) for other in self.words)

    def _number(self, value: float, schema: Mapping[str, Any]) -> bool:
        bounds = [schema[k] for k in ("minimum", "maximum") if k in schema]
        if value in (0, 1) or value in bounds or _among(value, self.numbers):
            return True
        return any(_among(value, (derived,)) for derived in self._derived())

    def _derived(self) -> Iterator[float]:
        for number in self.asked:
            yield from (number * factor for factor in _UNITS)
            yield from (number / factor for factor in _UNITS)
            yield -number
            yield from (number * other / 100 for other in self.numbers)
            yield 100 - number
        yield from (hours * 60 + rest for hours in self.asked for rest in self.asked)
        for start in self.numbers:
            for step in self.asked:
                yield start + step
                yield start - step

    def _moment(self, moment: dt.date | dt.time) -> bool:
        if isinstance(moment, dt.date):
            return date_derivable(moment, self.text, self.dates, self.asked)
        steps = {*self.asked, *(60 * n for n in self.asked if n <= 24)}
        return time_derivable(moment, self.text, self.times, steps)


def leaves(
    value: Json, schema: Mapping[str, Any], path: str
) -> Iterator[tuple[str, Json, Mapping[str, Any]]]:
    """Yield (path, scalar, its schema) for everything in a value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            below = _below(schema, "properties").get(key, {})
            yield from leaves(inner, below, f"{path}.{key}")
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from leaves(inner, _below(schema, "items"), f"{path}[{n}]")
    else:
        yield path, value, schema


def _below(schema: Mapping[str, Any], keyword: str) -> Mapping[str, Any]:
    for branch in (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if isinstance(branch.get(keyword), Mapping):
            return dict(branch[keyword])
    return {}


def _given_by(schema: Mapping[str, Any], value: Json) -> bool:
    return any(key in schema and schema[key] == value for key in ("default", "const"))


def _choices(schema: Mapping[str, Any]) -> list[Json]:
    branches = (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ()))
    return [choice for branch in branches for choice in branch.get("enum", ())]


def _plain(folded: str) -> str:
    return f" {' '.join(_WORDS.findall(folded))} "


def _is_specific(text: str) -> bool:
    """Return whether a string is an address or a code rather than words."""
    return " " not in text and ("@" in text or any(map(str.isdigit, text)))


def _is_code(text: str, schema: Mapping[str, Any]) -> bool:
    """Return whether a string abbreviates a country, currency, language or airport.

    DE, USD, CDG; in small letters, where words look the same, only a country or what the schema
    calls a code.
    """
    if re.fullmatch(r"[A-Z]{2,3}", text):
        return True
    if not re.fullmatch(r"[a-z]{2,3}", text):
        return False
    wording = f"{schema.get('title', '')} {schema.get('description', '')}"
    return text.upper() in phonenumbers.SUPPORTED_REGIONS or bool(_CODES.search(wording.casefold()))


def _moment(text: str) -> list[dt.date | dt.time] | None:
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return [dt.date.fromisoformat(text)]
        if re.fullmatch(r"\d\d:\d\d(:\d\d)?", text):
            return [dt.time.fromisoformat(text)]
        if re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*", text):
            moment = dt.datetime.fromisoformat(text)
            return [moment.date(), moment.time()]
    except ValueError:
        pass
    return None


def _among(value: float, numbers: Iterable[float]) -> bool:
    return any(math.isclose(value, number, rel_tol=1e-3, abs_tol=1e-9) for number in numbers)


def _numbers(folded: str, plain: str) -> frozenset[float]:
    digits = (match.replace(",", "").replace("\u2212", "-") for match in _DIGITS.findall(folded))
    found = {float(number) for number in digits}
    found.update(number for name in _names().findall(plain) for number in _meaning()[name])
    return frozenset(found)


@cache
def _meaning() -> dict[str, tuple[float, ...]]:
    """Return what number words mean."""
    words = {num2words(n).replace("-", " "): (float(n),) for n in range(101)}
    return {**words, **_FRACTIONS}


@cache
def _names() -> re.Pattern[str]:
    names = sorted(_meaning(), key=len, reverse=True)
    return re.compile(rf" ({'|'.join(names)})(?=s? )")
