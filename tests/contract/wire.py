"""A transport that answers from a script and keeps every request body, and who asks over it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import httpx2
import pytest
from pydantic import TypeAdapter

from distill.config import TeacherConfig
from distill.teachers import TeacherError
from distill.teachers.sdk import SdkTeacher
from distill.types import (
    AssistantMessage,
    Message,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    Turn,
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


Check = Callable[..., None]


class Asker:
    """Asks a new teacher of one kind every time."""

    def __init__(self, teacher: type[SdkTeacher], check: Check, **config: Any):
        self.teacher, self.check, self.config = teacher, check, config

    async def ask(
        self,
        wire: Wire,
        messages: Sequence[Message] = CONVERSATION,
        tools: Sequence[Tool] = TOOLS,
        **fields: Any,
    ) -> Turn:
        """Return the answer; `fields` are added to the config.

        What is sent must be what the SDK declares, but for the fields that the user adds.
        """
        config = TeacherConfig(**self.config, **fields)
        teacher = self.teacher(config, wire.client())
        try:
            return await teacher.complete(messages, tools)
        finally:
            await teacher.close()
            for body in wire.bodies:
                self.check(body, {"temperature", *config.extra})

    async def count(self, wire: Wire, check: Check) -> int | None:
        """Return the tokens counted; what is sent must be what `check` declares."""
        teacher = self.teacher(TeacherConfig(**self.config), wire.client())
        try:
            return await teacher.count_tokens(CONVERSATION, TOOLS)
        finally:
            await teacher.close()
            for body in wire.bodies:
                check(body)

    async def failure(self, wire: Wire, **fields: Any) -> TeacherError:
        """Return the error that the call must end in."""
        with pytest.raises(TeacherError) as caught:
            await self.ask(wire, **fields)
        return caught.value


BROKEN = (
    httpx2.ConnectError("refused"),
    httpx2.ReadTimeout("slow"),
    httpx2.RemoteProtocolError("gone"),
    httpx2.Response(200, content=b'{"cut":', headers={"content-type": "application/json"}),
)
"""What a connection that fails gives instead of an answer."""


def plain(value: Any) -> Any:
    """Walk a validated value: iterables of a TypedDict are only checked as they are read."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        return [plain(inner) for inner in value]
    return value


def checker(type_: Any) -> Check:
    """Return a function that refuses what the SDK's own parameter type refuses.

    Validation drops fields that the type does not have, so what is left must be what was sent.
    Fields that the user adds and the type does not declare are passed over.
    """
    adapter = TypeAdapter(type_)
    declared = type_.__required_keys__ | type_.__optional_keys__

    def check(body: dict[str, Any], added: Collection[str] = ()) -> None:
        sent = {name: body[name] for name in body if name in declared or name not in added}
        assert plain(adapter.validate_python(sent)) == sent

    return check
