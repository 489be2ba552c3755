from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from peft import get_peft_model_state_dict
from rich.console import Console
from safetensors.torch import load_file
from train_world import TOOLS, workspace, write_dataset
from typer.testing import CliRunner

from distill.cli.train import train
from distill.config import Config, load_config
from distill.dataset import PAIRS, TRAIN, pair_to_row, read_pairs, write_rows
from distill.errors import DatasetError, StudentError, TrainError
from distill.student.manifest import read_manifest
from distill.train import progress, runner
from distill.train.accuracy import Exam
from distill.train.device import Device
from distill.train.sft import TrieTrainer


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def settings(root: Path, *overrides: str) -> Config:
    return load_config(root / "configs/bells.yaml", list(overrides))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "adapter/adapter_model.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished run."""
    root = tmp_path_factory.mktemp("work")
    config = workspace(root)
    assert runner.train(config, quiet()).manifest is not None
    return root


def test_a_run_leaves_all_that_serving_needs(trained: Path) -> None:
    run = trained / "runs/bells"
    manifest = read_manifest(run)
    assert (manifest.base, manifest.family) == (str(trained / "base"), "qwen2.5")
    assert (manifest.parser, manifest.rank) == ("hermes", 4)
    assert manifest.config["train"]["learning_rate"] == 0.01
    assert manifest.versions["torch"] == torch.__version__
    assert (run / "adapter/chat_template.jinja").read_text().startswith("{%- if tools %}")
    card = (run / "adapter/README.md").read_text()
    assert "mine" in card and manifest.dataset_hash in card and "distill serve" in card
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not (run / "adapter.part").exists()
    adapter = weights(run)
    assert len(adapter) == 2 * 2 * 7
    assert all(tensor.any() for tensor in adapter.values())


def test_the_loss_falls_and_every_step_is_written(trained: Path) -> None:
    rows = progress.read_metrics(trained / "runs/bells/metrics.jsonl")
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert steps[0]["logical_tokens"] > 4 * steps[0]["executed_tokens"]
    assert [row["step"] for row in rows if "eval_loss" in row] == [3, 6]
    metrics = read_manifest(trained / "runs/bells").metrics
    assert metrics["eval_loss"] == rows[-1]["eval_loss"] and metrics["best_step"] == 6


def test_running_a_finished_run_again_changes_nothing(trained: Path) -> None:
    before = (trained / "runs/bells/adapter/distill.json").stat().st_mtime_ns
    result = runner.train(settings(trained), quiet())
    assert result.already and result.manifest is not None
    assert (trained / "runs/bells/adapter/distill.json").stat().st_mtime_ns == before


def test_a_run_with_other_settings_is_refused_by_name(trained: Path) -> None:
    with pytest.raises(TrainError, match=r"train\.rank 4 -> 8; set another train\.output"):
        runner.train(settings(trained, "train.rank=8"), quiet())


def test_settings_may_change_as_long_as_nothing_was_trained(tmp_path: Path) -> None:
    run = runner.Run(tmp_path / "run")
    run.claim({"train.rank": 4})
    run.claim({"train.rank": 8})
    (run.checkpoints / "checkpoint-1").mkdir(parents=True)
    (run.checkpoints / "checkpoint-1/trainer_state.json").write_text("{}")
    with pytest.raises(TrainError, match=r"train\.rank 8 -> 16"):
        run.claim({"train.rank": 16})


def test_the_command_shows_costs_and_outcome(trained: Path) -> None:
    app = typer.Typer()
    app.command()(train)
    config = str(trained / "configs/bells.yaml")
    plan = CliRunner().invoke(app, [config, "--dry-run"])
    assert plan.exit_code == 0, plan.output
    assert "10 (2 more for validation)" in plan.output and "sharing" in plan.output
    again = CliRunner().invoke(app, [config])
    assert again.exit_code == 0, again.output
    assert "already trained" in again.output and "distill serve" in again.output


