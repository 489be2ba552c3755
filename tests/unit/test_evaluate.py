"""The run: what is asked, what is reused, what is never scored, and what is concluded."""

from __future__ import annotations

import json

import httpx2
import pytest

from distill.config import load_config
from distill.errors import ConfigError, DatasetError, StudentError
from distill.evaluate import runner
from distill.evaluate.candidates import file_hash
from distill.evaluate.comparison import compare
from distill.evaluate.examples import expected
from distill.evaluate.runner import prepare, select_cases
from distill.evaluate.summary import summarise, verdict
from distill.results import read_report, write_report
from distill.student.manifest import ADAPTER, MERGED
from distill.teachers import Failure, TeacherError
from distill.traces import Owed, TraceStore
from distill.types import Outcome
from tests.unit.evaluate_world import (
    ByHeart,
    adapter,
    answer,
    call,
    called,
    lamp,
    missing,
    no_tool,
    right,
    said,
    toolset,
    workspace,
    wrong,
)

URL = "http://127.0.0.1:9/v1"


@pytest.fixture
def models(monkeypatch):
    """Base never calls, the student is right; returns both, by name."""
    made = {"base": ByHeart(wrong), "student": ByHeart(right)}
    monkeypatch.setattr(runner, "create_teacher", lambda config: made[config.model])
    monkeypatch.setattr("distill.teachers.pacing._backoff_s", lambda faults: 0.0)
    return made


def quiet(*_: object) -> None:
    """A progress bar nobody looks at."""


async def run(config, **options):
    evaluation = prepare(config, **options)
    await evaluation.ask(URL, quiet)
    return evaluation


async def test_the_student_wins_and_the_report_says_so(tmp_path, models):
    config = workspace(tmp_path, [lamp(n) for n in range(12)])
    report = summarise(await run(config))
    assert report.complete
    assert report.models["student"].call_accuracy.value == 1.0
    assert report.models["base"].call_accuracy.value == 0.0
    assert report.student_vs_base.wins == 12
    assert report.student_vs_base.p_value == pytest.approx(2 / 2**12)
    assert "student is better" in report.verdict
    assert report.breakdowns.by_tool["set_lamp"]["student"].n == 12
    assert report.weights_hash == file_hash(config.run_dir / ADAPTER / "adapter_model.safetensors")
    write_report(config.results_dir, report)
    assert read_report(config.results_dir) == report
    raw = json.loads((config.results_dir / "report.json").read_text())
    assert set(raw["models"]["student"]["call_accuracy"]) == {"value", "low", "high", "n"}
    assert all(model.closed for model in models.values())


async def test_the_report_names_the_weights_of_a_student_tuned_whole(tmp_path, models):
    config = workspace(tmp_path, [lamp(1)])
    adapter(config.run_dir, method="full", rank=0)
    merged = config.run_dir / MERGED
    merged.mkdir()
    (merged / "config.json").write_text("{}")
    (merged / "model.safetensors").write_bytes(b"one")
    before = summarise(await run(config)).weights_hash
    (merged / "model.safetensors").write_bytes(b"two")
    after = summarise(await run(config)).weights_hash
    assert before and after and before != after


async def test_a_second_run_asks_nothing(tmp_path, models):
    config = workspace(tmp_path, [lamp(1), lamp(2)])
    await run(config)
    before = models["base"].asked, models["student"].asked
    again = prepare(config)
    assert not again.needs_endpoint
    await again.ask(None, quiet)
    assert (models["base"].asked, models["student"].asked) == before
    assert summarise(again).models["student"].answered == 2


async def test_only_what_changed_is_asked_again(tmp_path, models):
    config = workspace(tmp_path, [lamp(1), lamp(2)])
    await run(config)
    (adapter(config.run_dir) / "adapter_model.safetensors").write_bytes(b"trained again")
    again = prepare(config)
    owed = {candidate.name: len(again.owed(candidate)) for candidate in again.candidates}
    assert owed == {"base": 0, "student": 2}


@pytest.mark.parametrize(
    "change", ["eval.max_tokens=77", "serve.max_model_len=999", "serve.quantize=fp8"]
)
async def test_other_settings_are_other_answers(tmp_path, models, change):
    config = workspace(tmp_path, [lamp(1)])
    await run(config)
    changed = prepare(load_config(config.source, [change, "eval.teacher=none"]))
    assert changed.needs_endpoint


async def test_the_port_does_not_matter(tmp_path, models):
    config = workspace(tmp_path, [lamp(1)])
    await run(config)
    assert not prepare(load_config(config.source, ["serve.port=1234"])).needs_endpoint


