"""What the next round can learn from: requests the student failed at, kept as traces.

A failed answer is stored as a trace that ended in an error (`teacher` is then the student itself);
what the teacher answered in its place is a second, completed one. When that is a call, the request
that brings its result goes on with the trace, and so do the ones after it, up to words: what the
student answers there is context, not an answer of the teacher. The task is what the users said,
without an expectation.

The money of `serve.budget_usd` is counted here too: a call to the teacher is in the store's ledger,
with its worst case, before it is sent. Everything happens in a thread of its own and never delays
or breaks an answer, but for that one reservation.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from distill.config import TeacherConfig
from distill.errors import StoreError
from distill.serve.gateway.exchange import Ask, Problem
from distill.teachers import Teacher, TeacherError
from distill.teachers.estimate import worst_case_usd
from distill.traces import Owed, Reservation, TeacherRef, TraceStore
from distill.traces.importers import Skip
from distill.traces.importers.openai import named, read_message, read_messages
from distill.traces.joining import Answered, join
from distill.traces.lines import answered_line, failed_line, line_of, now, over_budget
from distill.traces.owner import new_owner
from distill.types import AssistantMessage, Message, StopReason, Turn, UserMessage

LOG = logging.getLogger("distill.gateway")

PROVIDER = "distill"
"""`TeacherRef.provider` of traces whose answers are a student's."""
SOURCE = "served"
UNDER_WAY = Owed("served-under-way", "served-under-way", 0)
"""What calls to the teacher are booked under until their trace is there; for ever without one."""
MOST_AWAITED = 10_000
"""Calls of the teacher whose results are still expected."""


class NoMoney(Exception):
    """The teacher is not asked: it might cost more than there is."""


@dataclass(frozen=True)
class Budget:
    """What asking the teacher may cost."""

    usd: float
    teacher: TeacherConfig
    """Its prices and limits say what a call may cost."""


@dataclass(frozen=True)
class Escalation:
    """One call to the teacher."""

    ask: Ask
    reservation: Reservation
    begun: float = field(default_factory=time.monotonic)


