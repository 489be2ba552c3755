from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from collect_world import ScriptedTeacher, call, call_then_answer, run, say, workspace

from distill.collect import make_plan
from distill.collect.runner import FIRST_EPISODES, SAME_FAULTS
from distill.config import Config
from distill.errors import StoreError
from distill.teachers import Failure, TeacherError
from distill.traces import TraceStore
from distill.traces.owner import is_dead, new_owner
from distill.types import Message, Outcome, StopReason, Tool, Turn


def stored(config: Config) -> TraceStore:
    return TraceStore.open(config.store_url)


# --- a run -------------------------------------------------------------------------------------


async def test_every_episode_is_stored_with_its_calls(tmp_path: Path):
    config = workspace(tmp_path, 30)
    status = await run(config, ScriptedTeacher(call_then_answer))
    assert (status.done, status.left, status.in_flight, status.calls) == (30, 0, 0, 60)
    with stored(config) as store:
        traces = list(store.traces())
        assert [trace.task.id for trace in traces] == [f"t{n:04}" for n in range(30)]
        assert all(trace.changes == {"/level": 3} for trace in traces)
        ledger = list(store.ledger())
        assert len(ledger) == 60
        assert {line.key for line in ledger} == {trace.key for trace in traces}
        assert store.get_toolset(traces[0].toolset_hash).name == "lamps"
        assert store.counts().leased == 0


async def test_a_second_run_asks_nothing_again(tmp_path: Path):
    config = workspace(tmp_path, 6)
    await run(config, ScriptedTeacher(call_then_answer), limit=2)
    teacher = ScriptedTeacher(call_then_answer)
    status = await run(config, teacher)
    assert (status.before, status.finished) == (2, 4)
    assert {seen[1].content for seen in teacher.seen} == {f"lamp to {n}" for n in range(2, 6)}
    silent = ScriptedTeacher(call_then_answer)
    await run(config, silent)
    assert silent.seen == []


async def test_concurrency_is_the_configured_one(tmp_path: Path):
    inside = peak = 0

    class Slow(ScriptedTeacher):
        async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
            nonlocal inside, peak
            inside += 1
            peak = max(peak, inside)
            await asyncio.sleep(0.001)
            inside -= 1
            return say()

    await run(workspace(tmp_path, 20, collect={"concurrency": 3}), Slow(lambda _: say()))
    assert peak == 3


async def test_how_an_episode_ends_is_counted(tmp_path: Path):
    endings = {
        "lamp to 0": say(),
        "lamp to 1": say("I wo", stop=StopReason.LENGTH),
        "lamp to 2": say("No.", stop=StopReason.REFUSAL),
        "lamp to 3": call(),
    }
    config = workspace(tmp_path, 4, collect={"max_steps": 2})
    status = await run(config, ScriptedTeacher(lambda messages: endings[messages[1].content]))
    assert set(status.outcomes) == {
        Outcome.COMPLETED,
        Outcome.TRUNCATED,
        Outcome.REFUSED,
        Outcome.TURN_LIMIT,
    }
    with stored(config) as store:
        assert {trace.task.id for trace in store.traces(Outcome.COMPLETED)} == {"t0000"}


# --- a changed config --------------------------------------------------------------------------


async def test_a_changed_teacher_is_refused_before_anything_is_asked(tmp_path: Path):
    config = workspace(tmp_path, 2)
    await run(config, ScriptedTeacher(call_then_answer))
    other = config.model_copy(
        update={"teacher": config.teacher.model_copy(update={"temperature": 1.0})}
    )
    other._workspace = config.workspace
    teacher = ScriptedTeacher(call_then_answer)
    with pytest.raises(StoreError, match=r"teacher\.temperature was null, is now 1"):
        await run(other, teacher)
    assert teacher.seen == []


async def test_a_changed_tool_set_is_refused_by_name(tmp_path: Path):
    config = workspace(tmp_path, 2)
    await run(config, ScriptedTeacher(call_then_answer))
    tools = tmp_path / "tools" / "lamps" / "tools.py"
    tools.write_text(tools.read_text().replace("Set the lamp.", "Set the lamp's level."))
    with pytest.raises(StoreError, match=r"toolset\.hash was"):
        await run(config, ScriptedTeacher(call_then_answer))


