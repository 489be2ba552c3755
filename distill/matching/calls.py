"""One call: what is wrong with it by itself, and how it differs from one expected call.

Which of several expected calls it stands for is decided in `callsets`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Any

from distill.matching.codes import Code
from distill.matching.values import ABSENT, STRICT, difference, property_schema, shown, with_default
from distill.toolsets import validate_arguments
from distill.types import (
    AssistantMessage,
    ExpectedCall,
    Frozen,
    Json,
    Message,
    Tool,
    ToolCall,
    ToolMessage,
    ToolSet,
    canonical_json,
)


class CallMatch(Frozen):
    """How one made call compares with what was expected."""

    message: int
    """Index of the assistant message that holds the call."""
    call: ToolCall
    code: Code
    detail: str
    name_ok: bool
    """A call of this tool was expected here."""
    arguments_ok: bool
    """Its arguments are the expected ones."""
    schema_ok: bool
    """The tool exists and its JSON Schema accepts the arguments."""
    failed: bool = False
    """Its result was an error."""
    retried: bool = False
    """It failed and was made again unchanged: an attempt, not a call of its own."""

    @property
    def ok(self) -> bool:
        """Whether this is an expected call."""
        return self.code is Code.OK


class MadeCall(Frozen):
    """A call as it stands in a conversation, looked at but not yet compared."""

    message: int
    call: ToolCall
    arguments: dict[str, Json] | None
    """None: they do not parse."""
    problem: tuple[Code, str] | None
    """What is wrong with it whatever was expected."""
    failed: bool
    retried: bool = False

    @property
    def shown(self) -> str:
        """The call as one reads it, shortened."""
        text = f"{self.call.name}({self.call.arguments})"
        return text if len(text) <= 100 else text[:97] + "..."

    def match(self, code: Code, detail: str, *, name_ok: bool) -> CallMatch:
        """Return the finding about this call."""
        return CallMatch(
            message=self.message,
            call=self.call,
            code=code,
            detail=detail,
            name_ok=name_ok,
            arguments_ok=code is Code.OK,
            schema_ok=self.problem is None,
            failed=self.failed,
            retried=self.retried,
        )

    @property
    def identity(self) -> tuple[str, str]:
        """Name and canonical arguments: equal for identical calls."""
        arguments = self.call.arguments if self.arguments is None else self.arguments
        return self.call.name, canonical_json(arguments)


def made_calls(
    messages: Sequence[Message], start: int, end: int, toolset: ToolSet
) -> list[MadeCall]:
    """Return the calls of `messages[start:end]` in order, each looked at on its own."""
    made = [
        _look_at(call, index, call.id in _failures(messages, index), toolset)
        for index in range(start, end)
        for call in _calls(messages[index])
    ]
    later: set[tuple[str, str]] = set()
    for n in reversed(range(len(made))):
        if made[n].failed and made[n].identity in later:
            made[n] = made[n].model_copy(update={"retried": True})
        later.add(made[n].identity)
    return made


def call_problem(call: ToolCall, toolset: ToolSet) -> tuple[Code, str] | None:
    """Return what is wrong with a call whatever was expected, or None."""
    tool = toolset.get(call.name)
    if tool is not None:
        return _remembered(_Same(tool), call.arguments)
    try:
        call.parsed()
    except ValueError as error:
        return _malformed(call, error)
    return Code.UNKNOWN_TOOL, f"no tool is called {call.name!r}"


class _Same:
    """A tool that is equal to itself alone, so that findings about it can be looked up."""

    __slots__ = ("tool",)

    def __init__(self, tool: Tool) -> None:
        self.tool = tool

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.tool is self.tool

    def __hash__(self) -> int:
        return id(self.tool)


@lru_cache(maxsize=4096)
def _remembered(same: _Same, arguments: str) -> tuple[Code, str] | None:
    """Judge a call of a known tool; several checks ask about each call, and samples repeat them."""
    call = ToolCall(id="", name=same.tool.name, arguments=arguments)
    try:
        parsed = call.parsed()
    except ValueError as error:
        return _malformed(call, error)
    if violation := validate_arguments(same.tool, parsed):
        return Code.SCHEMA_VIOLATION, f"{call.name}: {violation}"
    return None


def _malformed(call: ToolCall, error: ValueError) -> tuple[Code, str]:
    return Code.MALFORMED_ARGUMENTS, f"{call.name}: {error}: {shown(call.arguments)}"


def argument_difference(
    arguments: Mapping[str, Json], expected: ExpectedCall, parameters: Mapping[str, Any]
) -> str | None:
    """Return the first wrong argument in words, or None when all are as expected.

    Args:
        arguments: The parsed arguments of the call.
        expected: What is right, with its alternatives.
        parameters: The tool's JSON Schema.
    """
    names = [*expected.arguments, *expected.accept, *expected.free, *arguments]
    for name in dict.fromkeys(names):
        if found := _one_argument(name, arguments, expected, parameters):
            return found
    return None


def _calls(message: Message) -> tuple[ToolCall, ...]:
    return message.tool_calls if isinstance(message, AssistantMessage) else ()


def _failures(messages: Sequence[Message], index: int) -> set[str]:
    """Return the ids of the calls of `messages[index]` whose results, right after it, are errors.

    Ids are looked up there only: some servers number the calls of every answer from 0.
    """
    results = takewhile(lambda message: isinstance(message, ToolMessage), messages[index + 1 :])
    return {m.tool_call_id for m in results if isinstance(m, ToolMessage) and m.is_error}


def _look_at(call: ToolCall, message: int, failed: bool, toolset: ToolSet) -> MadeCall:
    problem = call_problem(call, toolset)
    malformed = problem is not None and problem[0] is Code.MALFORMED_ARGUMENTS
    return MadeCall(
        message=message,
        call=call,
        arguments=None if malformed else call.parsed(),
        problem=problem,
        failed=failed,
    )


def _one_argument(
    name: str, arguments: Mapping[str, Json], expected: ExpectedCall, parameters: Mapping[str, Any]
) -> str | None:
    given = with_default(arguments, name, parameters)
    accepted = expected.accept.get(name, ())
    if name in expected.free:
        if isinstance(given, str) and given.strip():
            return None
        must = name in expected.arguments or name in parameters.get("required", ())
        if given is ABSENT and (None in accepted or not must):
            return None
        return f"{name}: {shown(given)} instead of a text"
    right = [with_default(expected.arguments, name, parameters), *accepted]
    if None in accepted:
        right.append(property_schema(parameters, name).get("default", ABSENT))
    schema = property_schema(parameters, name)
    lenient = expected.lenient.get(name, STRICT)
    found = [difference(given, value, schema, name, lenient) for value in right]
    return None if None in found else found[0]


def fits(made: MadeCall, expected: ExpectedCall, toolset: ToolSet) -> bool:
    """Return whether a made call is the expected one."""
    if made.problem or made.arguments is None or made.call.name != expected.name:
        return False
    tool = toolset.get(made.call.name)
    return tool is not None and not argument_difference(made.arguments, expected, tool.parameters)
