"""Experiment trackers for real, without a server: what was logged is read back."""

from __future__ import annotations

import importlib.util
import json
import os
import struct
import subprocess
from pathlib import Path

import pytest

from distill.config import load_config
from distill.errors import ConfigError
from distill.evaluate import runner
from distill.evaluate.runner import prepare
from distill.evaluate.summary import summarise
from distill.evaluate.trackers import numbers, track
from distill.results import write_report
from distill.trackers import check_trackers
from tests.unit.evaluate_world import ByHeart, lamp, no_tool, right, workspace, wrong

ROOT = Path(__file__).parents[2]
BLOCK = 32768


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


def records(stored):
    """Yield what a W&B run file holds: a log of LevelDB's make, of protobuf messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, parts = 7, b""  # the file's own mark comes first
    while at < len(stored):
        if BLOCK - at % BLOCK < 7:  # no header fits into what is left of the block
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", stored, at + 4)
        parts += stored[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole one, or the last part of one
            yield Record.FromString(parts)
            parts = b""


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
async def test_wandb_keeps_an_offline_run(results, monkeypatch):
    report, path = results
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(path.parent))
    track(report, [path], ["wandb"])
    importlib.import_module("wandb").teardown()  # its service writes the file to the end
    (run,) = path.parent.glob("wandb/offline-run-*")
    (file,) = run.glob("*.wandb")
    stored = list(records(file.read_bytes()))
    logged = {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for record in stored
        for item in record.history.item
    }
    assert {name: value for name, value in logged.items() if name[0] != "_"} == numbers(report)
    said = "".join(map(str, stored))
    assert report.cases_hash in said, "the config"
    assert "lamps-report" in said, "the report itself, as an artifact"


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
    monkeypatch.setattr("distill.trackers.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"eval.track: 'mlflow' is not installed; run `pip"):
        check_trackers("eval.track", changed.eval.track)
