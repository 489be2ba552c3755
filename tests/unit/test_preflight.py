"""`distill check` and `distill init`: what is found before anything costs something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distill.config import load_config
from distill.errors import ConfigError
from distill.preflight import Level, inspect
from distill.workspace import write_workspace

CONFIGS = Path(__file__).parents[2] / "configs"


def faults(config: Path, *overrides: str) -> list[str]:
    findings = inspect(load_config(config, list(overrides)))
    return [f"{f.area}: {f.text}" for f in findings if f.level is Level.FAULT]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    write_workspace(tmp_path / "mine")
    return tmp_path / "mine"


def distill(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "distill", *arguments], cwd=cwd, capture_output=True, text=True
    )


def test_a_new_workspace_passes(workspace: Path) -> None:
    assert faults(workspace / "configs/weather.yaml") == []
    result = distill("check", "configs/weather.yaml", cwd=workspace)
    assert (result.returncode, result.stderr) == (0, "")
    assert "weather: 2 tools" in result.stdout


def test_init_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ConfigError, match="not an empty folder"):
        write_workspace(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_passes(config: Path) -> None:
    assert faults(config) == []


def test_what_only_the_hub_knows_is_reported_as_unchecked() -> None:
    findings = list(inspect(load_config(CONFIGS / "qwen2.5-7b.yaml")))
    unchecked = [f.text for f in findings if f.level is Level.UNCHECKED]
    assert unchecked == ["Qwen/Qwen2.5-7B-Instruct: weights and template are on the hub"]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("toolset=tools/none", "tool set: no tool set in"),
        ("tasks.path=none.jsonl", "tasks: "),
        ("teacher.base_url=null", "teacher: openai_chat needs teacher.base_url"),
        ("student.base=./none", "student: student.base: no folder './none'"),
        ("student.family=gpt2", "student: "),
    ],
)
def test_a_fault_is_found_and_exits_with_2(workspace: Path, override: str, told: str) -> None:
    found = faults(workspace / "configs/weather.yaml", override)
    assert any(fault.startswith(told) for fault in found), found
    result = distill("check", "configs/weather.yaml", "--set", override, cwd=workspace)
    assert result.returncode == 2
    assert "fault" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_hosted_teacher_needs_terms_and_under_a_budget_a_price(workspace: Path) -> None:
    hosted = ["teacher.provider=openai", "teacher.base_url=null", "teacher.terms=null"]
    unpriced = [*hosted, "teacher.price=null", "teacher.model=new-model"]
    config = workspace / "configs/weather.yaml"
    assert any("terms" in fault for fault in faults(config, *hosted))
    assert not any("price" in fault for fault in faults(config, *unpriced))
    assert any("no price" in fault for fault in faults(config, *unpriced, "collect.budget_usd=5"))


def test_a_task_set_without_negatives_is_warned_about(workspace: Path) -> None:
    tasks = workspace / "tools/weather/tasks.jsonl"
    positives = [row for row in tasks.read_text().splitlines() if '"single"' in row]
    tasks.write_text("\n".join(positives))
    findings = inspect(load_config(workspace / "configs/weather.yaml"))
    warnings = [f.text for f in findings if f.level is Level.WARNING]
    assert any("learns to call always" in text for text in warnings)
    assert any("no task expects a call of get_warnings" in text for text in warnings)


def test_an_unknown_key_is_one_line_and_exit_2(workspace: Path) -> None:
    result = distill("check", "configs/weather.yaml", "--set", "train.epoch=1", cwd=workspace)
    assert result.returncode == 2
    assert result.stderr.startswith("error: --set train.epoch=1: unknown key 'train.epoch'")
    assert len(result.stderr.splitlines()) == 1


def test_a_file_where_a_folder_has_to_be_is_a_fault(workspace: Path) -> None:
    (workspace / "runs").write_text("precious")
    (found,) = faults(workspace / "configs/weather.yaml")
    assert found.startswith("disk: ") and "is a file" in found
