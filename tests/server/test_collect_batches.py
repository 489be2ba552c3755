"""Whole runs through the batch endpoints of `llmock`, with kills, faults and a budget.

`llmock` answers batches with text alone, so tasks of several user turns make several waves; the
`agent` fixture has them answered by its live endpoints, which call tools.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from llmock_world import (
    AGENT,
    FIRST_LASTS,
    SECRET,
    Mock,
    environment,
    run,
    serving,
    start,
    workspace,
)

from distill.collect import Status
from distill.config import Config, load_config
from distill.errors import StoreError
from distill.teachers import TeacherError, cost_usd
from distill.teachers.anthropic_batch import AnthropicBatches
from distill.traces import BatchStore, LedgerLine, TraceStore, schema
from distill.types import Outcome, ToolMessage, canonical_json

PROVIDERS = ("anthropic", "openai_chat")
POST = {
    "anthropic": {"path": "/anthropic/v1/messages/batches"},
    "openai_chat": {"path": "/v1/batches"},
}
LOOK = {
    "anthropic": {"path": "/anthropic/v1/messages/batches/*"},
    "openai": {"path": "/v1/batches/*"},
    "openai_chat": {"path": "/v1/batches/*"},
}
each_provider = pytest.mark.parametrize("provider", PROVIDERS)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMPS_KEY", SECRET)


@pytest.fixture(scope="module")
def agent() -> Iterator[Mock]:
    with serving(AGENT) as mock:
        yield mock


def batched(
    folder: Path, mock: Mock, provider: str, count: int, turns: int = 3, **collect: Any
) -> Path:
    """A workspace whose tasks take so many user turns, and so as many waves."""
    path = workspace(folder, mock, provider, count, batch=True, **collect)
    tasks = folder / "tools" / "lamps" / "tasks.jsonl"
    rows = [json.loads(line) for line in tasks.read_text().splitlines()]
    for row in rows:
        row["turns"] = [{"content": f"{row['id']}: lamp to {n}"} for n in range(turns)]
    tasks.write_text("\n".join(map(json.dumps, rows)))
    return path


def handed_over(mock: Mock) -> Counter[str]:
    """How often each conversation was in a batch that the server accepted."""
    calls: list[dict[str, Any]] = []
    for record in mock.requests("/anthropic/v1/messages/batches"):
        if record["method"] == "POST" and record["status"] == 200:
            calls += [request["params"] for request in record["body"]["requests"]]
    for record in mock.requests("/v1/batches"):
        if record["method"] == "POST" and record["status"] == 200:
            file = mock.client.get(f"/v1/files/{record['body']['input_file_id']}/content").text
            calls += [json.loads(line)["body"] for line in file.splitlines()]
    # What the model has said differs between two answers to one question, the question does not.
    return Counter(
        canonical_json([row["content"] for row in conversation if row.get("role") == "user"])
        for conversation in (call.get("messages") or call["input"] for call in calls)
    )


def ledger(url: str) -> list[LedgerLine]:
    with TraceStore.open(url) as store:
        return list(store.ledger())


async def interrupted(config: Config, mock: Mock) -> Status:
    """Run until a batch is handed over, which is never seen to be over; then press Ctrl-C."""
    hide_batches(mock)
    return await interrupt(asyncio.create_task(run(config)), mock, 1)


def hide_batches(mock: Mock) -> None:
    for look in LOOK.values():
        mock.behave({"type": "fail", "status": 500, "times": None, "match": look})


async def interrupt(running: asyncio.Task[Status], mock: Mock, calls: int) -> Status:
    while (await asyncio.to_thread(handed_over, mock)).total() < calls:
        assert not running.done(), running.result()
        await asyncio.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)
    status = await running
    mock.client.delete("/_llmock/scenario").raise_for_status()
    return status


def nothing_is_left(url: str) -> None:
    with TraceStore.open(url) as store:
        assert store.counts().leased == 0
        assert store.money().reserved_usd == 0
        with store.engine.connect() as connection:
            for table in (schema.asked, schema.waves):
                assert connection.execute(sa.select(sa.func.count(table.c[0]))).scalar() == 0


def tool_results(store: TraceStore) -> list[ToolMessage]:
    """What calls that are pending were told by tools."""
    waves = BatchStore(store)
    pending = [call for key in waves.episodes() for call in waves.of_episode(key)]
    return [m for call in pending if not call.answer for m in call.messages if m.role == "tool"]


# --- a run -------------------------------------------------------------------------------------


@each_provider
async def test_a_wave_per_turn_at_half_the_price(
    tmp_path: Path, mock: Mock, store_url: str, provider: str
):
    config = load_config(batched(tmp_path, mock, provider, 12, store=store_url))
    status = await run(config)
    assert status.outcomes == {Outcome.COMPLETED: 12}
    assert (status.batches, status.pending, status.calls) == (3, {}, 36)
    asked = handed_over(mock)
    assert len(asked) == 36 == asked.total()
    for line in ledger(store_url):
        full = cost_usd(config.teacher.model, line.usage)
        assert line.cost_usd == pytest.approx(full / 2) != 0
        assert line.reserved_usd > line.cost_usd
        assert (line.status, line.attempts, line.failure) == ("settled", 1, None)
        assert line.latency_s > 0.3
    with TraceStore.open(store_url) as store:
        assert all(len(trace.turns) == 3 for trace in store.traces())
    nothing_is_left(store_url)


@pytest.mark.parametrize("provider", ["anthropic", "openai", "openai_chat"])
async def test_tools_run_between_two_waves(tmp_path: Path, agent: Mock, provider: str):
    agent.reset()
    config = load_config(batched(tmp_path, agent, provider, 5, turns=1))
    status = await run(config)
    assert status.outcomes == {Outcome.COMPLETED: 5}
    assert status.batches == 2
    with TraceStore.open(config.store_url) as store:
        for trace in store.traces():
            roles = [message.role for message in trace.messages]
            assert roles == ["user", "assistant", "tool", "assistant"]
            assert not trace.messages[2].is_error


async def test_more_episodes_than_fit_into_a_wave_follow_as_others_end(tmp_path: Path, mock: Mock):
    config = load_config(batched(tmp_path, mock, "anthropic", 7, turns=2, batch_size=3))
    status = await run(config)
    assert status.outcomes == {Outcome.COMPLETED: 7}
    sizes = [
        len(record["body"]["requests"])
        for record in mock.requests("/anthropic/v1/messages/batches")
    ]
    assert sizes == [3, 3, 3, 3, 1, 1]


async def test_a_wave_is_split_where_the_provider_wants_smaller_batches(
    tmp_path: Path, mock: Mock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(AnthropicBatches, "most_calls", 4)
    config = load_config(batched(tmp_path, mock, "anthropic", 9, turns=1))
    assert (await run(config)).outcomes == {Outcome.COMPLETED: 9}
    monkeypatch.setattr(AnthropicBatches, "most_bytes", 1200)
    config = load_config(batched(tmp_path / "other", mock, "anthropic", 4, turns=1))
    assert (await run(config)).outcomes == {Outcome.COMPLETED: 4}
    made = mock.requests("/anthropic/v1/messages/batches")
    assert [len(record["body"]["requests"]) for record in made] == [4, 4, 1, 2, 2]
    assert len(json.dumps(made[-1]["body"]["requests"])) < 1200


# --- killed ------------------------------------------------------------------------------------

KILLED = """
import asyncio, os, random, signal, sys, time
from distill.collect import Status, collect, make_plan, waves
from distill.config import load_config
from distill.teachers import anthropic_batch, openai_batch
from distill.traces import TraceStore
import psycopg

