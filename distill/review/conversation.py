"""One trace as the page shows it: the conversation, what was expected, the facts around it.

Values for a template, all plain text. The texts of a trace are not to be trusted: a tool may have
returned anything. Escaping them is the template's business, and it does so everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from distill.review.marked import Arguments, Piece, pretty, pretty_text, read_arguments
from distill.review.sample import Row
from distill.traces import Trace
from distill.traces.reviews import Review
from distill.types import (
    AssistantMessage,
    Expectation,
    ExpectedCall,
    Json,
    Message,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    ToolSet,
    UserMessage,
    Verdict,
)

ACTIONS = {
    "ask": "ask back for what is missing, call nothing",
    "abstain": "say that no tool fits, call nothing",
    "answer": "answer in words, call nothing",
}
"""What is expected where no call is."""


class Result(NamedTuple):
    """What a call returned."""

    at: int
    """Index of the message in the trace."""
    pieces: tuple[Piece, ...]
    failed: bool


class Call(NamedTuple):
    """A call with its result."""

    name: str
    arguments: Arguments
    result: Result | None
    was: str | None
    """The arguments before they were fixed."""


class Demand(NamedTuple):
    """One thing a right answer to a user turn does."""

    text: str
    is_call: bool = False


class Entry(NamedTuple):
    """One message of the conversation; results stand with their calls."""

    role: str
    at: int
    """Index of the message in the trace."""
    text: str
    calls: tuple[Call, ...] = ()
    expected: tuple[Demand, ...] = ()
    """What a right answer to this user turn is, a line each."""
    context_only: bool = False
    was: str | None = None
    """The words before they were fixed."""


class Parameter(NamedTuple):
    """One parameter of a tool in words."""

    name: str
    type: str
    required: bool
    text: str


class OfferedTool(NamedTuple):
    """A tool the model could call."""

    name: str
    text: str
    parameters: tuple[Parameter, ...]
    called: bool


class View(NamedTuple):
    """Everything the page shows about one trace."""

    system: str | None
    entries: tuple[Entry, ...]
    tools: tuple[OfferedTool, ...]
    concerns: tuple[Verdict, ...]
    """Findings of the filter about something, forgiven ones among them."""
    clean: tuple[Verdict, ...]
    """Checks that found nothing."""
    facts: tuple[tuple[str, str], ...]
    changes: tuple[tuple[str, str], ...]
    review: Review | None
    kind: str
    task: str
    agreement: float | None
    """Share of the task's samples that did the same, where not all did."""


def view(
    trace: Trace, row: Row, toolset: ToolSet, verdicts: Sequence[Verdict], review: Review | None
) -> View:
    """Lay out a trace.

    Args:
        trace: As it was collected.
        row: Its place in the data set.
        toolset: The tools as they are now.
        verdicts: What the filter finds.
        review: What was decided about it, if anything.
    """
    shown = review.corrected(trace) if review else trace
    system = next((m.content for m in shown.messages if isinstance(m, SystemMessage)), None)
    called = {call.name for call in shown.calls}
    concerns = [v for v in verdicts if not v.ok or v.turn is not None]
    return View(
        system=system,
        entries=tuple(_entries(shown, trace, toolset, row.context)),
        tools=tuple(_offered(tool, tool.name in called) for tool in toolset.tools),
        concerns=tuple(concerns),
        clean=tuple(v for v in verdicts if v not in concerns),
        facts=tuple(_facts(trace, row)),
        changes=tuple((k, _plain(v)) for k, v in (shown.changes or {}).items()),
        review=review,
        kind=str(trace.task.kind).replace("_", " "),
        task=trace.task.id,
        agreement=row.agreement if row.disputed else None,
    )


def result_of(messages: Sequence[Message], at: int) -> Result | None:
    """Return message `at` as it is shown; None when it is no result of a call."""
    message = messages[at]
    if not isinstance(message, ToolMessage):
        return None
    return Result(at, pretty_text(message.content), message.is_error)


