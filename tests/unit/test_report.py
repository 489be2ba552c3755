"""The page: what must be on it, and that nothing on it comes from elsewhere."""

from __future__ import annotations

import json
import re

import pytest

from distill.errors import DatasetError
from distill.evaluate import runner
from distill.evaluate.runner import prepare
from distill.evaluate.summary import summarise
from distill.matching import Code
from distill.report import write_page
from distill.report.curve import learning
from distill.report.html import EXPLAINED, number, percent, render
from distill.report.plots import losses
from distill.report.text import markdown
from distill.results import BreakEven, PassK, Silence, SuiteReport, write_report
from distill.types import Outcome
from tests.unit.evaluate_world import (
    ByHeart,
    call,
    called,
    lamp,
    missing,
    no_tool,
    right,
    said,
    workspace,
    wrong,
)

NASTY = '<script>alert(1)</script> & "more"'


@pytest.fixture
async def report(tmp_path, monkeypatch):
    def student(messages):
        if "no-1" in messages[0].content and messages[-1].role == "user":
            return called(call("set_lamp", '{"room": "<b>hall", "level": '))
        return said(NASTY) if "ask" in messages[0].content else right(messages)

    models = {"base": ByHeart(wrong), "student": ByHeart(student)}
    monkeypatch.setattr(runner, "create_teacher", lambda config: models[config.model])
    config = workspace(tmp_path, [*(lamp(n) for n in range(12)), missing(1), no_tool(1)])
    evaluation = prepare(config)
    await evaluation.ask("http://127.0.0.1:9/v1", lambda *_: None)
    made = summarise(evaluation)
    write_report(config.results_dir, made)
    return made, config


async def test_the_page_says_what_the_report_says(report):
    made, config = report
    page = write_page(config.results_dir, config.run_dir).read_text()
    assert "The student is better than its base." in page
    assert percent(made.models["student"].call_accuracy.value, 1) in page
    assert "set_lamp" in page
    assert "Missing parameter" in page
    assert EXPLAINED[Code.CALLED_INSTEAD_OF_ABSTAINING] in page
    assert made.cases_hash in page
    assert "Training" not in page, "this run has no loss curve"


async def test_the_page_is_alone(report):
    page = render(report[0], None)
    assert not re.search(r"""src\s*=|href\s*=\s*"[^#]|url\(|@import""", page)
    assert "<script" not in page


async def test_every_section_is_in_the_contents(report):
    page = render(report[0], None)
    linked = re.findall(r'<a href="#([^"]+)">', page)
    assert linked == re.findall(r'<section id="([^"]+)">', page)
    assert linked[:3] == ["accuracy", "differences", "metrics"] and "examples" in linked
    assert page.count("<section") == len(linked)


async def test_the_teachers_self_agreement_is_told_as_the_ceiling(report):
    made = report[0]
    agreed = made.models["student"].call_accuracy.model_copy(
        update={"value": 0.91, "low": 0.85, "high": 0.95}
    )
    teacher = made.models["student"].model_copy(update={"agreement": agreed})
    told = "same calls again in 91% of its cases (95% interval 85% to 95%)"
    assert told not in render(made, None)
    with_teacher = made.model_copy(update={"models": {**made.models, "teacher": teacher}})
    assert told in render(with_teacher, None)


async def test_what_models_write_is_text(report):
    page = render(report[0], None)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in page
    assert "&lt;b&gt;hall" in page


async def test_an_incomplete_run_says_so_on_top(report):
    incomplete = report[0].model_copy(
        update={"complete": False, "gaps": {"student": "3 of 8 cases without an answer: down"}}
    )
    page = render(incomplete, None)
    assert page.index("3 of 8 cases without an answer") < page.index("<h2>")
    assert "Not every case was answered." in page


async def test_one_model_alone_can_be_drawn(report):
    made = report[0]
    only = made.model_copy(
        update={"models": {"base": made.models["base"]}, "student_vs_base": None, "examples": ()}
    )
    assert "Student minus base" not in render(only, None)


async def test_the_loss_curve(report, tmp_path):
    rows = [{"step": n, "loss": 2.0 / n} for n in range(1, 11)] + [{"step": 10, "eval_loss": 0.5}]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    curve = losses(path)
    assert curve is not None
    training, validation = curve.curves
    assert training.points.startswith("10.00,0.00 20.00,50.00")
    assert (curve.right, curve.top, validation.last) == (10, 2.0, 0.5)
    page = render(report[0], curve)
    assert f'points="{training.points}"' in page
    assert "validation, last 0.500" in page


def point(rows, accuracy, loss=0.5):
    share = {"value": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1, "n": 80}
    return {"rows": rows, "tokens": 90 * rows, "loss": loss, "accuracy": share}


