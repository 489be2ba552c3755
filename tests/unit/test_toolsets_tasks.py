"""Tasks are refused where they cannot be right, with the place they come from."""

from __future__ import annotations

import json
import random
import re
from datetime import date, time
from pathlib import Path

import pytest

from distill.errors import TaskError
from distill.toolsets import load_tasks, load_toolset
from distill.toolsets.generation import Idea, Script, write_tasks
from distill.toolsets.wording import clock, dates, in_words, listed, phrase
from distill.types import Kind, Task

TOOLS = '''
from typing import Literal
from distill.toolsets import Environment, ToolError, tool

class Lamp(Environment):
    def __init__(self, on: bool = False) -> None:
        self.level = 100 if on else 0

    def snapshot(self):
        return {"level": self.level}

    @tool
    def dim(self, level: int, speed: Literal["slow", "fast"] = "slow", note: str = "") -> int:
        """Dim.

        Args:
            level: To.
            speed: How.
            note: Why.
        """
        if level > 100:
            raise ToolError("too bright")
        self.level = level
        return level
'''


@pytest.fixture
def loaded(tmp_path):
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "toolset.yaml").write_text("name: lamp\ndescription: d\nsource: tools.py\n")
    return load_toolset(tmp_path)


def row(call: dict | None = None, **fields) -> dict:
    made = {"name": "dim", "arguments": {"level": 30}} | (call or {})
    turn = {"content": "Dim", "expectation": {"action": "call", "calls": [made]}}
    base = {"id": "a", "toolset": "lamp", "kind": "single", "family": "f", "turns": [turn]}
    return base | fields


def read(loaded, *rows, count=10) -> list[Task]:
    path = loaded.folder / "tasks.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return load_tasks(loaded, path, count, 0)


def test_a_file_of_tasks_is_read_up_to_the_count(loaded):
    rows = [row(id=str(n)) for n in range(5)]
    assert [task.id for task in read(loaded, *rows, count=3)] == ["0", "1", "2"]


def ask(action: str, calls: list) -> dict:
    return row(turns=[{"content": "x", "expectation": {"action": action, "calls": calls}}])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (row(), r"tasks\.jsonl:2: id 'a' is taken by .*tasks\.jsonl:1"),
        (row({"name": "glow"}), "expectation names 'glow', which is no tool; tools: dim"),
        (row({"arguments": {"level": "x"}}), "expected arguments of 'dim' are invalid: level"),
        (row({"arguments": {"level": 1, "to": 2}}), "'to' was unexpected"),
        (row({"arguments": {}}), "'level' is a required property"),
        (row({"accept": {"speed": ["warp"]}}), "'warp' is not one of"),
        (row({"accept": {"level": [None]}}), "'level' is a required property"),
        (row({"free": ["why"]}), "'dim' has no parameter 'why'"),
        (row(faults=[{"tool": "glow", "message": "m"}]), "fault names 'glow', which is no tool"),
        (row(toolset="desk"), "it is for tool set 'desk', this is 'lamp'"),
        (row(setup={"watts": 3}), "Lamp does not take setup {'watts': 3}"),
        (row(kind="doubble"), r"tasks\.jsonl:2: kind: .* got 'doubble'"),
        (row(turns=[]), "turns: "),
        (ask("call", []), "action 'call' with 0 calls"),
        (ask("ask", [{"name": "dim", "arguments": {"level": 1}}]), "action 'ask' with 1 calls"),
        ("{broken", r"tasks\.jsonl:2: task: Invalid JSON"),
    ],
)
def test_a_wrong_task_is_refused_with_its_line(loaded, wrong, message):
    if isinstance(wrong, dict) and "is taken" not in message:
        wrong = wrong | {"id": "b"}
    with pytest.raises(TaskError, match=message) as error:
        read(loaded, row(), wrong)
    assert "tasks.jsonl:2: " in str(error.value)


def test_alternatives_that_are_right_pass(loaded):
    alternatives = {"level": [31], "speed": ["fast", None]}
    assert read(loaded, row({"accept": alternatives, "free": ["note"]}))


def test_no_tasks(loaded):
    with pytest.raises(TaskError, match="holds no tasks"):
        read(loaded, "")
    with pytest.raises(TaskError, match=r"toolset\.yaml: names no tasks"):
        load_tasks(loaded, None, 1, 0)
    with pytest.raises(TaskError, match="cannot read tasks"):
        load_tasks(loaded, loaded.folder / "gone.jsonl", 1, 0)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\n", r"tasks\.py: has no function generate"),
        ("import nothing_like_this\n", r"tasks\.py:1: ModuleNotFoundError"),
        ("def generate(seed, count):\n    yield 3\n", "gave 3, not a Task"),
        ("def generate(seed, count):\n    yield 1 / 0\n", r"tasks\.py:2: ZeroDivisionError"),
    ],
)
def test_a_generator_that_fails_is_named(loaded, code, message):
    path = loaded.folder / "tasks.py"
    path.write_text(code)
    with pytest.raises(TaskError, match=message):
        load_tasks(loaded, path, 1, 0)


