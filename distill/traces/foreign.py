"""Conversations that were held elsewhere, told as tasks: what was asked, with which tools.

Whoever brings such conversations into a store (`importing`, `joining`) shares this. What is right
is not known for them, so their tasks carry no expectation unless their source has one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from distill.matching import asks
from distill.types import (
    AssistantMessage,
    Expectation,
    Json,
    Kind,
    Message,
    Offer,
    Task,
    Tool,
    ToolMessage,
    ToolSet,
    UserMessage,
    UserTurn,
    digest,
)


def links(messages: Sequence[Message], root: Json) -> list[str]:
    """Return a digest of each beginning of a conversation, the whole of it last.

    Blanks in texts, the ids of calls and the way arguments are written make no difference: a client
    may change them when it sends an answer back.

    Args:
        messages: The conversation.
        root: What conversations that continue each other have in common besides.
    """
    found, link = [], digest(root)
    for message in messages:
        calls = message.tool_calls if isinstance(message, AssistantMessage) else ()
        text = "".join((message.content or "").split())
        link = digest([link, message.role, text, [[c.name, _value(c.arguments)] for c in calls]])
        found.append(link)
    return found


def told_task(
    messages: Sequence[Message],
    toolset: ToolSet,
    source: str,
    link: str,
    *,
    offer: Offer | None = None,
    kind: Kind | None = None,
    expectation: Expectation | None = None,
) -> Task:
    """Return what the users of a conversation asked, as a task.

    Args:
        messages: The conversation; somebody asks something in it.
        toolset: The set the task belongs to.
        source: Where it comes from; begins its id and its family.
        link: The last of its `links`.
        offer: The tools it was held with, where they are not the whole set.
        kind: What it exercises; None: as far as one sees it.
        expectation: What is known to be right in its last user turn.
    """
    said = [m.content for m in messages if isinstance(m, UserMessage)]
    turns = [UserTurn(content=text) for text in said]
    turns[-1] = UserTurn(content=said[-1], expectation=expectation)
    opening = digest(" ".join(said[0].casefold().split()))
    return Task(
        id=f"{source}-{link}",
        toolset=toolset.name,
        kind=kind or kind_of(messages),
        family=f"{source}/{opening}",
        turns=tuple(turns),
        offer=offer,
    )


def offer_of(tools: Sequence[Tool] | None, toolset: ToolSet) -> Offer | None:
    """Return the tools a conversation was held with as a task names them; None: the whole set."""
    if tools is None or tuple(tools) == toolset.tools:
        return None
    extra = tuple(tool for tool in tools if toolset.get(tool.name) != tool)
    return Offer(names=tuple(tool.name for tool in tools), extra=extra)


def kind_of(messages: Sequence[Message]) -> Kind:
    """Return what a conversation exercises, as far as one sees it."""
    answers = [m for m in messages if isinstance(m, AssistantMessage)]
    calling = [m for m in answers if m.tool_calls]
    if sum(isinstance(m, UserMessage) for m in messages) > 1:
        return Kind.MULTI_TURN
    if any(isinstance(m, ToolMessage) and m.is_error for m in messages):
        return Kind.TOOL_FAILED
    if not calling:
        return Kind.MISSING if asks(answers[-1].content or "") else Kind.CHAT
    if len(calling) > 1:
        return Kind.MULTI_STEP
    return Kind.PARALLEL if len(calling[0].tool_calls) > 1 else Kind.SINGLE


def _value(arguments: str) -> Json:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
