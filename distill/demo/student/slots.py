"""Parameters of random tools: name, schema, ways to say a value, ways to ask for it.

A `Slot` is one parameter of one tool. The table `kinds` lists what parameters there are; names are
chosen apart from the shipped tool sets (a test compares them).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from . import lexicon
from .makers import MAKERS, REMARKS, Draw, World, code, measure
from .tables import rows, split
from .wording import Value, joined

TERSE = {
    "person": ("Who.", "Name."), "spot": ("Where.",), "spot_enum": ("Where.", "Which."),
    "day": ("When.", "Day."), "clock": ("When.", "HH:MM."), "count": ("How many.", "Number."),
    "minutes": ("How long.", "Minutes."), "share": ("Percent.", "0 is none."),
    "spots_list": ("Where.", "Which."),
}  # fmt: skip
TOGGLES = ("wanted_state", "is_active", "go_ahead", "turned_up", "put_to_use")
VAGUE = {
    "person": ("for somebody", "for one of the others", "for a friend of mine"),
    "spot": ("somewhere", "at some place", "in the usual place"),
    "spot_enum": (
        "in one of the areas", "somewhere", "in my favourite place", "in an area", "in some corner",
        "in one of the places", "at one of the spots", "in one of them",
    ),
    "spots_list": ("in some of the areas", "in one or two places", "in one of the areas"),
    "day": ("on some day", "one of these days", "on another day"),
    "clock": ("at some hour", "at a better time", "at another time"),
    "moment": ("at some point", "at a better moment"),
    "count": ("a few of them", "a number of them", "in another number"),
    "minutes": ("for a while", "for a certain time"),
    "hours": ("for some hours",),
    "days": ("for some days",),
    "grade": ("on another step", "on a certain step", "at a new strength"),
    "share": ("to a certain percentage", "to another level"),
    "crowns": ("on a budget", "for some money"),
    "choice": ("of a certain kind", "in one of the ways there are"),
    "named": ("one of them", "a certain one"),
    "code": ("one of them", "a certain one"),
    "wording": ("with other words", "with a new text"),
    "hours_span": ("every Monday", "on weekdays", "on Tuesdays and Saturdays", "at the weekend"),
    "stretch": ("from next Friday on", "until the end of the month", "for a few days"),
    "contact": ("with my sister as the contact", "with a contact"),
    "box": ("of another size", "somewhat wider"),
    "weekdays": ("on certain days of the week", "every few days"),
    "parts": ("with some parts", "with the usual parts"),
    "kg": ("with another weight",), "degrees": ("at another angle", "a bit further"),
    "cm": ("a bit longer",), "litres": ("with a bit more in it",), "points": ("with more points",),
}  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """One parameter of one tool."""

    key: str
    kind: str
    schema: dict[str, Any]
    draw: Draw
    inline: tuple[str, ...]
    alone: tuple[str, ...]
    questions: tuple[str, ...]
    required: bool = True
    vague: tuple[str, ...] = ()
    """Ways to hint at the value without giving it."""
    glosses: tuple[tuple[Any, tuple[str, ...]], ...] = ()
    """Values (JSON) with the words that the description gives for them."""

    def optional(self, rng: random.Random, world: World) -> Slot:
        """Return the slot as one that may be left out, often with a default."""
        schema = dict(self.schema)
        style = rng.random()
        if style < 0.25 and "type" in schema and "properties" not in schema:
            kept = {k: v for k, v in schema.items() if k != "description"}
            schema = {k: v for k, v in schema.items() if k == "description"}
            schema |= {"anyOf": [kept, {"type": "null"}], "default": None}
        elif style < 0.7 and schema.get("type") != "object":
            schema["default"] = self.draw(rng, world).json
        return replace(self, schema=schema, required=False)


def slot(rng: random.Random, kind: str, noun: lexicon.Noun) -> Slot:
    """Make a parameter of the given kind (a row of `kinds`, "choice" or "flag")."""
    if kind == "choice":
        return glossed(rng, _choice(rng)) if rng.random() < 0.4 else _choice(rng)
    if kind == "flag":
        return _flag(rng)
    names, abouts, inline, alone, questions = _KIND_ROWS[kind]
    schema, draw = MAKERS.get(kind, measure)(rng, kind)
    about = rng.choice(abouts).replace("{x}", code(rng)).replace("{n}", noun.name)
    if rng.random() < 0.93:
        terse = rng.random() < 0.2 and kind != "grade"
        about = rng.choice(TERSE.get(kind, ("Which.", "What."))) if terse else about
        schema = {"description": about} | schema
    return Slot(
        rng.choice(names).replace("{n}", noun.stem),
        kind,
        schema,
        draw,
        inline,
        alone,
        tuple(q.replace("{n}", noun.name) for q in questions),
        vague=VAGUE.get(kind, ()),
    )


def glossed(rng: random.Random, made: Slot) -> Slot:
    """Add to the description which words stand for which value of a choice or a toggle."""
    known = lexicon.words(lexicon.EVERYDAY) + lexicon.words(lexicon.ADJECTIVES)
    values = made.schema.get("enum", [True, False])
    glosses = tuple(
        (value, tuple(
            rng.choice(known) if rng.random() < 0.7 else lexicon.invented(rng)
            for _ in range(rng.choice((1, 2, 2, 3, 4)))
        )) for value in values
    )  # fmt: skip
    told = "; ".join(f"{str(value).lower()}: {', '.join(words)}" for value, words in glosses)
    about = made.schema.get("description", "")
    if made.kind != "toggle" and rng.random() < 0.5:
        about = ""
    schema = made.schema | {"description": f"{about} {told[0].upper()}{told[1:]}.".strip()}
    words = dict(glosses)

    def draw(rng: random.Random, world: World) -> Value:
        value = made.draw(rng, world)
        if made.kind == "toggle" or rng.random() < 0.3:
            return value
        said = rng.choice(words[value.json])
        form = rng.choice(("{w}", "{w}", "the {w} one", "with {w}", "it is {w}", "for {w}"))
        return Value(value.json, form.format(w=said), value.echo)

    return replace(made, schema=schema, draw=draw, glosses=glosses)


def toggle(rng: random.Random, on: str, off: str) -> Slot:
    """Make the parameter that says which of two opposite deeds is meant."""
    key = rng.choice(TOGGLES)
    schema: dict[str, Any]
    if rng.random() < 0.7:
        yes: Any = True
        no: Any = False
        schema = {"type": "boolean", "description": f"True: {on}; false: {off}."}
    else:
        yes, no = on, off
        schema = {"type": "string", "enum": [on, off], "description": "Which of the two."}
    if rng.random() < 0.2:
        schema["description"] = "Which."

    def draw(rng: random.Random, world: World) -> Value:
        first = rng.random() < 0.5
        return Value(yes if first else no, on if first else off, "")

    said = on.replace("_", " "), off.replace("_", " ")
    ask = (f"Should I {said[0]} it or {said[1]} it?", f"Which one: {said[0]} or {said[1]}?")
    return Slot(key, "toggle", schema, draw, ("{v}",), ("{V}.",), ask)


def shared(rng: random.Random, noun: lexicon.Noun) -> tuple[Slot, Slot]:
    """Make the choice of places that all tools of a toolbox share: one place, or several."""
    one, many = slot(rng, "spot_enum", noun), slot(rng, "spots_list", noun)
    values = one.schema["enum"]
    said = {value: _aliases(value) for value in values}

    def draw(rng: random.Random, world: World) -> Value:
        value = rng.choice(values)
        return Value(value, rng.choice(said[value]), f"the {said[value][0]}")

    def draw_many(rng: random.Random, world: World) -> Value:
        if rng.random() < 0.1:
            return Value(list(values), rng.choice(("areas, all of them", "whole place")), "all")
        chosen = rng.sample(values, rng.choice((1, 1, 2, 2, min(3, len(values)))))
        words = joined([rng.choice(said[value]) for value in chosen])
        return Value(chosen, words, f"the {joined([said[value][0] for value in chosen])}")

    items = {"type": "string", "enum": values}
    schema = {**many.schema, "items": items}
    return replace(one, draw=draw), replace(many, draw=draw_many, schema=schema)


def _aliases(value: str) -> tuple[str, ...]:
    plain = value.replace("_", " ")
    last = plain.split()[-1]
    other = lexicon.PLACE_ALIASES.get(last)
    return (plain, plain, plain.removesuffix(last) + other) if other else (plain,)


def names() -> set[str]:
    """Every parameter name a tool of a known thing can have."""
    nouns = [noun.stem for place in lexicon.workplaces() for noun in place.nouns]
    patterns = [name for row in _KIND_ROWS.values() for name in row[0]]
    found = {p.replace("{n}", n) for p in patterns for n in (nouns if "{n}" in p else [""])}
    found |= {name for row in _CHOICE_ROWS for name in row[0]} | {row[0] for row in _FLAG_ROWS}
    return found | set(NESTED_NAMES) | set(TOGGLES)


def sentences() -> list[str]:
    """Every phrase of the tables, for the comparison with shipped tasks."""
    rows = [phrase for row in _KIND_ROWS.values() for cell in row[2:] for phrase in cell]
    rows += [said for row in _CHOICE_ROWS for ways in row[2].values() for said in ways]
    return (
        rows
        + [said for row in _FLAG_ROWS for said in (*row[2], *row[3])]
        + [said for ways in VAGUE.values() for said in ways]
        + list(REMARKS)
    )


NESTED_NAMES = (
    "given_name", "phone_line", "wide_cm", "high_cm", "first_day", "last_day", "part_label",
    "piece_count", "opens_at", "closes_at", "on_weekdays",
)  # fmt: skip


# --- kinds with a choice or a flag ------------------------------------------------------------


def _choice(rng: random.Random) -> Slot:
    keys, about, ways = rng.choice(_CHOICE_ROWS)
    values = list(ways)
    if rng.random() < 0.4:
        rng.shuffle(values)
    values = values[: rng.randint(2, len(values))]

    def draw(rng: random.Random, world: World) -> Value:
        value = rng.choice(values)
        said = rng.choice(ways[value]) if rng.random() < 0.65 else value.replace("_", " ")
        return Value(value, said, value.replace("_", " "))

    key = rng.choice(keys)
    schema: dict[str, Any] = {"type": "string", "enum": values}
    if rng.random() < 0.9:
        schema["description"] = about
    ask = about.rstrip(".").lower()
    listed = joined([v.replace("_", " ") for v in values[:-1]]) + f" or {values[-1]}"
    return Slot(
        key, "choice", schema, draw, ("{v}", ", {v}"), ("{V}, please.", "{V}."),
        (f"What should I put for the {key.replace('_', ' ')}: {listed}?",
         f"Please tell me: {ask}, {listed}?"),
        vague=VAGUE["choice"],
    )  # fmt: skip


def _flag(rng: random.Random) -> Slot:
    key, about, yes, no = rng.choice(_FLAG_ROWS)

    def draw(rng: random.Random, world: World) -> Value:
        value = rng.random() < 0.6
        return Value(value, rng.choice(yes if value else no), "yes" if value else "no")

    schema = {"type": "boolean", "description": about}
    name = key.replace("_", " ")
    return Slot(
        key, "flag", schema, draw, (", {v}", ", {v}"), ("{V}.", "And {v}."),
        (f"Is it {name}, yes or no?", f"Should I set {name}?"),
    )  # fmt: skip


_KIND_ROWS = {
    row[0]: (tuple(row[1].split()), *(split(cell) for cell in row[2:])) for row in rows("kinds")
}
_CHOICE_ROWS = [
    (
        tuple(row[0].split()),
        row[1],
        {ways[0]: tuple(ways[1:] or ways) for ways in (way.split("=") for way in split(row[2]))},
    )
    for row in rows("choices")
]
_FLAG_ROWS = [(row[0], row[1], split(row[2]), split(row[3])) for row in rows("flags")]
