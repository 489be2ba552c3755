"""Wrong answers made mechanically from a right one: the rejected side of a preference pair.

Each kind is a function that turns the right answer into a wrong one, or returns None where it does
not apply. What it makes is held against the expectation: an argument that may as well be left out
is no mistake. Wrong answers a teacher really gave are worth more; `pairs` prefers them.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from distill.matching import made_calls, match_calls
from distill.types import (
    AssistantMessage,
    Expectation,
    ExpectedCall,
    Json,
    Tool,
    ToolCall,
    ToolSet,
)


@dataclass(frozen=True)
class Situation:
    """A right answer and what it answers."""

    chosen: AssistantMessage
    said: str
    """The user's words."""
    expectation: Expectation | None
    toolset: ToolSet
    rng: random.Random

    @property
    def expected(self) -> tuple[ExpectedCall, ...]:
        """The calls that are right; the chosen ones where no expectation says so."""
        if self.expectation and self.expectation.calls:
            return self.expectation.calls
        calls = self.chosen.tool_calls
        return tuple(ExpectedCall(name=c.name, arguments=c.parsed(), step=0) for c in calls)


Mistake: TypeAlias = Callable[[Situation], AssistantMessage | None]


def wrong_tool(situation: Situation) -> AssistantMessage | None:
    """Call the tool that resembles the right one most."""
    call = situation.rng.choice(situation.chosen.tool_calls)
    right = situation.toolset.get(call.name)
    others = [tool for tool in situation.toolset.tools if tool.name != call.name]
    if right is None or not others:
        return None
    near = max(others, key=lambda tool: (_likeness(_described(tool), _described(right)), tool.name))
    return with_call(situation, call, near.name, _filled(near, call.parsed(), situation))


def dropped_argument(situation: Situation) -> AssistantMessage | None:
    """Leave an argument out."""
    return _edited(situation, lambda arguments, tool: _without(arguments, situation.rng))


def mistyped_argument(situation: Situation) -> AssistantMessage | None:
    """Give an argument as another JSON type."""
    return _edited(situation, lambda arguments, tool: _mistyped(arguments, situation.rng))


def invented_argument(situation: Situation) -> AssistantMessage | None:
    """Add a parameter that another tool has and this one has not."""
    return _edited(situation, lambda arguments, tool: _invented(arguments, tool, situation))


def asked_instead_of_calling(situation: Situation) -> AssistantMessage | None:
    """Ask for what is known."""
    names = [name for call in situation.chosen.tool_calls for name in call.parsed()]
    if not names:
        return None
    name = situation.rng.choice(names).replace("_", " ")
    return AssistantMessage(content=f"Could you tell me the {name}, please?")


def split_parallel(situation: Situation) -> AssistantMessage | None:
    """Make the first of several calls alone."""
    calls = situation.chosen.tool_calls
    return _calling(situation, calls[:1]) if len(calls) > 1 else None


def needless_call(situation: Situation) -> AssistantMessage | None:
    """Call the tool that sounds nearest, though none fits or something is missing."""
    words = _words(situation.said)
    if not situation.toolset.tools:
        return None
    near = max(situation.toolset.tools, key=lambda t: (_likeness(words, _described(t)), t.name))
    arguments = json.dumps(_filled(near, {}, situation), ensure_ascii=False)
    call = ToolCall(id="call_0", name=near.name, arguments=arguments)
    return AssistantMessage(tool_calls=(call,))


CALLING: Mapping[str, Mistake] = {
    "wrong_tool": wrong_tool,
    "dropped_argument": dropped_argument,
    "mistyped_argument": mistyped_argument,
    "invented_argument": invented_argument,
    "asked_instead_of_calling": asked_instead_of_calling,
    "split_parallel": split_parallel,
}
"""Mistakes where calls are right."""
NEEDLESS = {
    "ask": "called_instead_of_asking",
    "abstain": "called_instead_of_abstaining",
    "answer": "called_in_chat",
}
"""What a needless call is called, by the action that was right."""


def mistaken(situation: Situation, action: str | None) -> tuple[str, AssistantMessage] | None:
    """Return a kind of mistake and the wrong answer, or None when none applies.

    Args:
        situation: The right answer.
        action: What it is when it holds no call: ask, abstain or answer.
    """
    if not situation.chosen.tool_calls:
        wrong = needless_call(situation) if action in NEEDLESS else None
        return (NEEDLESS[action or ""], wrong) if wrong else None
    for kind in situation.rng.sample(list(CALLING), len(CALLING)):
        wrong = CALLING[kind](situation)
        if wrong is not None and is_wrong(kind, wrong, situation):
            return kind, wrong
    return None


