"""Joining: the requests of one conversation as one growing trace.

An agent sends its whole conversation with every request. A request whose messages begin with those
of a stored trace, its answer included, goes on with it: the trace grows by what is new (results,
words of the user, the answer), and the shorter one is gone. A trace's key is the digest of its
conversation, so the store alone says what goes on with what: after a restart, from several
processes, with any number of conversations at once. Conversations that are alike to the word are
one trace until they differ.

What assistants said earlier and no stored trace knows (examples in a prompt, history from before)
is context: the model read it, but nobody saw who said it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from distill import __version__
from distill.traces.foreign import links, told_task
from distill.traces.importers import Skip
from distill.traces.store import TraceStore
from distill.traces.trace import LedgerLine, TeacherRef, Trace, TurnRecord
from distill.types import (
    AssistantMessage,
    Json,
    Message,
    Offer,
    Outcome,
    StopReason,
    ToolSet,
    Turn,
)

OUTCOMES = {StopReason.LENGTH: Outcome.TRUNCATED, StopReason.REFUSAL: Outcome.REFUSED}


@dataclass(frozen=True)
class Answered:
    """A request with its answer."""

    messages: tuple[Message, ...]
    """The conversation that was sent."""
    turn: Turn
    """The answer; its provider state is not kept."""
    teacher: TeacherRef
    """Who answers in the trace this belongs to."""
    toolset: ToolSet
    """The tools on offer, as far as they are not `offer`."""
    source: str
    """Begins the ids of its tasks."""
    offer: Offer | None = None
    """The tools on offer, where they are not the whole set."""
    by_another: bool = False
    """Whether somebody other than `teacher` gave this answer."""
    error: str | None = None
    """What is wrong with the answer; None: nothing. A wrong one goes on with nothing."""

    @property
    def root(self) -> Json:
        """What requests that continue each other have in common besides their messages."""
        tools = self.offer.model_dump() if self.offer else None
        by = [self.teacher.provider, self.teacher.model]
        return [self.source, self.toolset.hash, tools, *by, self.error is None]


@dataclass(frozen=True)
class Joined:
    """What became of an answered request."""

    trace: Trace
    goes_on: bool
    """Whether it continues a stored trace."""


def join(store: TraceStore, answered: Answered, line: LedgerLine | None = None) -> Joined:
    """Store an answered request, as a trace or as the end of one.

    An answer of somebody else than the teacher is never a trace of its own.

    Args:
        store: The store.
        answered: The request with its answer.
        line: The call, under any key; None: it cost nothing.

    Raises:
        StoreError: It was not stored.
        Skip: Somebody else answered, and no stored trace ends where the request begins.
    """
    whole = (*answered.messages, _plain(answered.turn.message))
    chain = links(whole, answered.root)
    ends = [n for n, m in enumerate(answered.messages) if isinstance(m, AssistantMessage)]
    stored = store.find([chain[n] for n in ends]) if answered.error is None else {}
    former = next((stored[chain[n]] for n in reversed(ends) if chain[n] in stored), None)
    if answered.by_another and former is None:
        raise Skip("it goes on with no stored trace")
    trace = _trace(answered, whole, chain[-1], ends, former)
    lines = [line.model_copy(update={"key": trace.key})] if line else []
    store.add_toolset(answered.toolset)
    store.grow(trace, [former.key] if former else [], lines)
    return Joined(trace, former is not None)


def _trace(
    answered: Answered,
    messages: tuple[Message, ...],
    key: str,
    ends: Sequence[int],
    former: Trace | None,
) -> Trace:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    known = {record.message: record for record in former.turns} if former else {}
    turns = [known.get(n) or _unseen(n, messages[n]) for n in ends]
    toolset, turn = answered.toolset, answered.turn
    outcome = OUTCOMES.get(turn.stop, Outcome.COMPLETED)
    return Trace(
        key=key,
        task=told_task(messages, toolset, answered.source, key, offer=answered.offer),
        toolset_name=toolset.name,
        toolset_hash=toolset.hash,
        teacher=former.teacher if former and answered.by_another else answered.teacher,
        outcome=Outcome.ERROR if answered.error else outcome,
        error=answered.error,
        messages=messages,
        turns=(*turns, TurnRecord.of(turn, len(messages) - 1, context=answered.by_another)),
        started_at=former.started_at if former else now,
        finished_at=now,
        versions={"distill": __version__},
    )


def _unseen(index: int, message: Message) -> TurnRecord:
    calling = isinstance(message, AssistantMessage) and message.tool_calls
    stop = StopReason.TOOL_CALLS if calling else StopReason.END
    return TurnRecord(message=index, stop=stop, cost_usd=0.0, context=True)


def _plain(message: AssistantMessage) -> AssistantMessage:
    return message.model_copy(update={"provider_state": None})