async def test_an_endpoint_of_this_run_is_no_other_endpoint(tmp_path, models, monkeypatch):
    config = workspace(tmp_path, [lamp(1)])
    await run(config)
    roots = {"student": str(config.run_dir / "adapter")}

    def listed(url, **_):
        data = [{"id": name, "root": root} for name, root in roots.items()]
        return httpx2.Response(200, json={"data": data})

    monkeypatch.setattr("distill.evaluate.candidates.httpx2.get", listed)
    assert not prepare(config, endpoint=URL).needs_endpoint
    roots["student"] = "/somebody/elses/adapter"
    assert prepare(config, endpoint=URL).needs_endpoint


def test_an_endpoint_with_an_older_adapter_is_refused(tmp_path, monkeypatch):
    config = workspace(tmp_path, [lamp(1)], ["serve.api_key_env=DOOR"])
    monkeypatch.setenv("DOOR", "sesame")

    def listed(url, headers, **_):
        assert headers == {"Authorization": "Bearer sesame"}
        student = {"id": "student", "root": str(config.run_dir / "adapter"), "stale": True}
        return httpx2.Response(200, json={"data": [student]})

    monkeypatch.setattr("distill.evaluate.candidates.httpx2.get", listed)
    with pytest.raises(ConfigError, match="was trained again; start `distill serve` again"):
        prepare(config, endpoint=URL)


def test_the_students_own_answers_are_asked_for(tmp_path, monkeypatch):
    config = workspace(tmp_path, [lamp(1)], ["serve.api_key_env=DOOR"])
    for candidate in prepare(config, only=["base", "student"]).candidates:
        request = candidate.at(URL)
        assert request.extra["distill_observe"] is True
        assert request.api_key_env == "DOOR"


async def test_a_line_cut_short_by_a_crash_is_owed_again(tmp_path, models):
    config = workspace(tmp_path, [lamp(1), lamp(2)])
    await run(config, only=["student"])
    path = config.results_dir / "answers.jsonl"
    path.write_text(path.read_text()[:-40])
    again = prepare(config, only=["student"])
    assert len(again.owed(again.candidates[0])) == 1
    await again.ask(URL, quiet)
    once_more = prepare(config, only=["student"])
    assert once_more.owed(once_more.candidates[0]) == []


async def test_an_endpoint_that_fails_is_never_scored(tmp_path, models):
    def fails(messages):
        raise TeacherError("connection refused", Failure.TRANSIENT)

    models["student"].play = fails
    config = workspace(tmp_path, [lamp(n) for n in range(9)])
    evaluation = await run(config)
    report = summarise(evaluation)
    assert not report.complete
    assert "student" not in report.models
    assert report.student_vs_base is None
    assert "9 of 9 cases without an answer: connection refused" in report.gaps["student"]
    assert models["student"].asked < 9 * 5, "a dead endpoint is given up"
    assert report.verdict.startswith("Nothing to compare")


async def test_one_lost_case_leaves_the_others_and_marks_the_run(tmp_path, models):
    def fails_once(messages):
        if "lamp-3" in messages[0].content:
            raise TeacherError("broken pipe", Failure.TRANSIENT)
        return right(messages)

    models["student"].play = fails_once
    config = workspace(tmp_path, [lamp(n) for n in range(6)])
    report = summarise(await run(config))
    assert not report.complete
    assert report.verdict.startswith("Incomplete")
    assert report.models["student"].call_accuracy.n == 5
    assert report.models["student"].call_accuracy.value == 1.0
    assert report.student_vs_base.n == 5


async def test_a_transport_error_that_passes_is_not_noticed(tmp_path, models):
    seen = set()

    def shaky(messages):
        if (opening := messages[0].content) not in seen:
            seen.add(opening)
            raise TeacherError("HTTP 503", Failure.TRANSIENT)
        return right(messages)

    models["student"].play = shaky
    report = summarise(await run(workspace(tmp_path, [lamp(n) for n in range(4)])))
    assert report.complete
    assert report.models["student"].call_accuracy.value == 1.0


async def test_a_refused_first_request_is_the_endpoints_fault(tmp_path, models):
    def refuses(messages):
        raise TeacherError("HTTP 400: no parser", Failure.BAD_REQUEST)

    models["student"].play = refuses
    report = summarise(await run(workspace(tmp_path, [lamp(1), lamp(2)])))
    assert not report.complete
    assert "no parser" in report.gaps["student"]


async def test_a_conversation_refused_midway_is_the_models_failure(tmp_path, models):
    def overlong(messages):
        if messages[-1].role == "tool":
            raise TeacherError("HTTP 400: context length", Failure.BAD_REQUEST)
        return right(messages)

    models["student"].play = overlong
    report = summarise(await run(workspace(tmp_path, [lamp(1)])))
    assert report.complete
    assert report.models["student"].failures == {"error": 1}


