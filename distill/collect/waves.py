"""Waves: the next turn of every open episode, handed over as one batch.

An episode that wants an answer makes a wish and waits. When every open episode waits, the wishes
go out as one wave; when its batch is over, the answers wake the episodes. Their tools run, they
wish again, and so on. What a wave may cost is reserved, at the price of batches, in the same
transaction that notes its calls in the store; wishes that do not fit under the budget wait for the
next one, those of the episode that began first before all others.

The order of writing is what makes a killed run harmless: the calls are noted, then handed over,
then the provider's id is stored, and only then anything is waited for. A later run finds pending
batches in the store and follows them; where it finds calls without a batch, it looks at the
provider for a batch that holds them before it hands them over again.

A failed call costs nothing and is wished again in the next wave, up to `ATTEMPTS` times, when its
failure may pass; no call of a cancelled batch is: somebody wanted it to end.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from distill.collect.budget import LOOK_AGAIN_S, BudgetReachedError, NotSentError
from distill.collect.status import Status
from distill.config import Config
from distill.errors import DistillError
from distill.teachers import Failure, TeacherError
from distill.teachers.batch import Ask, Batches, BatchState
from distill.teachers.estimate import worst_case_usd
from distill.traces import Asked, BatchStore, LedgerLine, Reservation, TraceStore, Wave
from distill.traces.lines import now
from distill.traces.owner import reclaim
from distill.types import Message, Tool, Turn

ATTEMPTS = 3
"""So many times a call is handed over whose failure may pass."""
AGAIN = frozenset({Failure.THROTTLE, Failure.OVERLOAD, Failure.TRANSIENT})
FIRST_POLL_S, SLOWEST_POLL_S, SLOWER = 0.5, 60.0, 1.5
"""Seconds between two looks at a batch: at first, at most, and by which factor they grow."""
PATIENCE_S = 900.0
"""How long the provider's API may go without an answer before the run ends."""
FIND_S = 30.0
"""The same when it is looked for a batch that may not exist."""
GRACE_S = 15.0
"""From so long after a hand-over on, a batch that is not listed does not exist."""

_FREE = {"status": "settled", "cost_usd": 0.0}
_T = TypeVar("_T")


@dataclass(eq=False)
class Wish:
    """A call that an episode waits for."""

    order: int
    """Place of the episode in the run."""
    key: str
    messages: Sequence[Message]
    tools: Sequence[Tool]
    answered: asyncio.Future[Turn] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    attempts: int = 1
    wave: str = ""
    """The wave it is in."""


