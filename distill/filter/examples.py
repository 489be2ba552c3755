"""A kept trace as an `Example`: what the student learns from.

Nothing is reworded. The messages are the teacher's, less its opaque provider state, with argument
strings written the one way `json.dumps` writes them (the student's own call format is rendered
later, from the parsed value). Turns the episode recovered from, and those that are not the
teacher's, stay as context, with weight 0; of a trace that was cut, the user turns before the fault
are a row of their own (`meta.cut`).
"""

from __future__ import annotations

import json
from typing import overload

from distill.filter.sieve import Judgement
from distill.types import AssistantMessage, Example, Message, ToolCall


def to_example(judgement: Judgement) -> Example:
    """Return a trace that passed the checks as a training row."""
    subject, trace = judgement.subject, judgement.subject.trace
    spoken = [n for n, m in enumerate(trace.messages) if isinstance(m, AssistantMessage)]
    meta = {
        "task": trace.task.id,
        "kind": str(trace.task.kind),
        "family": trace.task.family,
        "key": trace.key,
    }
    if judgement.cut:
        meta["cut"] = f"{judgement.cut.stage}/{judgement.cut.code}"
    return Example(
        messages=tuple(plain_message(message) for message in trace.messages),
        tools=subject.toolset.tools,
        weights=tuple(0.0 if n in subject.context else 1.0 for n in spoken),
        meta=meta,
    )


@overload
def plain_message(message: AssistantMessage) -> AssistantMessage: ...


@overload
def plain_message(message: Message) -> Message: ...


def plain_message(message: Message) -> Message:
    """Return a message without provider state, its arguments written one way."""
    if not isinstance(message, AssistantMessage):
        return message
    calls = tuple(_call(call) for call in message.tool_calls)
    return AssistantMessage(content=message.content, tool_calls=calls)


def _call(call: ToolCall) -> ToolCall:
    arguments = json.dumps(call.parsed(), ensure_ascii=False)
    return ToolCall(id=call.id, name=call.name, arguments=arguments)
