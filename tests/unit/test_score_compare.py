"""`distill score` and `distill compare`: stored answers in, findings out, no server."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
from typer.testing import CliRunner

from distill.cli.main import app
from distill.dataset import write_rows
from distill.errors import ConfigError, DatasetError
from distill.evaluate import runner
from distill.evaluate.runner import prepare
from distill.evaluate.summary import summarise
from distill.results import write_report
from tests.unit.evaluate_world import ByHeart, lamp, missing, no_tool, right, workspace, wrong

RIGHT = {
    "id": "c0",
    "type": "function",
    "function": {"name": "set_lamp", "arguments": '{"room": "hall", "level": 30}'},
}
WRONG = RIGHT | {"function": {"name": "set_lamp", "arguments": '{"room": "[/b]hall", "level": 30}'}}


def scored(tmp_path, rows, *options):
    config = workspace(tmp_path, [lamp(1), lamp(2), missing(1), no_tool(1)])
    path = tmp_path / "predictions.jsonl"
    write_rows(path, rows)
    folder = str(tmp_path / "tools" / "lamps")
    return CliRunner().invoke(
        app, ["score", str(config.cases_path), str(path), "--toolset", folder, *options]
    )


def test_first_answers_are_scored_and_explained(tmp_path):
    rows = [
        {"id": "lamp-1", "tool_calls": [RIGHT]},
        {"id": "lamp-2", "tool_calls": [WRONG]},
        {"id": "ask-1", "content": "Which room?"},
    ]
    output = tmp_path / "verdicts.jsonl"
    found = scored(tmp_path, rows, "--output", str(output))
    assert found.exit_code == 0, found.output
    text = " ".join(found.output.split())
    assert "lamp-2 wrong_arguments: set_lamp: room: '[/b]hall' instead of 'hall'" in text
    assert "3 of 4 cases" in text
    assert "Call accuracy 66.7%" in text
    verdicts = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(v["id"], v["ok"]) for v in verdicts] == [
        ("lamp-1", True),
        ("lamp-2", False),
        ("ask-1", True),
    ]


def test_whole_conversations_are_scored(tmp_path):
    talk = [
        {"role": "user", "content": "please"},
        {"role": "assistant", "content": None, "tool_calls": [RIGHT]},
        {"role": "tool", "tool_call_id": "c0", "content": "{}"},
    ]
    end = {"role": "assistant", "content": "Done."}
    rows = [{"id": "lamp-1", "messages": [*talk, end]}, {"id": "lamp-2", "messages": talk}]
    text = " ".join(scored(tmp_path, rows).output.split())
    assert "lamp-2 incomplete: the turn ends with a call" in text
    assert "Call accuracy 50.0%" in text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "lamp-9", "content": ""}, "id 'lamp-9' is none of the cases"),
        ({"id": "lamp-1"}, "not a prediction"),
        ({"id": "lamp-1", "messages": [{"role": "robot"}]}, "unknown role 'robot'"),
    ],
)
def test_what_is_no_prediction_is_refused_by_line(tmp_path, row, message):
    found = scored(tmp_path, [{"id": "no-1", "content": "I cannot."}, row])
    assert isinstance(found.exception, DatasetError)
    assert "predictions.jsonl:2" in str(found.exception) and message in str(found.exception)


def test_a_prediction_twice_is_refused(tmp_path):
    found = scored(tmp_path, [{"id": "no-1", "content": "I cannot."}] * 2)
    assert "stands here twice" in str(found.exception)


@pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")
def test_bfcl_results_are_scored_as_its_runner_writes_them(tmp_path):
    path = tmp_path / "results.jsonl"
    area = {"calculate_triangle_area": '{"base": 10, "height": 5, "unit": "Units"}'}
    rows = [
        {"id": "simple_python_0", "result": [area]},
        {"id": "simple_python_1", "result": "I would call math_factorial."},
    ]
    write_rows(path, rows)
    found = CliRunner().invoke(app, ["score", "bfcl:simple_python", str(path)])
    assert found.exit_code == 0, found.output
    text = " ".join(found.output.split())
    assert "simple_python_1 malformed_arguments" in text
    assert "simple_python: 50.0%" in text
    turns = [[[{"cd": '{"folder": "document"}'}], []], [], [], []]
    write_rows(path, [{"id": "multi_turn_base_0", "result": turns}])
    found = CliRunner().invoke(app, ["score", "bfcl:multi_turn_base", str(path)])
    assert "multi_turn_base_0 wrong_end_state: turn 1: GorillaFileSystem" in found.output
    found = CliRunner().invoke(app, ["score", "bfcl:simple_java", str(path)])
    assert "no such category" in str(found.exception)


# --- compare ----------------------------------------------------------------------------------


async def evaluated(folder, monkeypatch, play, cases):
    models = {"base": ByHeart(wrong), "student": ByHeart(play)}
    monkeypatch.setattr(runner, "create_teacher", lambda config: models[config.model])
    config = workspace(folder, cases)
    evaluation = prepare(config)
    await evaluation.ask("http://127.0.0.1:9/v1", lambda *_: None)
    write_report(config.results_dir, summarise(evaluation))
    return str(config.results_dir)


async def test_runs_are_compared_on_the_cases_they_share(tmp_path, monkeypatch):
    cases = [lamp(n) for n in range(12)]
    good = await evaluated(tmp_path / "good", monkeypatch, right, cases)
    bad = await evaluated(tmp_path / "bad", monkeypatch, wrong, cases)
    part = await evaluated(tmp_path / "part", monkeypatch, wrong, cases[:10])
    found = CliRunner().invoke(app, ["compare", good, bad, part])
    assert found.exit_code == 0, found.output
    text = " ".join(found.output.split())
    # All three are of one config, so they go by their folders, which may be wrapped.
    assert f"{bad}minus{good}:-100.0points" in text.replace(" ", "")
    # Two tests: 2 * 2 / 2^12 and, adjusted no lower, 2 / 2^10.
    assert "won 0, lost 12 of 12, adjusted p = 0.00098" in text
    assert "lost 10 of 10, adjusted p = 0.002 (other cases, 10 in common)" in text
    unknown = CliRunner().invoke(app, ["compare", good, "--model", "teacher"])
    assert isinstance(unknown.exception, ConfigError)
    assert "which has base, student" in str(unknown.exception)
