"""The gate before an endpoint: how many calls are in flight, and how fast they start.

One `Gate` stands before each (provider, account, model class) of this process. As long as nothing
is refused it only counts slots: every answer adds one while most of them are used, which doubles
them with each round. From the first refusal on they grow by half after such a round. Limits are on
rates, though: the gate keeps a rate as well, which answers tell it or it finds, from the first
refusal on.

    refusal   nobody sends before the instant it names (Retry-After) or, when it names none, before
              a pause that grows as long as nothing gets through
    after it  one probe, then the rate: what got through since the last pause, at least 90% of what
              was believed (multiplicative decrease). It grows with the time nothing is refused,
              hardly at first, by a third after three seconds, to double after five
    refill    what a limit refills while we pause is caught up, at four times the rate
    burst     a probe is refused although the server's wait is over: then it was not our rate, and
              the decrease is taken back; more probes are sent, so that the burst is over soon

Calls wait in one queue, and a refused call goes to its end: a burst falls on many calls once, not
on one call many times. The gate counts no attempts and gives nothing up: see `pacing`.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from distill.teachers.allowance import Allowance

START_SLOTS = 20
GROWTH = 0.04
"""Share of the rate that is added, times the square of the seconds without a refusal."""
DECREASE = 0.9
"""Least share of the rate that a refusal leaves."""
SURE = 2
"""Measurements before one alone is doubted: the first counts an allowance that was saved up."""
CATCH_UP = 4.0
"""So many times the rate is sent while there is something to catch up."""
LONGEST_CATCH_UP_S = 60.0
"""The time whose refill is caught up at most: vendors' limits hold a minute's."""
SPARE = 1
"""Calls of what a server says is left that are not made: it counts by its own clock."""
KEPT = 0.5
"""Share of what was still to be caught up that a refusal leaves."""
LONGEST_COOLDOWN_S = 30.0
"""The longest pause of our own choosing."""
MOST_PROBES = 8
"""Most calls sent at once after a pause."""
DOUBT = 4.0
"""At most so many times the wait that a server named is waited when it proves too short."""


@dataclass
class _Stretch:
    """The time from one pause to the next."""

    since: float
    probes: int = 0
    """Calls that may still be sent regardless of the rate; negative: how many followed them."""
    passed: int = 0
    """Calls sent and not refused."""
    refused_at: float | None = None
    """The instant of the first refusal: nothing is sent any more, others may still arrive."""
    named: bool = False
    """Whether the server named the wait."""


class Gate:
    """Slots, a rate and a shared not-before instant for the calls to one endpoint.

    Attributes:
        ceiling: Most calls in flight (`collect.concurrency`).
        most: Most calls a second, by the config or by what answers say; inf: not known.
        limit: Slots right now; a fraction counts once it is whole.
        in_flight: Calls inside.
        answered_at: When the last answer came, by the event loop's clock; -inf: never.
    """

    def __init__(self, ceiling: int, most: float = math.inf) -> None:
        self.ceiling = ceiling
        self.most = self._configured = most
        self.limit = float(min(START_SLOTS, ceiling))
        self.in_flight = 0
        self.answered_at = -math.inf
        self._opening = True
        self._round = 0
        self._peak = 0
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = -math.inf
        self._last = -math.inf
        self._stretch: _Stretch | None = None
        self._empty = 0
        self._sent = 0
        # The rate at the last pause (None: nothing is known), and how often it was measured.
        self._base: float | None = most if math.isfinite(most) else None
        self._measured = 0 if self._base is None else SURE
        self._due = 0.0
        self._fastest = math.inf
        self._proven = 0.0

    @property
    def rate(self) -> float:
        """Calls a second that are started; `most` as long as nothing was refused."""
        if self._base is None or self._stretch is None:
            return self.most
        clean = max(0.0, now() - self._stretch.since)
        growth = 1.0 + GROWTH * clean**2 if self._measured else 2.0 ** min(clean, 60.0)
        return min(self.most, self._base * growth)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[tuple[float, int]]:
        """Wait for a slot and hold it; yields the instant and the number of the call."""
        number = await self._enter()
        try:
            yield now(), number
        finally:
            self.in_flight -= 1
            self._admit()

    def answered(self) -> None:
        """Note an answer; the slots grow while most of them are used and nothing is refused."""
        self.answered_at = now()
        if self._opening:
            if self.in_flight >= 0.8 * int(self.limit):
                self.limit = min(float(self.ceiling), self.limit + 1.0)
            return
        self._round += 1
        self._peak = max(self._peak, self.in_flight)
        if self._round < int(self.limit):
            return
        if self._peak >= 0.8 * int(self.limit):
            self.limit = min(float(self.ceiling), 1.5 * self.limit)
        self._round = self._peak = 0

    def told(self, number: int, allowance: Allowance) -> None:
        """Note what the answer to a call says of the limit: it is kept to from now on.

        What the server says is left may be spent at once, unless the config asks for less, or
        refusals have shown that another limit is reached before this one.

        Args:
            number: What `slot` gave: calls that were sent later are not counted in what is left.
            allowance: What it says.
        """
        self.most = min(self._configured, allowance.per_s)
        if self._base is None:
            self._base, self._due = self.most, now()
        left = allowance.left - (self._sent - number) - SPARE
        if left > 0 and allowance.per_s <= self.rate:
            self._due = min(self._due, now() - (left - 1) / self.most)

    def refused(self, started: float, retry_after_s: float | None) -> None:
        """Note that the call sent at `started` was throttled: everybody pauses.

        Args:
            started: The instant that `slot` gave.
            retry_after_s: The wait that the server named. It is trusted, unless nothing gets
                through for long; none, or zero, says nothing.
        """
        self._opening = False
        at, stretch = now(), self._stretch
        if stretch is not None and started >= stretch.since:
            stretch.passed -= 1
            stretch.named = bool(retry_after_s)
            self._due -= 1.0 / self.rate
            if stretch.refused_at is None:
                stretch.refused_at = at
        self._round = self._peak = 0
        growing = 2.0 ** min(self._empty, 12)
        pause = min(LONGEST_COOLDOWN_S, growing)
        if retry_after_s:
            doubted = min(LONGEST_COOLDOWN_S, 0.02 * growing, DOUBT * max(retry_after_s, 1.0))
            pause = max(retry_after_s, doubted)
        self._not_before = max(self._not_before, at + pause * random.uniform(1.0, 1.1))

    # --- waiting ------------------------------------------------------------------------------

    async def _enter(self) -> int:
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.in_flight -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        """Let in who may go now; come back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self.in_flight < int(self.limit):
            pause = self._next_at() - now()
            if pause > 0:
                self._timer = asyncio.get_running_loop().call_later(pause, self._admit)
                return
            turn = self._waiting.popleft()
            if not turn.done():
                self._start()
                turn.set_result(self._sent)

    def _next_at(self) -> float:
        """The instant from which the next call may be sent."""
        at = now()
        if self._not_before > at:
            return self._not_before
        if self._stretch is None:
            self._stretch, self._due = _Stretch(at), at
        elif self._stretch.refused_at is not None:
            self._conclude(self._stretch, self._stretch.refused_at)
            self._stretch = _Stretch(at, probes=min(MOST_PROBES, 2**self._empty))
        if self._stretch.probes > 0:
            return at
        return max(self._due, self._last + 1.0 / self.rate / CATCH_UP)

    def _start(self) -> None:
        assert self._stretch is not None
        self.in_flight += 1
        self._sent += 1
        self._stretch.passed += 1
        self._stretch.probes -= 1
        self._last = now()
        self._due = max(self._due, self._last - LONGEST_CATCH_UP_S) + 1.0 / self.rate

    # --- conclusions --------------------------------------------------------------------------

    def _conclude(self, stretch: _Stretch, refused_at: float) -> None:
        """Learn from a stretch whose pause is over.

        A call that was not refused by now has got through: refusals come fast. When only probes
        were sent and some of them got through, nothing is known about the rate.
        """
        if self._base is None or (stretch.passed > 0 and stretch.probes < 0):
            self._measure(stretch, refused_at)
            self._empty = 0 if stretch.passed > 0 else self._empty + 1
        elif stretch.passed > 0:
            self._empty //= 2
        else:
            self._empty += 1
            if stretch.named:
                self._base = min(self._fastest, max(self._base, self._proven))

    def _measure(self, stretch: _Stretch, refused_at: float) -> None:
        """Take what got through since the last pause for the rate.

        Of a limit that refills steadily this is exact: it was used up at the end of both pauses.
        When nothing got through at all it is a guess, which doubles every second.
        """
        self._fastest = self.rate
        self._proven = stretch.passed / max(refused_at - stretch.since, 1e-3)
        measured = max(1, stretch.passed) / max(now() - stretch.since, 1e-3)
        behind = 0.0
        if self._base is not None and self._measured >= SURE:
            measured = min(self._fastest, max(measured, DECREASE * self._base))
            behind = max(0.0, refused_at - self._due)
        self._base = measured
        self._measured += stretch.passed > 0
        self._due = min(self._not_before, refused_at + 1.0 / measured) - KEPT * behind


def now() -> float:
    """Return the event loop's clock."""
    return asyncio.get_running_loop().time()
