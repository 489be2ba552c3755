"""How people say numbers, days and times, next to the exact value they mean.

Each function returns a `Value`: the JSON a tool takes, the words of the user, and the words of the
assistant when it repeats the value. Days are relative to `today`, the date of the dialogue.
"""

from __future__ import annotations

import datetime
import json
import random
from dataclasses import dataclass
from typing import Any

from .lexicon import MONTHS, WEEKDAYS

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth twenty-first "
    "twenty-second twenty-third twenty-fourth twenty-fifth twenty-sixth twenty-seventh "
    "twenty-eighth twenty-ninth thirtieth thirty-first"
).split()
SHARES = {
    10: ("a tenth",),
    20: ("a fifth",),
    25: ("a quarter", "one quarter"),
    50: ("half", "one half", "fifty-fifty"),
    75: ("three quarters", "three-quarters"),
    100: ("the full amount", "all of it", "the maximum"),
}


@dataclass(frozen=True)
class Value:
    """One value in its three forms."""

    json: Any
    said: str
    echo: str


def spelled(number: int) -> str:
    """Write a number below one million in words."""
    if number < 20:
        return ONES[number]
    if number < 100:
        tens, one = divmod(number, 10)
        return TENS[tens] + (f"-{ONES[one]}" if one else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{ONES[hundreds]} hundred" + (f" and {spelled(rest)}" if rest else "")
    thousands, rest = divmod(number, 1000)
    return f"{spelled(thousands)} thousand" + (f" {spelled(rest)}" if rest else "")


def ordinal(day: int) -> str:
    """Write a day of the month as "21st"."""
    ending = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


def number(rng: random.Random, low: int, high: int) -> Value:
    """Draw an integer; small ones are often in words."""
    value = rng.randint(low, high) if rng.random() < 0.7 else rng.randint(low, min(high, low + 12))
    if high > 50 and rng.random() < 0.4:
        value = max(low, value // 5 * 5)
    said = str(value)
    if (value <= 20 and rng.random() < 0.5) or rng.random() < 0.35:
        said = spelled(value)
    if value == 12 and rng.random() < 0.5:
        said = "a dozen"
    if value == 2 and rng.random() < 0.3:
        said = rng.choice(("a couple", "a pair"))
    return Value(value, said, str(value))


def decimal(rng: random.Random, low: int, high: int) -> Value:
    """Draw a number with a fraction; halves are often in words."""
    whole = rng.randint(low, high)
    if rng.random() < 0.4:
        words = f"{spelled(whole)} and a half", f"{spelled(whole)} point five"
        said = rng.choice((*words, f"{whole}.5", f"{whole} and a half"))
        return Value(whole + 0.5, said, f"{whole}.5")
    value = round(whole + rng.randint(1, 99) / 100, rng.choice((1, 2)))
    return Value(value, f"{value:g}", f"{value:g}")


def share(rng: random.Random) -> Value:
    """Draw a percentage."""
    if rng.random() < 0.35:
        value = rng.choice(list(SHARES))
        return Value(value, rng.choice(SHARES[value]), f"{value} percent")
    value = rng.randint(1, 99) if rng.random() < 0.4 else rng.randint(1, 19) * 5
    form = rng.choice(("{}%", "{} percent", "{} per cent"))
    said = spelled(value) if rng.random() < 0.45 else str(value)
    said = f"{value}%" if form == "{}%" else form.format(said)
    return Value(value, said, f"{value} percent")


def quantity(rng: random.Random, unit: str, low: int, high: int) -> Value:
    """Draw an amount in a parameter's unit, sometimes said in another unit."""
    names = UNITS[unit]
    if names.larger and rng.random() < 0.3:
        factor, larger = names.larger
        amount = rng.choice((0.5, 1, 1.5, 2, 2.5, 3, 4, 5))
        value = int(amount * factor)
        if low <= value <= high * 4:
            return Value(value, _amount(rng, amount, larger), f"{value} {names.echo}")
    drawn = number(rng, low, high)
    if rng.random() < 0.15 and drawn.json > 1:
        said = f"{rng.choice(('roughly', 'about', 'exactly', 'no less than'))} {drawn.said}"
        drawn = Value(drawn.json, said, drawn.echo)
    if drawn.said.endswith(("couple", "pair")):
        drawn = Value(drawn.json, "two", drawn.echo)
    unit_said = rng.choice(names.said)
    gap = "" if len(unit_said) < 3 and drawn.said.isdigit() and rng.random() < 0.5 else " "
    if drawn.json == 1 and len(unit_said) > 3:
        unit_said = unit_said.removesuffix("s")
    return Value(drawn.json, drawn.said + gap + unit_said, f"{drawn.json} {names.echo}")


def _amount(rng: random.Random, amount: float, unit: str) -> str:
    one = unit.removesuffix("s") if unit != "tonnes" else "tonne"
    an = "an" if unit == "hours" else "a"
    if amount == 0.5:
        return f"half {an} {one}"
    if amount == 1:
        return rng.choice((f"{an} {one}", f"one {one}"))
    if amount == 1.5:
        return rng.choice((f"{an} {one} and a half", f"one and a half {unit}", f"1.5 {unit}"))
    if amount == 2.5:
        return rng.choice((f"two and a half {unit}", f"2.5 {unit}"))
    return f"{rng.choice((str(int(amount)), spelled(int(amount))))} {unit}"


@dataclass(frozen=True)
class Unit:
    """The names of a unit: in requests, in answers, and the next larger unit with its factor."""

    said: tuple[str, ...]
    echo: str
    larger: tuple[int, str] | None = None


UNITS = {
    "kg": Unit(("kg", "kilos", "kilograms", "kilogrammes"), "kg", (1000, "tonnes")),
    "grams": Unit(("g", "grams", "grammes"), "grams", (1000, "kilos")),
    "cm": Unit(("cm", "centimetres", "centimeters"), "cm", (100, "metres")),
    "mm": Unit(("mm", "millimetres", "millimeters"), "mm"),
    "metres": Unit(("m", "metres", "meters"), "metres", (1000, "kilometres")),
    "litres": Unit(("l", "litres", "liters"), "litres"),
    "crowns": Unit(("crowns", "crowns in cash"), "crowns"),
    "minutes": Unit(("minutes", "min", "mins"), "minutes", (60, "hours")),
    "hours": Unit(("hours", "h", "hrs"), "hours"),
    "days": Unit(("days",), "days", (7, "weeks")),
    "weeks": Unit(("weeks",), "weeks"),
    "seconds": Unit(("seconds", "s", "sec"), "seconds", (60, "minutes")),
    "degrees": Unit(("degrees", "degrees centigrade"), "degrees"),
    "volts": Unit(("volts", "V"), "volts"),
    "rows": Unit(("rows", "lines"), "rows"),
    "points": Unit(("points", "pts"), "points"),
}


def long_day(day: datetime.date) -> str:
    """Write a date as "Thursday 8 May"."""
    return f"{WEEKDAYS[day.weekday()]} {day.day} {MONTHS[day.month - 1]}"


def day(rng: random.Random, today: datetime.date) -> Value:
    """Draw a date from today on.

    "Friday" and "this Friday" are the first one after today; "next Friday" is the Friday of the
    following calendar week.
    """
    form = rng.randrange(9)
    if form == 0:
        offset, said = rng.choice(((0, "today"), (1, "tomorrow"), (2, "the day after tomorrow")))
        date = today + datetime.timedelta(offset)
    elif form in (1, 2):
        offset = rng.randint(1, 7)
        date = today + datetime.timedelta(offset)
        said = rng.choice(("", "this ", "this coming ", "the coming ")) + WEEKDAYS[date.weekday()]
    elif form == 3:
        weekday = rng.randrange(7)
        date = today + datetime.timedelta(7 - today.weekday() + weekday)
        name = WEEKDAYS[weekday]
        said = rng.choice((f"next {name}", f"{name} next week", f"{name} of next week"))
    elif form == 4:
        offset = rng.randint(2, 14)
        date = today + datetime.timedelta(offset)
        said = f"{rng.choice((str(offset), spelled(offset)))} days from {_now(rng)}"
        if offset in (7, 14):
            said = {7: "a week from today", 14: "two weeks from today"}[offset]
    else:
        date = today + datetime.timedelta(rng.randint(1, 90))
        month = MONTHS[date.month - 1]
        said = rng.choice(
            (
                f"{month} {ordinal(date.day)}",
                f"the {ordinal(date.day)} of {month}",
                f"{date.day} {month}",
                f"{month} {date.day}",
                f"{WEEKDAYS[date.weekday()]} the {ordinal(date.day)} of {month}",
                f"the {ORDINALS[date.day - 1]} of {month}",
                date.isoformat(),
            )
        )
    return Value(date.isoformat(), said, long_day(date))


def _now(rng: random.Random) -> str:
    return rng.choice(("now", "today"))


def clock(rng: random.Random) -> Value:
    """Draw a time of day (HH:MM, 24 hours)."""
    hour = rng.choice((*range(6, 23), *range(8, 19), rng.randrange(24)))
    minute = rng.choice((0, 0, 0, 30, 30, 15, 45, rng.randrange(12) * 5, rng.randrange(60)))
    exact = f"{hour:02d}:{minute:02d}"
    return Value(exact, rng.choice(_clock_phrases(hour, minute)), exact)


def _clock_phrases(hour: int, minute: int) -> list[str]:
    part = (
        "at night" if hour < 5 else "in the morning" if hour < 12 else "in the afternoon"
        if hour < 18 else "in the evening"
    )  # fmt: skip
    twelve = hour % 12 or 12
    following = (hour + 1) % 12 or 12
    half = "am" if hour < 12 else "pm"
    phrases = [f"{hour}:{minute:02d}", f"{hour:02d}:{minute:02d}", f"{twelve}:{minute:02d} {half}"]
    if minute == 0:
        phrases += [f"{twelve} {half}", f"{twelve}{half}", f"{twelve} o'clock {part}"]
        phrases += [f"{spelled(twelve)} {part}", f"{spelled(twelve)} o'clock {part}"]
        if hour in (0, 12):
            phrases += ["noon" if hour else "midnight"] * 4
    elif minute == 30:
        phrases += [f"half past {spelled(twelve)} {half}", f"half past {twelve} {part}"]
    elif minute == 15:
        phrases += [f"quarter past {spelled(twelve)} {half}", f"a quarter past {twelve} {part}"]
    elif minute == 45 and hour not in (4, 11, 17, 23):
        phrases += [f"quarter to {spelled(following)} {half}", f"a quarter to {following} {part}"]
    elif minute < 30:
        phrases.append(f"{spelled(minute)} past {spelled(twelve)} {half}")
    return phrases


def moment(rng: random.Random, today: datetime.date) -> Value:
    """Draw a date with a time (ISO 8601, local)."""
    date, time = day(rng, today), clock(rng)
    at = rng.choice(("at", "around", "at exactly"))
    first = f"{date.said} {at} {time.said}", f"{at} {time.said} {_on(date.said)}"
    said = first[0] if "the" in time.said else rng.choice(first)
    return Value(f"{date.json}T{time.json}:00", said, f"{date.echo} at {time.echo}")


def _on(said: str) -> str:
    return said if said.startswith(("today", "tomorrow", "this", "next")) else f"on {said}"


def joined(parts: list[str]) -> str:
    """Join words as an English list."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def json_text(value: Any) -> str:
    """Serialise a tool result the way tool runners do."""
    return json.dumps(value, ensure_ascii=False)
