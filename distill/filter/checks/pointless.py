"""Was a call of any use?

Only tools whose names say that they read are judged: whether another call was worth making cannot
be told from outside. Both rules rather miss a pointless call than blame a useful one: what was read
before a tool that may write is read again with good reason, and a result counts as used when
anything the call is about (a word of the tool's name, an argument, a value it returned) is said by
the user or by the assistant afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from distill.filter.checks.base import Finding, check
from distill.filter.sources import Sources, leaves
from distill.filter.subject import Subject
from distill.matching import call_problem
from distill.types import AssistantMessage, Json, ToolCall, ToolMessage, UserMessage, canonical_json

READING = frozenset(
    {"check", "count", "describe", "fetch", "find", "get", "list", "look", "lookup", "query"}
    | {"read", "retrieve", "search", "show", "view"}
)
"""First words of the names of tools that read and change nothing."""


@check("execution")
def no_pointless_call(subject: Subject) -> Iterator[Finding]:
    """Nothing is read that is known already, or that nobody asked for and nothing uses.

    Judged as `no_repetition` is.
    """
    for window, turn in zip(subject.windows, subject.trace.task.turns, strict=False):
        if turn.expectation is None:
            yield from _pointless(subject, window)


def _pointless(subject: Subject, window: range) -> Iterator[Finding]:
    known: dict[str, str] = {}
    for index, call in subject.calls:
        result = subject.results.get((index, call.id))
        if index not in window:
            continue
        if _words(call.name)[0] not in READING:
            known.clear()  # it may have changed what was read
            continue
        if result is None or result.is_error or call_problem(call, subject.toolset):
            continue  # found by another check
        same = canonical_json([call.name, call.parsed()])
        if known.get(same) == result.content:
            yield Finding("known_result", f"{call.name} read again what it had said", index)
        elif not _of_use(subject, index, call, result):
            evidence = f"{call.name}: nobody asked for {result.content[:80]}, and nothing uses it"
            yield Finding("unused_result", evidence, index)
        known[same] = result.content


def _of_use(subject: Subject, index: int, call: ToolCall, result: ToolMessage) -> bool:
    before, after = subject.messages[:index], subject.messages[index + 1 :]
    asked = [m.content for m in before if isinstance(m, UserMessage)]
    later = [m for m in after if isinstance(m, AssistantMessage)]
    words = [m.content or "" for m in later] + [m.content for m in after if m.role == "user"]
    given = [one.arguments for message in later for one in message.tool_calls]
    told = Sources([*asked, *words], given)
    if any(told.heard(word) for word in _words(call.name)[1:]):
        return True
    if any(told.heard(str(value)) for _, value, _ in leaves(call.parsed(), {}, "")):
        return True
    found = [value for _, value, _ in leaves(_value(result.content), {}, "")]
    return not found or any(told.lead_to(value, {}) for value in found)


def _words(name: str) -> list[str]:
    spaced = "".join(f" {c}" if c.isupper() else c for c in name)
    return spaced.replace("_", " ").replace("-", " ").replace(".", " ").casefold().split() or [""]


def _value(content: str) -> Json:
    try:
        value: Json = json.loads(content)
    except ValueError:
        return content
    return value
