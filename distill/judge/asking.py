"""A judge at work: each text is judged once, in calls that stand in the ledger of the store.

Every call has its worst case put aside under `collect.budget_usd` before it is sent. When there is
no room it waits for calls under way to cost less than that; when there are none, judging stops, and
what was judged by then is kept. Ctrl-C lets the calls under way end; a second one drops them.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import deque
from collections.abc import Sequence

from distill.config import Config, JudgeConfig
from distill.errors import ConfigError, DistillError
from distill.interrupts import handled
from distill.judge.rubric import RUBRIC_DIGEST, Exhibit, Opinion, read_opinion
from distill.teachers import (
    Failure,
    Teacher,
    TeacherError,
    create_teacher,
    paced,
    price_of,
    teacher_identity,
)
from distill.teachers.estimate import worst_case_usd
from distill.traces import LedgerLine, Reservation, TraceStore
from distill.traces.judgements import JudgementStore
from distill.traces.lines import answered_line, failed_line, line_of, now
from distill.traces.owner import new_owner, reclaim
from distill.traces.trace import JUDGING, new_call
from distill.types import AssistantMessage, Message, StopReason, Turn, UserMessage, digest

TRIES = 2
"""How often a judge is asked when its answer cannot be read."""
REFUSED_IN_A_ROW = 5
"""So many requests refused one after the other are a fault of the settings, not of the traces."""


class JudgingStopped(DistillError):
    """The budget leaves no room for another call."""


class Judge:
    """Gives opinions: those it has given before, and new ones where it may ask.

    Args:
        config: The distillation; its `filter.judge` is the judge.
        store: The traces, the ledger and the earlier opinions.
        asking: Whether it may ask for what is not known yet.
    """

    def __init__(self, config: Config, store: TraceStore, *, asking: bool) -> None:
        settings = config.filter.judge
        assert settings is not None
        self.settings = settings
        self.asking = asking
        self._store = store
        self._budget = config.collect.budget_usd
        self._known = JudgementStore(store, digest(teacher_identity(settings)), RUBRIC_DIGEST)

    def unknown(self, exhibits: Sequence[Exhibit]) -> list[Exhibit]:
        """Return the exhibits there is no opinion of yet, each text once."""
        known = self._known.opinions([one.content for one in exhibits])
        return list({one.content: one for one in exhibits if one.content not in known}.values())

    def judge(self, exhibits: Sequence[Exhibit]) -> list[Opinion | None]:
        """Return an opinion of each exhibit; None where the judge gave none that could be read.

        What is not known yet is None, too, where it may not ask.

        Raises:
            ConfigError: There is a budget and no known price, or no key.
            JudgingStopped: The budget is reached.
            TeacherError: The model behind it cannot be used.
            StoreError: The store cannot be written.
            KeyboardInterrupt: The user pressed Ctrl-C.
        """
        missing = self.unknown(exhibits) if self.asking else []
        if missing:
            _check_price(self.settings, self._budget)
            self._known.create()
            asyncio.run(self._ask(missing))
        found = self._known.opinions([one.content for one in exhibits])
        texts = (found.get(one.content) for one in exhibits)
        return [Opinion.model_validate_json(text) if text else None for text in texts]

    async def _ask(self, exhibits: Sequence[Exhibit]) -> None:
        teacher = paced(create_teacher(self.settings), self.settings.concurrency)
        session = _Session(self.settings, self._store, self._known, teacher, self._budget)
        try:
            await session.run(exhibits)
        finally:
            await teacher.close()
            self._store.release(session.owner)


class _Session:
    """One round of asking."""

    def __init__(
        self,
        settings: JudgeConfig,
        store: TraceStore,
        known: JudgementStore,
        teacher: Teacher,
        budget_usd: float | None,
    ) -> None:
        self.owner = new_owner()
        self._settings = settings
        self._store = store
        self._known = known
        self._teacher = teacher
        self._budget = budget_usd
        self._owed: deque[Exhibit] = deque()
        self._open = 0
        self._over = 0
        self._changed = asyncio.Condition()
        self._refused = 0
        self._interrupted = False
        self._workers: list[asyncio.Task[None]] = []

    async def run(self, exhibits: Sequence[Exhibit]) -> None:
        """Ask about everything."""
        await asyncio.to_thread(reclaim, self._store, self.owner)
        self._owed.extend(exhibits)
        count = min(self._settings.concurrency, len(exhibits))
        self._workers = [asyncio.create_task(self._work()) for _ in range(count)]
        with handled(self._interrupt, signal.SIGINT):
            ended = await asyncio.gather(*self._workers, return_exceptions=True)
        if self._interrupted:
            raise KeyboardInterrupt
        for error in ended:
            if isinstance(error, BaseException):
                raise error

    async def _work(self) -> None:
        while self._owed and not self._interrupted:
            exhibit = self._owed.popleft()
            try:
                await self._judge(exhibit)
            except BaseException:
                self._owed.clear()
                raise

    async def _judge(self, exhibit: Exhibit) -> None:
        """Ask about one exhibit; ask again, saying why, when the answer cannot be read."""
        messages: list[Message] = list(exhibit.prompt)
        for attempt in range(1, TRIES + 1):
            answered = await self._call(exhibit.key, messages)
            if answered is None:
                return
            turn, line = answered
            try:
                opinion = read_opinion(turn.message.content if turn.stop is StopReason.END else "")
            except ValueError as error:
                if attempt == TRIES:
                    await self._settle([line], exhibit.content, None)
                    return
                await self._settle([line])
                again = f"That cannot be read: {error}. Answer with the JSON object alone."
                said = AssistantMessage(content=turn.message.content or "(nothing)")
                messages += [said, UserMessage(content=again)]
            else:
                await self._settle([line], exhibit.content, opinion.model_dump_json())
                return

    async def _call(self, key: str, messages: Sequence[Message]) -> tuple[Turn, LedgerLine] | None:
        """Send one request; None: it was refused as it is, which says nothing of the others."""
        held, begun = await self._reserve(key, messages), time.monotonic()
        try:
            turn = await self._teacher.complete(messages, ())
        except TeacherError as error:
            await self._settle([failed_line(held, begun, error)])
            self._refused += 1
            if error.failure is not Failure.BAD_REQUEST or self._refused >= REFUSED_IN_A_ROW:
                raise
            return None
        except asyncio.CancelledError:
            line = line_of(held, begun, status="unknown", failure="cancelled")
            await asyncio.shield(self._settle([line]))
            raise
        self._refused = 0
        return turn, answered_line(held, turn)

    async def _reserve(self, key: str, messages: Sequence[Message]) -> Reservation:
        reservation = Reservation(
            call=JUDGING + new_call(),
            key=key,
            owner=self.owner,
            at=now(),
            provider=self._settings.provider,
            model=self._settings.model,
            reserved_usd=worst_case_usd(self._settings, messages, ()),
        )
        while True:
            seen, self._open = self._over, self._open + 1
            granted = await asyncio.to_thread(self._store.reserve, [reservation], self._budget)
            if granted:
                return reservation
            self._open -= 1
            async with self._changed:
                self._changed.notify_all()
                if not self._open and seen == self._over:
                    raise JudgingStopped(
                        f"the budget of ${self._budget:g} (collect.budget_usd) has no room for "
                        f"another call of the judge, which may cost "
                        f"${reservation.reserved_usd or 0:.4g}; raise it and run again: what was "
                        "judged by now is kept"
                    )
                while self._open and seen == self._over:
                    await self._changed.wait()

    async def _settle(
        self, lines: Sequence[LedgerLine], content: str | None = None, opinion: str | None = None
    ) -> None:
        if content is None:
            await asyncio.to_thread(self._known.book, lines[0])
        else:
            await asyncio.to_thread(self._known.settle, lines, content, opinion)
        async with self._changed:
            self._open -= 1
            self._over += 1
            self._changed.notify_all()

    def _interrupt(self) -> None:
        """Ctrl-C once: no further calls; twice: those under way are dropped."""
        if self._interrupted:
            for worker in self._workers:
                worker.cancel()
        self._interrupted = True


def _check_price(settings: JudgeConfig, budget_usd: float | None) -> None:
    if budget_usd is not None and price_of(settings.model, settings.price) is None:
        raise ConfigError(
            f"collect.budget_usd is {budget_usd:g}, but no price is known for the judge "
            f"{settings.model!r}; set filter.judge.price {{input, output}} in dollars per million "
            "tokens"
        )
