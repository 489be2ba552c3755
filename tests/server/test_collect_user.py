"""`distill collect` with a simulated user: two models over HTTP, one ledger, one budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from authoring_world import address, author, garden
from typer.testing import CliRunner

from distill.cli.main import app
from distill.config import load_config
from distill.traces import Trace, TraceStore, UserEnd
from distill.types import Outcome, Task

ASK = {"action": "ask"}
OPENINGS = [f"Something in the garden needs water, part {n}" for n in range(6)]


def task(number: int, litres: int, *more: dict[str, Any], **fields: Any) -> Task:
    turns = [{"content": OPENINGS[number]} | (more[0] if more else {}), *more[1:]]
    row = {"id": f"t{number}", "toolset": "garden", "kind": "multi_turn", "family": f"f{number}"}
    return Task.model_validate(
        row | {"turns": turns, "end_state": {"/litres/roses": litres}} | fields
    )


def asked(number: int) -> Task:
    """What the config holds: how it begins, and who goes on."""
    litres = 3 + number
    facts = {"bed": "roses", "litres": str(litres)}
    user = {"goal": f"Have {litres} litres on the roses", "facts": facts, "max_turns": 4}
    return task(number, litres, user=user)


def spoken(number: int) -> Task:
    """How it goes when the embedded teacher plays both sides and makes no mistake."""
    litres = 3 + number
    call = {"name": "water_bed", "arguments": {"bed": "roses", "litres": litres}}
    return task(
        number,
        litres,
        {"expectation": ASK | {"mentions": [["bed"]]}},
        {"content": "The bed is roses.", "expectation": ASK | {"mentions": [["litres"]]}},
        {
            "content": f"The litres is {litres}.",
            "expectation": {"action": "call", "calls": [call]},
        },
    )


def workspace(folder: Path, url: str, provider: str, count: int) -> Path:
    path = garden(folder, url, provider)
    rows = [asked(n).model_dump_json(exclude_defaults=True) for n in range(count)]
    (folder / "tools" / "garden" / "talks.jsonl").write_text("\n".join(rows))
    config = json.loads(path.read_text())
    config["tasks"]["path"] = "tools/garden/talks.jsonl"
    played = {"model": "player", "price": {"input": 100, "output": 500}, "max_tokens": 64}
    config["collect"]["user"] = config["teacher"] | played
    path.write_text(json.dumps(config))
    return path


def collect(path: Path, *options: str) -> str:
    result = CliRunner().invoke(app, ["collect", str(path), *options])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def stored(path: Path) -> list[Trace]:
    with TraceStore.open(load_config(path).store_url) as store:
        return list(store.traces())


@pytest.mark.parametrize("provider", ["openai_chat", "anthropic"])
def test_two_models_talk_until_the_goal_is_reached(tmp_path: Path, provider: str) -> None:
    with author(tmp_path, tasks=[spoken(n) for n in range(3)]) as server:
        path = workspace(tmp_path, address(server, provider), provider, 3)
        collect(path, "--limit", "2")
        first = stored(path)
        collect(path)
        answered = server.counts.answered
        collect(path)
        assert server.counts.answered == answered
    traces = stored(path)
    assert len(traces) == 3 and traces[:2] == first
    for number, trace in enumerate(traces):
        said = [turn.content for turn in trace.task.turns]
        assert said == [turn.content for turn in spoken(number).turns]
        assert trace.outcome is Outcome.COMPLETED
        assert trace.user.ended is UserEnd.GOAL
        assert trace.changes == trace.task.end_state
        assert len(trace.user.calls) == 3 and len(trace.turns) == 4
    with TraceStore.open(load_config(path).store_url) as store:
        lines, money = list(store.ledger()), store.money()
    assert len(lines) == 3 * 7
    played = sum(call.cost_usd for trace in traces for call in trace.user.calls)
    assert money.spent_usd == pytest.approx(played + sum(trace.cost_usd for trace in traces))
    assert played > money.spent_usd / 2


def test_both_models_are_on_one_budget(tmp_path: Path) -> None:
    with author(tmp_path, tasks=[spoken(n) for n in range(6)]) as server:
        path = workspace(tmp_path, address(server), "openai_chat", 6)
        narrow = ("--set", "collect.concurrency=1", "--set", "teacher.max_tokens=64")
        output = collect(path, *narrow, "--set", "collect.budget_usd=0.3")
        assert "the budget of $0.3 is reached" in output
        before = len(stored(path))
        assert 0 < before < 6
        collect(path, *narrow, "--set", "collect.budget_usd=9")
    assert len(stored(path)) == 6


def test_a_user_out_of_its_role_is_an_outcome_and_what_was_said_before_is_kept(
    tmp_path: Path,
) -> None:
    with author(tmp_path, tasks=[spoken(n) for n in range(6)], error_rate=0.6) as server:
        path = workspace(tmp_path, address(server), "openai_chat", 6)
        collect(path)
    traces = stored(path)
    assert Outcome.USER_FAILED in {trace.outcome for trace in traces}
    assert all(trace.messages[-1].role == "assistant" for trace in traces)
    failed = next(trace for trace in traces if trace.outcome is Outcome.USER_FAILED)
    assert failed.user.faults and failed.user.ended in (UserEnd.ROLE_SWAP, UserEnd.REPEATS)
    told = [m.content for trace in traces for m in trace.messages if m.role == "user"]
    assert not any("How can I help" in text for text in told)


def test_the_estimate_counts_the_user(tmp_path: Path) -> None:
    path = workspace(tmp_path, "http://127.0.0.1:9/v1", "openai_chat", 3)
    output = collect(path, "--dry-run")
    assert "calls             18 to 54" in output


def test_filter_and_show_read_such_traces(tmp_path: Path) -> None:
    with author(tmp_path, tasks=[spoken(n) for n in range(6)]) as server:
        path = workspace(tmp_path, address(server), "openai_chat", 6)
        collect(path)
    shown = CliRunner().invoke(app, ["traces", "show", str(path), "t0"])
    assert "user played by player, ended: goal" in shown.output, shown.output
    exported = tmp_path / "asked.jsonl"
    CliRunner().invoke(
        app, ["traces", "export", str(path), "-o", str(exported), "--format", "tasks"]
    )
    rows = [Task.model_validate_json(row) for row in exported.read_text().splitlines()]
    assert rows == [asked(number) for number in range(6)]
    split = "filter.split={train: 0.5, validation: 0, test: 0.5}"
    done = CliRunner().invoke(app, ["filter", str(path), "--set", split])
    assert done.exit_code == 0, (done.output, done.exception)
    folder = load_config(path).dataset_dir
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    assert rows and all(sum(m["role"] == "user" for m in row["messages"]) == 3 for row in rows)
    cases = [
        Task.model_validate_json(row)
        for row in (folder / "cases.jsonl").read_text().split("\n")
        if row
    ]
    assert cases and all(case.expects and len(case.turns) == 3 for case in cases)
