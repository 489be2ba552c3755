"""The gate in virtual time: slots, the rate it finds, pauses, bursts of refusals."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from pacing_world import (
    Bucket,
    Server,
    ask_all,
    ask_many,
    fault,
    now,
    throttle,
    virtually,
)

from distill.teachers import Failure, Gate, PacedTeacher, TeacherError, paced
from distill.types import Message, Tool, Turn


def quick() -> float:
    return random.uniform(0.004, 0.02)


def usual() -> float:
    return random.uniform(0.1, 0.4)


def slow() -> float:
    return random.uniform(1, 5)


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


def test_slots_double_with_each_round_until_something_is_refused():
    async def main() -> None:
        gate = Gate(1000)
        server = Server(lambda _: throttle() if now() >= 3 else None, latency=lambda: 1.0)
        asking = asyncio.create_task(ask_all(PacedTeacher(server, gate), 10_000, 1000))
        for seconds, slots in ((0.5, 20), (1.5, 40), (2.5, 80), (3.5, 160), (3.9, 160)):
            await asyncio.sleep(seconds - now())
            assert gate.limit == slots
        server.fault = lambda _: None
        await asyncio.sleep(3)
        before = gate.limit
        await asyncio.sleep(60)
        assert before < gate.limit == 1000
        asking.cancel()

    virtually(main)


def test_a_thousand_calls_are_in_flight_after_seven_rounds():
    async def main() -> None:
        server = Server(latency=lambda: random.uniform(6, 10))
        asking = asyncio.create_task(ask_all(paced(server, 1000), 10_000, 1000))
        await asyncio.sleep(7 * 8)
        assert server.inside == 1000
        asking.cancel()

    virtually(main)


def test_slots_that_nobody_uses_are_not_added():
    async def main() -> None:
        idle = PacedTeacher(Server(), Gate(100))
        for _ in range(60):
            await idle.complete((), ())
        assert idle.gate.limit == 20

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


def test_a_server_error_slows_nobody_else_down():
    async def main() -> None:
        server = Server(lambda number: fault() if number == 1 else None)
        teacher = paced(server, 2)
        await ask_many(teacher, 2)
        assert teacher.gate.rate == float("inf")
        assert server.at[1] == 0

    virtually(main)


# --- pauses ------------------------------------------------------------------------------------


def test_everybody_waits_as_long_as_the_server_asks_and_hardly_longer():
    async def main() -> None:
        server = Server(lambda number: throttle(0.5) if number == 1 else None)
        await ask_many(paced(server, 5), 20)
        first, *others = server.at[5:]
        assert server.at[:5] == [0.0] * 5
        assert 0.51 <= first <= 0.01 + 0.5 * 1.1
        assert min(others) >= first

    virtually(main)


@pytest.mark.parametrize("hint", [None, 0.0])
def test_without_a_hint_the_pauses_grow(hint: float | None):
    async def main() -> None:
        server = Server(lambda number: throttle(hint) if number <= 4 else None)
        await paced(server, 1).complete((), ())
        gaps = [later - earlier for earlier, later in zip(server.at, server.at[1:], strict=False)]
        assert gaps == sorted(gaps)
        assert 1.0 <= gaps[0] <= 1.2
        assert 8.0 <= gaps[3] <= 8.9

    virtually(main)


def test_the_longest_wait_of_several_counts():
    async def main() -> None:
        server = Server(
            lambda number: throttle([1.0, 7.0, 2.0][number - 1]) if number < 4 else None
        )
        await ask_many(paced(server, 3), 3)
        assert 7.0 <= min(server.at[3:]) <= 7.0 * 1.1 + 0.01

    virtually(main)


# --- the rate ----------------------------------------------------------------------------------


@pytest.mark.parametrize("latency", [quick, usual, slow])
@pytest.mark.parametrize(("rate", "burst"), [(2, 120), (2, 2), (10, 600), (20, 20)])
def test_a_rate_limit_is_used_up_with_few_refusals(latency, rate: float, burst: float):
    count = round(burst + 180 * rate)

    async def main() -> None:
        server = Server(Bucket(rate, burst), latency)
        turns = await ask_all(paced(server, 128), count, 128)
        assert len(turns) == count
        assert now() <= 180 / 0.98 + (8 if latency is slow else 0)
        # All calls in flight may be refused once, when the limit is met.
        assert server.calls <= 1.25 * count + 128

    virtually(main)


def test_the_rate_found_is_the_servers():
    async def main() -> None:
        teacher = paced(Server(Bucket(10, 10), quick), 64)
        await ask_all(teacher, 600, 64)
        assert teacher.gate.rate == pytest.approx(10, rel=0.35)

    virtually(main)


@pytest.mark.parametrize(("before", "after"), [(10, 3), (3, 10)])
def test_a_changed_limit_is_found_again(before: float, after: float):
    async def main() -> None:
        limit = Bucket(before, before)
        server = Server(limit, quick)
        asyncio.get_running_loop().call_later(60, setattr, limit, "rate", after)
        await ask_all(paced(server, 64), round(60 * before + 60 * after), 64)
        assert now() <= 120 / 0.95
        assert server.calls <= 1.25 * limit.passed

    virtually(main)


def test_a_limit_on_calls_in_flight_is_used_too():
    async def main() -> None:
        server = Server(latency=slow)
        server.fault = lambda _: throttle() if server.inside > 10 else None
        await ask_all(paced(server, 64), 600, 64)
        assert now() <= 600 * 3 / 10 / 0.7
        assert server.calls <= 600 * 1.2

    virtually(main)


def test_a_known_limit_is_kept_to_from_the_first_call():
    async def main() -> None:
        server = Server(Bucket(2, 2), quick)
        server.requests_per_minute = 120
        await ask_all(paced(server, 64), 120, 64)
        assert server.calls == 120
        assert now() <= 60

    virtually(main)


def test_a_known_limit_holds_after_a_pause_too():
    async def main() -> None:
        server = Server(lambda number: throttle(10) if number == 20 else None, quick)
        server.requests_per_minute = 120
        await ask_all(paced(server, 64), 120, 64)
        assert 59 <= now() <= 63

    virtually(main)


# --- a limit that answers tell of --------------------------------------------------------------


@pytest.mark.parametrize("latency", [quick, usual, slow])
@pytest.mark.parametrize(("rate", "burst"), [(2, 120), (10, 600)])
def test_a_limit_that_is_told_is_used_up_without_a_refusal(latency, rate: float, burst: float):
    count = round(burst + 180 * rate)

    async def main() -> None:
        server = Server(Bucket(rate, burst), latency)
        server.told = server.fault
        turns = await ask_all(paced(server, 128), count, 128)
        assert len(turns) == server.calls == count
        assert now() <= 180 / 0.98 + (8 if latency is slow else 0)

    virtually(main)


def test_what_was_told_is_not_told_again_by_a_call_without_an_answer():
    async def main() -> None:
        server = Server(latency=quick)
        server.told = Bucket(2, 100)
        teacher = paced(server, 4)
        await teacher.complete((), ())
        heard: list[int] = []
        teacher.gate.told = lambda number, _: heard.append(number)
        server.told = None
        server.fault = lambda number: fault() if number == 2 else None
        await teacher.complete((), ())
        assert heard == []

    virtually(main)


def test_a_limit_of_the_config_that_is_less_is_kept_to():
    async def main() -> None:
        server = Server(Bucket(10, 10), quick)
        server.told = server.fault
        server.requests_per_minute = 120
        await ask_all(paced(server, 64), 120, 64)
        assert 59 <= now() <= 60

    virtually(main)


def test_another_limit_than_the_one_that_is_told_is_found():
    async def main() -> None:
        server = Server(Bucket(1, 60), quick)
        server.told = Bucket(20, 1200)
        turns = await ask_all(paced(server, 128), 240, 128)
        assert len(turns) == 240
        assert now() <= 180 / 0.98
        assert server.calls <= 240 + 128

    virtually(main)


# --- bursts ------------------------------------------------------------------------------------


class Stormy(Server):
    """A quota with nothing saved up, and every six seconds a burst of twelve faults of a kind."""

    def __init__(self, rpm: int, latency, refusal) -> None:
        super().__init__(latency=latency, refusal=refusal)
        self.quota = Bucket(rpm / 60, rpm, full=False)
        self.refusals: list[TeacherError] = []
        self.cuts = 0

    async def storm(self) -> None:
        for number in range(9):
            await asyncio.sleep(6)
            match number % 4:
                case 0:
                    self.refusals += [throttle(1.0)] * 12
                case 1:
                    overload = TeacherError("529", Failure.OVERLOAD, retry_after_s=0.5)
                    self.refusals += [overload] * 12
                case _:
                    self.cuts += 12

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        self.fault = lambda number: self.refusals.pop() if self.refusals else self.quota(number)
        turn = await super().complete(messages, tools)
        if self.cuts:
            self.cuts -= 1
            raise fault()
        return turn


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("rpm", [120, 600])
@pytest.mark.parametrize(
    ("latency", "refusal", "tail"), [(quick, quick, 0), (usual, usual, 0.5), (slow, quick, 5)]
)
def test_bursts_of_faults_cost_neither_calls_nor_time(
    rpm: int, told: bool, latency, refusal, tail: float, seed: int
):
    async def main() -> None:
        server = Stormy(rpm, latency, refusal)
        server.told = server.quota if told else None
        storm = asyncio.create_task(server.storm())
        turns = await ask_all(paced(server, 64), rpm, 64)
        storm.cancel()
        assert len(turns) == rpm
        assert now() <= server.quota.passed / (rpm / 60) / 0.98 + tail
        # Refusals are spread over the calls.
        assert max(turn.attempts for turn in turns) <= 10

    virtually(main, seed)


def test_a_burst_does_not_change_what_is_known_of_the_rate():
    async def main() -> None:
        limit = Bucket(10, 600, full=False)
        server = Server(limit, quick)
        teacher = paced(server, 64)
        await ask_all(teacher, 300, 64)
        burst = [throttle(1.0)] * 12
        server.fault = lambda number: burst.pop() if burst else limit(number)
        begun = now()
        await ask_all(teacher, 300, 64)
        assert not burst
        assert now() - begun <= 30 / 0.98

    virtually(main)
