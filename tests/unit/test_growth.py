from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from test_train import quiet, settings
from train_world import workspace, write_dataset
from typer.testing import CliRunner

from distill.cli.train import train
from distill.dataset import TRAIN
from distill.errors import TrainError
from distill.proportion import wilson
from distill.train.growth import FILE, Growth, Point, Share, grow, in_words, nested_parts


def test_parts_are_nested_and_divide_no_family() -> None:
    families = [f"f{n % 20}" for n in range(200)]
    parts = nested_parts(families, seed=0)
    assert [len(part) for part in parts] == [30, 50, 100, 200]
    for smaller, larger in pairwise(parts):
        assert set(smaller) < set(larger)
    for part in parts:
        inside = {families[n] for n in part}
        assert sorted(part) == [n for n in range(200) if families[n] in inside]
    assert nested_parts(families, seed=1) != parts
    assert len(nested_parts(["one"] * 10 + ["two"] * 10, seed=0)) == 2


def point(rows: int, right: int, n: int, loss: float) -> Point:
    low, high = wilson(right, n)
    share = Share(value=right / n, low=low, high=high, n=n)
    return Point(rows=rows, tokens=rows * 9, loss=loss, accuracy=share)


@pytest.mark.parametrize(
    ("right", "loss", "verdict"),
    [
        (150, 0.3, "More traces would help: from 50 to 100 rows, accuracy changed by .25.0%"),
        (104, 0.3, "More traces may help: .* the loss by -25.0%.*; the loss still falls"),
        (104, 0.399, "More traces of this kind would hardly help"),
        (60, 0.5, "More traces did harm"),
    ],
)
def test_the_verdict_needs_more_than_noise(right: int, loss: float, verdict: str) -> None:
    points = (point(25, 90, 200, 0.6), point(50, 100, 200, 0.4), point(100, right, 200, loss))
    assert re.match(verdict, in_words(Growth(points=points)))


def test_the_command_trains_measures_and_resumes(tmp_path: Path) -> None:
    config = workspace(tmp_path, examples=8)
    app = typer.Typer()
    app.command()(train)
    path = str(tmp_path / "configs/bells.yaml")
    overrides = ["--set", "train.eval_turns=0", "--set", "train.evals=1"]
    done = CliRunner().invoke(app, [path, "--curve", *overrides])
    assert done.exit_code == 0, done.output
    growth = Growth.model_validate_json((config.run_dir / FILE).read_text())
    assert [point.rows for point in growth.points] == [1, 2, 4, 8]
    assert "traces" in done.output and "validation loss" in done.output
    assert growth.points[-1].loss < growth.points[0].loss
    assert growth.points[-1].tokens > 7 * growth.points[0].tokens
    (accuracy,) = {point.accuracy.n for point in growth.points}
    assert accuracy == 4
    assert (config.run_dir / "adapter/distill.json").is_file()
    manifest = json.loads((config.run_dir / "curve/4/adapter/distill.json").read_text())
    assert manifest["config"]["train"]["rank"] == 4
    times = {p: p.stat().st_mtime_ns for p in config.run_dir.rglob("adapter/distill.json")}
    again = settings(tmp_path, "train.eval_turns=0", "train.evals=1")
    assert grow(again, quiet()) == growth
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_too_little_to_divide(tmp_path: Path) -> None:
    config = workspace(tmp_path, examples=4)
    write_dataset(config, 4)
    path = config.dataset_dir / TRAIN
    rows = [
        json.loads(line) | {"meta": {"family": "one"}} for line in path.read_text().splitlines()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(TrainError, match=r"has 1 families and 2 validation rows; a curve needs"):
        grow(config, quiet())
