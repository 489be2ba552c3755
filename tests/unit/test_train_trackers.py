"""Trackers of training runs for real, without a server: what was logged is read back."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from train_world import workspace
from transformers import TrainerCallback

from distill.config import Config, load_config
from distill.errors import ConfigError, TrainError
from distill.preflight import Level, inspect
from distill.train import progress, runner, trackers

HERE = {
    "loss": "train/loss",
    "executed_tokens": "train/executed_tokens",
    "logical_tokens": "train/logical_tokens",
    "eval_loss": "eval/loss",
    "eval_turn_accuracy": "eval/turn_accuracy",
}
"""Our names in `metrics.jsonl`, and those that users of the trackers know."""


def settings(root: Path, *overrides: str) -> Config:
    return load_config(root / "configs/bells.yaml", list(overrides))


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def written(config: Config) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every metric, by the trackers' names."""
    rows = progress.read_metrics(config.run_dir / "metrics.jsonl")
    return {
        there: [(int(row["step"]), row[ours]) for row in rows if ours in row]
        for ours, there in HERE.items()
    }


def test_tensorboard_holds_every_step_once_also_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    workspace(tmp_path)
    config = settings(tmp_path, "train.track=[tensorboard]")
    crash_and_resume(config, monkeypatch)
    events = EventAccumulator(str(config.run_dir / "tensorboard"))
    events.Reload()
    expected = written(config)
    assert [step for step, _ in expected["train/loss"]] == [1, 2, 3, 4, 5, 6]
    for name, values in expected.items():
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [step for step, _ in values], name
        assert [v for _, v in found] == pytest.approx([v for _, v in values], rel=1e-6), name


def test_wandb_keeps_an_offline_run_of_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    from tests.server.test_trackers import records

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    workspace(tmp_path)
    config = settings(tmp_path, "train.track=[wandb]")
    assert runner.train(config, quiet()).manifest is not None
    importlib.import_module("wandb").teardown()  # its service writes the file to the end
    (file,) = config.run_dir.glob("wandb/offline-run-*/*.wandb")
    stored = list(records(file.read_bytes()))
    logged: dict[str, list[tuple[int, float]]] = {name: [] for name in HERE.values()}
    for record in stored:
        items = {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        for name in logged.keys() & items.keys():
            logged[name].append((items["train/global_step"], items[name]))
    assert logged == written(config)
    (started,) = (record.run for record in stored if record.run.run_id)
    assert (started.project, started.display_name) == ("bells", "train bells")


def crashing_at_five(monkeypatch: pytest.MonkeyPatch) -> None:
    original = progress.MetricsFile.on_log

    def crash(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(self, args, state, control, **kwargs)
        if state.global_step == 5:
            raise RuntimeError("the power is gone")

    monkeypatch.setattr(progress.MetricsFile, "on_log", crash)


def crash_and_resume(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until the power fails, then to the end."""
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power"):
        crashing_at_five(patch)
        runner.train(config, quiet())
    assert runner.train(config, quiet()).manifest is not None


def test_mlflow_has_every_step_and_knows_which_run_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    workspace(tmp_path)
    config = settings(tmp_path, "train.track=[mlflow]")
    crash_and_resume(config, monkeypatch)
    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'bells'")
    resumed, failed = client.search_runs([experiment.experiment_id])
    assert [(run.info.run_name, run.info.status) for run in (failed, resumed)] == [
        ("train bells", "FAILED"),
        ("train bells", "FINISHED"),
    ]
    for there, values in written(config).items():
        name = there.replace("train/", "").replace("eval/", "eval_")
        kept = [(m.step, m.value) for m in client.get_metric_history(resumed.info.run_id, name)]
        assert kept and kept == [(step, v) for step, v in values if step >= kept[0][0]], name
    assert {m.step for m in client.get_metric_history(failed.info.run_id, "loss")} >= {1, 2, 3, 4}


def test_trackio_has_every_step_of_a_run_and_of_its_resumption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackio")
    storage = importlib.import_module("trackio.sqlite_storage")
    monkeypatch.setattr(storage, "TRACKIO_DIR", tmp_path / "trackio")
    workspace(tmp_path)
    config = settings(tmp_path, "train.track=[trackio]")
    crash_and_resume(config, monkeypatch)
    rows = storage.SQLiteStorage.get_logs("bells", "train bells")
    for name, values in written(config).items():
        kept = {row["train/global_step"]: row[name] for row in rows if name in row}
        assert kept == dict(values), name


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is installed, as far as trackers go."""
    monkeypatch.setattr("distill.trackers.find_spec", lambda name: None)
    yield


def test_a_tracker_that_is_not_there_is_found_before_training(
    tmp_path: Path, missing: None
) -> None:
    workspace(tmp_path)
    config = settings(tmp_path, "train.track=[trackio]")
    said = r"train.track: 'trackio' is not installed; run `pip install trackio`"
    with pytest.raises(ConfigError, match=said):
        runner.train(config, quiet())
    with pytest.raises(ConfigError, match=said):
        runner.plan(config)
    assert not config.run_dir.exists()
    faults = [f.text for f in inspect(config) if f.level is Level.FAULT]
    assert "train.track: 'trackio' is not installed; run `pip install trackio`" in faults


def test_a_tracker_that_does_not_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> TrainerCallback:
        raise RuntimeError("no key for the server\nat line 3")

    monkeypatch.setitem(trackers._STARTS, "wandb", refuse)  # type: ignore[arg-type]
    workspace(tmp_path)
    with (
        pytest.raises(TrainError, match=r"^train.track: 'wandb' did not start: no key[a-z ]*$"),
        trackers.tracked(settings(tmp_path, "train.track=[wandb]"), 0),
    ):
        pass