def test_small_rows_train_the_same_student(trained: Path) -> None:
    config = settings(trained, "train.row_tokens=1300", "train.output=runs/small")
    runner.train(config, quiet())
    rows = progress.read_metrics(trained / "runs/small/metrics.jsonl")
    plain = progress.read_metrics(trained / "runs/bells/metrics.jsonl")
    assert rows[0]["executed_tokens"] > plain[0]["executed_tokens"]
    tolerance = 2e-2 if runner.choose_device().dtype is torch.bfloat16 else 1e-4
    assert rows[0]["loss"] == pytest.approx(plain[0]["loss"], rel=tolerance)


def test_a_stopped_run_goes_on_to_the_same_weights(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(trained, "train.output=runs/stopped")
    original = progress.MetricsFile.on_log

    def stop_at_four(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(self, args, state, control, **kwargs)
        if state.global_step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(progress.MetricsFile, "on_log", stop_at_four)
    assert runner.train(config, quiet()).manifest is None
    assert not (config.run_dir / "adapter").exists()
    monkeypatch.undo()
    assert runner.train(config, quiet()).manifest is not None
    once, twice = weights(trained / "runs/bells"), weights(config.run_dir)
    assert all(torch.equal(once[name], twice[name]) for name in once)
    steps = [r["step"] for r in progress.read_metrics(config.run_dir / "metrics.jsonl")]
    assert steps == [1, 2, 3, 3, 4, 5, 6, 6]


def test_a_half_written_checkpoint_is_not_resumed_from(tmp_path: Path) -> None:
    run = runner.Run(tmp_path)
    for step in (9, 10):
        (run.checkpoints / f"checkpoint-{step}").mkdir(parents=True)
        (run.checkpoints / f"checkpoint-{step}/trainer_state.json").write_text("{}")
    (run.checkpoints / "checkpoint-11").mkdir()
    assert run.last_checkpoint() == run.checkpoints / "checkpoint-10"


def test_the_plan_counts_what_training_then_computes(trained: Path) -> None:
    plan, _ = runner.plan(settings(trained))
    assert (plan.examples, plan.validation, plan.samples, plan.recipe.steps) == (10, 2, 20, 6)
    metrics = read_manifest(trained / "runs/bells").metrics
    assert plan.logical_tokens == metrics["logical_tokens"]
    assert plan.executed_tokens == pytest.approx(metrics["executed_tokens"], rel=0.05)
    assert plan.memory_bytes > 0


def test_preferring_right_answers(trained: Path) -> None:
    config = settings(
        trained, "train.objective=dpo", "train.output=runs/prefer", "train.learning_rate=0.003",
        "train.batch_size=6", "train.epochs=4",
    )  # fmt: skip
    plan, _ = runner.plan(config)
    assert plan.examples + plan.validation == 20 and plan.validation > 0
    result = runner.train(config, quiet())
    assert result.manifest is not None
    rows = [r for r in progress.read_metrics(config.run_dir / "metrics.jsonl") if "loss" in r]
    assert rows[0]["loss"] == pytest.approx(math.log(2), rel=1e-3)  # the student is the reference
    assert rows[-1]["loss"] < 0.6 and rows[-1]["pair_accuracy"] == 1
    assert result.manifest.metrics["eval_pair_accuracy"] == 1
    assert rows[0]["logical_tokens"] > 6 * rows[0]["executed_tokens"]
    assert "preference" in (config.run_dir / "adapter/README.md").read_text()


def test_pairs_that_cannot_be_trained_on_are_counted(trained: Path) -> None:
    config = settings(trained, "train.objective=dpo", "filter.output=traces/odd")
    write_dataset(config, 4)
    path = config.dataset_dir / PAIRS
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["rejected"]["tool_calls"][0]["function"]["arguments"] = "{oops"
    spaced = '{"times":  1}'
    rows[1]["rejected"]["tool_calls"][0]["function"]["arguments"] = spaced
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan, _ = runner.plan(config)
    assert plan.dropped == {
        "a call's arguments are no JSON object": 1,
        "chosen and rejected read the same in the student's format": 1,
    }
    path.unlink()
    with pytest.raises(DatasetError, match=r"pairs\.jsonl"):
        runner.plan(config)


def test_no_data_set(trained: Path) -> None:
    with pytest.raises(DatasetError, match=r"no data set in .* run `distill filter CONFIG`"):
        runner.train(settings(trained, "filter.output=traces/none"), quiet())


def test_an_empty_data_set(trained: Path) -> None:
    config = settings(trained, "filter.output=traces/empty")
    write_dataset(config, 0)
    with pytest.raises(DatasetError, match=r"no training examples in .* rejects.jsonl"):
        runner.train(config, quiet())


def test_all_examples_too_long(trained: Path) -> None:
    with pytest.raises(DatasetError, match=r"12 of 12 were dropped: longer than train.max_length"):
        runner.train(settings(trained, "train.max_length=128"), quiet())


def test_one_example_too_long_is_dropped_and_counted(trained: Path) -> None:
    config = settings(trained, "filter.output=traces/long", "train.max_length=2000")
    write_dataset(config, 4)
    path = config.dataset_dir / TRAIN
    first, *rest = path.read_text().splitlines()
    row = json.loads(first)
    row["messages"][1]["content"] = "Ring " * 1000
    path.write_text("\n".join([json.dumps(row), *rest]) + "\n")
    plan, _ = runner.plan(config)
    assert plan.dropped == {"longer than train.max_length (2000)": 1}
    assert plan.examples == 3


def test_a_changed_tool_set(tmp_path: Path) -> None:
    config = workspace(tmp_path)
    (config.toolset_dir / "tools.py").write_text(TOOLS.replace("Ring a bell", "Ring one bell"))
    with pytest.raises(TrainError, match=r"tool set 'bells' is now .* was built with"):
        runner.train(config, quiet())


def test_missing_weights(tmp_path: Path) -> None:
    config = workspace(tmp_path)
    (tmp_path / "base/model.safetensors").unlink()
    with pytest.raises(StudentError, match=r"cannot load the model in"):
        runner.train(config, quiet())


def test_the_checkpoint_that_answers_best_becomes_the_adapter(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(trained, "train.output=runs/best", "train.evals=3", "train.patience=1")
    shares = iter([0.25, 0.75, 0.5, 0.5])
    kept: list[dict[str, torch.Tensor]] = []

    def measured(self: Exam, model: Any) -> float:
        state = get_peft_model_state_dict(model)
        kept.append({name: tensor.clone() for name, tensor in state.items()})
        return next(shares)

    monkeypatch.setattr(Exam, "accuracy", measured)
    assert runner.train(config, quiet()).manifest is not None
    checked = [r for r in progress.read_metrics(config.run_dir / "metrics.jsonl")
               if "eval_loss" in r]  # fmt: skip
    assert [row["eval_turn_accuracy"] for row in checked] == [0.25, 0.75, 0.5]
    metrics = read_manifest(config.run_dir).metrics
    assert (metrics["best_step"], metrics["eval_turn_accuracy"]) == (4, 0.75)
    adapter = weights(config.run_dir)
    assert all(torch.equal(adapter[name], kept[1][name]) for name in adapter)
    assert not all(torch.equal(adapter[name], kept[2][name]) for name in adapter)


def test_memory_that_does_not_suffice_halves_the_rows_once(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(trained, "train.output=runs/short", "train.row_tokens=2600")
    original, failures, sizes = TrieTrainer.compute_loss, [3], []

    def scarce(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(inputs["ids"]))
        if failures and self.state.global_step == failures[0]:
            failures.pop()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(TrieTrainer, "compute_loss", scarce)
    console = quiet()
    assert runner.train(config, console).manifest is not None
    assert "going on with rows of 1300 tokens" in console.file.getvalue()  # type: ignore[attr-defined]
    assert max(sizes[:1]) > 1300 and max(sizes[-4:]) <= 1300
    rows = progress.read_metrics(config.run_dir / "metrics.jsonl")
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    failing = settings(trained, "train.output=runs/none", "train.row_tokens=2600")

    def never(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TrieTrainer, "compute_loss", never)
    with pytest.raises(TrainError, match=r"also with rows of 1300 tokens; set train.row_tokens to"):
        runner.train(failing, quiet())


def test_a_killed_run_goes_on_to_the_same_weights(trained: Path) -> None:
    config = settings(trained, "train.output=runs/killed")
    script = (
        "import io, os, signal, sys\n"
        "from rich.console import Console\n"
        "from distill.config import load_config\n"
        "from distill.train import progress, runner\n"
        "original = progress.MetricsFile.on_log\n"
        "def kill_at_five(self, args, state, control, **kwargs):\n"
        "    original(self, args, state, control, **kwargs)\n"
        "    if state.global_step == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "progress.MetricsFile.on_log = kill_at_five\n"
        "runner.train(load_config(sys.argv[1], ['train.output=runs/killed']), Console())\n"
    )
    command = [sys.executable, "-c", script, str(trained / "configs/bells.yaml")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not (config.run_dir / "adapter").exists()
    assert runner.train(config, quiet()).manifest is not None
    once, twice = weights(trained / "runs/bells"), weights(config.run_dir)
    assert all(torch.equal(once[name], twice[name]) for name in once)
    steps = [r["step"] for r in progress.read_metrics(config.run_dir / "metrics.jsonl")]
    assert steps == [1, 2, 3, 3, 4, 5, 6, 6]


def contradict(config: Config) -> None:
    """Prefer the wrong answer in every third pair: the share of right ones is then no 0 or 1."""
    path = config.dataset_dir / PAIRS
    pairs = [
        pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen})
        if number % 3 == 0
        else pair
        for number, pair in enumerate(read_pairs(path))
    ]
    write_rows(path, [pair_to_row(pair) for pair in pairs])


@pytest.mark.parametrize("objective", ["sft", "dpo", "kto"])
def test_two_ranks_train_the_student_that_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    contradict(workspace(tmp_path))
    config = settings(tmp_path, "train.output=runs/one", f"train.objective={objective}")
    monkeypatch.setattr(runner, "choose_device", lambda: Device("cpu", torch.float32))
    runner.train(config, quiet())
    script = tmp_path / "rank.py"
    script.write_text(
        "import sys, torch\n"
        "from rich.console import Console\n"
        "from distill.config import load_config\n"
        "from distill.train import runner\n"
        "from distill.train.device import Device\n"
        "runner.choose_device = lambda: Device('cpu', torch.float32)\n"
        "runner.train(load_config(sys.argv[1], sys.argv[2:]), Console(quiet=True))\n"
    )
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        str(script), str(tmp_path / "configs/bells.yaml"),
        "train.output=runs/two", f"train.objective={objective}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = tmp_path / "runs/one", tmp_path / "runs/two"
    before, after = (progress.read_metrics(run / "metrics.jsonl") for run in (one, two))
    assert len(before) == len(after)
    for left, right in zip(before, after, strict=True):
        shared = {"loss", "eval_loss", "grad_norm", "pair_accuracy", "eval_pair_accuracy"}
        for name in shared & set(left):
            assert right[name] == pytest.approx(left[name], rel=2e-4), name
        assert left.get("logical_tokens") == right.get("logical_tokens")
    once, twice = weights(one), weights(two)
    for name in once:
        torch.testing.assert_close(twice[name], once[name], rtol=1e-3, atol=1e-4)


def test_a_broken_loss_stops_the_run(trained: Path) -> None:
    config = settings(trained, "train.output=runs/broken", "train.learning_rate=1e30")
    with pytest.raises(TrainError, match=r"nan at step \d, after the batch of .* \d, \d"):
        runner.train(config, quiet())
    assert not (config.run_dir / "adapter").exists()