# --- failures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [Failure.QUOTA, Failure.AUTH])
async def test_no_credit_or_a_refused_key_stops_the_run_and_it_resumes(
    tmp_path: Path, failure: Failure
):
    config = workspace(tmp_path, 40, collect={"concurrency": 4})
    answered = 0

    def answer(_: Sequence[Message]) -> Turn | Exception:
        nonlocal answered
        answered += 1
        return say() if answered <= 10 else TeacherError("HTTP 402: no credit", failure)

    with pytest.raises(TeacherError, match="no credit") as caught:
        await run(config, ScriptedTeacher(answer))
    assert caught.value.failure is failure
    assert caught.value.status.finished == 10
    assert answered < 20
    with stored(config) as store:
        assert (store.counts().done, store.counts().pending) == (10, 30)
        assert any(line.failure == failure for line in store.ledger())
    status = await run(config, ScriptedTeacher(lambda _: say()))
    assert (status.before, status.finished) == (10, 30)


async def test_the_same_bad_request_again_and_again_stops_the_run(tmp_path: Path):
    count = 0

    def answer(_: Sequence[Message]) -> Exception:
        nonlocal count
        count += 1
        return TeacherError(f"HTTP 400: no tools here (request {count})", Failure.BAD_REQUEST)

    config = workspace(tmp_path, 100, collect={"concurrency": 2})
    with pytest.raises(TeacherError, match=r"no tools here.*5 times"):
        await run(config, ScriptedTeacher(answer))
    assert count <= SAME_FAULTS + 2
    status = await run(config, ScriptedTeacher(lambda _: say()))
    assert (status.before, status.finished) == (0, 100)


async def test_bad_requests_now_and_then_fail_only_their_episodes(tmp_path: Path):
    config = workspace(tmp_path, 60, collect={"concurrency": 1})
    bad = {f"lamp to {n}" for n in (3, 9, 25, 30, 41, 50, 55)}

    def answer(messages: Sequence[Message]) -> Turn | Exception:
        if messages[1].content in bad:
            return TeacherError("HTTP 400: context too long", Failure.BAD_REQUEST)
        return say()

    assert FIRST_EPISODES < 25
    status = await run(config, ScriptedTeacher(answer))
    assert status.outcomes == {Outcome.COMPLETED: 53, Outcome.ERROR: 7}
    assert "context too long" in status.last_error
    again = ScriptedTeacher(answer)
    assert (await run(config, again)).before == 53
    assert len(again.seen) == 7


async def test_what_could_not_be_asked_is_owed_and_the_run_says_so(tmp_path: Path):
    config = workspace(tmp_path, 10, collect={"concurrency": 1})
    lost = iter([True, *[False] * 100])

    def answer(_: Sequence[Message]) -> Turn | Exception:
        return TeacherError("connection lost", Failure.TRANSIENT) if next(lost) else say()

    with pytest.raises(TeacherError, match=r"1 episodes were given up.*run again"):
        await run(config, ScriptedTeacher(answer))
    assert (await run(config, ScriptedTeacher(answer))).before == 9


async def test_an_unreachable_teacher_does_not_use_up_every_episode(tmp_path: Path):
    teacher = ScriptedTeacher(lambda _: TeacherError("cannot reach", Failure.TRANSIENT))
    config = workspace(tmp_path, 100, collect={"concurrency": 2})
    with pytest.raises(TeacherError, match="cannot reach"):
        await run(config, teacher)
    assert len(teacher.seen) <= SAME_FAULTS + 2


# --- interruption ------------------------------------------------------------------------------