class Keeper:
    """Writes failed and escalated requests into a trace store."""

    def __init__(
        self,
        open_store: Callable[[], TraceStore],
        teacher: Teacher | None,
        budget: Budget | None = None,
    ) -> None:
        """Open nothing yet: where nothing fails, no store is made.

        Args:
            open_store: Opens the store, which is closed with the keeper.
            teacher: Who answers escalated requests.
            budget: What that may cost.
        """
        self._open = open_store
        self._store: TraceStore | None = None
        self._teacher = teacher
        self._budget = budget
        self._owner = new_owner()
        self._awaited: OrderedDict[str, None] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="distill-keep")

    def close(self) -> None:
        """Write what is left and close the store."""
        self._thread.shutdown()
        if self._store is not None:
            self._store.close()

    # --- traces -------------------------------------------------------------------------------

    def failed(self, ask: Ask, problem: Problem, answer: Mapping[str, Any]) -> None:
        """Keep a request with the student's unfit answer."""
        self._submit(ask, self._keep_failed, ask, problem, answer)

    def answered(self, ask: Ask, choices: Sequence[Mapping[str, Any]]) -> None:
        """Keep a fit answer of the student where it goes on with an answer of the teacher."""
        if self._goes_on(ask):
            calls = choices[0]["message"].get("tool_calls") or ()
            self._await([str(call.get("id")) for call in calls])
            self._submit(ask, self._keep_answered, ask, choices)

    def _goes_on(self, ask: Ask) -> bool:
        """Whether a request brings the result of a call of the teacher; costs next to nothing."""
        for row in reversed(ask.body.get("messages") or ()):
            if not isinstance(row, Mapping) or row.get("role") != "tool":
                return False
            if row.get("tool_call_id") in self._awaited:
                return True
        return False

    def _keep_failed(self, ask: Ask, problem: Problem, answer: Mapping[str, Any]) -> None:
        ref = TeacherRef(provider=PROVIDER, model=ask.model, served_model=ask.model)
        error = f"{problem.code}: {problem.detail}"
        turn = _students(ask, answer["choices"][0])
        join(self._opened(), self._told(ask, turn, ref, error=error))

    def _keep_answered(self, ask: Ask, choices: Sequence[Mapping[str, Any]]) -> None:
        turn = _students(ask, choices[0])
        join(self._opened(), self._told(ask, turn, self._ref(turn), by_another=True))

    def _told(
        self,
        ask: Ask,
        turn: Turn,
        ref: TeacherRef,
        *,
        error: str | None = None,
        by_another: bool = False,
    ) -> Answered:
        return Answered(
            messages=_messages(ask),
            turn=turn,
            teacher=ref,
            toolset=ask.toolset,
            source=SOURCE,
            by_another=by_another,
            error=error,
        )

    def _await(self, calls: Iterable[str]) -> None:
        """Expect results; at once, because they may come before anything is written."""
        self._awaited.update(dict.fromkeys(calls))
        while len(self._awaited) > MOST_AWAITED:
            self._awaited.popitem(last=False)

    def _ref(self, turn: Turn) -> TeacherRef:
        assert self._teacher is not None
        return TeacherRef(
            provider=self._teacher.provider,
            model=self._teacher.model,
            served_model=turn.model,
            terms=self._teacher.terms,
            settings=dict(self._teacher.settings),
        )

    # --- the teacher --------------------------------------------------------------------------

    async def begin(self, ask: Ask) -> Escalation:
        """Return a call to the teacher; where there is a budget, its worst case is put aside.

        Raises:
            NoMoney: It may not be sent.
            ValueError: The request holds more than text.
        """
        assert self._teacher is not None
        held = Reservation(
            key=UNDER_WAY.key,
            owner=self._owner,
            at=now(),
            provider=self._teacher.provider,
            model=self._teacher.model,
        )
        if self._budget is not None:
            worst = worst_case_usd(self._budget.teacher, ask.messages, ask.toolset.tools)
            if worst is None:
                raise NoMoney("nobody knows the price of so long a request")
            held = held.model_copy(update={"reserved_usd": worst})
            reserving = self._thread.submit(self._reserve, held, self._budget.usd)
            try:
                await asyncio.wrap_future(reserving)
            except asyncio.CancelledError:  # the client has left; in the thread, this comes after
                self._submit(ask, self._give_back, held, reserving)
                raise
        return Escalation(ask, held)

    def _reserve(self, held: Reservation, budget_usd: float) -> None:
        try:
            store = self._opened()
            store.add_episodes([UNDER_WAY])
            if not store.reserve([held], budget_usd):
                words = over_budget(budget_usd, store.money(), held.reserved_usd or 0.0)
                raise NoMoney(f"{words} (serve.budget_usd)")
        except StoreError as error:
            raise NoMoney(f"what it costs cannot be counted: {error}") from None

    def _give_back(self, held: Reservation, reserving: Future[None]) -> None:
        if not reserving.cancelled() and reserving.exception() is None:
            line = line_of(held, time.monotonic(), cost_usd=0.0, failure="not sent")
            self._opened().write([], [], [line])

    def escalated(self, made: Escalation, turn: Turn, still: Problem | None) -> None:
        """Keep a request with the teacher's answer, and book what it cost.

        Args:
            made: The call.
            turn: The answer.
            still: What is wrong with it.
        """
        if still is None:
            self._await(call.id for call in turn.message.tool_calls)
        self._submit(made.ask, self._keep_escalated, made, turn, still)

    def unanswered(self, made: Escalation, error: BaseException) -> None:
        """Book a call that the teacher did not answer."""
        if self._budget is not None:
            self._submit(made.ask, self._keep_unanswered, made, error)

    def _keep_escalated(self, made: Escalation, turn: Turn, still: Problem | None) -> None:
        line = answered_line(made.reservation, turn)
        error = f"{still.code}: {still.detail}" if still else None
        try:
            join(self._opened(), self._told(made.ask, turn, self._ref(turn), error=error), line)
        except Skip:
            self._opened().add_episodes([UNDER_WAY])
            self._opened().write([], [], [line])  # it was paid for
            raise

    def _keep_unanswered(self, made: Escalation, error: BaseException) -> None:
        if isinstance(error, TeacherError):
            line = failed_line(made.reservation, made.begun, error)
        else:
            line = line_of(made.reservation, made.begun, status="unknown", failure="cancelled")
        self._opened().write([], [], [line])

    # --- the thread ---------------------------------------------------------------------------

    def _submit(self, ask: Ask, work: Callable[..., None], *arguments: Any) -> None:
        def quietly() -> None:
            try:
                work(*arguments)
            except Exception as fault:  # in a thread: nobody else would hear of it
                LOG.warning("%s: not kept: %s", ask.model, fault)

        self._thread.submit(quietly)

    def _opened(self) -> TraceStore:
        self._store = self._store or self._open()
        return self._store


def _messages(ask: Ask) -> tuple[Message, ...]:
    """Return the conversation as importers read it.

    Raises:
        Skip: It cannot be told.
    """
    messages = named(read_messages(ask.body.get("messages")))
    if not any(isinstance(message, UserMessage) for message in messages):
        raise Skip("no user speaks in the request")
    return messages


def _students(ask: Ask, choice: Mapping[str, Any]) -> Turn:
    """Return an answer of the student."""
    message = read_message(choice["message"])
    assert isinstance(message, AssistantMessage)
    stop = StopReason.TOOL_CALLS if message.tool_calls else StopReason.END
    if choice.get("finish_reason") == "length":
        stop = StopReason.LENGTH
    return Turn(message=message, stop=stop, model=ask.model, cost_usd=0.0)
