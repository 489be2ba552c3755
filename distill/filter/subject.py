"""The trace under examination, with what the checks derive from it once.

Recovery is decided here: a call that the tool refused (its result is an error), that was not an
expected one and that an expected one follows, is forgiven when the conversation, read without it,
meets the expectation and the end state. The teacher noticed and did it right. Its turn then gets
weight 0: it stays as context, for the turn after it to be understood, and is not learnt. A wrong
call that went through is never forgiven, nor is one where no call was expected, which includes
tasks that do not say what is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from distill.config import Config
from distill.filter.drift import Drift
from distill.filter.privacy import PERSONAL, SECRET, masked
from distill.matching import CallMatch, TaskMatch, match_task
from distill.toolsets import LoadedToolSet
from distill.traces import Trace
from distill.types import (
    AssistantMessage,
    Kind,
    Message,
    Outcome,
    ToolCall,
    ToolMessage,
    ToolSet,
    UserMessage,
)


@dataclass(frozen=True)
class Rules:
    """What the traces of one data set are held against."""

    toolset: ToolSet
    drop_kinds: tuple[Kind, ...] = ()
    grounding: bool = True
    """Whether arguments that come from nowhere drop a trace."""
    secrets: str = "drop"
    """What is done about keys and tokens: drop, mask, keep."""
    personal: str = "keep"
    """The same for addresses, telephone and card numbers."""
    drift: Drift | None = None
    """What is known of older tool sets."""
    replay: LoadedToolSet | None = None
    """The tools to execute every call with again; None: results are taken as they are."""

    @cached_property
    def toolset_hash(self) -> str:
        """Hash of the tool set, made once for all traces."""
        return self.toolset.hash

    @classmethod
    def of(cls, config: Config, loaded: LoadedToolSet, older: Iterable[ToolSet] = ()) -> Rules:
        """Return the rules of a config.

        Args:
            config: The config.
            loaded: Its tool set.
            older: Tool sets the store holds traces of.
        """
        settings = config.filter
        return cls(
            toolset=loaded.toolset,
            drop_kinds=settings.drop_kinds,
            grounding=settings.grounding,
            secrets=settings.secrets,
            personal=settings.personal,
            drift=Drift(loaded.toolset, older, settings.renames),
            replay=loaded if settings.replay else None,
        )

    def prepared(self, trace: Trace) -> Trace:
        """Return the trace as it is judged: under the present names, masked where wanted."""
        if self.drift is not None:
            trace = self.drift.migrated(trace)
        kinds = {SECRET} if self.secrets == "mask" else set()
        kinds |= set(PERSONAL) if self.personal == "mask" else set()
        return masked(trace, frozenset(kinds)) if kinds else trace


@dataclass(frozen=True)
class Subject:
    """One trace and the rules it is held against."""

    trace: Trace
    rules: Rules

    @cached_property
    def toolset(self) -> ToolSet:
        """The tools the trace was offered, as they are now."""
        return self.rules.toolset.offered(self.trace.task)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation."""
        return self.trace.messages

    @cached_property
    def calls(self) -> tuple[tuple[int, ToolCall], ...]:
        """Every call with the index of its message."""
        return tuple(
            (index, call)
            for index, message in enumerate(self.messages)
            if isinstance(message, AssistantMessage)
            for call in message.tool_calls
        )

    @property
    def ends_with_calls(self) -> bool:
        """Whether the task is over with its last calls, which nobody executed."""
        last, expected = self.messages[-1], self.trace.task.turns[-1].expectation
        calling = isinstance(last, AssistantMessage) and bool(last.tool_calls)
        return calling and expected is not None and not expected.words

    @cached_property
    def results(self) -> dict[tuple[int, str], ToolMessage]:
        """(Message of the call, call id) -> result."""
        found: dict[tuple[int, str], ToolMessage] = {}
        calling = 0
        for index, message in enumerate(self.messages):
            if isinstance(message, ToolMessage):
                found.setdefault((calling, message.tool_call_id), message)
            else:
                calling = index
        return found

    @cached_property
    def windows(self) -> list[range]:
        """Message indices that follow each user message, up to the next one."""
        starts = [n for n, m in enumerate(self.messages) if isinstance(m, UserMessage)]
        ends = [*starts[1:], len(self.messages)]
        return [range(a + 1, b) for a, b in zip(starts, ends, strict=True)]

    def before(self, message: int) -> Subject | None:
        """Return the user turns that were over before a message; None when there were none."""
        number = sum(window.start - 1 <= message for window in self.windows) - 1
        if number < 1:
            return None
        start = self.windows[number].start - 1  # the user's message
        task = self.trace.task.model_copy(
            update={"turns": self.trace.task.turns[:number], "end_state": None}
        )
        rest = {"messages": self.messages[:start], "task": task, "changes": None}
        rest |= {"outcome": Outcome.COMPLETED, "error": None}
        return Subject(self.trace.model_copy(update=rest), self.rules)

    @cached_property
    def literal_match(self) -> TaskMatch:
        """The conversation as it stands against its task."""
        trace = self.trace
        return match_task(trace.task, self.messages, self.toolset, trace.changes)

    @cached_property
    def recovered(self) -> frozenset[int]:
        """Assistant messages with a refused call that was then made right; see the module."""
        if self.literal_match.ok:
            return frozenset()
        refused = {
            (call.message, call.call.id)
            for turn in self.literal_match.turns
            for call in _corrected(turn.calls)
        }
        rest = self._without(refused)
        match = match_task(self.trace.task, rest, self.toolset, self.trace.changes)
        return frozenset(message for message, _ in refused) if match.ok else frozenset()

    def _without(self, refused: set[tuple[int, str]]) -> list[Message]:
        """Return the conversation without these calls, their results, and turns left with none."""
        answers = {id(self.results[key]) for key in refused}
        rest: list[Message] = []
        for index, message in enumerate(self.messages):
            if isinstance(message, AssistantMessage) and message.tool_calls:
                calls = tuple(c for c in message.tool_calls if (index, c.id) not in refused)
                if not calls:
                    continue
                message = message.model_copy(update={"tool_calls": calls})
            if id(message) not in answers:
                rest.append(message)
        return rest


def _corrected(calls: Sequence[CallMatch]) -> list[CallMatch]:
    """Return the refused calls that an expected one follows."""
    last_right = max((call.message for call in calls if call.ok), default=-1)
    return [c for c in calls if c.failed and not c.ok and c.message < last_right]
