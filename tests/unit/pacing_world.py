"""Virtual time, and servers that refuse calls as vendors do: a wait costs nothing and is exact."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from collect_world import say

from distill.teachers import Failure, Teacher, TeacherError
from distill.teachers.allowance import Allowance
from distill.types import Message, Tool, Turn

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        select = self._selector.select

        def jump(timeout: float | None) -> Any:
            self.now += timeout or 0.0
            return select(0)

        self._selector.select = jump

    def time(self) -> float:
        return self.now


def virtually(main: Callable[[], Awaitable[T]], seed: int = 0) -> T:
    random.seed(seed)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def now() -> float:
    return asyncio.get_running_loop().time()


class Server(Teacher):
    """Answers after `latency` seconds; `fault` decides whether a call fails, after `refusal`."""

    def __init__(
        self,
        fault: Callable[[int], TeacherError | None] = lambda _: None,
        latency: Callable[[], float] = lambda: 0.2,
        refusal: Callable[[], float] = lambda: 0.01,
    ) -> None:
        self.fault = fault
        self.latency = latency
        self.refusal = refusal
        self.calls = 0
        self.inside = 0
        self.peak = 0
        self.at: list[float] = []
        self.told: Bucket | None = None
        """The limit that answers and refusals tell of."""

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        self.at.append(now())
        self.calls += 1
        number = self.calls
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        try:
            error = self.fault(number)
            told = self.told and self.told.allowance
            await asyncio.sleep(self.refusal() if error else self.latency())
            self.allowance = told or self.allowance
            if error:
                raise error
        finally:
            self.inside -= 1
        return say()


def throttle(retry_after_s: float | None = None) -> TeacherError:
    return TeacherError("slow down", Failure.THROTTLE, retry_after_s=retry_after_s)


def fault() -> TeacherError:
    return TeacherError("500", Failure.TRANSIENT)


class Bucket:
    """A rate limit as vendors keep it: tokens refill all the time, up to a burst.

    Attributes:
        rate: Tokens a second; may be changed.
        passed: Calls that were let through.
    """

    def __init__(self, rate: float, burst: float, full: bool = True, hints: bool = True) -> None:
        self.rate, self.burst = rate, burst
        self.tokens, self.at = burst if full else 0.0, 0.0
        self.hints = hints
        self.passed = 0

    @property
    def allowance(self) -> Allowance:
        return Allowance(self.rate, int(self.tokens))

    def __call__(self, _: int) -> TeacherError | None:
        self.tokens = min(self.burst, self.tokens + (now() - self.at) * self.rate)
        self.at = now()
        if self.tokens >= 1:
            self.tokens -= 1
            self.passed += 1
            return None
        return throttle((1 - self.tokens) / self.rate if self.hints else None)


async def ask_many(teacher: Teacher, count: int) -> list[Turn]:
    return await asyncio.gather(*(teacher.complete((), ()) for _ in range(count)))


async def ask_all(teacher: Teacher, count: int, in_flight: int) -> list[Turn]:
    """Ask `count` questions, `in_flight` at a time."""
    questions = iter(range(count))
    turns: list[Turn] = []

    async def work() -> None:
        for _ in questions:
            turns.append(await teacher.complete((), ()))

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return turns