class Waiting(ScriptedTeacher):
    """Every call waits until `go` is set; presses Ctrl-C `presses` times once all are in."""

    def __init__(self, expected: int, presses: int) -> None:
        super().__init__(lambda _: say())
        self.expected, self.presses = expected, presses
        self.go = asyncio.Event()

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        turn = await super().complete(messages, tools)
        if len(self.seen) == self.expected:
            for _ in range(self.presses):
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(0.01)
            self.go.set()
        await self.go.wait()
        return turn


async def test_ctrl_c_brings_what_is_in_flight_to_its_end(tmp_path: Path):
    config = workspace(tmp_path, 20, collect={"concurrency": 4})
    status = await run(config, Waiting(4, presses=1))
    assert status.interrupted
    assert (status.finished, status.left) == (4, 16)
    assert "4 episodes in flight" in status.notice
    with stored(config) as store:
        assert (store.counts().done, store.counts().leased) == (4, 0)


async def test_ctrl_c_twice_drops_what_is_in_flight_but_books_its_calls(tmp_path: Path):
    config = workspace(tmp_path, 20, collect={"concurrency": 4})
    teacher = Waiting(4, presses=2)
    status = await run(config, teacher)
    assert status.interrupted
    assert status.finished == 0
    with stored(config) as store:
        assert (store.counts().done, store.counts().leased) == (0, 0)
        assert [line.failure for line in store.ledger()] == ["cancelled"] * 4
    assert (await run(config, ScriptedTeacher(lambda _: say()))).finished == 20


# --- leases ------------------------------------------------------------------------------------


async def test_episodes_of_a_dead_run_are_taken_back_at_once(tmp_path: Path):
    config = workspace(tmp_path, 4)
    keys = [episode.key for episode in make_plan(config).episodes]
    host, _, token = new_owner().rsplit(":", 2)
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    dead = f"{host}:{process.pid}:{token}"

    def leave_leased(store: TraceStore) -> None:
        store.lease(dead, keys, 3600)

    with TraceStore.open(config.store_url, create=True) as store:
        store.bind(make_plan(config).settings)
        store.add_episodes([episode.owed for episode in make_plan(config).episodes])
        leave_leased(store)
    assert (await run(config, ScriptedTeacher(lambda _: say()))).finished == 4


async def test_episodes_of_a_living_run_are_left_to_it(tmp_path: Path):
    config = workspace(tmp_path, 4)
    keys = [episode.key for episode in make_plan(config).episodes]
    host, _, token = new_owner().rsplit(":", 2)
    living = f"{host}:{os.getppid()}:{token}"
    status = await run(
        config,
        ScriptedTeacher(lambda _: say()),
        before=lambda store: store.lease(living, keys[:3], 3600) and None,
    )
    assert (status.finished, status.left) == (1, 3)


def test_only_a_run_that_is_certain_to_be_over_is_dead():
    host, pid, token = new_owner().rsplit(":", 2)
    assert is_dead(f"{host}:{pid}:{token}")
    assert not is_dead(f"{host}:{os.getppid()}:{token}")
    assert not is_dead(f"elsewhere.example:{pid}:{token}")


# --- the disk ----------------------------------------------------------------------------------


async def test_a_full_disk_drains_and_loses_nothing_that_was_stored(tmp_path: Path):
    config = workspace(tmp_path, 60, collect={"concurrency": 4})

    def fill(store: TraceStore) -> None:
        with store.engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        store.engine.dispose()

        @sa.event.listens_for(store.engine, "connect")
        def _limit(connection, _):
            connection.execute(f"PRAGMA max_page_count={pages + 12}")

    teacher = ScriptedTeacher(call_then_answer)
    with pytest.raises(StoreError, match=r"full; free some space.*owed again") as caught:
        await run(config, teacher, before=fill)
    status = caught.value.status
    assert status.unstored > 0
    assert len(teacher.seen) < 120
    with stored(config) as store:
        kept = store.counts().done
        assert kept == status.finished - status.unstored
        # Calls are noted one by one, so all that were sent are known, those of lost traces too.
        assert len(list(store.ledger())) == len(teacher.seen) >= 2 * kept
    again = await run(config, ScriptedTeacher(call_then_answer))
    assert (again.before, again.done) == (kept, 60)
