"""A transport that answers from a script and keeps every request body, for the contract tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2

from distill.types import (
    AssistantMessage,
    Message,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)

TOOLS = (
    Tool(
        name="set_lamp",
        description="Set a lamp.",
        parameters={
            "type": "object",
            "properties": {
                "room": {"type": "string", "enum": ["hall", "attic"]},
                "level": {"type": "integer", "minimum": 0, "default": 100},
                "scene": {"type": "object", "properties": {"tags": {"type": "array"}}},
            },
            "required": ["room"],
            "additionalProperties": False,
        },
    ),
    Tool(name="list_lamps", description="List.", parameters={"type": "object", "properties": {}}),
)

CONVERSATION: tuple[Message, ...] = (
    SystemMessage(content="You run the lamps."),
    UserMessage(content="Both lamps on."),
    AssistantMessage(
        content="Right away.",
        tool_calls=(
            ToolCall(id="call_1", name="set_lamp", arguments='{"room": "hall"}'),
            ToolCall(id="call_2", name="set_lamp", arguments='{"room": "attic"}'),
        ),
    ),
    ToolMessage(tool_call_id="call_1", name="set_lamp", content='{"level": 100}'),
    ToolMessage(tool_call_id="call_2", name="set_lamp", content='{"error": "x"}', is_error=True),
    AssistantMessage(content="Only the hall works."),
    UserMessage(content="Thanks. And now off."),
)

Answer = dict[str, Any] | httpx2.Response | Exception


class Wire:
    """Answers request by request; `bodies` is what was sent."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[httpx2.Request] = []

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self._handle))

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        self.bodies.append(json.loads(request.content))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return answer
        return httpx2.Response(200, json=answer, headers=REQUEST_ID)


REQUEST_ID = {"request-id": "req_7", "x-request-id": "req_7"}


def failing(status: int, body: Any, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json=body, headers=REQUEST_ID | named)


def consume(value: Any) -> None:
    """Walk a validated value: iterables of a TypedDict are only checked as they are read."""
    if isinstance(value, dict):
        for inner in value.values():
            consume(inner)
    elif not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        for inner in value:
            consume(inner)


def checker(type_: Any) -> Callable[[Any], None]:
    """Return a function that refuses what the SDK's own parameter type refuses."""
    from pydantic import TypeAdapter

    adapter = TypeAdapter(type_)
    return lambda body: consume(adapter.validate_python(body))
