"""What every importer makes of a row: a `Conversation`, or a `Skip` that says why not.

An importer is one function of one row. It reads the format and nothing else: names a provider would
refuse, duplicates and rows that a later row continues are dealt with by `distill.traces.importing`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distill.toolsets.sources.foreign import read_tool
from distill.toolsets.sources.schema import SchemaProblem
from distill.types import (
    AssistantMessage,
    Expectation,
    ExpectedCall,
    Json,
    Kind,
    Message,
    Tool,
    ToolCall,
    ToolMessage,
    Usage,
)


class Skip(Exception):
    """A row gives no conversation; the message is the reason, worded alike for like rows."""


@dataclass(frozen=True)
class Conversation:
    """A conversation as its source has it."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] | None
    """None: the source does not say which tools there were."""
    model: str = ""
    kind: Kind | None = None
    """None: derived from what happens in it."""
    expectation: Expectation | None = None
    """What is known to be right in its last user turn."""
    usage: Usage = field(default_factory=Usage)
    """Of its last model call."""
    at: str = ""
    """When it ended, ISO 8601; empty: unknown."""


def parsed(value: Json, what: str) -> Any:
    """Return JSON that may come as text.

    Raises:
        Skip: The text is not JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise Skip(f"{what} is not JSON") from None


def tools_of(rows: Json) -> tuple[Tool, ...]:
    """Read a tool list in any SDK's form.

    Raises:
        Skip: It is no list, or one of them is no tool.
    """
    rows = parsed(rows, "the tool list") if rows is not None else []
    if not isinstance(rows, list):
        raise Skip("the tools are no list")
    return _read_tools(json.dumps(rows, ensure_ascii=False))


@functools.lru_cache(maxsize=256)  # an agent's requests repeat one list; checking schemas is slow
def _read_tools(text: str) -> tuple[Tool, ...]:
    tools: dict[str, Tool] = {}
    for row in json.loads(text):
        try:
            tool = read_tool(parsed(row, "a tool"))
        except SchemaProblem as problem:
            raise Skip(f"a tool cannot be used: {_general(str(problem))}") from None
        if tools.setdefault(tool.name, tool) != tool:
            raise Skip("two different tools have one name")
    return tuple(tools.values())


def call(name: Json, arguments: Json, call_id: Json = None, number: int = 0) -> ToolCall:
    """Return a call; arguments may be an object or the text of one.

    Raises:
        Skip: There is no name, or the arguments are neither.
    """
    if not isinstance(name, str) or not name:
        raise Skip("a call has no name")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    if arguments is None:
        arguments = "{}"
    if not isinstance(arguments, str):
        raise Skip("the arguments of a call are no object")
    return ToolCall(id=str(call_id or f"call_{number}"), name=name, arguments=arguments)


def text_of(content: Json) -> str:
    """Return the text of a message whose content is text or a list of text parts.

    Raises:
        Skip: It holds images, audio or files.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return json.dumps(content, ensure_ascii=False)
    texts = []
    for part in content:
        text = part if isinstance(part, str) else _part_text(part)
        if text is None:
            raise Skip("a message holds something other than text")
        texts.append(text)
    return "\n".join(text for text in texts if text)


def _part_text(part: Json) -> str | None:
    if not isinstance(part, dict) or part.get("type") not in _TEXTS:
        return "" if isinstance(part, dict) and part.get("type") in _HIDDEN else None
    return str(part.get("text") or "")


_TEXTS = ("text", "input_text", "output_text")
_HIDDEN = ("thinking", "redacted_thinking", "reasoning")
"""Never imported: opaque, and not what a student is to write."""


def says_error(content: str) -> bool:
    """Whether a result whose source has no flag for it is an error."""
    try:
        value = json.loads(content)
    except ValueError:
        return content.lstrip().lower().startswith(("error:", "error executing"))
    if not isinstance(value, Mapping):
        return False
    return bool(value.get("error")) or value.get("status") == "error"


def results(calls: Sequence[ToolCall], contents: Iterable[str]) -> list[ToolMessage]:
    """Pair results that carry no id with the calls they answer, in order.

    Raises:
        Skip: There are more or fewer results than calls.
    """
    listed = list(contents)
    if len(listed) != len(calls):
        raise Skip("results and calls do not match in number")
    return [
        ToolMessage(tool_call_id=c.id, name=c.name, content=text, is_error=says_error(text))
        for c, text in zip(calls, listed, strict=True)
    ]


def calls_only(message: AssistantMessage) -> Expectation:
    """Return the expectation of data that ends with its right calls, without results."""
    try:
        calls = tuple(ExpectedCall(name=c.name, arguments=c.parsed()) for c in message.tool_calls)
    except ValueError:
        raise Skip("the arguments of a call are no JSON object") from None
    return Expectation(action="call", calls=calls, words=False)


def share_gpt(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the turns of a ShareGPT row: who says it, and the text.

    Raises:
        Skip: The row has none.
    """
    turns = row.get("conversations")
    if not isinstance(turns, list):
        raise Skip("no conversations")
    return [(str(turn.get("from")), str(turn.get("value") or "")) for turn in turns]


def judged_by_its_end(messages: Sequence[Message], tools: tuple[Tool, ...]) -> Conversation:
    """Return a conversation; calls at its end are what is right there."""
    last = messages[-1] if messages else None
    expectation = None
    if isinstance(last, AssistantMessage) and last.tool_calls:
        expectation = calls_only(last)
    return Conversation(messages=renumbered(messages), tools=tools, expectation=expectation)


def renumbered(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Give the calls of a conversation ids of their own, and their results with them."""
    number, ids, done = 0, dict[str, str](), list[Message]()
    for message in messages:
        if isinstance(message, AssistantMessage) and message.tool_calls:
            calls = []
            for one in message.tool_calls:
                number += 1
                ids[one.id] = f"call_{number}"
                calls.append(one.model_copy(update={"id": ids[one.id]}))
            message = message.model_copy(update={"tool_calls": tuple(calls)})
        elif isinstance(message, ToolMessage):
            known = ids.get(message.tool_call_id, message.tool_call_id)
            message = message.model_copy(update={"tool_call_id": known})
        done.append(message)
    return tuple(done)


def _general(problem: str) -> str:
    """Return a reason without what differs from row to row."""
    return problem.split(":")[0][:60]
