"""What a right answer to one user turn consists of: rounds of calls, then a text.

A plan holds no history. `script.py` compares it with what has happened; `mistakes.py` turns a
right plan into a wrong one.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from distill.demo.teacher import phrases
from distill.demo.teacher.guesses import free_text
from distill.types import ExpectedCall, Json, Task, Tool, ToolSet, UserTurn

SPELL_OUT_DEFAULT = 0.1
LEAVE_OUT_DEFAULT = 0.15
OTHER_ACCEPTED_VALUE = 0.1


@dataclass(frozen=True)
class PlannedCall:
    """One call as it will be emitted."""

    name: str
    arguments: str
    right: PlannedCall | None = None
    """What is called instead once this one has failed; None: the same again."""


@dataclass(frozen=True)
class Plan:
    """The answer to one user turn."""

    rounds: tuple[tuple[PlannedCall, ...], ...] = ()
    """Calls of one round go out in one message; the next round waits for all results."""
    text: str | None = None
    """The final text; None: phrased from the expectation and the tool results."""
    retries: int = 0
    """How often a failed call is repeated before the failure is reported."""
    ignores_errors: bool = False
    """Whether failed calls are passed over as if they had succeeded."""
    mistaken: bool = False
    """Whether this is no longer the right plan."""

    @property
    def calls(self) -> tuple[PlannedCall, ...]:
        """Every call, in order."""
        return tuple(call for calls in self.rounds for call in calls)


@dataclass(frozen=True)
class Scene:
    """One user turn of a task, with all that planning an answer needs."""

    task: Task
    turn: UserTurn
    toolset: ToolSet
    rng: random.Random

    def tool(self, name: str) -> Tool:
        """Return the tool a planned call names (task loading made sure that it exists)."""
        tool = self.toolset.get(name)
        assert tool is not None, name
        return tool


def right_plan(scene: Scene) -> Plan:
    """Return the plan that meets the expectation of the scene's user turn."""
    expectation, rng = scene.turn.expectation, scene.rng
    if expectation is None:
        return Plan(text=phrases.unknown(rng))
    match expectation.action:
        case "ask":
            return Plan(text=phrases.question(expectation, rng))
        case "abstain":
            return Plan(text=phrases.abstention(expectation, rng))
        case "answer":
            return Plan(text=phrases.chat(expectation, rng))
    calls = sorted(expectation.calls, key=lambda call: call.step)
    rounds = tuple(
        tuple(_planned(call, scene) for call in step)
        for _, step in groupby(calls, key=lambda call: call.step)
    )
    return Plan(rounds=rounds, retries=_retries(scene))


def written(arguments: dict[str, Json]) -> str:
    """Serialise arguments the way models do: spaces after separators, characters as they are."""
    return json.dumps(arguments, ensure_ascii=False)


def _retries(scene: Scene) -> int:
    """Repeating helps where an injected fault ends; a call expected twice is its own retry."""
    assert scene.turn.expectation is not None
    expected = [(c.name, c.arguments) for c in scene.turn.expectation.calls]
    if any(expected.count(call) > 1 for call in expected):
        return 0
    names = {name for name, _ in expected}
    return max((f.times for f in scene.task.faults if f.tool in names and f.times), default=0)


def _planned(expected: ExpectedCall, scene: Scene) -> PlannedCall:
    schema = scene.tool(expected.name).parameters
    required = schema.get("required", ())
    arguments = {}
    for name, rules in schema.get("properties", {}).items():
        value = _value(name, rules, expected, scene)
        if value is not None or name in required:
            arguments[name] = value
    return PlannedCall(expected.name, written(arguments))


def _value(name: str, rules: dict[str, Any], expected: ExpectedCall, scene: Scene) -> Json:
    """Return the value to write for one parameter; None: leave it out."""
    rng, default = scene.rng, rules.get("default")
    if name in expected.arguments:
        value = expected.arguments[name]
        others = expected.accept.get(name)
        if others and rng.random() < OTHER_ACCEPTED_VALUE:
            return rng.choice(others)
        leave_out = default is not None and value == default and rng.random() < LEAVE_OUT_DEFAULT
        return None if leave_out else value
    if name in expected.free:
        return free_text(scene.turn.content)
    return default if rng.random() < SPELL_OUT_DEFAULT else None
