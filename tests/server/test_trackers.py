"""Experiment trackers for real, without a server: what was logged is read back."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

from distill.config import load_config
from distill.errors import ConfigError
from distill.evaluate import runner, trackers
from distill.evaluate.runner import prepare
from distill.evaluate.summary import summarise
from distill.evaluate.trackers import check_trackers, numbers, track
from distill.results import write_report
from tests.unit.evaluate_world import ByHeart, lamp, no_tool, right, workspace, wrong

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def results(tmp_path, monkeypatch):
    """An evaluation and the folder it was written to."""
    models = {"base": ByHeart(wrong), "student": ByHeart(right)}
    monkeypatch.setattr(runner, "create_teacher", lambda config: models[config.model])
    config = workspace(tmp_path, [*(lamp(n) for n in range(6)), no_tool(1)])
    evaluation = prepare(config)
    await evaluation.ask("http://127.0.0.1:9/v1", lambda *_: None)
    report = summarise(evaluation)
    return report, write_report(config.results_dir, report)


async def test_numbers_are_named_and_nothing_uncounted_is_among_them(results):
    found = numbers(results[0])
    assert found["student/call_accuracy"] == pytest.approx(6 / 7)
    assert found["student/call_accuracy_low"] < 6 / 7 < found["student/call_accuracy_high"]
    assert found["failures/base/missing_call"] == 6
    assert found["versus_base/difference"] == pytest.approx(5 / 7)
    assert "student/ask_accuracy" not in found, "no question was due"


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
async def test_wandb_keeps_an_offline_run(results, monkeypatch):
    report, path = results
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(path.parent))
    track(report, [path], ["wandb"])
    (run,) = path.parent.glob("wandb/offline-run-*")
    (file,) = run.glob("*.wandb")
    stored = file.read_bytes()
    for name, value in numbers(report).items():
        assert name.encode() in stored
        assert json.dumps(value).removesuffix(".0").encode() in stored, name
    assert report.cases_hash.encode() in stored, "the config"
    assert b"lamps-report" in stored, "the report itself, as an artifact"


async def test_mlflow_keeps_a_run_in_a_file(results, tmp_path):
    folder = os.environ.get("DISTILL_CLIENTS")
    if not folder:
        pytest.skip("DISTILL_CLIENTS names no folder that tests/clients/prepare.py has filled")
    own = {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "REPORT": str(results[1].parent),
    }
    program = [f"{folder}/venv/bin/python", str(ROOT / "tests" / "clients" / "mlflow_log.py")]
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | own
    done = subprocess.run(program, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mlflow ok" in done.stdout


def test_a_tracker_that_is_not_there_is_found_before_anything_is_asked(tmp_path, monkeypatch):
    config = workspace(tmp_path, [lamp(1)])
    changed = load_config(config.source, ["eval.track=[mlflow]"])
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"eval.track: 'mlflow' is not installed; run `pip"):
        check_trackers(changed.eval.track)
