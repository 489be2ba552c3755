"""`distill tasks generate` over HTTP: SDKs, executed calls, the embedded author or `llmock`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from authoring_world import address, author, garden
from llmock_world import Mock, environment
from typer.testing import CliRunner

from distill.cli.main import app
from distill.collect import Status, collect, make_plan
from distill.config import load_config
from distill.demo.teacher.author import Author
from distill.demo.teacher.wire import Response
from distill.errors import DistillError
from distill.toolsets import load_tasks, load_toolset
from distill.traces import TraceStore
from distill.types import Kind, Task


def generate(path: Path, *options: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["tasks", "generate", str(path), *options])
    if isinstance(result.exception, DistillError):
        assert code == 2, result.exception
        return result.output + str(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def written(path: Path) -> list[Task]:
    loaded = load_toolset(path.parent / "tools" / "garden")
    return load_tasks(loaded, loaded.folder / "generated.jsonl", 1000, 0)


def report(path: Path) -> dict[str, Any]:
    return json.loads((path.parent / "tools/garden/generated.coverage.json").read_text())


@pytest.mark.parametrize("provider", ["openai_chat", "anthropic"])
def test_tasks_are_written_checked_executed_and_collected(tmp_path: Path, provider: str) -> None:
    with author(tmp_path, error_rate=0.4) as server:
        path = garden(tmp_path, address(server, provider), provider)
        output = generate(path)
    tasks, found = written(path), report(path)
    assert len(tasks) == found["tasks"] > 45
    assert f"{len(tasks)} of 60 ordered" in output
    assert {task.kind for task in tasks} == set(Kind)
    assert found["missing"] == [] and "missing  " not in output
    assert all(found["tools"][name]["single"] for name in ("water_bed", "read_soil", "open_gate"))
    assert found["values"]['water_bed.bed="front_lawn"'] >= 1
    assert {"malformed", "names_tool", "wrong_shape", "duplicate"} <= set(found["refused"])
    assert not any("water_bed" in turn.content for task in tasks for turn in task.turns)
    watered = next(t for t in tasks if t.kind is Kind.SINGLE and t.tools == ("water_bed",))
    call = watered.turns[0].expectation.calls[0]
    assert watered.end_state == {f"/litres/{call.arguments['bed']}": call.arguments["litres"]}
    failing = [task for task in tasks if task.kind is Kind.TOOL_FAILED]
    assert {task.faults[0].times for task in failing} == {1, None}
    assert all(task.end_state == {} for task in failing if task.faults[0].times is None)


async def test_collect_reads_what_was_written(tmp_path: Path) -> None:
    with author(tmp_path) as server:
        path = garden(tmp_path, address(server), count=5)
        await _generate(path)
        config = load_config(path, ["tasks.path=tools/garden/generated.jsonl"])
        status = Status()
        await collect(config, make_plan(config), status)
    assert status.finished == len(written(path)) > 0


async def _generate(path: Path) -> None:
    from contextlib import nullcontext

    from distill.collect.authoring import prepare, write

    job = prepare(load_config(path))
    await write(job, lambda _: nullcontext())
    job.save(job.harvest())


def test_a_second_run_pays_for_nothing_and_a_higher_count_only_for_the_rest(tmp_path: Path) -> None:
    with author(tmp_path, error_rate=0.2) as server:
        path = garden(tmp_path, address(server), count=20)
        generate(path)
        first, asked = written(path), server.counts.answered
        generate(path)
        assert server.counts.answered == asked
        assert written(path) == first
        generate(path, "--set", "tasks.generate.count=40")
        more = server.counts.answered - asked
    assert 0 < more < 2 * asked
    assert [task for task in written(path) if task.id < "g00020"] == first
    store = load_config(path).path("traces/garden-tasks.db")
    with TraceStore.open(f"sqlite:///{store}") as kept:
        lines = list(kept.ledger())
        assert len(lines) == asked + more
        assert kept.money().spent_usd == pytest.approx(sum(line.cost_usd for line in lines)) != 0


def test_the_budget_stops_it_and_what_was_written_is_kept(tmp_path: Path) -> None:
    with author(tmp_path) as server:
        path = garden(tmp_path, address(server), max_tokens=256, budget_usd=0.02)
        output = generate(path, "--set", "collect.concurrency=1")
        assert "the budget of $0.02 is reached" in output
        partly = len(written(path))
        assert 0 < partly < 60
        generate(path, "--set", "tasks.generate.budget_usd=9")
    assert len(written(path)) > partly


def test_a_run_that_is_stopped_by_a_fault_keeps_what_it_has_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with author(tmp_path) as server:
        path = garden(tmp_path, address(server))
        answer = server.answer

        def no_credit_after_five(*request: Any) -> Response:
            if server.counts.answered < 5:
                return answer(*request)
            return Response(402, {"error": {"message": "no credit", "code": "billing_error"}}, {})

        monkeypatch.setattr(server, "answer", no_credit_after_five)
        told = generate(path, "--set", "collect.concurrency=1", code=2)
        assert "no credit" in told and "of 60 ordered" in told
        partly = written(path)
        assert 0 < len(partly) < 20
        monkeypatch.setattr(server, "answer", answer)
        generate(path)
    assert written(path)[: len(partly)] == partly
    assert len(written(path)) > 30


def test_ctrl_c_drains_writes_what_there_is_and_exits_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with author(tmp_path) as server:
        path = garden(tmp_path, address(server))
        answer = server.answer
        monkeypatch.setattr(server, "answer", lambda *one: (time.sleep(0.2), answer(*one))[1])
        process = subprocess.Popen(
            [sys.executable, "-m", "distill", "tasks", "generate", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )
        while server.counts.answered < 5:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "brought to their end" in output and "to resume" in output
    assert 0 < len(written(path)) < 60


def test_prescribed_values_are_waived_before_the_last_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written_by = Author._arguments
    monkeypatch.setattr(
        Author, "_arguments", lambda self, tool, _, rng: written_by(self, tool, [], rng)
    )
    with author(tmp_path) as server:
        path = garden(tmp_path, address(server), count=40)
        output = generate(path)
    found = report(path)
    assert found["refused"]["not_as_ordered"] > 0
    assert found["tasks"] >= 38
    last = re.search(r"tasks, round 3: \d+ of (\d+) done", output)
    assert last is None or int(last[1]) <= 2


@pytest.mark.parametrize("provider", ["openai", "anthropic", "openai_chat"])
def test_a_model_that_makes_no_sense_is_counted(tmp_path: Path, mock: Mock, provider: str) -> None:
    path = garden(tmp_path, mock.base_url(provider), provider, count=10)
    output = generate(path, "--set", "teacher.model=claude-haiku-4-5")
    found = report(path)
    assert found["tasks"] == 0 and found["orders"] == 10
    assert sum(found["refused"].values()) >= 2
    assert "0 of 10 ordered" in output


def test_the_estimate_asks_nothing(tmp_path: Path) -> None:
    path = garden(tmp_path, "http://127.0.0.1:9/v1", count=50)
    output = generate(path, "--dry-run")
    assert re.search(r"episodes owed +10\n", output)
    assert re.search(r"cost +\$0\.\d+ to \$0\.\d+", output)
    assert not (tmp_path / "traces").exists()


def test_tasks_of_somebody_else_are_not_overwritten(tmp_path: Path) -> None:
    path = garden(tmp_path, "http://127.0.0.1:9/v1")
    mine = tmp_path / "tools" / "garden" / "generated.jsonl"
    mine.write_text('{"id": "a", "family": "mine"}\n')
    assert "name another file with --out" in generate(path, code=2)
    assert "mine" in mine.read_text()


def test_what_would_fail_later_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    path = garden(tmp_path, "http://127.0.0.1:9/v1", setups=[{"wet": True}])
    assert "tasks.generate.setups" in generate(path, code=2)
    path = garden(tmp_path, "http://127.0.0.1:9/v1", budget_usd=1)
    told = generate(path, "--set", "teacher.price=null", code=2)
    assert "no price is known" in told


def test_coverage_of_tasks_somebody_wrote(tmp_path: Path) -> None:
    with author(tmp_path) as server:
        path = garden(tmp_path, address(server), count=10)
        generate(path)
    result = CliRunner().invoke(
        app, ["tasks", "coverage", str(path), "--set", "tasks.path=tools/garden/generated.jsonl"]
    )
    assert result.exit_code == 0, result.output
    assert re.search(r"water_bed +[-\d]", result.output)
    assert re.search(r"covered +\d+ of 11 values and optional parameters", result.output)
