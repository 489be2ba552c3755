"""Money: what a call may cost is put aside before it is sent, in the store, for all processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from collect_world import ScriptedTeacher, call, call_then_answer, run, say, workspace

from distill.collect import make_plan
from distill.config import Config, TeacherConfig
from distill.teachers import Failure, TeacherError
from distill.teachers.estimate import most_output_tokens, worst_case_usd, worst_input_tokens
from distill.traces import TraceStore
from distill.types import Message, StopReason, SystemMessage, Tool, Turn, Usage, UserMessage

WORST = 1.0
"""Dollars a call may cost at most: 100 output tokens at a cent each, input for nothing."""
PRICE = {"input": 0, "output": 10_000}
TEACHER = {
    "provider": "openai_chat",
    "model": "fake",
    "base_url": "http://127.0.0.1:9/v1",
    "max_tokens": 100,
    "price": PRICE,
}


def money(folder: Path, budget: float, count: int = 20, **collect: object) -> Config:
    collect = {"budget_usd": budget, "concurrency": 1} | collect
    return workspace(folder, count, teacher=TEACHER, collect=collect)


def priced(turn: Turn, usd: float = 0.25) -> Turn:
    return turn.model_copy(update={"cost_usd": usd, "usage": Usage(output_tokens=25)})


class Slow(ScriptedTeacher):
    """Answers after a moment; counts what is under way."""

    inside = peak = 0

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        await asyncio.sleep(0.005)
        self.inside -= 1
        return await super().complete(messages, tools)


def opened(config: Config) -> TraceStore:
    return TraceStore.open(config.store_url)


# --- the cap -----------------------------------------------------------------------------------


async def test_no_call_is_sent_that_could_pass_the_budget_and_the_rest_is_left(tmp_path: Path):
    config = money(tmp_path, 3)
    status = await run(config, ScriptedTeacher(lambda _: priced(say())))
    # 9 calls cost 2.25; a tenth might cost 1 more, which is too much.
    assert (status.finished, status.left, status.cut_short) == (9, 11, 1)
    assert "budget of $3 is reached: $2.25 are spent" in status.notice
    assert status.money.spent_usd == 2.25
    silent = ScriptedTeacher(lambda _: priced(say()))
    again = await run(config, silent)
    assert (again.finished, silent.seen) == (0, [])


async def test_a_raised_budget_resumes(tmp_path: Path):
    config = money(tmp_path, 3)
    await run(config, ScriptedTeacher(lambda _: priced(say())))
    raised = config.model_copy(
        update={"collect": config.collect.model_copy(update={"budget_usd": 100})}
    )
    raised._workspace = config.workspace
    assert (await run(raised, ScriptedTeacher(lambda _: priced(say())))).left == 0


async def test_calls_wait_for_room_instead_of_stopping_the_run_early(tmp_path: Path):
    teacher = Slow(lambda _: priced(say()))
    status = await run(money(tmp_path, 6, 40, concurrency=16), teacher)
    # Sixteen calls of a worst case of 1 do not fit into 6 together, one after the other they do.
    assert teacher.peak <= 6
    assert status.finished == 21
    assert status.money == (5.25, 0.0, 0.0, 0)


async def test_the_last_dollars_end_episodes_rather_than_begin_new_ones(tmp_path: Path):
    teacher = Slow(lambda messages: priced(call_then_answer(messages)))
    status = await run(money(tmp_path, 4, 40, concurrency=8), teacher)
    # 4 - 1 + 0.25 buys 13 calls: six episodes of two, and one call of an unfinished seventh.
    assert len(teacher.seen) == 13
    assert status.finished == 6


async def test_what_a_killed_run_had_under_way_stays_held_and_is_shown(tmp_path: Path):
    config = money(tmp_path, 3)
    dead = ScriptedTeacher(lambda _: priced(say()))

    def killed(store: TraceStore) -> None:
        from distill.traces import Reservation

        asked = {"at": "2026-01-01T00:00:00+00:00", "provider": "p", "model": "m"}
        key = make_plan(config).episodes[0].key
        lost = Reservation(key=key, owner="elsewhere:1:x", reserved_usd=1.5, **asked)
        assert store.reserve([lost], 3)

    status = await run(config, dead, before=killed)
    assert status.finished == 3  # 1.5 held, 0.75 spent: another 1 does not fit
    assert "$1.5 not known" in status.notice
    assert status.money == (0.75, 0.0, 1.5, 1)


# --- what is booked ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "booked"),
    [
        (Failure.THROTTLE, ("settled", 0.0)),
        (Failure.BAD_REQUEST, ("settled", 0.0)),
        (Failure.TRANSIENT, ("unknown", None)),
    ],
)
async def test_a_refused_call_is_free_and_an_unanswered_one_may_have_been_billed(
    tmp_path: Path, failure: Failure, booked: tuple[str, float | None]
):
    config = money(tmp_path, 3, 1)
    try:
        await run(config, ScriptedTeacher(lambda _: TeacherError("no", failure)))
    except TeacherError:
        pass
    with opened(config) as store:
        (line,) = store.ledger()
        assert (line.status, line.cost_usd) == booked
        assert (line.failure, line.reserved_usd) == (failure, WORST)
        assert store.money().committed_usd == (WORST if line.status == "unknown" else 0)


async def test_a_call_of_unknown_price_stops_a_run_with_a_budget(tmp_path: Path):
    status = await run(money(tmp_path, 3), ScriptedTeacher(lambda _: say(cost_usd=None)))
    assert status.finished == 1
    assert "unknown price" in status.notice


async def test_a_ledger_line_tells_the_whole_call(tmp_path: Path):
    usage = Usage(
        input_tokens=60,
        cached_tokens=40,
        cache_write_tokens=10,
        output_tokens=9,
        reasoning_tokens=4,
    )
    answer = say(
        usage=usage, cost_usd=0.5, attempts=3, latency_s=1.25, request_id="req_7", model="served"
    )
    config = money(tmp_path, 3, 1)
    await run(config, ScriptedTeacher(lambda _: answer))
    with opened(config) as store:
        (line,) = store.ledger()
    assert (line.usage, line.cost_usd, line.attempts) == (usage, 0.5, 3)
    assert (line.latency_s, line.request_id, line.model) == (1.25, "req_7", "served")
    assert (line.status, line.reserved_usd, line.failure) == ("settled", WORST, None)


async def test_an_answer_cut_off_is_paid_for(tmp_path: Path):
    config = money(tmp_path, 3, 1)
    cut = priced(say("I wo", stop=StopReason.LENGTH), 1.0)
    await run(config, ScriptedTeacher(lambda _: cut))
    with opened(config) as store:
        assert store.money().spent_usd == 1.0


# --- the worst case ----------------------------------------------------------------------------


def teacher_config(**fields: object) -> TeacherConfig:
    return TeacherConfig(**(TEACHER | fields))


def test_the_worst_case_counts_the_dearest_input_and_the_longest_answer():
    asked = (SystemMessage(content="You run the lamps."), UserMessage(content="x" * 1000))
    tokens = worst_input_tokens(asked, ())
    assert 500 < tokens < 700
    prices = {"input": 1, "output": 10, "cached": 0.1, "cache_write": 1.25}
    worst = worst_case_usd(teacher_config(price=prices), asked, ())
    assert worst == pytest.approx((tokens * 1.25 + 100 * 10) / 1e6)
    assert worst_case_usd(teacher_config(price=None), asked, ()) is None


def test_tools_and_calls_are_part_of_what_is_read():
    asked = (UserMessage(content="hi"),)
    tool = Tool(name="t", description="d" * 300, parameters={"type": "object"})
    assert worst_input_tokens(asked, (tool,)) > worst_input_tokens(asked, ()) + 150
    called = (*asked, call(arguments='{"level": "' + "9" * 200 + '"}').message)
    assert worst_input_tokens(called, ()) > worst_input_tokens(asked, ()) + 100


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_a_limit_among_the_extra_fields_counts(name: str):
    assert most_output_tokens(teacher_config(extra={name: 5000})) == 5000
    assert most_output_tokens(teacher_config(extra={"seed": 5000})) == 100
