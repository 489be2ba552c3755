"""The gate and its retries, in virtual time: a wait costs nothing and is measured exactly."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest
from collect_world import say

from distill.teachers import Failure, Gate, PacedTeacher, Teacher, TeacherError, paced
from distill.teachers.pacing import PATIENCE_S, TRANSIENT_ATTEMPTS
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


def virtually(main: Callable[[], Awaitable[T]]) -> T:
    random.seed(0)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def now() -> float:
    return asyncio.get_running_loop().time()


class Server(Teacher):
    """Answers after `latency`; `fault` decides whether a call fails."""

    def __init__(
        self, fault: Callable[[int], TeacherError | None] = lambda _: None, latency: float = 0.2
    ) -> None:
        self.fault = fault
        self.latency = latency
        self.calls = 0
        self.inside = 0
        self.peak = 0
        self.at: list[float] = []

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        self.at.append(now())
        self.calls += 1
        number = self.calls
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        try:
            error = self.fault(number)
            await asyncio.sleep(0.01 if error else self.latency)
            if error:
                raise error
        finally:
            self.inside -= 1
        return say()


def throttle(retry_after_s: float | None = None) -> TeacherError:
    return TeacherError("slow down", Failure.THROTTLE, retry_after_s=retry_after_s)


class Bucket:
    """A rate limit as vendors keep it: tokens refill all the time, up to a burst."""

    def __init__(self, per_second: float, burst: float) -> None:
        self.rate, self.burst = per_second, burst
        self.tokens, self.at = burst, 0.0

    def __call__(self, _: int) -> TeacherError | None:
        self.tokens = min(self.burst, self.tokens + (now() - self.at) * self.rate)
        self.at = now()
        if self.tokens >= 1:
            self.tokens -= 1
            return None
        return throttle((1 - self.tokens) / self.rate)


async def ask_many(teacher: Teacher, count: int) -> list[Turn]:
    return await asyncio.gather(*(teacher.complete((), ()) for _ in range(count)))


# --- slots -------------------------------------------------------------------------------------


def test_concurrency_is_never_exceeded_and_starts_at_twenty():
    async def main() -> None:
        few, many = Server(), Server()
        await ask_many(paced(few, 3), 30)
        await ask_many(paced(many, 100), 20)
        await ask_many(PacedTeacher(many, Gate(100)), 60)
        assert few.peak == 3
        assert many.peak > 20
        assert Gate(100).limit == 20

    virtually(main)


def test_a_clean_full_round_adds_a_slot_and_an_idle_one_does_not():
    async def main() -> None:
        busy = PacedTeacher(Server(), Gate(100))
        await ask_many(busy, 20)
        assert busy.gate.limit == 30
        known = PacedTeacher(Server(lambda n: throttle(1) if n == 1 else None), Gate(100))
        await ask_many(known, 21)
        assert known.gate.limit == 17
        idle = PacedTeacher(Server(), Gate(100))
        for _ in range(60):
            await idle.complete((), ())
        assert idle.gate.limit == 20

    virtually(main)


def test_one_episode_of_throttling_shrinks_the_limit_once():
    async def main() -> None:
        server = Server(lambda number: throttle(1.0) if number <= 20 else None)
        teacher = paced(server, 20)
        turns = await ask_many(teacher, 20)
        assert teacher.gate.throttled_episodes == 1
        assert teacher.gate.limit < 20
        assert {turn.attempts for turn in turns} == {2}

    virtually(main)


def test_a_cancelled_wait_does_not_leak_a_slot():
    async def main() -> None:
        gate = Gate(1)
        teacher = PacedTeacher(Server(), gate)
        asked = [asyncio.create_task(teacher.complete((), ())) for _ in range(3)]
        await asyncio.sleep(0.1)
        asked[1].cancel()
        asked[0].cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert asked[2].result().message.content == "Done."
        assert gate.in_flight == 0

    virtually(main)


# --- waiting -----------------------------------------------------------------------------------


def test_everybody_waits_as_long_as_the_server_asks_and_hardly_longer():
    async def main() -> None:
        server = Server(lambda number: throttle(0.5) if number == 1 else None)
        await ask_many(paced(server, 5), 20)
        first, *others = server.at[5:]
        assert server.at[:5] == [0.0] * 5
        assert 0.51 <= first <= 0.01 + 0.5 * 1.1
        assert min(others) >= first

    virtually(main)


def test_without_a_hint_the_pauses_grow():
    async def main() -> None:
        server = Server(lambda number: throttle() if number <= 4 else None)
        await paced(server, 1).complete((), ())
        gaps = [later - earlier for earlier, later in zip(server.at, server.at[1:], strict=False)]
        assert gaps == sorted(gaps)
        assert 1.0 <= gaps[0] <= 1.2
        assert 8.0 <= gaps[3] <= 8.9

    virtually(main)


@pytest.mark.parametrize("failure", [Failure.THROTTLE, Failure.OVERLOAD])
def test_throttling_is_outlasted_however_many_times_it_takes(failure: Failure):
    async def main() -> None:
        error = TeacherError("busy", failure, retry_after_s=1)
        turn = await paced(Server(lambda n: error if n < 30 else None), 4).complete((), ())
        assert turn.attempts == 30

    virtually(main)


def test_a_rate_limit_is_used_up_and_no_call_is_lost():
    async def main() -> None:
        server = Server(Bucket(per_second=10, burst=20))
        turns = await ask_many(paced(server, 64), 620)
        assert len(turns) == 620
        assert now() <= 60 / 0.95  # 600 calls at 10 a second after the burst: 60 s at best

    virtually(main)


def test_slow_calls_are_spread_so_that_a_small_burst_allowance_is_enough():
    async def main() -> None:
        server = Server(Bucket(per_second=20, burst=20), latency=3)
        await ask_many(paced(server, 256), 1820)
        assert now() <= 90 / 0.85
        assert server.calls < 1820 * 1.05

    virtually(main)


# --- giving up ---------------------------------------------------------------------------------


def test_a_call_is_given_up_when_patience_runs_out():
    async def main() -> None:
        with pytest.raises(TeacherError) as caught:
            await paced(Server(lambda _: throttle(60)), 4).complete((), ())
        assert PATIENCE_S < now() < PATIENCE_S + 200
        assert caught.value.attempts > 10

    virtually(main)


def test_an_absurd_wait_is_not_waited_for():
    async def main() -> None:
        with pytest.raises(TeacherError):
            await paced(Server(lambda _: throttle(3600)), 4).complete((), ())
        assert now() < 1

    virtually(main)


def test_a_server_error_is_tried_a_few_times_with_growing_pauses():
    async def main() -> None:
        error = TeacherError("500", Failure.TRANSIENT)
        server = Server(lambda number: error if number <= 2 else None)
        assert (await paced(server, 4).complete((), ())).attempts == 3
        dead = Server(lambda _: error)
        with pytest.raises(TeacherError) as caught:
            await paced(dead, 4).complete((), ())
        assert dead.calls == caught.value.attempts == TRANSIENT_ATTEMPTS
        assert dead.at == sorted(set(dead.at))

    virtually(main)


def test_a_server_error_slows_nobody_else_down():
    async def main() -> None:
        error = TeacherError("500", Failure.TRANSIENT)
        server = Server(lambda number: error if number == 1 else None)
        teacher = paced(server, 2)
        await ask_many(teacher, 2)
        assert teacher.gate.limit == 2
        assert server.at[1] == 0

    virtually(main)


@pytest.mark.parametrize("failure", [Failure.QUOTA, Failure.AUTH, Failure.BAD_REQUEST])
def test_what_will_not_mend_is_not_tried_again(failure: Failure):
    async def main() -> None:
        server = Server(lambda _: TeacherError("no", failure))
        with pytest.raises(TeacherError):
            await paced(server, 4).complete((), ())
        assert server.calls == 1

    virtually(main)
