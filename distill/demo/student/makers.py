"""Schemas and values of random parameters, by kind.

A maker takes the kind and returns the JSON Schema of one parameter and a function that draws values
for it, as users say them. Names and phrases around the values are in `slots`.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import lexicon, wording
from .wording import Value, joined

GRADES = (
    "none off nil",
    "faint low gentle weak",
    "medium middling",
    "strong high",
    "full top utmost",
)
CONDITIONS = "in good shape;slightly worn;badly worn;out of order;as good as new;waiting for parts"
REMARKS = (
    "the {a} {w} is missing",
    "it smells of {w}",
    "ask {p} about the {w}",
    "bring the {a} {w}",
    "there is {w} on it",
    "{p} knows why",
    "mind the {a} {w}",
    "the {w} goes first",
    "we used the {a} {w} last time",
    "do not forget the {w}",
)
HEADINGS = ("{a} {w}", "the {a} {w}", "{w} and {x}", "{x} of {p}", "{a} {a2} {w}", "{w} {d}")


@dataclass(frozen=True)
class World:
    """What is fixed in one dialogue."""

    today: datetime.date


Draw = Callable[[random.Random, World], Value]


Made = tuple[dict[str, Any], Draw]
MEASURES = {
    "kg": (1, 900), "grams": (5, 900), "cm": (5, 400), "mm": (1, 90), "metres": (5, 900),
    "litres": (1, 500), "crowns": (10, 5000), "minutes": (5, 180), "hours": (1, 48),
    "days": (1, 30), "seconds": (1, 120), "degrees": (1, 180), "points": (1, 100),
}  # fmt: skip


def measure(rng: random.Random, kind: str) -> Made:
    """Make an amount in the unit that the kind names."""
    low, high = MEASURES[kind]
    schema: dict[str, Any] = {"type": rng.choice(("integer", "integer", "number"))}
    if rng.random() < 0.3:
        schema |= {"minimum": 1, "maximum": high * 20}
    return schema, lambda rng, world: wording.quantity(rng, kind, low, high)


def _string(make: Callable[[random.Random], str]) -> Callable[[random.Random, str], Made]:
    def draw(rng: random.Random, world: World) -> Value:
        text = make(rng)
        return Value(text, text, text)

    return lambda rng, kind: ({"type": "string"}, draw)


def _spot_enum(rng: random.Random, kind: str) -> Made:
    places = list(dict.fromkeys(lexicon.place(rng) for _ in range(rng.randint(3, 6))))
    if rng.random() < 0.7:
        keyed = {place.replace(" ", "_").lower(): place for place in places}
    else:
        keyed = {place: place for place in places}

    def draw(rng: random.Random, world: World) -> Value:
        value = rng.choice(list(keyed))
        return Value(value, keyed[value], f"the {keyed[value]}")

    return {"type": "string", "enum": list(keyed)}, draw


def _named(rng: random.Random, kind: str) -> Made:
    def nickname() -> str:
        if rng.random() < 0.4:
            return rng.choice(lexicon.words(lexicon.FIRST_NAMES))
        if rng.random() < 0.5:
            return lexicon.invented(rng).capitalize()
        return f"{rng.choice(lexicon.words(lexicon.ADJECTIVES))} {lexicon.invented(rng)}"

    values = list(dict.fromkeys(nickname() for _ in range(rng.randint(3, 6))))
    fixed = rng.random() < 0.6

    def draw(rng: random.Random, world: World) -> Value:
        value = rng.choice(values) if fixed else lexicon.invented(rng).capitalize()
        return Value(value, value, value)

    return {"type": "string"} | ({"enum": values} if fixed else {}), draw


def _integer(low: int, high: int) -> Callable[[random.Random, str], Made]:
    def make(rng: random.Random, kind: str) -> Made:
        schema: dict[str, Any] = {"type": "integer"}
        if rng.random() < 0.4:
            schema["minimum"] = 1
        return schema, lambda rng, world: wording.number(rng, low, high)

    return make


def _share(rng: random.Random, kind: str) -> Made:
    return (
        {"type": "integer", "minimum": 0, "maximum": 100},
        lambda rng, world: wording.share(rng),
    )


def _decimal(rng: random.Random, kind: str) -> Made:
    return {"type": "number"}, lambda rng, world: wording.decimal(rng, 0, 30)


def _dated(kind: str, make: Draw) -> Callable[[random.Random, str], Made]:
    form = {"day": "date", "clock": "time", "moment": "date-time"}[kind]

    def maker(rng: random.Random, kind: str) -> Made:
        declared = {"format": form} if rng.random() < 0.6 else {}
        return {"type": "string"} | declared, make

    return maker


def _listed(make: Draw, low: int, high: int) -> Callable[[random.Random, str], Made]:
    def draw(rng: random.Random, world: World) -> Value:
        found = {v.json: v for v in (make(rng, world) for _ in range(rng.randint(low, high)))}
        values = list(found.values())
        said, echo = joined([v.said for v in values]), joined([v.echo for v in values])
        return Value([v.json for v in values], said, echo)

    return lambda rng, kind: ({"type": "array", "items": {"type": "string"}}, draw)


def _spots_list(rng: random.Random, kind: str) -> Made:
    places = list(dict.fromkeys(lexicon.place(rng) for _ in range(rng.randint(3, 6))))

    def draw(rng: random.Random, world: World) -> Value:
        if rng.random() < 0.15:
            return Value(
                list(places), rng.choice(("places everywhere", "areas, all of them")), "all"
            )
        chosen = rng.sample(places, rng.randint(1, min(3, len(places))))
        said = joined(chosen)
        return Value(chosen, said, f"the {said}")

    items = {"type": "string", "enum": places}
    return {"type": "array", "items": items, "uniqueItems": True}, draw


def _grade(rng: random.Random, kind: str) -> Made:
    """Make a number whose description says which words stand for which numbers."""
    top = rng.choice((3, 4, 5, 6, 8, 10))
    steps = sorted(rng.sample(range(top + 1), min(rng.randint(2, 4), top)))
    words = [rng.choice(words.split()) for words in sorted(rng.sample(GRADES, len(steps)),
                                                           key=GRADES.index)]  # fmt: skip
    named = dict(zip(steps, words, strict=True))

    def draw(rng: random.Random, world: World) -> Value:
        if rng.random() < 0.65:
            value = rng.choice(steps)
            return Value(value, named[value], f"step {value}")
        value = rng.randint(0, top)
        said = rng.choice((str(value), f"step {value}", wording.spelled(value)))
        return Value(value, said, f"step {value}")

    about = ", ".join(f"{step} {word}" for step, word in named.items()) + "."
    return {"description": about, "type": "integer", "minimum": 0, "maximum": top}, draw


def _hours_span(rng: random.Random, kind: str) -> Made:
    week, week_draw = _weekdays(rng, kind)

    def draw(rng: random.Random, world: World) -> Value:
        first, last = wording.clock(rng), wording.clock(rng)
        days = week_draw(rng, world)
        said = rng.choice(("from {} to {} every {}", "between {} and {} on each {}"))
        value = {"opens_at": first.json, "closes_at": last.json, "on_weekdays": days.json}
        echo = f"from {first.echo} to {last.echo}"
        return Value(value, said.format(first.said, last.said, days.said), echo)

    hour = {"type": "string", "format": "time"} if rng.random() < 0.5 else {"type": "string"}
    return _object({"opens_at": hour, "closes_at": hour, "on_weekdays": week}), draw


def _weekdays(rng: random.Random, kind: str) -> Made:
    short = rng.random() < 0.5
    keys = [day.lower()[: 3 if short else None] for day in lexicon.WEEKDAYS]
    unique = {"uniqueItems": True} if rng.random() < 0.5 else {}

    def draw(rng: random.Random, world: World) -> Value:
        if rng.random() < 0.2:
            some = rng.choice(
                ((5, "weekday"), (5, "day from Monday to Friday"), (7, "day of the week"))
            )
            return Value(keys[: some[0]], some[1], some[1])
        chosen = sorted(rng.sample(range(7), rng.randint(1, 3)))
        said = joined([lexicon.WEEKDAYS[i] for i in chosen])
        return Value([keys[i] for i in chosen], said, said)

    return {"type": "array", "items": {"type": "string", "enum": keys}} | unique, draw


def _contact(rng: random.Random, kind: str) -> Made:
    def draw(rng: random.Random, world: World) -> Value:
        name, phone = lexicon.person(rng), _phone(rng)
        said = rng.choice(("{} (phone {})", "{}, number {},", "{} under {}")).format(name, phone)
        return Value({"given_name": name, "phone_line": phone}, said, name)

    return _object({"given_name": {"type": "string"}, "phone_line": {"type": "string"}}), draw


def _box(rng: random.Random, kind: str) -> Made:
    def draw(rng: random.Random, world: World) -> Value:
        wide, high = rng.randint(5, 300), rng.randint(5, 300)
        form = rng.choice(
            ("{} by {} cm", "{} cm wide and {} cm high", "{} times {} centimetres", "{} x {} cm")
        )
        said = form.format(wide, high)
        return Value({"wide_cm": wide, "high_cm": high}, said, f"{wide} by {high} cm")

    return _object({"wide_cm": {"type": "integer"}, "high_cm": {"type": "integer"}}), draw


def _stretch(rng: random.Random, kind: str) -> Made:
    def draw(rng: random.Random, world: World) -> Value:
        first = wording.day(rng, world.today)
        start = datetime.date.fromisoformat(first.json)
        last = wording.day(rng, start)
        if start != world.today or last.json == first.json:
            end = start + datetime.timedelta(rng.randint(1, 20))
            month = lexicon.MONTHS[end.month - 1]
            said = rng.choice((f"{month} {wording.ordinal(end.day)}", f"{end.day} {month}"))
            last = Value(end.isoformat(), said, wording.long_day(end))
        said = rng.choice(("from {} to {}", "from {} until {}", "between {} and {}"))
        echo = f"from {first.echo} to {last.echo}"
        value = {"first_day": first.json, "last_day": last.json}
        return Value(value, said.format(first.said, last.said), echo)

    day = {"type": "string", "format": "date"}
    return _object({"first_day": day, "last_day": day}), draw


def _parts(rng: random.Random, kind: str) -> Made:
    def draw(rng: random.Random, world: World) -> Value:
        things = rng.sample(lexicon.words(lexicon.EVERYDAY), rng.randint(1, 3))
        amounts = [wording.number(rng, 2, 20) for _ in things]
        rows = [
            {"part_label": t, "piece_count": a.json} for t, a in zip(things, amounts, strict=True)
        ]
        said = [
            f"{'two' if a.json == 2 else a.said} {lexicon.plural(t)}"
            for t, a in zip(things, amounts, strict=True)
        ]
        return Value(rows, joined(said), joined(said))

    item = _object({"part_label": {"type": "string"}, "piece_count": {"type": "integer"}})
    return {"type": "array", "items": item}, draw


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


# --- strings ----------------------------------------------------------------------------------


def code(rng: random.Random) -> str:
    """Draw a code such as "KS-482"."""
    letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 5)))
    return rng.choice(
        (f"{letters}-{digits}", f"{letters}{digits}", digits, letters.lower() + digits)
    )


def _phone(rng: random.Random) -> str:
    return rng.choice(("555-{:04d}", "0{:03d} 4410", "+44 20 {:04d}")).format(rng.randrange(1000))


def _mail(rng: random.Random) -> str:
    first = rng.choice(lexicon.words(lexicon.FIRST_NAMES)).lower()
    last = rng.choice(lexicon.words(lexicon.SURNAMES)).lower()
    at = rng.choice(lexicon.words(lexicon.EVERYDAY))
    return rng.choice((f"{first}.{last}@{at}.org", f"{first}@{at}.net", f"{at}{last}@post.example"))


def _text(rng: random.Random, patterns: tuple[str, ...]) -> str:
    adjective, other = rng.sample(lexicon.words(lexicon.ADJECTIVES), 2)
    word, more = rng.sample(lexicon.words(lexicon.EVERYDAY), 2)
    return rng.choice(patterns).format(
        a=adjective, a2=other, w=word, x=more, d=rng.randint(2, 99),
        p=rng.choice(lexicon.words(lexicon.FIRST_NAMES)),
    )  # fmt: skip


def _mark(rng: random.Random) -> str:
    return rng.choice(lexicon.words(lexicon.ADJECTIVES + lexicon.EVERYDAY))


def _heading(rng: random.Random) -> str:
    text = _text(rng, HEADINGS)
    return rng.choice((text, text.capitalize(), text.title()))


def same(text: str) -> Value:
    """Return a text that is said and repeated as it is."""
    return Value(text, text, text)


def fact(rng: random.Random, kind: str, world: World) -> Value:
    """Draw what a fact tells."""
    match kind:
        case "place":
            where = lexicon.place(rng)
            return Value(where, where, f"the {where}")
        case "day":
            return wording.day(rng, world.today)
        case "person":
            return same(lexicon.person(rng))
        case "condition":
            return same(rng.choice(CONDITIONS.split(";")))
        case "state":
            held = rng.random() < 0.5
            return Value(held, "", "")
        case "maker":
            return same(f"{rng.choice(lexicon.words(lexicon.SURNAMES))} & Co")
        case _:
            return same(rng.choice(("crimson", "navy", "olive", "ivory", "ochre", "teal")))


MAKERS: dict[str, Callable[[random.Random, str], Made]] = {
    "person": _string(lexicon.person),
    "spot": _string(lexicon.place),
    "spot_enum": _spot_enum,
    "code": _string(code),
    "named": _named,
    "count": _integer(1, 60),
    "limit": _integer(1, 20),
    "share": _share,
    "decimal": _decimal,
    "day": _dated("day", lambda rng, world: wording.day(rng, world.today)),
    "clock": _dated("clock", lambda rng, world: wording.clock(rng)),
    "moment": _dated("moment", lambda rng, world: wording.moment(rng, world.today)),
    "note": _string(lambda rng: _text(rng, REMARKS)),
    "wording": _string(_heading),
    "phone": _string(_phone),
    "mail": _string(_mail),
    "maker": _string(lambda rng: f"{rng.choice(lexicon.words(lexicon.SURNAMES))} & Co"),
    "words_list": _listed(lambda rng, world: same(_mark(rng)), 1, 4),
    "people_list": _listed(lambda rng, world: same(lexicon.person(rng)), 1, 4),
    "codes_list": _listed(lambda rng, world: same(code(rng)), 2, 4),
    "weekdays": _weekdays,
    "contact": _contact,
    "box": _box,
    "stretch": _stretch,
    "parts": _parts,
    "spots_list": _spots_list,
    "grade": _grade,
    "hours_span": _hours_span,
}
