"""Values of the slots of `phrases/`: what each stands for, and how people say it.

A draw takes a `random.Random` and returns (value, words), such as (50, "half") or
("lounge", "living room").
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from distill.toolsets import load_toolset
from distill.toolsets.generation import SHARES, amount, clock, day, in_words, listed

HERE = Path(__file__).parent
HOME = load_toolset(HERE)


def loaded(name: str) -> dict[str, Any]:
    """Return a file of `phrases/`."""
    return yaml.safe_load((HERE / "phrases" / f"{name}.yaml").read_text(encoding="utf-8"))


FRAMES = {kind: loaded(kind) for kind in SHARES}
"""kind -> idea -> family -> one sentence frame a line."""
TEXTS = loaded("texts")
"""What the desk answers and asks, and the words of slots that carry no argument."""
MONDAY = date(2026, 3, 2)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PLACES = [(kind, room) for kind, rooms in HOME.environment.places.items() for room in rooms]
NOWHERE = [
    (kind, room)
    for kind in HOME.environment.places
    for room in HOME.environment.rooms
    if (kind, room) not in PLACES
]
SYNONYMS = {
    "lounge": ("lounge", "lounge", "living room"),
    "office": ("office", "office", "study"),
    "hall": ("hall", "hall", "hallway"),
    "movie": ("movie", "movie", "film"),
    "dinner": ("dinner", "dinner", "supper"),
    "night": ("night", "night", "bedtime"),
}
PERCENTS = {25: "a quarter", 50: "half", 75: "three quarters"}
LEVELS = {1: "low", 3: "medium", 5: "full"}


def draw_percent(rng: random.Random) -> tuple[int, str]:
    if rng.random() < 0.15:
        value = rng.choice(list(PERCENTS))
        return value, PERCENTS[value]
    value = rng.choice([rng.randint(1, 99), rng.randint(1, 19) * 5])
    return value, f"{amount(rng, value)} percent" if rng.random() < 0.6 else f"{value}%"


def said(rng: random.Random, value: float) -> str:
    """Return a number without its unit."""
    return amount(rng, value) if isinstance(value, int) else str(value)


def draw_degrees(rng: random.Random) -> tuple[float, str]:
    if rng.random() < 0.2:
        value = rng.randint(12, 26) + 0.5
        return value, f"{value} degrees"
    return draw_whole(rng)


def draw_whole(rng: random.Random) -> tuple[int, str]:
    value = rng.randint(12, 26)
    return value, f"{amount(rng, value)} degrees" if rng.random() < 0.8 else f"{value} C"


def draw_step(rng: random.Random) -> tuple[int, str]:
    value = rng.randint(1, 3)
    return value, "a degree" if value == 1 else f"{in_words(value)} degrees"


def draw_level(rng: random.Random) -> tuple[int, str]:
    if rng.random() < 0.3:
        value = rng.choice(list(LEVELS))
        return value, LEVELS[value]
    value = rng.randint(1, 5)
    return value, f"level {amount(rng, value)}"


def draw_word(rng: random.Random, words: tuple[str, ...]) -> tuple[str, str]:
    value = rng.choice(words)
    return value, rng.choice(SYNONYMS.get(value, (value,)))


def draw_plain(rng: random.Random, words: list[str]) -> tuple[str, str]:
    value = rng.choice(words)
    return value, value


def draw_rooms(rng: random.Random) -> tuple[list[str], str]:
    drawn = [draw_room(rng) for _ in range(5)]
    words = dict(drawn[: rng.randint(2, 4)])
    if len(words) == 1:
        return draw_rooms(rng)
    return list(words), listed(list(words.values()))


def draw_power(rng: random.Random) -> tuple[bool, str]:
    return (True, "on") if rng.random() < 0.5 else (False, "off")


def draw_minutes(rng: random.Random) -> tuple[int, str]:
    value = rng.choice([rng.randint(2, 90), rng.randint(1, 18) * 5])
    return value, amount(rng, value)


def draw_days(rng: random.Random) -> tuple[list[str], str]:
    if rng.random() < 0.2:
        return rng.choice([(list(DAYS[:5]), "weekdays"), (list(DAYS[5:]), "weekends")])
    chosen = sorted(rng.sample(range(7), rng.choice((1, 1, 2, 2, 3))))
    return [DAYS[n] for n in chosen], listed([DAY_NAMES[n] for n in chosen])


def draw_date(rng: random.Random) -> tuple[str, str]:
    if rng.random() < 0.25:
        ahead = rng.randint(1, 6)
        words = "tomorrow" if ahead == 1 else DAY_NAMES[ahead]
        return (MONDAY + timedelta(ahead)).isoformat(), words
    moment = MONDAY + timedelta(rng.randint(2, 29))
    words = rng.choice((day(moment), f"{moment:%B} {moment.day}", moment.isoformat()))
    return moment.isoformat(), words


def draw_time(rng: random.Random, first: int, last: int) -> tuple[str, str]:
    moment = time(rng.randint(first, last), rng.choice((0, 0, 15, 30, 45, 10)))
    return f"{moment:%H:%M}", clock(rng, moment)


draw_room = partial(draw_word, words=HOME.environment.rooms)
DRAWS: dict[str, Callable[[random.Random], tuple[Any, str]]] = {
    "room": draw_room,
    "rooms": draw_rooms,
    "percent": draw_percent,
    "degrees": draw_degrees,
    "whole": draw_whole,
    "step": draw_step,
    "level": draw_level,
    "power": draw_power,
    "minutes": draw_minutes,
    "days": draw_days,
    "date": draw_date,
    "start": partial(draw_time, first=6, last=14),
    "end": partial(draw_time, first=15, last=23),
    "clock": partial(draw_time, first=6, last=22),
    "device": partial(draw_word, words=tuple(HOME.environment.places)),
    "scene": partial(draw_word, words=("movie", "dinner", "night", "morning")),
    "door": partial(draw_word, words=("front", "back", "garage")),
    "mode": partial(draw_word, words=("off", "home", "away")),
    "weekday": partial(draw_word, words=DAY_NAMES),
    "number": draw_minutes,
    "oven": lambda rng: draw_plain(rng, ["140", "160", "180", "200", "220", "250"]),
    **{slot: partial(draw_plain, words=words) for slot, words in TEXTS["words"].items()},
}
