"""The dialogue being written: messages so far, tools at hand, values of a call."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Protocol

from . import wording
from .makers import World
from .toolbox import RandomTool, Toolbox
from .wording import Value

Values = dict[str, Value]
"""Parameter name -> value."""


class Named(Protocol):
    """A tool of any kind."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


@dataclass
class Talk:
    """Messages of a dialogue that is being written."""

    rng: random.Random
    world: World
    messages: list[dict[str, Any]]

    def say(self, role: str, text: str) -> None:
        """Add a message of the user or the assistant."""
        self.messages.append({"role": role, "content": text})

    def call(self, *calls: tuple[Named, dict[str, Any]]) -> None:
        """Add an assistant turn that makes calls."""
        made = [
            {
                "id": f"call_{len(self.messages)}_{position}",
                "type": "function",
                "function": {"name": tool.name, "arguments": arguments},
            }
            for position, (tool, arguments) in enumerate(calls)
        ]
        self.messages.append({"role": "assistant", "content": None, "tool_calls": made})

    def result(self, value: Any, position: int = 0) -> None:
        """Add the result of one call, as JSON text."""
        content = wording.json_text(value)
        call_id = f"call_{len(self.messages) - 1 - position}_{position}"
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": content})


@dataclass
class Stage(Talk):
    """A dialogue over random tools."""

    box: Toolbox
    last: tuple[RandomTool, Values] | None = None
    """The last call that worked, for follow-ups."""


def values_for(stage: Stage, tool: RandomTool) -> Values:
    """Draw the values of a call: everything required, optional ones now and then."""
    chosen = [
        s for s in tool.slots
        if s.required or s.kind == "toggle" or stage.rng.random() < 0.35
    ]  # fmt: skip
    if not tool.deed and not tool.reading and not chosen and tool.slots:
        chosen = [stage.rng.choice(tool.slots)]
    return {s.key: s.draw(stage.rng, stage.world) for s in chosen}


def arguments(tool: RandomTool, values: Values) -> dict[str, Any]:
    """Return the arguments in the order of the tool's parameters; defaults are left out."""
    given = {s.key: values[s.key].json for s in tool.slots if s.key in values}
    usual = {s.key: s.schema["default"] for s in tool.slots if "default" in s.schema}
    return {k: v for k, v in given.items() if k not in usual or usual[k] != v}
