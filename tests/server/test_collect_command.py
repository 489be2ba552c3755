"""`distill collect` as a process: what it prints, and what a kill or a second process leaves."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from llmock_world import Mock, environment, finished, start, wait_for, workspace

from distill.config import load_config
from distill.traces import TraceStore


def test_the_command_prints_what_it_did_and_what_comes_next(tmp_path: Path, mock: Mock):
    path = workspace(tmp_path, mock, "openai_chat", 12)
    process = start(path, "--limit", "5", "--set", "collect.concurrency=2")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "5 of 5 done" in output
    assert "completed" in output
    assert "lamps.db" in output
    assert f"distill filter {path}" in output
    assert finished(path) == 5


def test_a_dry_run_asks_nothing_but_to_count_and_says_when_it_could_not(tmp_path: Path, mock: Mock):
    path = workspace(tmp_path, mock, "anthropic", 12)
    process = start(path, "--dry-run", "--set", "teacher.limits.requests=6")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "episodes owed     12" in output
    assert "2 min to 4 min, at 6 calls a minute" in output
    assert "written to cache" in output
    assert "by their bytes: 'anthropic/claude-haiku-4-5' has no endpoint that counts" in output
    asked = mock.client.get("/_llmock/requests").json()
    assert {record["path"] for record in asked["requests"]} == {
        "/anthropic/v1/messages/count_tokens"
    }
    assert not (tmp_path / "traces").exists()


KILLED = """
import asyncio, json, os, random, signal, sys, time
from distill.collect import Status, collect, make_plan
from distill.config import load_config
from distill.errors import DistillError
from distill.teachers import openai_chat
import psycopg
from distill.traces import TraceStore

path, kills = sys.argv[1], int(sys.argv[2])
config, dice = load_config(path), random.Random(sys.argv[3])
keys, longest = [], 0.5
while (kills > 0 or not keys) and len(keys) < 350:
    kills -= 1
    child = os.fork()
    if not child:
        asyncio.run(collect(config, make_plan(config), Status()))
        os._exit(0)
    time.sleep(dice.uniform(0.02, longest))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    before = len(keys)
    try:
        with TraceStore.open(config.store_url) as store:
            keys = [trace.key for trace in store.traces()]
    except DistillError as error:
        assert "is not a trace store" in str(error) or "there is no trace store" in str(error)
    if len(keys) == before:
        longest *= 1.3  # a slow machine: give it time to get somewhere
    print(json.dumps(keys), flush=True)
"""
"""Forks a run and kills it at a random instant, again and again; prints the traces stored."""


def test_killed_at_random_instants_nothing_is_lost_doubled_or_unaccounted(
    tmp_path: Path, mock: Mock, store_url: str
):
    path = workspace(tmp_path, mock, "openai_chat", 400, store=store_url, concurrency=4)
    mock.behave({"type": "delay", "seconds": 0.03, "times": None})
    loop = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), "10", store_url[:6]],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
    )
    assert loop.returncode == 0, loop.stderr
    snapshots = [json.loads(line) for line in loop.stdout.splitlines()]
    assert len(snapshots) >= 5
    for earlier, later in itertools.pairwise(snapshots):
        assert set(earlier) <= set(later)
        assert len(later) == len(set(later))
    assert 0 < len(snapshots[-1]) < 400
    process = start(path)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    with TraceStore.open(store_url) as store:
        keys = [trace.key for trace in store.traces()]
        assert len(keys) == len(set(keys)) == 400
        assert set(snapshots[-1]) <= set(keys)
        assert store.counts().leased == 0
        status = Counter(line.status for line in store.ledger())
        money = store.money()
        booked = [line.cost_usd or 0 for line in store.ledger() if line.status == "settled"]
        held = [line.reserved_usd for line in store.ledger() if line.status == "unknown"]
        settled = Counter(line.key for line in store.ledger() if line.status == "settled")
    assert all(settled[key] >= 2 for key in keys)
    assert status["reserved"] == 0
    assert status["unknown"] > 0
    sent = mock.verdict()["attempts"]
    assert status["settled"] <= sent <= status["settled"] + status["unknown"]
    assert money.spent_usd == pytest.approx(sum(booked))
    assert money.unknown_usd == pytest.approx(sum(held)) != 0
    assert f"{status['unknown']} calls cut off before their answer" in output


def test_two_processes_share_one_store_and_no_episode_runs_twice(
    tmp_path: Path, mock: Mock, store_url: str
):
    path = workspace(tmp_path, mock, "openai_chat", 60, store=store_url)
    mock.behave({"type": "delay", "seconds": 0.03, "times": None})
    both = [start(path), start(path)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    with TraceStore.open(store_url) as store:
        assert store.counts().done == 60
        assert len(list(store.ledger())) == 120 == mock.verdict()["attempts"]


def test_two_processes_share_one_budget(tmp_path: Path, mock: Mock, store_url: str):
    path = workspace(tmp_path, mock, "openai_chat", 60, store=store_url)
    mock.behave({"type": "delay", "seconds": 0.01, "times": None})
    limits = (
        *("--set", "collect.budget_usd=0.12"),
        *("--set", "teacher.max_tokens=100"),
        *("--set", "teacher.price={input: 100, output: 100}"),
    )
    both = [start(path, *limits), start(path, *limits)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert all("the budget of $0.12 is reached" in output for output in outputs), outputs
    assert all("left undone" in output for output in outputs)
    with TraceStore.open(store_url) as store:
        money = store.money()
        assert money.reserved_usd == money.unknown_usd == 0
        assert 0.06 < money.spent_usd <= 0.12
        assert 0 < store.counts().done < 60
        assert store.counts().leased == 0


def test_ctrl_c_drains_says_so_and_exits_130(tmp_path: Path, mock: Mock):
    # So many that the run cannot be over before it is interrupted.
    path = workspace(tmp_path, mock, "openai_chat", 2000)
    mock.behave({"type": "delay", "seconds": 0.05, "times": None})
    process = start(path)
    wait_for(process, path, 3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert "in flight are brought to their end" in output
    assert "left undone" in output
    with TraceStore.open(load_config(path).store_url) as store:
        counts = store.counts()
        assert counts.leased == 0
        assert 3 <= counts.done < 2000
        assert len(list(store.ledger())) == 2 * counts.done
