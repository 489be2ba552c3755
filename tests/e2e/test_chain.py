"""The whole chain as a user runs it, on real parts: a small `distill demo` on the CPU.

Too few examples for a good student; what is asserted is that every stage did its work on the files
of the one before, that nothing is left running, and that a second run pays for nothing twice.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMALL = {
    "tasks": {"count": 260, "seed": 3},
    "train": {"epochs": 1, "evals": 1},
    "eval": {"teacher": "live", "limit": 12},
}


def run_demo(workspace: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "distill", "demo", "configs/small.yaml"],
        cwd=workspace,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chain")
    shutil.copytree(ROOT / "tools/home", folder / "tools/home")
    config: dict[str, Any] = yaml.safe_load((ROOT / "configs/demo.yaml").read_text())
    config["name"] = "small"
    config["student"]["base"] = str(ROOT / config["student"]["base"])
    config["collect"] = {k: v for k, v in config.get("collect", {}).items() if k != "store"}
    for section, values in SMALL.items():
        config[section] = config.get(section, {}) | values
    (folder / "configs").mkdir()
    (folder / "configs/small.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def first(workspace: Path) -> subprocess.CompletedProcess[str]:
    result = run_demo(workspace)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return result


def test_every_stage_leaves_its_files(
    workspace: Path, first: subprocess.CompletedProcess[str]
) -> None:
    for name in (
        "traces/small.db",
        "traces/small/train.jsonl",
        "traces/small/rejects.jsonl",
        "traces/small/README.md",
        "runs/small/adapter/adapter_model.safetensors",
        "runs/small/adapter/distill.json",
        "runs/small/adapter/chat_template.jinja",
        "runs/small/loss.png",
        "eval/results/small/report.html",
    ):
        assert (workspace / name).stat().st_size > 0, name


def test_the_commands_are_shown_as_a_user_would_type_them(
    first: subprocess.CompletedProcess[str],
) -> None:
    for command in ("check", "collect", "filter", "train", "serve", "eval"):
        assert f"distill {command} configs/small.yaml" in first.stdout


def test_the_report_counts_every_case_for_every_model(
    workspace: Path, first: subprocess.CompletedProcess[str]
) -> None:
    report = json.loads((workspace / "eval/results/small/report.json").read_text())
    assert report["complete"] is True
    for model in ("base", "student", "teacher"):
        accuracy = report["models"][model]["call_accuracy"]
        assert accuracy["n"] == 12
        assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert report["models"]["teacher"]["call_accuracy"]["value"] > 0.5
    assert 0 <= report["student_vs_base"]["p_value"] <= 1


def test_the_teacher_errs_and_the_filter_says_how(
    workspace: Path, first: subprocess.CompletedProcess[str]
) -> None:
    text = (workspace / "traces/small/rejects.jsonl").read_text()
    rows = [json.loads(row) for row in text.splitlines()]
    assert len(rows) >= 5
    assert all(row["stage"] and row["code"] and row["evidence"] for row in rows)
    assert len({row["code"] for row in rows}) >= 3


def test_nothing_is_left_running(workspace: Path, first: subprocess.CompletedProcess[str]) -> None:
    alive = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            folder = os.readlink(process / "cwd")
        except OSError:
            continue
        if str(workspace) in command or folder.startswith(str(workspace)):
            alive.append(command)
    assert alive == []


def test_a_second_run_pays_for_nothing_twice(
    workspace: Path, first: subprocess.CompletedProcess[str]
) -> None:
    adapter = workspace / "runs/small/adapter/adapter_model.safetensors"
    answers = workspace / "eval/results/small/answers.jsonl"
    before = (adapter.stat().st_mtime_ns, answers.read_bytes(), ledger(workspace))
    result = run_demo(workspace)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert (adapter.stat().st_mtime_ns, answers.read_bytes(), ledger(workspace)) == before


def ledger(workspace: Path) -> int:
    """Calls that were ever made for traces of this workspace."""
    import sqlite3

    connection = sqlite3.connect(workspace / "traces/small.db")
    try:
        return int(connection.execute("SELECT count(*) FROM ledger").fetchone()[0])
    finally:
        connection.close()
