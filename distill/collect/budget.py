"""The purse of a run: every call has its worst case put aside in the store before it is sent.

As long as there is room under `collect.budget_usd` nobody waits. When there is none, calls wait for
others to be settled below their worst case, the episode that began first before all others, even
while it is between two calls, so that the last dollars finish episodes instead of beginning new
ones. A call that no settlement could make room for is refused (`BudgetReachedError`), and the run
ends.

The room is shared by all processes on the store: it is counted there, not here.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from distill.collect.writer import Writer
from distill.config import TeacherConfig
from distill.errors import StoreError
from distill.teachers import Failure, Teacher, TeacherError
from distill.teachers.estimate import worst_case_usd
from distill.traces import LedgerLine, Money, Reservation
from distill.traces.lines import answered_line, failed_line, line_of, now, over_budget
from distill.traces.owner import reclaim
from distill.types import Message, Tool, Turn

LOOK_AGAIN_S = 1.0
"""How often a waiting call looks whether another process has made room."""


class NotSentError(TeacherError):
    """A call was not sent, for a reason of our own: its episode is owed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Failure.QUOTA)


class BudgetReachedError(NotSentError):
    """A call would pass the budget, even if everything under way cost nothing."""

    def __init__(self, budget_usd: float, money: Money, worst_usd: float) -> None:
        super().__init__(over_budget(budget_usd, money, worst_usd))


@dataclass(order=True)
class _Waiting:
    place: tuple[int, int]
    changed: asyncio.Event = field(default_factory=asyncio.Event, compare=False)


class Purse:
    """Reserves and settles the calls of one run.

    Args:
        writer: Writes to the store; it knows the budget.
        teacher: Its prices and limits say what a call may cost.
        owner: The run.
        on_line: Told the line of every call that is over.
    """

    def __init__(
        self,
        writer: Writer,
        teacher: TeacherConfig,
        owner: str,
        on_line: Callable[[LedgerLine], None],
    ) -> None:
        self.writer = writer
        self.teacher = teacher
        self.owner = owner
        self.on_line = on_line
        self._open = 0
        self._tickets = itertools.count()
        self._waiting: list[_Waiting] = []
        self._between: set[int] = set()

    async def reserve(
        self,
        key: str,
        order: int,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        model: TeacherConfig | None = None,
    ) -> Reservation:
        """Put the worst case of a call aside; wait for room when there is none.

        Args:
            key: The episode that makes the call.
            order: Its place in the run: who began first is served first.
            messages: The conversation that will be sent.
            tools: The tools that will be sent.
            model: Who is asked; None: the teacher.

        Raises:
            BudgetReachedError: There is no room, and there will be none.
            NotSentError: The store cannot be written.
        """
        self._between.discard(order)
        model = model or self.teacher
        worst = worst_case_usd(model, messages, tools)
        reservation = Reservation(
            key=key,
            owner=self.owner,
            at=now(),
            provider=model.provider,
            model=model.model,
            reserved_usd=worst,
        )
        place = (order, next(self._tickets))
        others_first = bool(self._waiting) and self._waiting[0].place < place
        if others_first or not await self._try(reservation):
            await self._wait(reservation, _Waiting(place))
        return reservation

    def settle(self, line: LedgerLine, order: int) -> None:
        """Book a call that is over; its room is free for others once its episode had its turn."""
        self._open -= 1
        self._between.add(order)
        self.writer.settle(line)
        self.on_line(line)
        self._wake()

    def leave(self, order: int) -> None:
        """Hear that an episode is over: it makes no further call."""
        self._between.discard(order)
        self._wake()

    async def _try(self, reservation: Reservation) -> bool:
        self._open += 1  # before it is known, so that nobody gives up while we may still settle
        try:
            granted = await self.writer.reserve(reservation)
        except StoreError as error:
            self._open -= 1
            self.writer.on_error(error)
            raise NotSentError(str(error)) from None
        except asyncio.CancelledError:
            self._open -= 1
            raise
        self._open -= not granted
        return granted

    async def _wait(self, reservation: Reservation, waiting: _Waiting) -> None:
        heapq.heappush(self._waiting, waiting)
        try:
            while True:
                waiting.changed.clear()
                if self._is_next(waiting):
                    alone = self._open == 0
                    if await self._try(reservation):
                        return
                    if alone:
                        await self._give_up_if_hopeless(reservation)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_S):
                        await waiting.changed.wait()
        finally:
            self._waiting.remove(waiting)
            heapq.heapify(self._waiting)
            self._wake()

    def _is_next(self, waiting: _Waiting) -> bool:
        earlier = any(order < waiting.place[0] for order in self._between)
        return self._waiting[0] is waiting and not earlier

    async def _give_up_if_hopeless(self, reservation: Reservation) -> None:
        """Raise when no call is under way anywhere that could make room."""
        store, budget = self.writer.store, self.writer.budget_usd
        await asyncio.to_thread(reclaim, store, self.owner)
        if budget is not None and not await asyncio.to_thread(store.under_way):
            money = await asyncio.to_thread(store.money)
            raise BudgetReachedError(budget, money, reservation.reserved_usd or 0.0)

    def _wake(self) -> None:
        if self._waiting:
            self._waiting[0].changed.set()


class MeteredTeacher(Teacher):
    """The teacher of one episode; each call is reserved before it is sent and booked after it.

    A model that plays another part in the episode is metered alike, by its own `config`.
    """

    def __init__(
        self,
        teacher: Teacher,
        purse: Purse,
        key: str,
        order: int,
        config: TeacherConfig | None = None,
    ) -> None:
        self.config = config
        self.teacher = teacher
        self.purse = purse
        self.key = key
        self.order = order
        self.provider, self.model = teacher.provider, teacher.model
        self.terms, self.settings = teacher.terms, teacher.settings

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Return the next turn, booked.

        Raises:
            BudgetReachedError: It may not be sent.
            TeacherError: The call failed; it is booked as well.
        """
        reservation = await self.purse.reserve(self.key, self.order, messages, tools, self.config)
        begun = time.monotonic()
        try:
            turn = await self.teacher.complete(messages, tools)
        except TeacherError as error:
            self.purse.settle(failed_line(reservation, begun, error), self.order)
            raise
        except asyncio.CancelledError:
            line = line_of(reservation, begun, status="unknown", failure="cancelled")
            self.purse.settle(line, self.order)
            raise
        self.purse.settle(answered_line(reservation, turn), self.order)
        return turn
