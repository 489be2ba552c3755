"""Synthetic tool-call dialogues: what the embedded student is trained from scratch on.

A dialogue is `{"messages": [...], "tools": [...]}` in the OpenAI shape, arguments as objects, with
one to four user turns. Each turn is one scene of `scenes`; this module sets the stage (date,
employer, tools, system prompt) and strings scenes together. Everything follows from the seed.

    {"messages": [{"role": "system", "content": "You work for Bluebell Pottery. ..."},
                  {"role": "user", "content": "The kiln called Bertha is filthy. ..."}, ...],
     "tools": [{"type": "function", "function": {"name": "scrub_kiln", ...}}]}

No dialogue deals with the shipped tool sets: other tools, other parameters, other phrasings.
"""

from __future__ import annotations

import datetime
import random
from typing import Any

from . import actions, lexicon, places, slots, toolbox, worlds
from .makers import World
from .scenes import FRAMES, play
from .stage import Stage, Talk

Script = dict[str, Any]
"""`messages` and `tools` in the OpenAI shape."""

SYSTEMS = (
    "You work for {employer}. Today is {long}.",
    "You are the assistant of {employer}. Today is {long} ({iso}).",
    "You help at {employer}. The date is {iso}, a {weekday}. Use the tools when they fit.",
    "You answer for {employer}. It is {long}. If something you need is missing, ask. If no tool "
    "fits, say so.",
    "{employer}: desk assistant. Today: {iso} ({weekday}).",
    "Assistant of {employer}, {long}. Call tools for what is asked; ask when a needed detail is "
    "missing; never make up values; keep answers short.",
    "You run the {name} desk of {employer}. It is {weekday}, {iso}. Keep answers to one or two "
    "sentences and only use what the tools returned.",
    "Today is {long}. You look after the {name}. When a tool fails, try once more or tell the "
    "person what went wrong.",
)
TURNS = (1,) * 10 + (2,) * 6 + (3,) * 3 + (4,) * 2
IN_A_WORLD = 0.6
"""Share of the dialogues that take place in a world of `worlds`."""


def dialogue(seed: int | str) -> Script:
    """Write the dialogue of a seed.

    Args:
        seed: Any integer or text; the same seed gives the same dialogue.

    Returns:
        `messages` (system first) and `tools` in the OpenAI shape; arguments are objects.
    """
    return dialogues(seed, 1)[0]


def dialogues(seed: int | str, count: int) -> list[Script]:
    """Write `count` dialogues over one tool list, under one system prompt."""
    rng = random.Random(seed)
    today = datetime.date(2021, 1, 1) + datetime.timedelta(rng.randrange(365 * 14))
    world = World(today)
    if rng.random() < IN_A_WORLD:
        there = places.place(rng)
        tools = there.schemas(rng)
        opening = _opening(rng, today, there.world.role, there.world.role)
        talks = [places.talk(Talk(rng, world, [*opening]), there) for _ in range(count)]
    else:
        box = toolbox.toolbox(rng, world)
        tools = box.schemas()
        opening = _opening(rng, today, box.workplace.employer, box.workplace.name)
        talks = [_talk(Stage(rng, world, [*opening], box)) for _ in range(count)]
    return [{"messages": messages, "tools": tools} for messages in talks]


def _talk(stage: Stage) -> list[dict[str, Any]]:
    for turn in range(stage.rng.choice(TURNS)):
        play(stage, turn)
    return stage.messages


def _opening(
    rng: random.Random, today: datetime.date, employer: str, name: str
) -> list[dict[str, Any]]:
    """Write the system prompt, which is left out now and then."""
    prompt = {"role": "system", "content": system_prompt(rng, employer, name, today)}
    return [prompt] if rng.random() < 0.95 else []


def system_prompt(rng: random.Random, employer: str, name: str, today: datetime.date) -> str:
    """Write the instructions of a desk: its employer, the day, how to behave."""
    weekday = lexicon.WEEKDAYS[today.weekday()]
    month = lexicon.MONTHS[today.month - 1]
    long = rng.choice(
        (
            f"{weekday}, {today.day} {month} {today.year}",
            f"{weekday}, {month} {today.day}, {today.year}",
            f"{weekday} {today.isoformat()}",
        )
    )
    return rng.choice(SYSTEMS).format(
        employer=employer, name=name, long=long, iso=today.isoformat(), weekday=weekday,
    )  # fmt: skip


def vocabulary() -> dict[str, set[str]]:
    """Return every tool name, parameter name and phrase a dialogue can be built from.

    Names of invented things and of twins are not listed: they contain a listed verb and a word
    that no shipped tool has.
    """
    phrases = set(slots.sentences()) | set(FRAMES) | set(SYSTEMS)
    for deed in actions.deeds():
        phrases |= {*deed.requests, *deed.hints, *deed.reports}
    for reading in actions.readings():
        phrases |= {*reading.questions, *reading.answers}
    tools, parameters = worlds.names()
    return {
        "tools": toolbox.names() | tools, "parameters": slots.names() | parameters,
        "phrases": phrases | set(worlds.sentences()),
    }  # fmt: skip
