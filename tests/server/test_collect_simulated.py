"""`distill collect` on simulated tools: the model behind them over HTTP, on the same ledger."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from authoring_world import address, serving
from simulated_world import write_library
from typer.testing import CliRunner

from distill.cli.main import app
from distill.config import load_config
from distill.toolsets import load_toolset
from distill.traces import TraceStore
from distill.types import Outcome, Task

COUNT = 8


def lending(number: int) -> Task:
    calls = [
        {"name": "get_book", "arguments": {"isbn": f"978-{number}"}, "step": 0},
        {"name": "lend_book", "arguments": {"isbn": f"978-{number}"}, "step": 1},
    ]
    turn = {
        "content": f"Is 978-{number} there? Then I take it.",
        "expectation": {"action": "call", "calls": calls},
    }
    row = {"id": f"t{number}", "toolset": "library", "kind": "multi_step", "family": f"f{number}"}
    return Task.model_validate(row | {"turns": [turn], "setup": {"shelf": number}})


def workspace(folder: Path, teacher: str, simulator: str, provider: str) -> Path:
    config: dict[str, Any] = {
        "name": "library",
        "toolset": "tools/library",
        "teacher": {
            "provider": "openai_chat",
            "model": "demo",
            "base_url": teacher,
            "price": {"input": 1, "output": 5},
        },
        "collect": {
            "concurrency": 4,
            "simulator": {
                "provider": provider,
                "model": "behind",
                "base_url": simulator,
                "price": {"input": 100, "output": 500},
                "max_tokens": 64,
            },
        },
    }
    path = folder / "library.yaml"
    path.write_text(json.dumps(config))
    return path


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.mark.parametrize("provider", ["openai_chat", "anthropic"])
def test_results_are_made_up_within_their_schema_and_paid_for(
    tmp_path: Path, provider: str
) -> None:
    tools = write_library(tmp_path / "tools" / "library")
    tasks = [lending(number) for number in range(COUNT)]
    (tools / "tasks.jsonl").write_text("\n".join(task.model_dump_json() for task in tasks))
    loaded = load_toolset(tools)
    with ExitStack() as stack:
        agent = stack.enter_context(serving(loaded.toolset, tasks))
        behind = stack.enter_context(serving(loaded.toolset, (), error_rate=0.5))
        path = workspace(tmp_path, address(agent), address(behind, provider), provider)
        run("collect", path, "--limit", COUNT // 2)
        run("collect", path)
        asked = behind.counts.answered
        run("collect", path)
        assert behind.counts.answered == asked
    with TraceStore.open(load_config(path).store_url) as store:
        traces, lines, money = list(store.traces()), list(store.ledger()), store.money()
    assert [trace.outcome for trace in traces] == [Outcome.COMPLETED] * COUNT
    results = [m for trace in traces for m in trace.messages if m.role == "tool"]
    good = [json.loads(m.content) for m in results if not m.is_error]
    assert good and all(isinstance(one.get("title", one.get("due")), str) for one in good)
    refused = [m.content for m in results if m.is_error]
    assert refused and all("is not known here" in text for text in refused)
    calls = sum(trace.simulator.calls for trace in traces)
    assert calls == asked > len(results)  # wrong answers were asked for again
    assert len(lines) == asked + sum(len(trace.turns) for trace in traces)
    made_up = sum(trace.simulator.cost_usd for trace in traces)
    assert money.spent_usd == pytest.approx(made_up + sum(trace.cost_usd for trace in traces))
    assert made_up > money.spent_usd / 2
    shown = run("traces", "show", path, "t1")
    assert "tools simulated by behind" in shown


def test_the_estimate_counts_every_question_to_the_model_behind(tmp_path: Path) -> None:
    tools = write_library(tmp_path / "tools" / "library")
    (tools / "tasks.jsonl").write_text(lending(0).model_dump_json())
    path = workspace(tmp_path, "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1", "openai_chat")
    # Three or four turns of the teacher; two calls, or three of which each is answered twice.
    assert "calls             5 to 10" in run("collect", path, "--dry-run")


def test_what_was_made_up_can_be_recorded_and_replayed(tmp_path: Path) -> None:
    tools = write_library(tmp_path / "tools" / "library")
    tasks = [lending(number) for number in range(2)]
    (tools / "tasks.jsonl").write_text("\n".join(task.model_dump_json() for task in tasks))
    loaded = load_toolset(tools)
    with serving(loaded.toolset, tasks) as server:
        path = workspace(tmp_path, address(server), address(server), "openai_chat")
        run("collect", path)
        store = load_config(path).path("traces/library.db")
        run("traces", "export", store, "-o", tools / "recorded.jsonl", "--format", "calls")
    with TraceStore.open(load_config(path).store_url) as kept:
        trace = next(iter(kept.traces()))
    runner = load_toolset(tools).runner(trace.task)
    try:
        again = [runner.call_sync(call) for call in trace.calls]
    finally:
        runner.close()
    then = [m.content for m in trace.messages if m.role == "tool"]
    assert [json.loads(m.content) for m in again] == list(map(json.loads, then))