async def test_the_learning_curve(report, tmp_path):
    points = [point(400, 0.7, 0.25), point(100, 0.4, 1.0), point(200, 0.5)]
    (tmp_path / "curve.json").write_text(json.dumps({"points": points}))
    curve = learning(tmp_path)
    assert curve is not None
    assert [mark.point.rows for mark in curve.marks] == [100, 200, 400], "in order"
    assert curve.accuracies == "4.00,60.00 50.00,50.00 96.00,30.00", "doublings lie evenly"
    assert curve.losses == "4.00,0.00 50.00,50.00 96.00,75.00"
    page = render(report[0], None, curve)
    assert "What more data brought" in page
    assert "400 rows: 70.0%, 95% interval 60.0% to 80.0%, n = 80" in page
    assert 'y1="40.00" y2="20.00"' in page, "the interval is drawn"


async def test_no_learning_curve_where_there_is_none(report, tmp_path):
    assert learning(tmp_path) is None
    (tmp_path / "curve.json").write_text(json.dumps({"points": [point(100, 0.4)]}))
    assert learning(tmp_path) is None, "one point is no curve"
    (tmp_path / "curve.json").write_text('{"points": [{"rows": "many"}]}')
    with pytest.raises(DatasetError, match="not a learning curve"):
        learning(tmp_path)
    assert "What more data brought" not in render(report[0], None)


async def test_suites_show_what_changes_cost_and_what_was_done_in_silent_turns(report):
    made = report[0]
    half = made.models["base"].call_accuracy.model_copy(update={"value": 0.5, "n": 8})
    quiet = half.model_copy(update={"value": 0.25})
    suite = SuiteReport(
        name="bfcl",
        version="1",
        parts={"multi_turn_miss_func": {"base": half, "student": half}},
        headline={},
        versus_base={},
        gaps={"student": "1 of 9 questions without an answer"},
        examples={"student": ("entry_7: <b>no</b> call was made",)},
        changes={"noise": {"student": made.student_vs_base}},
        notes=("Paraphrase: 3 of 4 cases.",),
        silent={"multi_turn_miss_func": {"student": Silence(called=half, acted=quiet)}},
    )
    shown = made.model_copy(update={"suites": (suite,)})
    page, text = render(shown, None), markdown(shown)
    assert "Silent turns" in page and "Paraphrase: 3 of 4 cases." in page
    assert "Student: 1 of 9 questions without an answer." in page
    assert "entry_7: &lt;b&gt;no&lt;/b&gt; call was made" in page
    assert page.index("Against the same cases unchanged") < page.index("Silent turns")
    assert "| multi_turn_miss_func: silent turns with a change | - | 25.0%" in text
    assert "| noise, points against unchanged | - | +" in text
    assert "student: 1 of 9 questions without an answer." in text


async def test_the_text_has_what_trials_show_and_the_break_even(report):
    made = report[0]
    text = markdown(made)
    assert "pass^" not in text and "Agrees with itself" not in text and "break-even" not in text
    assert "| Abstention precision | " in text and "| Abstention recall | " in text
    passed = (
        PassK(k=2, value=0.5, low=0.4, high=0.6),
        PassK(k=3, value=0.25, low=None, high=None),
    )
    student = made.models["student"]
    tried = student.model_copy(update={"pass_k": passed, "agreement": student.turn_accuracy})
    even = BreakEven(teacher_usd=30, training_usd=2.5, saving_per_1000=7, requests=4643)
    update = {"models": {**made.models, "student": tried}, "break_even": even}
    text = markdown(made.model_copy(update=update))
    assert "| pass^2 | - | 50.0% (40-60) |" in text
    assert "| pass^3 | - | 25.0% |" in text
    assert "| Agrees with itself | - | " in text
    assert "- break-even: 4,643 requests ($32.50 spent on traces and training)" in text
    never = even.model_copy(update={"requests": None})
    assert "- break-even: never" in markdown(made.model_copy(update={"break_even": never}))


def test_no_loss_curve_without_losses(tmp_path):
    assert losses(tmp_path / "none") is None
    (tmp_path / "empty").write_text('{"step": 1, "tokens": 5}\n')
    assert losses(tmp_path / "empty") is None


def test_every_failure_is_explained():
    assert {code.value for code in Code if code is not Code.OK} <= set(EXPLAINED)
    assert {Outcome.TRUNCATED, Outcome.REFUSED, Outcome.ERROR} <= set(EXPLAINED)


def test_numbers():
    assert percent(None) == "\u2013"
    assert percent(0.8749, 1) == "87.5%"
    assert number(0.05) == "5"