class Waves:
    """The waves of one run.

    Args:
        store: Where they are noted.
        batches: Where they are handed over.
        config: Budget and prices.
        owner: The run.
        status: Told of batches that are pending.
        on_line: Told the line of every call that is over.
        on_error: Told why the run cannot go on.
    """

    def __init__(
        self,
        store: TraceStore,
        batches: Batches,
        config: Config,
        owner: str,
        status: Status,
        on_line: Callable[[LedgerLine], None],
        on_error: Callable[[DistillError], None],
    ) -> None:
        self.store = BatchStore(store)
        self.batches = batches
        self.teacher = config.teacher
        self.budget_usd = config.collect.budget_usd
        self.owner = owner
        self.status = status
        self.on_line = on_line
        self.on_error = on_error
        self.parties = 0
        """Episodes that are open, or about to be."""
        self._wishes: list[Wish] = []
        self._waiting: dict[str, Wish] = {}
        self._following: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._closed = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def ask(self, wish: Wish, asked: Asked | None) -> Turn:
        """Return the answer to a wish.

        Args:
            wish: The wish.
            asked: The call that an earlier run made for it, which is not over.

        Raises:
            BudgetReachedError: It may not be sent.
            TeacherError: It failed.
        """
        if asked is None:
            self._wishes.append(wish)
        else:
            self._waiting[asked.call] = wish
            wish.wave = asked.wave
            self._follow(asked.wave)
        self._changed.set()
        return await wish.answered

    def leave(self) -> None:
        """One open episode fewer."""
        self.parties -= 1
        self._changed.set()

    async def close(self) -> None:
        """Bring a hand-over under way to its end; leave what is pending to the next run."""
        self._closed.set()
        self._changed.set()
        with suppress(asyncio.CancelledError):
            await self._task
        following = list(self._following.values())
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)

    def drop(self) -> None:
        """End at once; the next run finds out what became of a hand-over under way."""
        self._task.cancel()

    # --- handing over -------------------------------------------------------------------------

    async def _run(self) -> None:
        with self._telling():
            while not self._closed.is_set():
                with suppress(TimeoutError):
                    # Wishes without room also wait for other processes, which wake nobody.
                    async with asyncio.timeout(LOOK_AGAIN_S if self._wishes else None):
                        await self._changed.wait()
                self._changed.clear()
                if self._wishes and self._all_wait():
                    await self._send()

    def _all_wait(self) -> bool:
        return len(self._wishes) + len(self._waiting) >= self.parties

    async def _send(self) -> None:
        await asyncio.to_thread(self.store.forget_done)
        self._wishes = [wish for wish in self._wishes if not wish.answered.done()]
        for part in self._parts(sorted(self._wishes, key=lambda wish: wish.order)):
            await self._send_wave(part)
        if self._wishes and not self._waiting:
            await self._give_up_if_hopeless()

    def _parts(self, wishes: Sequence[Wish]) -> Iterator[list[Wish]]:
        """Split wishes as the provider's limits ask for it."""
        part, size = list[Wish](), 0
        for wish in wishes:
            more = self.batches.size(Ask("", wish.messages, wish.tools))
            if part and (
                len(part) == self.batches.most_calls or size + more > self.batches.most_bytes
            ):
                yield part
                part, size = [], 0
            part.append(wish)
            size += more
        if part:
            yield part

    async def _send_wave(self, wishes: Sequence[Wish]) -> None:
        calls = [(self._reservation(wish), wish) for wish in wishes]
        wave, granted = await asyncio.to_thread(
            self.store.note,
            now(),
            [(call, wish.messages) for call, wish in calls],
            self.budget_usd,
        )
        sent = {call.call: wish for call, wish in calls if call.call in granted}
        for name, wish in sent.items():
            wish.wave = wave.id
            self._waiting[name] = wish
            self._wishes.remove(wish)
        if not sent:
            return
        if self._closed.is_set():
            await self._withdraw(wave, self.batches.teacher.error("stopped", Failure.TRANSIENT))
            return
        try:
            batch = await self._hand_over(wave, sent)
        except TeacherError as error:
            await self._withdraw(wave, error)
            raise
        if batch is not None:
            await asyncio.to_thread(self.store.submitted, wave.id, batch)
            self.status.pending[batch] = wave.calls
        self._follow(wave.id)

    def _reservation(self, wish: Wish) -> Reservation:
        return Reservation(
            key=wish.key,
            owner=None,
            at=now(),
            provider=self.teacher.provider,
            model=self.teacher.model,
            reserved_usd=worst_case_usd(self.teacher, wish.messages, wish.tools, batch=True),
        )

    async def _hand_over(self, wave: Wave, sent: Mapping[str, Wish]) -> str | None:
        """Return the provider's id; None: the connection broke, and it may have a batch or not."""
        asks = [Ask(call, wish.messages, wish.tools) for call, wish in sent.items()]
        refused = frozenset({Failure.THROTTLE, Failure.OVERLOAD})
        try:
            return await self._insist(lambda: self.batches.submit(wave.id, asks), refused)
        except TeacherError as error:
            if error.failure is Failure.TRANSIENT:
                return None
            raise

    async def _withdraw(self, wave: Wave, error: TeacherError) -> None:
        """The provider has no such batch: its calls cost nothing, whoever waits is told."""
        calls = await asyncio.to_thread(self.store.open_calls, wave.id)
        await self._close_calls(calls, dict.fromkeys(calls, error))
        refused = error if error.failure in AGAIN else NotSentError(str(error))
        for _, wish in self._of(wave):
            self._deliver(wish, refused, again=True)

    async def _give_up_if_hopeless(self) -> None:
        """Refuse the wishes when no call is under way anywhere that could make room."""
        store, budget = self.store.store, self.budget_usd
        await asyncio.to_thread(reclaim, store, self.owner)
        if budget is None or await asyncio.to_thread(store.under_way):
            return
        money = await asyncio.to_thread(store.money)
        for wish in self._wishes:
            worst = worst_case_usd(self.teacher, wish.messages, wish.tools, batch=True)
            if not wish.answered.done():
                wish.answered.set_exception(BudgetReachedError(budget, money, worst or 0.0))
        self._wishes.clear()

    # --- following ----------------------------------------------------------------------------

    def _follow(self, wave: str) -> None:
        if wave not in self._following:
            self._following[wave] = asyncio.create_task(self._come_back(wave))

    async def _come_back(self, wave_id: str) -> None:
        """Wait until a wave's batch is over and wake who waits for its answers."""
        try:
            with self._telling():
                wave = await asyncio.to_thread(self.store.wave, wave_id)
                batch = wave.batch or await self._find(wave)
                if batch is None:
                    why = "the batch was not created"
                    await self._withdraw(wave, self.batches.teacher.error(why, Failure.TRANSIENT))
                    return
                self.status.pending[batch] = wave.calls
                await self._take(wave, batch)
                del self.status.pending[batch]
                self.status.batches += 1
        finally:
            # Before the episodes are awake: who waits from now on is followed anew.
            del self._following[wave_id]
            self._changed.set()

    async def _find(self, wave: Wave) -> str | None:
        """Return the batch of a wave whose hand-over was cut off, if there is one."""
        begun = datetime.fromisoformat(wave.at)
        while True:
            early = (datetime.now(UTC) - begun).total_seconds() < GRACE_S
            known = await asyncio.to_thread(self.store.batches)
            found = await self._insist(
                lambda: self.batches.find(wave.id, begun, wave.calls), patience_s=FIND_S
            )
            for batch in found:
                if batch not in known and await self._is_ours(wave, batch):
                    await asyncio.to_thread(self.store.submitted, wave.id, batch)
                    return batch
            if not early:
                return None
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _is_ours(self, wave: Wave, batch: str) -> bool:
        if self.batches.named:
            return True
        # Only its results say for sure whose a batch without a name is.
        await self._over(batch)
        answers = await self._insist(lambda: self.batches.answers(batch))
        return not answers.keys().isdisjoint(
            await asyncio.to_thread(self.store.open_calls, wave.id)
        )

    async def _over(self, batch: str) -> BatchState:
        pause = FIRST_POLL_S
        while not (state := await self._insist(lambda: self.batches.state(batch))).over:
            await asyncio.sleep(pause)
            pause = min(SLOWEST_POLL_S, pause * SLOWER)
        return state

    async def _take(self, wave: Wave, batch: str) -> None:
        """Store what a batch brings and hand it out."""
        state, found = await self._results(batch)
        took = {"latency_s": (datetime.now(UTC) - datetime.fromisoformat(wave.at)).total_seconds()}
        answers = {
            call: answer.model_copy(update=took) if isinstance(answer, Turn) else answer
            for call, answer in found.items()
        }
        missing = state.rest or self.batches.teacher.error(
            f"batch {batch} has no answer to the call", Failure.TRANSIENT, request_id=batch
        )
        calls = await asyncio.to_thread(self.store.open_calls, wave.id)
        lost = calls.keys() - answers.keys() if state.rest is None else set[str]()
        await self._close_calls(
            calls, {call: answers.get(call, missing) for call in calls}, lost, took["latency_s"]
        )
        for call, wish in self._of(wave):
            self._deliver(wish, answers.get(call, missing), again=not state.cancelled)

    async def _results(self, batch: str) -> tuple[BatchState, dict[str, Turn | TeacherError]]:
        """Wait for a batch to be over and fetch its answers; none when the provider forgot it."""
        try:
            state = await self._over(batch)
            return state, await self._insist(lambda: self.batches.answers(batch))
        except TeacherError as error:
            if error.failure is not Failure.BAD_REQUEST:
                raise
            return BatchState(over=True), {}

    async def _close_calls(
        self,
        calls: Mapping[str, LedgerLine],
        outcomes: Mapping[str, Turn | TeacherError],
        lost: Collection[str] = (),
        latency_s: float = 0.0,
    ) -> None:
        """Settle calls; of the lost ones nobody knows whether they were billed."""
        lines, answers, failed = list[LedgerLine](), dict[str, Turn](), list[str]()
        for call, line in calls.items():
            outcome = outcomes[call]
            ended = {"at": now(), "attempts": 1, "latency_s": round(latency_s, 3)}
            if isinstance(outcome, Turn):
                answers[call] = outcome
                ended |= {"status": "settled", "cost_usd": outcome.cost_usd}
                ended |= {"usage": outcome.usage, "request_id": outcome.request_id}
                ended |= {"model": outcome.model or line.model}
            else:
                failed.append(call)
                ended |= {"failure": str(outcome.failure), "request_id": outcome.request_id}
                ended |= {"status": "unknown"} if call in lost else _FREE
            lines.append(line.model_copy(update=ended))
        await asyncio.to_thread(self.store.close, lines, answers, failed)
        for line in lines:
            self.on_line(line)

    def _of(self, wave: Wave) -> list[tuple[str, Wish]]:
        """Return who waits for a call of a wave; from now on they no longer do."""
        of = [(call, wish) for call, wish in self._waiting.items() if wish.wave == wave.id]
        for call, _ in of:
            del self._waiting[call]
        return of

    def _deliver(self, wish: Wish, outcome: Turn | TeacherError, *, again: bool) -> None:
        if wish.answered.done():
            return  # its episode was cut short
        if isinstance(outcome, Turn):
            wish.answered.set_result(outcome)
        elif again and outcome.failure in AGAIN and wish.attempts < ATTEMPTS:
            wish.attempts += 1
            self._wishes.append(wish)
        else:
            wish.answered.set_exception(outcome)

    # --- faults -------------------------------------------------------------------------------

    async def _insist(
        self,
        ask: Callable[[], Awaitable[_T]],
        failures: Collection[Failure] = AGAIN,
        patience_s: float = PATIENCE_S,
    ) -> _T:
        """Ask again, ever more slowly, as long as the failure may pass."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in itertools.count():
            try:
                return await ask()
            except TeacherError as error:
                patient = loop.time() - begun < patience_s and not self._closed.is_set()
                if error.failure not in failures or not patient:
                    raise
                own = min(SLOWEST_POLL_S, FIRST_POLL_S * 2**number)
                pause = max(error.retry_after_s or 0.0, own)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._closed.wait()
        raise AssertionError("unreachable")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Nobody awaits the tasks of this class: whoever waits for a wish learns of a fault."""
        try:
            yield
        except DistillError as error:
            if not self._closed.is_set():  # else the run has ended, and the next one goes on
                self.on_error(error)
        except Exception as error:
            for wish in (*self._wishes, *self._waiting.values()):
                if not wish.answered.done():
                    wish.answered.set_exception(error)
            raise