def demands(expectation: Expectation | None) -> tuple[Demand, ...]:
    """Return what a right answer does, one line each."""
    if expectation is None:
        return ()
    found = [Demand(_written(call), is_call=True) for call in expectation.calls]
    if expectation.action in ACTIONS:
        found.append(Demand(ACTIONS[expectation.action]))
    groups = (" or ".join(f'"{word}"' for word in group) for group in expectation.mentions)
    return (*found, *(Demand(f"mention {group}") for group in groups))


def _written(call: ExpectedCall) -> str:
    """Return an expected call with its values as JSON, as the calls made are shown."""
    given = (f"{n}={json.dumps(v, ensure_ascii=False)}" for n, v in call.arguments.items())
    return f"{call.name}({', '.join(given)})"


def _entries(
    shown: Trace, original: Trace, toolset: ToolSet, context: Sequence[int]
) -> list[Entry]:
    entries: list[Entry] = []
    users = turns = 0
    for index, message in enumerate(shown.messages):
        match message:
            case UserMessage():
                asked = shown.task.turns[users] if users < len(shown.task.turns) else None
                wanted = demands(asked.expectation if asked else None)
                entries.append(Entry("user", index, message.content, expected=wanted))
                users += 1
            case AssistantMessage():
                before = original.messages[index]
                calls = tuple(_calls(shown.messages, index, before, toolset))
                words = message.content or ""
                old = before.content if before.content != message.content else None
                entries.append(Entry("assistant", index, words, calls, (), turns in context, old))
                turns += 1
    return entries


def _calls(
    messages: Sequence[Message], at: int, before: Message, toolset: ToolSet
) -> Iterator[Call]:
    """Yield the calls of message `at`; `before` is the message before it was fixed."""
    places: dict[str, int] = {}
    for place in range(at + 1, len(messages)):
        following = messages[place]
        if not isinstance(following, ToolMessage):
            break
        places[following.tool_call_id] = place
    for call, old in zip(_made(messages[at]), _made(before), strict=True):
        yield Call(
            name=call.name,
            arguments=read_arguments(call, toolset.get(call.name)),
            result=result_of(messages, places[call.id]) if call.id in places else None,
            was=old.arguments if old.arguments != call.arguments else None,
        )


def _made(message: Message) -> tuple[ToolCall, ...]:
    return message.tool_calls if isinstance(message, AssistantMessage) else ()


def _offered(tool: Tool, called: bool) -> OfferedTool:
    required = tool.parameters.get("required", [])
    parameters = tuple(
        Parameter(name, _type(schema), name in required, str(schema.get("description", "")))
        for name, schema in tool.parameters.get("properties", {}).items()
    )
    return OfferedTool(tool.name, tool.description, parameters, called)


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a parameter in a few words: `one of a, b`, `integer 0 to 100`."""
    if "enum" in schema:
        return "one of " + ", ".join(map(_plain, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    name = schema.get("type", "anything")
    words = " or ".join(name) if isinstance(name, list) else str(name)
    if words == "array":
        words = f"list of {_type(schema.get('items', {}))}"
    if "format" in schema:
        words = str(schema["format"])
    if "minimum" in schema and "maximum" in schema:
        words += f" {schema['minimum']} to {schema['maximum']}"
    if "default" in schema:
        words += f", {_plain(schema['default'])} when left out"
    return words


def _facts(trace: Trace, row: Row) -> list[tuple[str, str]]:
    cost = "price unknown" if trace.cost_usd is None else f"${trace.cost_usd:.4g}"
    usage = trace.usage
    return [
        ("Teacher", f"{trace.teacher.model} ({trace.teacher.provider})"),
        ("Cost", f"{cost}, {usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"),
        ("Tool set", f"{trace.toolset_name} {trace.toolset_hash}"),
        ("Family", trace.task.family),
        ("Row", row.place),
        ("Collected", trace.finished_at[:16].replace("T", " ")),
        ("Key", trace.key),
    ]


def _plain(value: Json) -> str:
    return "".join(piece.text for piece in pretty(value))
