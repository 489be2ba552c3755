"""The home: its tools work; its tasks vary, and cannot be read off a word."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from contextlib import ExitStack

import pytest
from tools_world import episode, tasks_of, toolset

from distill.types import Kind, Task

HOME = toolset("home")
COUNT = 600
ENOUGH_TO_HEAR = 5
"""Requests a word must stand in before a lookup may rely on it."""


@pytest.fixture(scope="module")
def many() -> list[Task]:
    return tasks_of("home")


@pytest.fixture(scope="module")
def tasks(many) -> list[Task]:
    return many[:COUNT]


@pytest.fixture
def house():
    """A function that enters a house, and returns what calls a tool there and its runner."""
    with ExitStack() as houses:
        yield lambda **setup: houses.enter_context(episode("home", **setup))


# --- the tools -----------------------------------------------------------------------------------


def test_the_prompt_is_short():
    rendered = sum(len(json.dumps(tool.as_function())) for tool in HOME.toolset.tools)
    assert len(HOME.toolset.tools) == 10
    assert rendered + len(HOME.toolset.system) < 5_200


def test_every_tool_changes_what_it_says(house):
    use, runner = house(seed=1)
    assert use("set_light", rooms=["hall", "office"], percent=30) == {"percent": 30}
    use("set_light", rooms=["hall"])
    use("set_heating", room="office", celsius=21.5)
    use("set_fan", room="office", level=3)
    use("start_scene", scene="movie")
    schedule = {"start": "18:30", "end": "22:00", "days": ["sat", "fri"]}
    use("schedule_scene", scene="dinner", schedule=schedule)
    use("set_lock", door="back")
    use("set_alarm", mode="away", until="2026-03-05")
    assert runner.changes() == {
        "/alarm/mode": "away",
        "/alarm/until": "2026-03-05",
        "/fans/office": 3,
        "/heating/office": 21.5,
        "/lights/hall": 100,
        "/lights/office": 30,
        "/locked/back": True,
        "/scene": "movie",
        "/schedules/dinner": {"start": "18:30", "end": "22:00", "days": ["fri", "sat"]},
    }


def test_a_device_is_found_and_switched(house):
    use, runner = house(seed=3)
    found = use("find_device", type="tv", room="lounge")
    use("switch_device", id=found["id"], on=not found["on"], minutes=20)
    pointer = f"/devices/{found['id']}"
    assert runner.changes() == {f"{pointer}/on": not found["on"], f"{pointer}/minutes": 20}


def test_houses_differ_by_seed(house):
    readings = {json.dumps(house(seed=seed)[0]("read_sensor", room="hall")) for seed in range(8)}
    ids = {house(seed=seed)[0]("find_device", type="tv", room="lounge")["id"] for seed in range(8)}
    assert len(readings) > 4 and len(ids) > 4


def test_what_cannot_be_done_is_an_error(house):
    use, runner = house(offline=["lounge tv"], open_doors=["back"])
    tv = use("find_device", type="tv", room="lounge")["id"]
    assert use("switch_device", id=tv, on=True) == {"error": f"{tv} is offline"}
    assert use("switch_device", id="tv-100", on=True) == {"error": "there is no device tv-100"}
    assert use("find_device", type="tv", room="hall") == {"error": "there is no tv in the hall"}
    assert use("set_lock", door="back") == {"error": "the back door is open"}
    assert use("set_alarm", mode="away") == {"error": "the back door is open"}
    assert runner.changes() == {}
    assert use("set_alarm", mode="home") == {"mode": "home"}


# --- the tasks -----------------------------------------------------------------------------------


def test_there_are_thousands_of_tasks(many):
    assert len({task.turns[0].content.lower() for task in many}) == len(many) == 3_000


def test_every_kind_has_many_families(tasks):
    families: dict[Kind, set[str]] = defaultdict(set)
    for task in tasks:
        families[task.kind].add(task.family)
    assert all(len(families[kind]) >= 8 for kind in Kind), families


def test_every_tool_is_used_alone_and_together(many):
    single = Counter(name for t in many if t.kind is Kind.SINGLE for name in t.tools)
    choose = Counter(name for t in many if t.kind is Kind.CHOOSE for name in t.tools)
    families = defaultdict(set)
    for task in many:
        for name in task.tools:
            families[name].add(task.family)
    for tool in HOME.toolset.tools:
        assert single[tool.name] >= 15 and choose[tool.name] >= 5, tool.name
        assert len(families[tool.name]) >= 10, tool.name


def test_turns_have_the_action_of_their_kind(tasks):
    actions = {Kind.NO_TOOL: "abstain", Kind.MISSING: "ask", Kind.CHAT: "answer"}
    for task in tasks:
        if task.kind is Kind.MULTI_TURN:
            assert len(task.turns) > 1 and task.tools
        else:
            (turn,) = task.turns
            assert turn.expectation.action == actions.get(task.kind, "call"), task.id
        for turn in task.turns:
            if turn.expectation.action == "ask":
                assert "?" in turn.expectation.answer and turn.expectation.mentions
        steps = {call.step for turn in task.turns for call in turn.expectation.calls}
        assert task.kind is not Kind.MULTI_STEP or steps == {0, 1}


def test_reference_answers_vary(tasks):
    answers = Counter(t.expectation.answer for task in tasks for t in task.turns)
    assert max(answers.values()) < 12


def test_values_of_calls_stand_in_the_answers(tasks):
    for task in tasks:
        for turn in task.turns:
            for call in turn.expectation.calls if task.kind is Kind.SINGLE else ():
                for key in ("percent", "celsius", "level", "minutes", "id"):
                    if key in call.arguments:
                        assert str(call.arguments[key]) in turn.expectation.answer


def words(text: str) -> set[str]:
    return {w.removesuffix("s") if len(w) > 3 else w for w in re.findall(r"[a-z]+", text.lower())}


def test_requests_rarely_name_their_tool(tasks):
    for tool in HOME.toolset.tools:
        asked = [
            words(turn.content)
            for task in tasks
            for turn in task.turns
            if any(call.name == tool.name for call in turn.expectation.calls)
        ]
        for part in tool.name.split("_"):
            assert sum(part in heard for heard in asked) <= 0.3 * len(asked), (tool.name, part)


def lookup_accuracy(tasks: list[Task], kinds: set[Kind], seed: int) -> float:
    """How often the most telling single word gives the tools, on families it was not made from."""
    rows = [(words(t.turns[0].content), t.tools, t.family) for t in tasks if t.kind in kinds]
    families = sorted({family for *_, family in rows})
    held_out = set(random.Random(seed).sample(families, len(families) // 3))
    heard: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for said, tools, family in rows:
        if family not in held_out:
            for word in said:
                heard[word][tools] += 1
    telling = {
        word: (found.most_common(1)[0][1] / found.total(), found.most_common(1)[0][0])
        for word, found in heard.items()
        if found.total() >= ENOUGH_TO_HEAR
    }
    test = [row for row in rows if row[2] in held_out]
    guesses = [
        max((telling[w] for w in said if w in telling), default=(0, ())) for said, *_ in test
    ]
    return sum(g[1] == row[1] for g, row in zip(guesses, test, strict=True)) / len(test)


@pytest.mark.parametrize(
    ("kinds", "ceiling"),
    [
        # Telling words are shared by wordings, or a held-out wording could not be understood.
        ({Kind.SINGLE, Kind.CHOOSE}, 0.85),
        ({Kind.SINGLE, Kind.CHOOSE, Kind.NO_TOOL, Kind.MISSING}, 0.65),
        (set(Kind) - {Kind.CHAT, Kind.MULTI_TURN}, 0.6),
    ],
)
def test_tool_choice_cannot_be_read_off_a_word(many, kinds, ceiling):
    measured = [lookup_accuracy(many[:1_500], kinds, seed) for seed in range(8)]
    assert sum(measured) / len(measured) < ceiling, measured
