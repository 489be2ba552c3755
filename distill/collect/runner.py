"""The run: episodes in flight up to a limit, each stored as it ends, stopped without loss.

The unit is the episode. It is leased from the store, run from its start to its outcome, and
written when it ends; an episode that is cut short is simply owed again. A run stops starting new
episodes (and lets those in flight end) when it is done, when the user presses Ctrl-C, when a call
would pass the budget, and when going on is pointless: no credit, a refused key, an unreachable
endpoint, the same bad request again and again, a store that cannot be written.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

from distill.collect.batched import BatchedTeacher
from distill.collect.budget import BudgetReachedError, MeteredTeacher, NotSentError, Purse
from distill.collect.plan import Episode, Plan
from distill.collect.status import Status
from distill.collect.waves import Waves
from distill.collect.writer import Left, Writer
from distill.config import Config, TeacherConfig
from distill.episode import run_episode
from distill.errors import DistillError, StoreError
from distill.interrupts import handled
from distill.teachers import Failure, Teacher, TeacherError, create_teacher, paced
from distill.teachers.batch import Batches, create_batches
from distill.traces import BatchStore, LedgerLine, Trace, TraceStore
from distill.traces.owner import new_owner, reclaim
from distill.types import Outcome, ToolMessage

LEASE_S = 120.0
OUTAGE_S = 900.0
"""How long a teacher that has answered may be gone before the run is stopped."""
SAME_FAULTS = 5
"""So many identical new faults among the first episodes, or given up in a row, stop the run."""
FIRST_EPISODES = 20


async def collect(config: Config, plan: Plan, status: Status) -> None:
    """Run what the plan asks for and the store does not have yet.

    Args:
        config: The distillation.
        plan: Its episodes.
        status: Filled in as the run goes on; complete when this returns or raises.

    Raises:
        StoreError: The store was collected with other settings, or cannot be written.
        TeacherError: The teacher cannot be used (key, credit, endpoint, request).
    """
    teacher = create_teacher(config.teacher)
    batches = create_batches(teacher) if config.collect.batch else None
    if batches is None:
        teacher = paced(teacher, config.collect.concurrency, OUTAGE_S)
    others = {
        part: paced(create_teacher(model), config.collect.concurrency, OUTAGE_S)
        for part, model in _others(config).items()
    }
    try:
        with TraceStore.open(config.store_url, create=True) as store:
            run = Run(config, plan, status, store, teacher, others, batches)
            run.prepare()
            await run.run()
    finally:
        for one in (teacher, *others.values()):
            await one.close()


def _others(config: Config) -> dict[str, TeacherConfig]:
    """Return the models that have another part in an episode, by the name of the part."""
    parts = {"user": config.collect.user, "simulator": config.collect.simulator}
    return {part: model for part, model in parts.items() if model is not None}


class Run:
    """One run of a plan against a store."""

    def __init__(
        self,
        config: Config,
        plan: Plan,
        status: Status,
        store: TraceStore,
        teacher: Teacher,
        others: Mapping[str, Teacher] | None = None,
        batches: Batches | None = None,
    ) -> None:
        self.config = config
        self.plan = plan
        self.status = status
        self.store = store
        self.teacher = teacher
        self.others = others or {}
        self.batches = batches
        self.waves: Waves | None = None
        self.width = config.collect.batch_size if batches else config.collect.concurrency
        self.owner = new_owner()
        self.error: DistillError | None = None
        self._owed: deque[Episode] = deque()
        self._leased: deque[Episode] = deque()
        self._leasing = asyncio.Lock()
        self._failed_before: set[str] = set()
        self._faults: Counter[str] = Counter()
        self._given_up_in_a_row = 0
        self._begun = itertools.count()
        self._workers: list[asyncio.Task[None]] = []

    def prepare(self) -> None:
        """Check the store against the plan, note the episodes, see what is owed.

        Raises:
            StoreError: The store was collected with other settings, or has episodes in batches.
        """
        keys = [episode.key for episode in self.plan.episodes]
        self.store.bind(self.plan.settings)
        self.store.add_toolset(self.plan.loaded.toolset)
        self.store.add_episodes([episode.owed for episode in self.plan.episodes])
        reclaim(self.store, self.owner)
        waves = BatchStore(self.store)
        waves.forget_done()
        begun = waves.episodes()
        self._failed_before = self.store.reopen(keys)
        done = self.store.done(keys)
        owed = [episode for episode in self.plan.episodes if episode.key not in done]
        self._owed.extend(sorted(owed, key=lambda episode: episode.key not in begun))
        in_batches = sum(episode.key in begun for episode in owed)
        if in_batches and self.batches is None:
            raise StoreError(
                f"trace store {self.store.name!r} has {in_batches:,} episodes that were begun in "
                f"batches; set collect.batch to true, so that what was paid for is used"
            )
        self.status.store = self.store.name
        self.status.total = len(keys)
        self.status.before = len(done)
        self.status.budget_usd = self.config.collect.budget_usd
        self.status.money = self.store.money()

    async def run(self) -> None:
        """Run the owed episodes.

        Raises:
            DistillError: The run was stopped by a fault; everything finished is stored.
        """
        self.writer = Writer(self.store, self._fail, self.config.collect.budget_usd)
        self.purse = Purse(self.writer, self.config.teacher, self.owner, self._booked)
        renewing = asyncio.create_task(self._renew())
        count = min(self.width, len(self._owed))
        if self.batches is not None:
            self.waves = self._open_waves(self.batches, count)
        self._workers = [asyncio.create_task(self._work()) for _ in range(count)]
        try:
            with handled(self._interrupt, signal.SIGINT, signal.SIGTERM):
                try:
                    await asyncio.gather(*self._workers)
                finally:
                    if self.waves is not None:
                        await self.waves.close()
        except asyncio.CancelledError:
            if not self.status.interrupted and self.error is None:
                raise
        finally:
            renewing.cancel()
            await self._close()
        if self.error is not None:
            raise self.error

    def _open_waves(self, batches: Batches, parties: int) -> Waves:
        waves = Waves(
            self.store, batches, self.config, self.owner, self.status, self._booked, self._fail
        )
        waves.parties = parties
        return waves

    async def _close(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        refusal = await self.writer.close()
        if refusal is not None:
            self._not_stored(refusal)
            return
        with suppress(StoreError):  # what stays leased is taken back by the next run
            self.store.release(self.owner)
            if self.waves is not None:
                self.waves.store.forget_done()
            self.status.money = self.store.money()
        if self.error is None and self.status.owed and self.status.notice is None:
            self.error = TeacherError(
                f"{self.status.owed} episodes were given up and are owed; run again to try them "
                f"(the last: {self.status.last_error})",
                Failure.TRANSIENT,
            )

    def _not_stored(self, refusal: StoreError) -> None:
        lost = [left for left in self.writer.refused if left.trace is not None]
        self.status.unstored = len(lost)
        self.error = StoreError(
            f"{refusal} ({len(lost)} finished episodes could not be stored and are owed again; "
            f"everything before them is stored)"
        )

    # --- episodes -----------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            while (episode := await self._next()) is not None:
                self.status.in_flight += 1
                try:
                    await self._run_episode(episode)
                finally:
                    self.status.in_flight -= 1
        finally:
            if self.waves is not None:
                self.waves.leave()

    async def _next(self) -> Episode | None:
        """The next episode that is ours to run, or None when no more is to be started."""
        while not self._stopped():
            if self._leased:
                return self._leased.popleft()
            async with self._leasing:
                if not self._leased and not await self._lease():
                    return None
        return None

    async def _lease(self) -> bool:
        """Lease a handful of episodes; False when none is owed. Others' are passed over."""
        if not self._owed:
            return False
        handful = min(self.width, len(self._owed))
        wanted = {e.key: e for e in (self._owed.popleft() for _ in range(handful))}
        try:
            keys = await asyncio.to_thread(self.store.lease, self.owner, list(wanted), LEASE_S)
        except StoreError as error:
            self._fail(error)
            return False
        self._leased.extend(wanted[key] for key in keys)
        return True

    async def _run_episode(self, episode: Episode) -> None:
        order = next(self._begun)
        trace: Trace | None = None
        models = _others(self.config)
        others: dict[str, Teacher] = {
            part: MeteredTeacher(one, self.purse, episode.key, order, models[part])
            for part, one in self.others.items()
        }
        try:
            teacher, recorded = await self._sender(episode.key, order)
            trace = await run_episode(
                episode.task,
                self.plan.loaded,
                teacher,
                key=episode.key,
                sample=episode.sample,
                config_digest=self.plan.digest,
                max_steps=self.config.collect.max_steps,
                tool_timeout_s=self.config.collect.tool_timeout_s,
                user=others.get("user"),
                simulator=others.get("simulator"),
                recorded=recorded,
            )
            self._finished(trace)
        except NotSentError as stop:
            self.status.cut_short += 1
            if isinstance(stop, BudgetReachedError):
                self.status.notice = self.status.notice or str(stop)
        except TeacherError as error:
            self._given_up(error)
        finally:
            self.purse.leave(order)
            self.writer.put(Left(episode.key, trace))

    async def _sender(self, key: str, order: int) -> tuple[Teacher, Sequence[ToolMessage]]:
        """Return who answers an episode, and what its tools gave in an earlier run."""
        if self.waves is None:
            return MeteredTeacher(self.teacher, self.purse, key, order), ()
        asked = await asyncio.to_thread(self.waves.store.of_episode, key)
        teacher = BatchedTeacher(self.teacher, self.waves, key, order, asked)
        return teacher, teacher.recorded

    def _booked(self, line: LedgerLine) -> None:
        self.status.book(line)
        if self.config.collect.budget_usd is not None and self.status.unpriced:
            self.status.notice = (
                self.status.notice or "a call of unknown price was made under a budget"
            )

    def _finished(self, trace: Trace) -> None:
        self.status.outcomes[trace.outcome] += 1
        if trace.outcome is not Outcome.ERROR:
            self._given_up_in_a_row = 0
            return
        message = self.status.last_error = trace.error or ""
        if trace.key in self._failed_before:
            return  # tried again because it failed: that it does so again says nothing new
        self._faults[re.sub(r"\d+", "#", message)] += 1
        same = max(self._faults.values())
        if same >= SAME_FAULTS and self.status.finished <= FIRST_EPISODES:
            self._fail(TeacherError(f"{message} ({same} times)", Failure.BAD_REQUEST))

    def _given_up(self, error: TeacherError) -> None:
        self.status.owed += 1
        self.status.last_error = str(error)
        self._given_up_in_a_row += 1
        if error.failure in (Failure.QUOTA, Failure.AUTH):
            self._fail(error)
        elif self._given_up_in_a_row >= SAME_FAULTS:
            self._fail(error)

    # --- stopping -----------------------------------------------------------------------------

    def _stopped(self) -> bool:
        return self.status.notice is not None

    def _fail(self, error: DistillError) -> None:
        """Stop because of `error`; the first one is what the run is blamed on."""
        if self.error is None:
            self.error = error
            self.status.notice = "a fault, told at the end"
            if self.waves is not None:
                self._drop()  # what they wait for may take a day, and the next run fetches it

    def _drop(self) -> None:
        for worker in self._workers:
            worker.cancel()

    def _interrupt(self) -> None:
        """Ctrl-C (or a request to terminate) once: no more starts; twice: drop what is left."""
        if self.status.interrupted:
            self._drop()
            if self.waves is not None:
                self.waves.drop()
            return
        self.status.interrupted = True
        if self.waves is not None:
            self.status.notice = "interrupted; batches that are pending stay at the provider"
            self._drop()
            return
        self.status.notice = (
            f"interrupted: {self.status.in_flight} episodes in flight are brought to their end; "
            f"Ctrl-C again drops them"
        )

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 4)
            try:
                await asyncio.to_thread(self.store.renew, self.owner, LEASE_S)
            except StoreError as error:
                self._fail(error)
                return
