"""Pacing: when a failed call is sent again, and when it is given up.

Throttling and overload are waited out behind the gate; network and server errors are sent again
with growing pauses; everything else is raised at once. Whether patience is lost with a call
depends on the others. While nobody gets an answer the endpoint is at fault, and who can wait (a
run over night) waits. A call that goes on failing while others are answered is given up after a
few times, and so is everything when there never was an answer: an address may be wrong.

A call that is given up is not lost: its episode stays owed to the store.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Sequence
from weakref import WeakValueDictionary

from distill.teachers.base import Failure, Teacher, TeacherError
from distill.teachers.gate import Gate, now
from distill.types import Message, Tool, Turn

TRANSIENT_ATTEMPTS = 8
"""Network and server errors of one call while others are answered."""
THROTTLED_ATTEMPTS = 50
"""Refusals of one call while others are answered: it may be larger than the limit."""
PATIENCE_S = 900.0
"""How long nobody may be answered before throttled calls are given up."""
LONGEST_RETRY_AFTER_S = 600.0
"""A server that asks for a longer wait is not waited for."""

_gates: WeakValueDictionary[tuple[str, ...], Gate] = WeakValueDictionary()


class PacedTeacher(Teacher):
    """A teacher behind a gate: sends again what can be sent again, gives up the rest.

    Args:
        teacher: Sends each call once.
        gate: That of its account.
        outage_s: How long an endpoint that has answered may be gone before calls are given up.
    """

    def __init__(self, teacher: Teacher, gate: Gate, outage_s: float = 0.0) -> None:
        self.teacher = teacher
        self.gate = gate
        self.outage_s = outage_s
        self.provider, self.model = teacher.provider, teacher.model
        self.terms, self.settings = teacher.terms, teacher.settings

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Return the next turn, however many attempts it takes (`Turn.attempts`).

        Raises:
            TeacherError: The failure cannot be waited out, or patience has run out.
        """
        patience = _Patience(self.gate, self.outage_s)
        for attempt in itertools.count(1):
            async with self.gate.slot() as (started, number):
                try:
                    turn = await self._send(number, messages, tools)
                except TeacherError as error:
                    error.attempts = attempt
                    if error.failure in (Failure.THROTTLE, Failure.OVERLOAD):
                        self.gate.refused(started, error.retry_after_s)
                    if patience.is_lost(error):
                        raise
                    pause = patience.pause_s(error)
                else:
                    self.gate.answered()
                    return turn.model_copy(update={"attempts": attempt})
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _send(self, number: int, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Send a call once; the gate hears what the answer, or the refusal, says of the limit."""
        try:
            return await self.teacher.complete(messages, tools)
        finally:
            if self.teacher.allowance is not None:
                self.gate.told(number, self.teacher.allowance)
                # Said once: a later call that gets no answer must not pass it on as new.
                self.teacher.allowance = None

    async def close(self) -> None:
        """Close the teacher's connections."""
        await self.teacher.close()


def paced(teacher: Teacher, concurrency: int, outage_s: float = 0.0) -> PacedTeacher:
    """Put `teacher` behind the gate of its account.

    Args:
        teacher: Those of one account and model class share a gate, and the first one's limit.
        concurrency: Most calls in flight; of several, the largest counts.
        outage_s: See `PacedTeacher`.
    """
    gate = _gates.get(teacher.account) if teacher.account else None
    if gate is None:
        gate = Gate(concurrency, (teacher.requests_per_minute or math.inf) / 60.0)
        if teacher.account:
            _gates[teacher.account] = gate
    gate.ceiling = max(gate.ceiling, concurrency)
    return PacedTeacher(teacher, gate, outage_s)


class _Patience:
    """What is left of the patience with one call."""

    def __init__(self, gate: Gate, outage_s: float) -> None:
        self.gate = gate
        self.outage_s = outage_s
        self.failed_at = self.begun = now()
        self.faults = 0
        self.faults_alone = 0
        self.refusals_alone = 0

    def is_lost(self, error: TeacherError) -> bool:
        """Count a failure; return whether it was one too many."""
        answered_at = self.gate.answered_at
        alone = answered_at > self.failed_at
        self.failed_at = now()
        match error.failure:
            case Failure.THROTTLE | Failure.OVERLOAD:
                self.refusals_alone += alone
                return (
                    (error.retry_after_s or 0.0) > LONGEST_RETRY_AFTER_S
                    or self.failed_at - max(answered_at, self.begun) > PATIENCE_S
                    or self.refusals_alone == THROTTLED_ATTEMPTS
                )
            case Failure.TRANSIENT:
                self.faults += 1
                self.faults_alone += alone or self.failed_at - answered_at > self.outage_s
                return self.faults_alone == TRANSIENT_ATTEMPTS
        return True

    def pause_s(self, error: TeacherError) -> float:
        """Return how long this call waits by itself: after a refusal the gate lets all wait."""
        if error.failure is not Failure.TRANSIENT:
            return 0.0
        return max(error.retry_after_s or 0.0, _backoff_s(self.faults))


def _backoff_s(faults: int) -> float:
    """Half a second, doubled with every fault up to eight, give or take a quarter."""
    return min(8.0, 0.5 * 2.0 ** (faults - 1)) * random.uniform(0.75, 1.25)
