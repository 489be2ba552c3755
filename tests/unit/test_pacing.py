"""When a call is sent again and when it is given up, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from collect_world import say
from pacing_world import Server, ask_many, fault, now, throttle, virtually

from distill.config import TeacherConfig
from distill.teachers import Failure, Teacher, TeacherError, create_teacher, paced
from distill.teachers.pacing import PATIENCE_S, THROTTLED_ATTEMPTS, TRANSIENT_ATTEMPTS
from distill.types import Message, Tool, Turn, UserMessage

POISON = (UserMessage(content="poison"),)


class Poisoned(Teacher):
    """Answers everything but one question, on which it always fails."""

    def __init__(self, error: TeacherError) -> None:
        self.error = error

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        await asyncio.sleep(0.1)
        if tuple(messages) == POISON:
            raise self.error
        return say()


async def poisoned(error: TeacherError) -> int:
    """Return after how many attempts the bad call is given up while others are answered."""
    teacher = paced(Poisoned(error), 4)

    async def others() -> None:
        while True:
            await teacher.complete((), ())

    busy = asyncio.create_task(others())
    with pytest.raises(TeacherError) as caught:
        await teacher.complete(POISON, ())
    busy.cancel()
    return caught.value.attempts


# --- waiting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [Failure.THROTTLE, Failure.OVERLOAD])
def test_throttling_is_outlasted_however_many_times_it_takes(failure: Failure):
    async def main() -> None:
        error = TeacherError("busy", failure, retry_after_s=1)
        turn = await paced(Server(lambda n: error if n < 30 else None), 4).complete((), ())
        assert turn.attempts == 30

    virtually(main)


def test_a_server_error_is_tried_a_few_times_with_growing_pauses():
    async def main() -> None:
        server = Server(lambda number: fault() if number <= 2 else None)
        assert (await paced(server, 4).complete((), ())).attempts == 3
        dead = Server(lambda _: fault())
        with pytest.raises(TeacherError) as caught:
            await paced(dead, 4).complete((), ())
        assert dead.calls == caught.value.attempts == TRANSIENT_ATTEMPTS
        assert dead.at == sorted(set(dead.at))

    virtually(main)


def test_an_outage_of_an_endpoint_that_worked_is_waited_out():
    async def main() -> None:
        server = Server()
        teacher = paced(server, 8, outage_s=900)
        await ask_many(teacher, 8)
        server.fault = lambda _: fault() if now() < 600 else None
        turns = await ask_many(teacher, 8)
        assert max(turn.attempts for turn in turns) > TRANSIENT_ATTEMPTS
        assert now() < 620

    virtually(main)


# --- giving up ---------------------------------------------------------------------------------


def test_calls_are_given_up_when_nobody_is_answered_for_long():
    async def main() -> None:
        with pytest.raises(TeacherError) as caught:
            await paced(Server(lambda _: throttle(60)), 4).complete((), ())
        assert PATIENCE_S < now() < PATIENCE_S + 200
        assert caught.value.attempts > 10

    virtually(main)


def test_an_outage_that_does_not_end_is_given_up():
    async def main() -> None:
        for patience in (0.0, 900.0):
            server = Server()
            teacher = paced(server, 4, outage_s=patience)
            await teacher.complete((), ())
            gone = now()
            server.fault = lambda _: fault()
            with pytest.raises(TeacherError):
                await teacher.complete((), ())
            assert patience < now() - gone < patience + 80

    virtually(main)


def test_the_time_spent_in_the_queue_is_no_reason_to_give_up():
    async def main() -> None:
        # One call a minute for thirty that wait together: the last is sent after half an hour.
        server = Server(lambda _: None if now() >= 60 * server.inside_total else throttle(60))
        server.inside_total = 0

        async def ask() -> None:
            await teacher.complete((), ())
            server.inside_total += 1

        teacher = paced(server, 1)
        await asyncio.gather(*(ask() for _ in range(30)))
        assert now() > 1.9 * PATIENCE_S

    virtually(main)


def test_a_call_that_fails_while_others_are_answered_is_given_up():
    assert virtually(lambda: poisoned(fault())) == TRANSIENT_ATTEMPTS


def test_a_call_larger_than_the_limit_is_given_up():
    attempts = virtually(lambda: poisoned(throttle(1)))
    assert THROTTLED_ATTEMPTS <= attempts < 2 * THROTTLED_ATTEMPTS


def test_an_absurd_wait_is_not_waited_for():
    async def main() -> None:
        with pytest.raises(TeacherError):
            await paced(Server(lambda _: throttle(3600)), 4).complete((), ())
        assert now() < 1

    virtually(main)


@pytest.mark.parametrize("failure", [Failure.QUOTA, Failure.AUTH, Failure.BAD_REQUEST])
def test_what_will_not_mend_is_not_tried_again(failure: Failure):
    async def main() -> None:
        server = Server(lambda _: TeacherError("no", failure))
        with pytest.raises(TeacherError):
            await paced(server, 4).complete((), ())
        assert server.calls == 1

    virtually(main)


# --- one gate an account -----------------------------------------------------------------------


def teacher(**fields: object) -> Teacher:
    settings = {"provider": "openai_chat", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    return create_teacher(TeacherConfig(**(settings | fields)))


def test_teachers_of_one_account_and_model_share_a_gate_and_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OTHER_KEY", "k")
    first = paced(teacher(model="claude-haiku-4-5"), 4)
    dated = paced(teacher(model="claude-haiku-4-5-20251001", temperature=1), 9)
    assert first.gate is dated.gate
    assert first.gate.ceiling == 9
    for other in (
        {"model": "other"},
        {"base_url": "http://127.0.0.1:8/v1"},
        {"api_key_env": "OTHER_KEY"},
        {"provider": "anthropic"},
    ):
        assert paced(teacher(**({"model": "claude-haiku-4-5"} | other)), 4).gate is not first.gate


def test_a_configured_limit_is_the_gates():
    gate = paced(teacher(limits={"requests": 30}), 4).gate
    assert gate.most == 0.5


def test_a_gate_is_forgotten_with_its_last_teacher():
    assert paced(teacher(), 50).gate.ceiling == 50
    assert paced(teacher(), 4).gate.ceiling == 4
