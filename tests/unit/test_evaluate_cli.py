"""`distill eval`: what it prints, when it starts a server, how it exits."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from distill.cli import serve as serve_module
from distill.cli.main import app
from distill.errors import ConfigError
from distill.evaluate import runner
from distill.teachers import Failure, TeacherError
from tests.unit.evaluate_world import ByHeart, adapter, lamp, right, workspace, wrong


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Models that answer by heart, and a server that only counts how often it is started."""
    models = {"base": ByHeart(wrong), "student": ByHeart(right)}
    started: list[str] = []
    asked_at: list[str | None] = []

    def create(config):
        asked_at.append(config.base_url)
        return models[config.model]

    @contextmanager
    def endpoint(deployed, dataset_dir, console, look):
        started.append(deployed.url)
        yield None

    monkeypatch.setattr(runner, "create_teacher", create)
    monkeypatch.setattr(serve_module, "endpoint", endpoint)
    monkeypatch.setattr("distill.teachers.pacing._backoff_s", lambda faults: 0.0)
    config = workspace(tmp_path, [lamp(n) for n in range(8)])
    return models, started, asked_at, config


def evaluate(config, *arguments):
    return CliRunner().invoke(app, ["eval", str(config.source), *arguments])


def test_it_starts_the_server_once_and_resumes_without_it(world):
    _, started, asked_at, config = world
    first = evaluate(config)
    assert first.exit_code == 0, first.output
    assert started == ["http://127.0.0.1:8000/v1"]
    assert set(asked_at) == {"http://127.0.0.1:8000/v1"}
    again = evaluate(config)
    assert again.exit_code == 0
    assert len(started) == 1


def test_it_prints_the_table_and_the_verdict(world):
    *_, config = world
    output = " ".join(evaluate(config).output.split())
    assert "Call accuracy 0.0% 0-32 100.0% 68-100" in output
    assert "won 8, lost 0 of 8 cases; exact McNemar p = 0.0078" in output
    assert "The student is better than its base: 100.0% against 0.0% of 8 cases right" in output
    assert "report.html" in output
    assert (config.results_dir / "report.html").is_file()


def test_a_given_endpoint_is_used(world):
    _, started, asked_at, config = world
    assert evaluate(config, "--endpoint", "http://127.0.0.1:5/v1").exit_code == 0
    assert started == []
    assert set(asked_at) == {"http://127.0.0.1:5/v1"}


def test_limit_and_only(world):
    models, _, _, config = world
    assert evaluate(config, "--limit", "3", "--only", "base").exit_code == 0
    assert models["base"].asked == 3
    assert models["student"].asked == 0


def test_an_incomplete_run_exits_with_one(world):
    models, _, _, config = world

    def down(messages):
        raise TeacherError("connection refused", Failure.TRANSIENT)

    models["student"].play = down
    outcome = evaluate(config)
    assert outcome.exit_code == 1
    assert "8 of 8 cases without an answer" in " ".join(outcome.output.split())


def test_ctrl_c_keeps_what_was_answered(world):
    models, _, _, config = world

    def interrupted(messages):
        if models["student"].asked == 5:
            signal.raise_signal(signal.SIGINT)
        return right(messages)

    models["student"].play = interrupted
    outcome = evaluate(config)
    assert outcome.exit_code == 130
    assert "Run it again to go on" in outcome.output
    models["student"].play = right
    asked = models["student"].asked
    assert evaluate(config).exit_code == 0
    assert models["student"].asked - asked < 16


def test_a_wrong_name_is_refused_before_anything_starts(world):
    _, started, _, config = world
    outcome = evaluate(config, "--only", "pupil")
    assert isinstance(outcome.exception, ConfigError)
    assert started == []


def tuned_whole(run_dir):
    """Put a student whose weights were all tuned in the adapter's place."""
    adapter(run_dir, method="full", rank=0)
    (run_dir / "merged").mkdir()
    (run_dir / "merged" / "config.json").write_text("{}")
    (run_dir / "merged" / "model.safetensors").write_bytes(b"weights")


def test_a_model_tuned_whole_and_its_base_are_served_one_after_the_other(world, monkeypatch):
    models, _, _, config = world
    tuned_whole(config.run_dir)
    served: list[tuple[tuple[str, ...], int, int]] = []

    @contextmanager
    def endpoint(deployed, dataset_dir, console, look):
        served.append((deployed.names, models["base"].asked, models["student"].asked))
        yield None

    monkeypatch.setattr(serve_module, "endpoint", endpoint)
    refused = evaluate(config, "--until-width", "10")
    assert "one after the other" in str(refused.exception)
    first = evaluate(config, "--suite", "robustness:shuffled tools")
    assert first.exit_code == 0, first.output
    assert served == [(("base",), 0, 0), (("student",), 16, 0)]
    assert "won 8, lost 0 of 8 cases" in " ".join(first.output.split())
    assert evaluate(config, "--suite", "robustness:shuffled tools").exit_code == 0
    assert len(served) == 2, "nothing is asked twice"


def test_what_one_of_two_servers_left_unanswered_is_a_gap(world):
    models, _, _, config = world
    tuned_whole(config.run_dir)

    def down(messages):
        raise TeacherError("connection refused", Failure.TRANSIENT)

    models["base"].play = down
    outcome = evaluate(config, "--suite", "robustness:shuffled tools")
    assert outcome.exit_code == 1
    report = json.loads((config.results_dir / "report.json").read_text())
    assert list(report["gaps"]) == ["base"]
    assert list(report["suites"][0]["gaps"]) == ["base"]