waves.GRACE_S = 1.0
config, dice = load_config(sys.argv[1]), random.Random(sys.argv[2])
for _ in range(int(sys.argv[3])):
    child = os.fork()
    if not child:
        asyncio.run(collect(config, make_plan(config), Status()))
        os._exit(0)
    time.sleep(dice.uniform(0.1, 1.2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
asyncio.run(collect(config, make_plan(config), Status()))
"""
"""Forks a run and kills it at a random instant, again and again; the last one may end."""


def test_killed_at_random_instants_nothing_is_paid_twice(
    tmp_path: Path, mock: Mock, store_url: str
):
    provider = "anthropic" if store_url.startswith("sqlite") else "openai_chat"
    path = batched(tmp_path, mock, provider, 20, turns=5, store=store_url)
    arguments = [str(path), provider, "8"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    asked = handed_over(mock)
    assert len(asked) == 100 == asked.total()
    lines = ledger(store_url)
    answered = [line for line in lines if line.failure is None]
    assert len(answered) == 100
    assert all(line.cost_usd == 0 for line in lines if line.failure)
    with TraceStore.open(store_url) as store:
        traces = list(store.traces())
        assert len({trace.key for trace in traces}) == 20
        assert all(trace.outcome is Outcome.COMPLETED for trace in traces)
        assert store.money().unknown_calls == 0
        paid = sum(trace.cost_usd for trace in traces)
        assert store.money().spent_usd == pytest.approx(paid)
    nothing_is_left(store_url)


KILLED_AT = """
import asyncio, os, signal, sys
from distill.collect import Status, collect, make_plan
from distill.config import load_config
from distill.teachers.anthropic_batch import AnthropicBatches
from distill.teachers.openai_batch import OpenAIBatches
from distill.traces import BatchStore

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "before":
    AnthropicBatches.submit = OpenAIBatches.submit = die
else:
    BatchStore.submitted = die
config = load_config(sys.argv[1])
asyncio.run(collect(config, make_plan(config), Status()))
"""


@each_provider
@pytest.mark.parametrize("instant", ["before", "after"])
async def test_killed_around_the_hand_over(
    tmp_path: Path, mock: Mock, monkeypatch: pytest.MonkeyPatch, provider: str, instant: str
):
    monkeypatch.setattr("distill.collect.waves.GRACE_S", 0.0)
    path = batched(tmp_path, mock, provider, 5, turns=2)
    command = [sys.executable, "-c", KILLED_AT, str(path), instant]
    done = subprocess.run(command, timeout=300, env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert handed_over(mock).total() == (5 if instant == "after" else 0)
    config = load_config(path)
    assert {line.status for line in ledger(config.store_url)} == {"reserved"}
    status = await run(config)
    assert status.outcomes == {Outcome.COMPLETED: 5}
    asked = handed_over(mock)
    assert len(asked) == 10 == asked.total()
    failures = [line.failure for line in ledger(config.store_url) if line.failure]
    assert failures == ([] if instant == "after" else ["transient"] * 5)
    nothing_is_left(config.store_url)


async def test_a_batch_of_somebody_else_is_not_taken_for_ours(
    tmp_path: Path, mock: Mock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("distill.collect.waves.GRACE_S", 0.0)
    path = batched(tmp_path, mock, "anthropic", 2, turns=1)
    command = [sys.executable, "-c", KILLED_AT, str(path), "before"]
    subprocess.run(command, timeout=300, env=environment(), check=False)
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "theirs"}]}
    foreign = [{"custom_id": name, "params": asked} for name in ("a", "b")]
    mock.client.post("/anthropic/v1/messages/batches", json={"requests": foreign})
    config = load_config(path)
    assert (await run(config)).outcomes == {Outcome.COMPLETED: 2}
    with TraceStore.open(config.store_url) as store:
        assert all("theirs" not in trace.messages[1].content for trace in store.traces())


@pytest.mark.parametrize("provider", ["anthropic", "openai", "openai_chat"])
async def test_a_resumed_episode_keeps_what_its_tools_gave_then(
    tmp_path: Path, agent: Mock, provider: str
):
    agent.reset()
    path = batched(tmp_path, agent, provider, 3, turns=2)
    tools = tmp_path / "tools" / "lamps" / "tools.py"
    calls, held = tmp_path / "calls", tmp_path / "held"
    body = f"""
    import pathlib, secrets, time
    with open({str(calls)!r}, "a") as log:
        log.write("x")
    while pathlib.Path({str(held)!r}).exists():
        time.sleep(0.01)
    return {{"level": secrets.token_hex(4)}}
"""
    tools.write_text(tools.read_text().replace('    return {"level": level}\n', body[1:]))
    config = load_config(path)
    calls.touch()
    held.touch()
    running = asyncio.create_task(run(config))
    while calls.stat().st_size < 3:
        assert not running.done(), running.result()
        await asyncio.sleep(0.02)
    hide_batches(agent)
    held.unlink()
    assert (await interrupt(running, agent, 6)).interrupted
    with TraceStore.open(config.store_url) as store:
        seen = {m.content for m in tool_results(store)}
    status = await run(config)
    assert status.outcomes == {Outcome.COMPLETED: 3}
    assert calls.stat().st_size == 3 + 6  # executed again, for their state
    with TraceStore.open(config.store_url) as store:
        for trace in store.traces():
            first, _ = (m.content for m in trace.messages if m.role == "tool")
            assert first in seen
        assert sum(line.failure is None for line in store.ledger()) == 12
        assert store.money().unknown_calls == 0


# --- interrupted -------------------------------------------------------------------------------


@each_provider
async def test_ctrl_c_leaves_the_batch_pending_and_the_next_run_fetches_it(
    tmp_path: Path, mock: Mock, store_url: str, provider: str
):
    config = load_config(batched(tmp_path, mock, provider, 6, turns=2, store=store_url))
    status = await interrupted(config, mock)
    assert status.interrupted
    assert list(status.pending.values()) == [6]
    assert (status.finished, handed_over(mock).total()) == (0, 6)
    assert {line.status for line in ledger(store_url)} == {"reserved"}
    assert (await run(config)).outcomes == {Outcome.COMPLETED: 6}
    asked = handed_over(mock)
    assert len(asked) == 12 == asked.total()
    nothing_is_left(store_url)


def test_the_command_shows_what_is_pending_and_how_to_go_on(tmp_path: Path, mock: Mock):
    hide_batches(mock)
    process = start(batched(tmp_path, mock, "anthropic", 4))
    while not handed_over(mock):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    (line,) = [line for line in output.splitlines() if line.startswith("collect: ")][-1:]
    assert "batches: 0 done, 4 calls pending in 1 (msgbatch_" in line
    assert "stopping: interrupted; batches that are pending stay at the provider" in output
    assert re.search(r"^batches +4 calls pending in 1 \(msgbatch_", output, re.MULTILINE)
    assert "run the same command again to resume" in output


async def test_a_run_without_batches_is_refused_while_some_are_pending(tmp_path: Path, mock: Mock):
    path = batched(tmp_path, mock, "anthropic", 3)
    await interrupted(load_config(path), mock)
    with pytest.raises(StoreError, match=r"has 3 episodes.*set collect\.batch to true"):
        await run(load_config(path, ["collect.batch=false"]))
    assert (await run(load_config(path))).done == 3


# --- faults ------------------------------------------------------------------------------------


async def test_a_cancelled_batch_is_not_handed_over_again_by_the_same_run(tmp_path: Path):
    with serving(FIRST_LASTS) as mock:
        config = load_config(batched(tmp_path, mock, "anthropic", 6, turns=1))
        running = asyncio.create_task(run(config))
        while not await asyncio.to_thread(handed_over, mock):
            await asyncio.sleep(0.02)
        batch = mock.client.get("/anthropic/v1/messages/batches").json()["data"][0]["id"]
        mock.client.post(f"/anthropic/v1/messages/batches/{batch}/cancel").raise_for_status()
        with pytest.raises(TeacherError, match=f"batch {batch} was cancelled"):
            await running
        assert handed_over(mock).total() == 6
        lines = ledger(config.store_url)
        assert {(line.status, line.cost_usd, line.failure) for line in lines} == {
            ("settled", 0, "transient")
        }
        assert (await run(config)).done == 6


@each_provider
async def test_throttled_hand_overs_and_lost_looks_are_waited_out(
    tmp_path: Path, mock: Mock, provider: str
):
    mock.behave(
        {"type": "fail", "status": 429, "retry_after": 0.05, "times": 2, "match": POST[provider]},
        {"type": "fail", "status": 500, "times": 1, "match": LOOK[provider]},
        {"type": "fail", "status": 529, "times": 1, "match": LOOK[provider]},
    )
    config = load_config(batched(tmp_path, mock, provider, 3, turns=2))
    assert (await run(config)).outcomes == {Outcome.COMPLETED: 3}
    assert handed_over(mock).total() == 6
    assert len(ledger(config.store_url)) == 6


@each_provider
async def test_a_hand_over_without_an_answer_is_looked_for_before_it_is_repeated(
    tmp_path: Path, mock: Mock, monkeypatch: pytest.MonkeyPatch, provider: str
):
    monkeypatch.setattr("distill.collect.waves.GRACE_S", 0.0)
    mock.behave({"type": "fail", "status": 500, "times": 1, "match": POST[provider]})
    config = load_config(batched(tmp_path, mock, provider, 3, turns=1))
    assert (await run(config)).outcomes == {Outcome.COMPLETED: 3}
    assert handed_over(mock).total() == 3
    failures = [(line.failure, line.cost_usd) for line in ledger(config.store_url)]
    assert failures[:3] == [("transient", 0)] * 3
    assert [failure for failure, _ in failures[3:]] == [None] * 3


async def test_an_endpoint_without_batches_stops_the_run_and_holds_nothing(
    tmp_path: Path, mock: Mock
):
    mock.behave({"type": "fail", "status": 404, "times": None, "match": POST["openai_chat"]})
    config = load_config(batched(tmp_path, mock, "openai_chat", 8))
    with pytest.raises(TeacherError, match="HTTP 404"):
        await run(config)
    with TraceStore.open(config.store_url) as store:
        assert store.counts().done == 0
        assert store.money().committed_usd == 0
    mock.reset()
    assert (await run(config)).done == 8


async def test_no_credit_at_the_hand_over_stops_the_run_and_it_resumes(tmp_path: Path, mock: Mock):
    config = load_config(batched(tmp_path, mock, "anthropic", 4))
    mock.behave({"type": "fail", "status": 402, "times": None, "match": POST["anthropic"]})
    with pytest.raises(TeacherError, match=r"HTTP 402.*run again to resume"):
        await run(config)
    mock.reset()
    assert (await run(config)).done == 4


async def test_calls_that_the_provider_cannot_answer_fail_their_episodes(
    tmp_path: Path, mock: Mock
):
    # This server has no Responses in batches and says so call by call, in the file of errors.
    config = load_config(batched(tmp_path, mock, "openai", 3, turns=1))
    status = await run(config)
    assert status.outcomes == {Outcome.ERROR: 3}
    assert "unsupported_endpoint" in status.last_error
    assert [(line.failure, line.cost_usd) for line in ledger(config.store_url)] == [
        ("bad_request", 0)
    ] * 3


async def test_a_batch_that_the_provider_has_forgotten_is_held_as_unknown(tmp_path: Path):
    with serving() as first:
        path = batched(tmp_path, first, "anthropic", 3, turns=1)
        await interrupted(load_config(path), first)
    with serving() as other:
        config = load_config(path, [f"teacher.base_url={other.base_url('anthropic')}"])
        assert (await run(config)).outcomes == {Outcome.COMPLETED: 3}
    lines = ledger(config.store_url)
    assert [line.status for line in lines] == ["unknown"] * 3 + ["settled"] * 3
    assert all(line.cost_usd is None for line in lines[:3])


# --- money, several processes ------------------------------------------------------------------


SMALL = ["teacher.max_tokens=100", "teacher.price={input: 100, output: 100}"]


async def test_the_budget_holds_across_waves(tmp_path: Path, mock: Mock, store_url: str):
    path = batched(tmp_path, mock, "openai_chat", 12, turns=2, store=store_url)
    status = await run(load_config(path, [*SMALL, "collect.budget_usd=0.03"]))
    assert "the budget of $0.03 is reached" in status.notice
    assert status.cut_short > 0
    with TraceStore.open(store_url) as store:
        money = store.money()
        assert money.reserved_usd == money.unknown_usd == 0
        assert 0.015 < money.spent_usd <= 0.03
        assert 0 < store.counts().done < 12
    # Less than the worst case was used, so that later waves had room.
    assert status.batches > 2
    asked = handed_over(mock)
    assert asked.total() == len(asked) == status.calls
    # What was paid for counts when there is money again.
    assert (await run(load_config(path, SMALL))).done == 12
    asked = handed_over(mock)
    assert asked.total() == len(asked) == 24


def test_two_processes_share_one_store_and_no_call_is_made_twice(
    tmp_path: Path, mock: Mock, store_url: str
):
    path = batched(tmp_path, mock, "openai_chat", 20, turns=2, store=store_url, batch_size=5)
    both = [start(path), start(path)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    asked = handed_over(mock)
    assert asked.total() == len(asked) == 40
    assert len(ledger(store_url)) == 40
    nothing_is_left(store_url)
