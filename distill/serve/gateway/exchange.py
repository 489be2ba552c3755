"""One chat request and its answer, as far as the gateway reads them.

Bodies stay as they came, in OpenAI's shape; only what decides the way of a request has a name
here. An unreadable request is vLLM's to refuse, in its own words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from distill.chat import OBSERVE, from_chat
from distill.types import Message, Tool, ToolSet


class Problem(NamedTuple):
    """Why an answer is not fit to be acted on."""

    code: str
    detail: str


@dataclass(frozen=True)
class Ask:
    """One chat completion request."""

    body: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The model that is asked."""
        return str(self.body.get("model"))

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted piece by piece."""
        return bool(self.body.get("stream"))

    @property
    def observed(self) -> bool:
        """Whether the model's own answer is wanted, whatever it is."""
        return bool(self.body.get(OBSERVE))

    @property
    def offers_tools(self) -> bool:
        """Whether the model may call anything."""
        return bool(self.body.get("tools"))

    @property
    def single(self) -> bool:
        """Whether one answer is wanted, not several to choose from."""
        return self.body.get("n") in (None, 1)

    @property
    def must_call(self) -> str | None:
        """The tool that has to be called; "" for any; None when the model is free."""
        choice = self.body.get("tool_choice")
        if isinstance(choice, Mapping):
            function = choice.get("function")
            return str(function.get("name")) if isinstance(function, Mapping) else None
        return "" if choice == "required" else None

    @cached_property
    def toolset(self) -> ToolSet:
        """The tools on offer, under the request's system prompt.

        Raises:
            ValueError: They are not in OpenAI's shape.
        """
        first = self.messages[0] if self.messages else None
        system = first.content if first and first.role == "system" else None
        return ToolSet(name="request", tools=self._tools(None), system=system)

    def offer(self, name: str) -> ToolSet:
        """Return what is on offer under a name; every call needs that, few need all the tools.

        Raises:
            ValueError: They are not in OpenAI's shape.
        """
        return ToolSet(name="request", tools=self._tools(name))

    def _tools(self, name: str | None) -> tuple[Tool, ...]:
        try:
            functions = [tool["function"] for tool in self.body.get("tools") or ()]
            return tuple(
                Tool(
                    name=function["name"],
                    description=function.get("description") or "",
                    parameters=function.get("parameters") or {"type": "object"},
                )
                for function in functions
                if name in (None, function["name"])
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a tool without {error}") from None

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """The conversation so far.

        Raises:
            ValueError: It holds something other than text.
        """
        return tuple(from_chat(_plain(row)) for row in self.body.get("messages") or ())

    def raw(self, **changes: Any) -> bytes:
        """Return the body for vLLM, with some fields changed."""
        rest = {name: value for name, value in self.body.items() if name != OBSERVE}
        return json.dumps(rest | changes, ensure_ascii=False).encode()


def read_ask(raw: bytes) -> Ask | None:
    """Return the request in a body; None when it is not a JSON object."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return Ask(body) if isinstance(body, dict) else None


def _plain(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message with its content as one text."""
    content = row.get("content")
    if not isinstance(content, list):
        return row
    if any(part.get("type") != "text" for part in content):
        raise ValueError("the conversation holds more than text")
    return {**row, "content": "".join(part["text"] for part in content)}