async def test_a_wrong_key_stops_the_run(tmp_path, models):
    def refuses(messages):
        raise TeacherError("HTTP 401", Failure.AUTH)

    models["base"].play = refuses
    with pytest.raises(TeacherError, match="401"):
        await run(workspace(tmp_path, [lamp(1)]))


async def test_the_stored_teacher_costs_nothing(tmp_path, models):
    cases = [lamp(1), lamp(2), lamp(3)]
    config = workspace(tmp_path, cases, ["eval.teacher=stored"])
    (tmp_path / "traces").mkdir(exist_ok=True)
    loaded = toolset(tmp_path)
    with TraceStore.open(config.store_url, create=True) as store:
        store.add_toolset(loaded.toolset)
        for task in cases[:2]:
            trace = answer(
                task, called(call("set_lamp", '{"room": "hall", "level": 30}')), said("Done.")
            ).trace
            update = {"key": task.id, "toolset_hash": loaded.toolset.hash, "changes": {"/hall": 30}}
            store.add_episodes([Owed(task.id, task.id, 0)])
            store.finish(trace.model_copy(update=update), [])
    report = summarise(await run(config))
    assert report.models["teacher"].call_accuracy.n == 2
    assert report.gaps["teacher"].startswith("1 of 3 cases")
    assert report.complete, "a case the teacher never saw is no failure of this run"


async def test_the_worked_examples_show_every_sort_of_failure(tmp_path, models):
    def half(messages):
        if "lamp" in messages[0].content:
            return right(messages)
        return said("I have done it.") if "ask" in messages[0].content else right(messages)

    models["student"].play = half
    cases = [lamp(1), lamp(2), missing(1), missing(2), no_tool(1)]
    report = summarise(await run(workspace(tmp_path, cases)))
    shown = [example.case for example in report.examples]
    assert shown[:3] == ["ask-1", "no-1", "ask-2"]
    assert shown[3:] == ["lamp-1", "lamp-2"]
    first = report.examples[0]
    assert first.expected == ("ask back",)
    assert {name: t.ok for name, t in first.transcripts.items()} == {
        "base": False,
        "student": False,
    }


def test_a_limit_nests(tmp_path):
    cases = [lamp(n) for n in range(30)]
    config = workspace(tmp_path, cases)
    lamps = toolset(tmp_path).toolset
    chosen = [{c.id for c in select_cases(config.cases_path, lamps, k)} for k in (5, 12, 100)]
    assert [len(ids) for ids in chosen] == [5, 12, 30]
    assert chosen[0] < chosen[1] < chosen[2]
    assert chosen[0] != {c.id for c in cases[:5]}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda row: row["turns"][0].update(expectation=None), "without an expectation"),
        (
            lambda row: row["turns"][0]["expectation"]["calls"][0].update(name="dim"),
            "expects a call of 'dim'",
        ),
    ],
)
def test_cases_that_cannot_be_judged_are_refused(tmp_path, spoil, message):
    config = workspace(tmp_path, [lamp(1)])
    row = json.loads(config.cases_path.read_text())
    spoil(row)
    config.cases_path.write_text(json.dumps(row))
    with pytest.raises(DatasetError, match=message):
        prepare(config)


def test_no_cases_no_student_no_such_model(tmp_path):
    config = workspace(tmp_path, [])
    with pytest.raises(DatasetError, match="no cases"):
        prepare(config)
    config.cases_path.write_text((lamp(1).model_dump_json() + "\n") * 2)
    with pytest.raises(DatasetError, match="'lamp-1' stands here twice"):
        prepare(config)
    config.cases_path.write_text(lamp(1).model_dump_json())
    with pytest.raises(ConfigError, match="--only 'pupil'"):
        prepare(config, only=["pupil"])
    (config.run_dir / "adapter" / "distill.json").unlink()
    with pytest.raises(StudentError, match="distill train"):
        prepare(config)


def test_a_missing_report_says_what_to_run(tmp_path):
    with pytest.raises(DatasetError, match="distill eval"):
        read_report(tmp_path)


def test_expectations_in_words():
    assert expected(lamp(1).turns[0]) == "set_lamp(room='hall', level=30)"
    assert expected(no_tool(1).turns[0]) == "say that no tool fits"


def test_no_common_case_no_comparison():
    assert compare([], []) is None
    assert "no answered case" in verdict({}, None, 7, complete=True)


def test_a_refusal_is_a_failure_of_its_own(tmp_path):
    from distill.evaluate.metrics import score

    workspace(tmp_path, [lamp(1)])
    refused = answer(lamp(1), said("I must not."), outcome=Outcome.REFUSED)
    assert score(lamp(1), refused, toolset(tmp_path).toolset).code == "refused"
