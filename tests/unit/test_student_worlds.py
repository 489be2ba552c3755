"""The small worlds of the embedded student's dialogues: each file says what it means."""

from __future__ import annotations

import datetime
import random
import re
from collections import Counter
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from distill.demo.student import places, worlds
from distill.demo.student.dialogues import dialogue
from distill.demo.student.makers import World as Day
from distill.demo.student.stage import Talk
from distill.demo.student.worlds import Call, Group, World

DAY = Day(datetime.date(2027, 3, 1))
WORLDS = worlds.worlds()


def variables(group: Group) -> set[str]:
    return {n for step in group.steps for call in step for n in call.variables.values()}


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.role)
def test_a_sentence_says_every_value_of_its_call_and_none_that_is_missing(world: World) -> None:
    known = set(worlds.kinds_of(world, random.Random(0)))
    for group in world.groups:
        for sentence in group.sentences:
            said = set(re.findall(r"{(\w+)}", sentence))
            assert variables(group) <= said, sentence
            assert said <= variables(group) | known, sentence
            if group.sort == "ask":
                (call,) = group.steps[0]
                assert world.tools[call.tool].takes[group.missing].kind not in said, sentence


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.role)
def test_every_call_is_complete_and_fits_its_schema(world: World) -> None:
    rng = random.Random(0)
    kinds = worlds.kinds_of(world, rng)
    used: set[str] = set()
    for group in world.groups:
        used |= group.tools
        drawn = worlds.drawn_for(group, world, kinds, rng, DAY)
        for call in (call for step in group.steps for call in step):
            tool = world.tools[call.tool]
            results = {field: drawn_field(world, field, kinds, rng) for field in fields(call)}
            schema = worlds.schema_of(tool, kinds, 2)["function"]["parameters"]
            given = worlds.arguments_of(call, tool, drawn, results)
            if group.sort == "ask":
                assert tool.takes[group.missing].questions
                schema["required"] = [k for k in schema["required"] if k != group.missing]
            Draft202012Validator(schema).validate(given)
    assert used == set(world.tools)


def fields(call: Call) -> set[str]:
    return set(call.fields.values())


def drawn_field(world: World, field: str, kinds: Any, rng: random.Random) -> Any:
    """A value for a field that some tool of the world gives."""
    tool = next(t for t in world.tools.values() if field in t.gives)
    return worlds.result_of(tool, kinds, rng, DAY)[field]


def test_talks_ask_decline_chain_and_go_on_from_the_last_call() -> None:
    seen: Counter[str] = Counter()
    for seed in range(400):
        rng = random.Random(seed)
        place = places.place(rng)
        messages = places.talk(Talk(rng, DAY, []), place)
        assert messages[0]["role"] == "user" and messages[-1]["role"] == "assistant"
        offered = {t["function"]["name"] for t in place.schemas(rng)}
        calls = [c["function"] for m in messages for c in m.get("tool_calls", ())]
        assert {call["name"] for call in calls} <= offered
        roles = "".join(m["role"][0] + "c" * ("tool_calls" in m) for m in messages)
        seen["chain"] += "acttac" in roles or "actac" in roles
        seen["side by side"] += any(len(m.get("tool_calls", ())) > 1 for m in messages)
        seen["no call"] += "ua" in roles.replace("ac", "")
        said = " ".join(m["content"] for m in messages if m["role"] == "user")
        seen["undo"] += any(text in said for text in places.UNDO)
    assert min(seen[sort] for sort in ("chain", "side by side", "no call", "undo")) >= 5


def test_dialogues_take_place_in_worlds_and_elsewhere() -> None:
    named = set().union(*(world.tools for world in WORLDS))
    inside = sum(
        bool({t["function"]["name"] for t in dialogue(f"worlds/{i}")["tools"]} & named)
        for i in range(100)
    )
    assert 40 <= inside <= 80
