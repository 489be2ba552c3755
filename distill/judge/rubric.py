"""What a judge is asked about a conversation, and how its answer is read.

The system message holds the rubric and the tools, which all conversations on one tool set share, so
that providers read it from their cache; the user message holds the conversation as JSON:

    [{"role": "user", "content": "Dim the hall to a third"},
     {"role": "assistant", "calls": [{"id": 1, "tool": "set_light", "arguments": {...}}]},
     {"role": "tool", "id": 1, "result": {...}}, ...]

The answer is one JSON object with a verdict on each of three points (`Opinion`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from distill.types import (
    AssistantMessage,
    Json,
    Message,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
    digest,
)

RUBRIC = """\
You check the work of an assistant that answers users by calling tools. You are shown the tools it
had and one conversation. Judge only what the assistant did; tools and users are as they are.

Give a verdict on three points:

calls: Does every call do what the user asked for? The right tool among those listed, every argument
as the user said or as it follows from the conversation, the results and the tool's description,
nothing the user did not want. If the assistant ended with words although a call was due, that is
wrong; if it made a call although no tool fits or a required value was never given, that is wrong.
questions: If the assistant asked something back: was the answer needed, and not to be found in the
conversation?
answer: Does what the assistant says at the end agree with what the tools returned, without claiming
anything they did not?

The conversation may break off after a call of the assistant. Then judge what it did so far; calls
that may still follow are not missing.

Each verdict is "right", "wrong" or "none" (there is nothing of the kind). Give the reason for a
"wrong" in one sentence. Answer with one JSON object and nothing else:

{"calls": {"verdict": "right", "reason": ""}, "questions": {"verdict": "none", "reason": ""},
 "answer": {"verdict": "wrong", "reason": "says 40%, the tool returned 33"}}"""

CODES = {"calls": "wrong_call", "questions": "needless_question", "answer": "wrong_answer"}
"""Point -> code of the verdict when it is wrong."""
RUBRIC_DIGEST = digest(RUBRIC)


class Point(BaseModel):
    """The verdict on one point; what else a model adds is left out."""

    model_config = ConfigDict(frozen=True)

    verdict: Literal["right", "wrong", "none"]
    reason: str = ""

    @model_validator(mode="after")
    def _says_why(self) -> Point:
        if self.verdict == "wrong" and not self.reason.strip():
            raise ValueError('a "wrong" needs its reason')
        return self


class Opinion(BaseModel):
    """What a judge says about one conversation."""

    model_config = ConfigDict(frozen=True)

    calls: Point
    questions: Point
    answer: Point

    @property
    def fault(self) -> tuple[str, str] | None:
        """Code and reason of the first point that is wrong; None: nothing is."""
        points = {name: getattr(self, name) for name in CODES}
        found = ((CODES[n], p.reason) for n, p in points.items() if p.verdict == "wrong")
        return next(found, None)


@dataclass(frozen=True)
class Exhibit:
    """What a judge is shown."""

    key: str
    """The trace it comes from; its calls are booked there."""
    messages: Sequence[Message]
    tools: Sequence[Tool]

    @cached_property
    def prompt(self) -> tuple[Message, ...]:
        """The request."""
        tools = json.dumps([tool.as_function()["function"] for tool in self.tools])
        shown = json.dumps(list(_shown(self.messages)), ensure_ascii=False)
        return (
            SystemMessage(content=f"{RUBRIC}\n\nThe tools:\n{tools}"),
            UserMessage(content=f"The conversation:\n{shown}"),
        )

    @cached_property
    def content(self) -> str:
        """Digest of what is shown, whatever the rubric."""
        tools = [tool.as_function() for tool in self.tools]
        return digest([tools, list(_shown(self.messages))])


def read_opinion(text: str | None) -> Opinion:
    """Read a judge's answer: the JSON object in it.

    Raises:
        ValueError: There is none, or it is no `Opinion`; the message says what is wrong with it.
    """
    text = text or ""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise ValueError("there is no JSON object in it")
    try:
        return Opinion.model_validate_json(text[start : end + 1])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def _shown(messages: Iterable[Message]) -> Iterator[dict[str, Json]]:
    """Yield messages as the judge reads them; calls are numbered, whatever their ids."""
    numbers: dict[str, int] = {}
    count = 0
    for message in messages:
        match message:
            case AssistantMessage():
                row: dict[str, Json] = {"role": "assistant"}
                if message.content:
                    row["content"] = message.content
                numbers = {call.id: count + n for n, call in enumerate(message.tool_calls, 1)}
                count += len(message.tool_calls)
                if message.tool_calls:
                    row["calls"] = [_call(numbers[call.id], call) for call in message.tool_calls]
                yield row
            case ToolMessage():
                shown = {"role": "tool", "id": numbers.get(message.tool_call_id)}
                result = "error" if message.is_error else "result"
                yield shown | {result: _value(message.content)}
            case _:
                yield {"role": message.role, "content": message.content}


def _call(number: int, call: ToolCall) -> dict[str, Json]:
    return {"id": number, "tool": call.name, "arguments": _value(call.arguments)}


def _value(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError:
        return text