def is_wrong(kind: str, wrong: AssistantMessage, situation: Situation) -> bool:
    """Return whether what was made differs from what is right."""
    if not wrong.tool_calls or kind == "split_parallel":
        return True
    made = made_calls((wrong,), 0, 1, situation.toolset)
    match = match_calls(made, situation.expected, situation.toolset)
    return not all(call.ok for call in match.calls)


def _edited(
    situation: Situation, edit: Callable[[dict[str, Json], Tool], dict[str, Json] | None]
) -> AssistantMessage | None:
    call = situation.rng.choice(situation.chosen.tool_calls)
    tool = situation.toolset.get(call.name)
    arguments = edit(call.parsed(), tool) if tool else None
    return None if arguments is None else with_call(situation, call, call.name, arguments)


def with_call(
    situation: Situation, old: ToolCall, name: str, arguments: dict[str, Json]
) -> AssistantMessage:
    """Return the right answer with another call in the place of one."""
    new = ToolCall(id=old.id, name=name, arguments=json.dumps(arguments, ensure_ascii=False))
    calls = situation.chosen.tool_calls
    return _calling(situation, tuple(new if call is old else call for call in calls))


def _calling(situation: Situation, calls: tuple[ToolCall, ...]) -> AssistantMessage:
    return AssistantMessage(content=situation.chosen.content, tool_calls=calls)


def _without(arguments: dict[str, Json], rng: random.Random) -> dict[str, Json] | None:
    if not arguments:
        return None
    left_out = rng.choice(sorted(arguments))
    return {name: value for name, value in arguments.items() if name != left_out}


def _mistyped(arguments: dict[str, Json], rng: random.Random) -> dict[str, Json] | None:
    if not arguments:
        return None
    name = rng.choice(sorted(arguments))
    value = arguments[name]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return arguments | {name: ", ".join(value)}
    return arguments | {name: [value] if isinstance(value, str) else json.dumps(value)}


def _invented(
    arguments: dict[str, Json], tool: Tool, situation: Situation
) -> dict[str, Json] | None:
    own = tool.parameters.get("properties", {})
    foreign = {
        name: schema
        for other in situation.toolset.tools
        for name, schema in other.parameters.get("properties", {}).items()
        if name not in own
    }
    if not foreign:
        return arguments | {"confirm": True} if "confirm" not in own else None
    name = situation.rng.choice(sorted(foreign))
    return arguments | {name: _guess(foreign[name], situation)}


def _filled(tool: Tool, known: Mapping[str, Json], situation: Situation) -> dict[str, Json]:
    """Return arguments a hasty model would give: what fits by name, guesses for the rest."""
    properties = tool.parameters.get("properties", {})
    required = tool.parameters.get("required", ())
    return {
        name: known[name] if name in known else _guess(schema, situation)
        for name, schema in properties.items()
        if name in known or name in required
    }


def _guess(schema: Mapping[str, Any], situation: Situation) -> Json:
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            schema = next((s for s in schema[keyword] if s.get("type") != "null"), {})
    if "enum" in schema:
        return situation.rng.choice(schema["enum"])
    match schema.get("type"):
        case "boolean":
            return True
        case "integer" | "number":
            return _guess_number(schema, situation)
        case "array":
            return [_guess(schema.get("items", {}), situation)]
        case "object":
            inner = schema.get("properties", {})
            return {name: _guess(inner[name], situation) for name in schema.get("required", ())}
    formats = {"date": "2026-01-01", "time": "09:00:00", "date-time": "2026-01-01T09:00:00"}
    words = [word for word in re.findall(r"\w+", situation.said) if len(word) > 3]
    return formats.get(schema.get("format", "")) or situation.rng.choice(words or ["main"])


def _guess_number(schema: Mapping[str, Any], situation: Situation) -> float:
    low = schema.get("minimum", 1)
    high = schema.get("maximum", low + 9)
    said = [int(number) for number in re.findall(r"\d+", situation.said)]
    return next((number for number in said if low <= number <= high), low)


def _likeness(mine: frozenset[str], theirs: frozenset[str]) -> float:
    return len(mine & theirs) / (len(mine | theirs) or 1)


def _described(tool: Tool) -> frozenset[str]:
    names = " ".join(tool.parameters.get("properties", {}))
    return _words(f"{tool.name} {tool.description} {names}")


@lru_cache(maxsize=4096)
def _words(text: str) -> frozenset[str]:
    return frozenset(word for word in re.findall(r"[^\W_]+", text.casefold()) if len(word) > 2)
