"""Paraphrases: which cases can be reworded, which rewordings ask for the same, who writes them."""

from __future__ import annotations

import threading

import pytest

from distill.config import load_config
from distill.demo.teacher import rewording
from distill.demo.teacher.busy import Busy
from distill.demo.teacher.script import Script
from distill.demo.teacher.server import TeacherServer
from distill.evaluate import runner
from distill.evaluate.runner import prepare
from distill.evaluate.suites import paraphrase
from distill.evaluate.suites.paraphrase import LOST, SAME, Rewording, Wanted, fault, said_values
from distill.evaluate.suites.registry import chosen, prepared
from distill.evaluate.summary import summarise
from distill.types import Expectation, ExpectedCall, Kind, Task, UserTurn
from tests.unit.evaluate_world import ByHeart, right, toolset, workspace

URL = "http://127.0.0.1:9/v1"


def task(name, *turns):
    """A case; a turn is (words, arguments) or words alone."""
    made = []
    for words, arguments in turns:
        call = ExpectedCall(name="set_lamp", arguments=arguments) if arguments else None
        asked = Expectation(action="call", calls=(call,)) if call else Expectation(action="ask")
        made.append(UserTurn(content=words, expectation=asked))
    kind = Kind.SINGLE if len(turns) == 1 else Kind.MULTI_TURN
    return Task(id=name, toolset="lamps", kind=kind, family=name, turns=tuple(made))


HALL = {"room": "hall", "level": 30}


def test_values_are_found_as_they_are_said():
    assert said_values(task("a", ("Hall to 30%", HALL))) == [Wanted("Hall to 30%", ("30", "hall"))]
    words = said_values(task("a", ("hall at thirty", HALL)))
    assert words == [Wanted("hall at thirty", ("hall", "thirty"))]
    earlier = said_values(task("a", ("Is the hall lit?", None), ("Then 30 there", HALL)))
    assert [wanted.kept for wanted in earlier] == [("hall",), ("30",)]
    assert said_values(task("a", ("Shall it be 30?", HALL))) is None, "'hall' is a whole word"
    assert said_values(task("a", ("Hall lamp a third up", HALL))) is None


@pytest.mark.parametrize(
    ("reworded", "found"),
    [
        ("Please bring the hall to 30%.", None),
        ("Please bring the hallway to 30%.", LOST),
        ("Please bring the hall to 40%.", LOST),
        ("Please bring the hall to 30% by 8.", LOST),
        ("hall to 30%!", SAME),
        ("", LOST),
        ("Sure! " + "Here is what I would say instead of it: " * 4 + "hall to 30", LOST),
    ],
)
def test_a_rewording_keeps_every_value_and_adds_none(reworded, found):
    row = Rewording(key="k", model="teacher", identity="i", text="x", reworded=reworded)
    assert fault(Wanted("Hall to 30%", ("30", "hall")), row) == found


@pytest.fixture
def teacher_url(tmp_path):
    """The embedded teacher over HTTP; it knows no task."""
    folder = tmp_path / "teacher"
    workspace(folder, [task("a", ("x", None))])
    server = TeacherServer(("127.0.0.1", 0), Script(toolset(folder).toolset, []), Busy(0, seed=0))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}/v1"
    server.shutdown()
    server.server_close()


async def test_the_teacher_rewords_over_http_and_all_models_get_the_same_words(
    tmp_path, monkeypatch, teacher_url
):
    heard = []

    def listens(messages):
        heard.append(messages[0].content)
        return right(messages)

    models = {"base": ByHeart(listens), "student": ByHeart(listens)}
    monkeypatch.setattr(runner, "create_teacher", lambda config: models[config.model])
    cases = [
        *(task(f"c{n}", (f"Lamp {n}: set the hall to 30", HALL)) for n in range(3)),
        task("vague", ("A third of the light there", HALL)),
    ]
    config = workspace(tmp_path / "home", cases, [f"teacher.base_url={teacher_url}"])
    evaluation = prepare(config)
    (run,) = prepared(chosen(["robustness:paraphrase"]), evaluation)
    assert run.needs_endpoint
    await run.ask(URL, lambda *_: None)
    report = run.report()
    assert {part: one["student"].n for part, one in report.parts.items()} == {
        "unchanged": 4,
        "paraphrase": 3,
    }
    assert report.changes["paraphrase"]["student"].n == 3
    assert report.notes == ("Paraphrase: 3 of 4 cases; 1 say a value in other words than its own.",)
    said = [case.turns[0].content for case in cases]
    reworded = set(heard) - set(said)
    assert len(reworded) == 3, "base and student hear the same"
    assert all("hall" in words and "30" in words for words in reworded)
    (again,) = prepared(chosen(["robustness:paraphrase"]), prepare(config))
    assert not again.needs_endpoint, "nothing is reworded or asked twice"
    assert summarise(evaluation, [report]).complete


async def test_a_teacher_that_is_down_leaves_a_gap(tmp_path, monkeypatch):
    monkeypatch.setattr("distill.teachers.pacing._backoff_s", lambda faults: 0.0)
    models = {"base": ByHeart(right), "student": ByHeart(right)}
    monkeypatch.setattr(runner, "create_teacher", lambda config: models[config.model])
    config = workspace(tmp_path, [task("c", ("Hall to 30", HALL))])
    evaluation = prepare(config)
    (run,) = prepared(chosen(["robustness:paraphrase"]), evaluation)
    await run.ask(URL, lambda *_: None)
    report = run.report()
    assert report.gaps["teacher"].startswith("1 texts not reworded: ")
    assert not summarise(evaluation, [report]).complete


def test_a_live_teacher_is_asked_without_being_named(tmp_path):
    config = workspace(tmp_path, [task("c", ("Hall to 30", HALL))])
    live = load_config(config.source, ["eval.teacher=live"])
    (run,) = prepared(chosen(["robustness"]), prepare(live))
    (without,) = prepared(chosen(["robustness"]), prepare(config))
    assert (run.paraphrases is None, without.paraphrases is None) == (False, True)


def test_the_embedded_teacher_knows_the_request():
    assert paraphrase.REQUEST.startswith(rewording.ASKED)