def dim(script: Script) -> None:
    level = script.rng.randint(1, 60)
    assert script.call("dim", level=level) == level
    script.says(f"Dim to {level}", answer=f"It is at {level}.")


def bright(script: Script) -> None:
    level = script.rng.randint(101, 200)
    script.setup(on=True)
    error = script.failing("dim", level=level)
    script.says(f"Shine at {level}", answer=error, mentions=[["bright"]])


IDEAS = [Idea(Kind.SINGLE, "dim", dim), Idea(Kind.TOOL_FAILED, "bright", bright)]
SHARES = {Kind.SINGLE: 0.5, Kind.TOOL_FAILED: 0.5}


def test_written_tasks_carry_what_their_calls_did(loaded):
    tasks = list(write_tasks(loaded, IDEAS, SHARES, 0, 40))
    for task in tasks:
        level = task.turns[0].expectation.calls[0].arguments["level"]
        failed = task.kind is Kind.TOOL_FAILED
        assert task.end_state == ({} if failed else {"/level": level})
        assert task.setup == ({"on": True} if failed else {})
    assert len({task.turns[0].content for task in tasks}) == 40


def test_the_seed_decides_and_a_shorter_run_is_a_prefix(loaded):
    def texts(seed, count):
        return [t.turns[0].content for t in write_tasks(loaded, IDEAS, SHARES, seed, count)]

    assert texts(1, 30) == texts(1, 30) != texts(2, 30)
    assert texts(1, 30)[:10] == texts(1, 10)


def test_no_conversation_opens_like_another(loaded):
    def twice(script: Script) -> None:
        first, second = script.rng.randint(1, 9), script.rng.randint(1, 60)
        for level in (first, second):
            script.call("dim", level=level)
            script.says(f"Dim to {level}", answer=f"It is at {level}.")

    ideas = [Idea(Kind.SINGLE, "dim", dim), Idea(Kind.MULTI_TURN, "twice", twice)]
    tasks = list(write_tasks(loaded, ideas, {Kind.SINGLE: 0.5, Kind.MULTI_TURN: 0.5}, 0, 12))
    assert {task.kind for task in tasks} == {Kind.SINGLE, Kind.MULTI_TURN}
    assert len({task.turns[0].content for task in tasks}) == 12


def test_ideas_that_run_dry_say_so(loaded):
    with pytest.raises(TaskError, match="no new text after 60 tasks"):
        list(write_tasks(loaded, IDEAS[:1], {Kind.SINGLE: 1}, 0, 100))


@pytest.mark.parametrize(
    "wrong", [lambda s: s.call("dim", level=500), lambda s: s.failing("dim", level=5)]
)
def test_an_expectation_that_does_not_hold_is_noticed(loaded, wrong):
    with pytest.raises(TaskError, match="f: dim"):
        list(write_tasks(loaded, [Idea(Kind.SINGLE, "f", wrong)], {Kind.SINGLE: 1}, 0, 1))


def test_wording():
    rng = random.Random(0)
    said = {phrase(rng, "[do|[go|run] to] {x} [,|] now[?|.]", x="A") for _ in range(60)}
    assert said == {
        f"{v} A{c} now{e}" for v in ("Do", "Go to", "Run to") for c in ("", ",") for e in "?."
    }
    assert phrase(rng, "{id} off", id="tv-41") == "tv-41 off"
    assert [in_words(n) for n in (0, 13, 40, 99, 100, 342)] == [
        "zero",
        "thirteen",
        "forty",
        "ninety-nine",
        "one hundred",
        "three hundred and forty-two",
    ]
    ways = dates(date(2026, 3, 2))
    assert ways == ("2 March", "March 2", "the 2nd of March", "2026-03-02")
    ends = [dates(date(2026, 3, n))[2].split()[1] for n in (1, 3, 4, 11, 12, 13, 21, 31)]
    assert ends == ["1st", "3rd", "4th", "11th", "12th", "13th", "21st", "31st"]
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"
    assert {clock(rng, time(17, 45)) for _ in range(40)} == {
        "17:45",
        "5:45 pm",
        "quarter to six in the afternoon",
    }
    assert {clock(rng, time(12, 0)) for _ in range(40)} == {
        "12:00",
        "12 pm",
        "twelve in the afternoon",
    }


def test_the_example_of_the_readme_works(tmp_path):
    text = (Path(__file__).parents[2] / "tools" / "README.md").read_text()
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    names = ("toolset.yaml", "tools.py", "tasks.jsonl", "tasks.py")
    assert [language for language, _ in blocks] == ["yaml", "python", "json", "python"]
    for name, (_, block) in zip(names, blocks, strict=True):
        (tmp_path / name).write_text(block.replace("\n ", "") if name == "tasks.jsonl" else block)
    loaded = load_toolset(tmp_path)
    assert [task.id for task in load_tasks(loaded, None, 9, 0)] == ["lamp-1"]
    kinds = {t.kind for t in load_tasks(loaded, tmp_path / "tasks.py", 40, 0)}
    assert kinds == {Kind.SINGLE, Kind.TOOL_FAILED}
