"""`distill rehearse`: what the student is asked, what is kept, and the pairs that come of it."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import pytest
from evaluate_world import ByHeart, adapter, call, called, said
from filter_world import calling, light, make_task, make_trace, make_workspace, store_traces
from typer.testing import CliRunner

from distill.chat import to_chat
from distill.cli import serve
from distill.cli.main import app
from distill.dataset import read_cases, read_examples, read_info, read_pairs
from distill.evaluate import rehearsal
from distill.filter import build_dataset
from distill.teachers import Failure, TeacherError
from distill.toolsets import load_toolset
from distill.traces import TraceStore
from distill.traces.attempts import AttemptStore
from distill.traces.schema import metadata

URL = "http://127.0.0.1:9/v1"
EVEN = [n for n in range(1, 25) if n % 2 == 0]


def asked(messages):
    return next(m.content for m in reversed(messages) if m.role == "user")


def half_right(messages):
    """Do every second task rightly, and dim another lamp in the others."""
    if messages[-1].role == "tool":
        return said("Done.")
    level = int(asked(messages).split()[1])
    room = "hall" if level % 2 else "attic"
    return called(call("set_light", f'{{"room": "{room}", "percent": {level}}}'))


@pytest.fixture
def config(tmp_path):
    tasks = [make_task(f"c{n}", f"Way {n} to dim", calling(light("hall", n))) for n in range(1, 25)]
    config = make_workspace(tmp_path, tasks)
    now = load_toolset(config.toolset_dir).toolset.hash
    store_traces(
        config,
        [
            make_trace(t, now, [[("set_light", t.turns[0].expectation.calls[0].arguments)], "Ok."])
            for t in tasks
        ],
    )
    build_dataset(config)
    adapter(config.run_dir)
    return config


@pytest.fixture
def student(monkeypatch):
    model = ByHeart(half_right)
    monkeypatch.setattr(rehearsal, "create_teacher", lambda _: model)
    monkeypatch.setattr("distill.teachers.pacing._backoff_s", lambda faults: 0.0)
    return model


def rehearse(config, *arguments):
    command = ["rehearse", str(config.source), "--endpoint", URL, *arguments]
    return CliRunner().invoke(app, command)


def train_tasks(config):
    return {row.meta["task"] for row in read_examples(config.dataset_dir / "train.jsonl")}


def attempts(config):
    with TraceStore.open(config.store_url) as store:
        return AttemptStore(store).keys()


def test_wrong_answers_of_the_student_are_paired_with_the_teachers_right_ones(config, student):
    before = read_info(config.dataset_dir)
    rows = (config.dataset_dir / "train.jsonl").read_bytes()
    done = rehearse(config)
    assert done.exit_code == 0, done.output
    info = build_dataset(config).info
    trained = train_tasks(config)
    wrong = [name for name in trained if int(name[1:]) in EVEN]
    assert f"{len(wrong)} wrong answers are new" in done.output
    assert info.pairs_by == {"rule": len(trained) - len(wrong), "student": len(wrong)}
    assert before.pairs_by == {"rule": len(trained)}
    own = [p for p in read_pairs(config.dataset_dir / "pairs.jsonl") if p.by == "student"]
    assert {pair.kind for pair in own} == {"wrong_arguments"}
    for pair in own:
        level = int(pair.messages[-1].content.split()[1])
        assert pair.rejected.tool_calls[0].parsed() == {"room": "attic", "percent": level}
        assert pair.chosen.tool_calls[0].parsed() == {"room": "hall", "percent": level}
    assert (config.dataset_dir / "train.jsonl").read_bytes() == rows, "they are no examples"
    assert f"{len(wrong)} are the student's own" in (config.dataset_dir / "README.md").read_text()


def test_held_out_tasks_are_never_asked(config, student):
    heard = Counter()
    play = student.play

    def listen(messages):
        heard[asked(messages)] += 1
        return play(messages)

    student.play = listen
    rehearse(config)
    held = {case.turns[0].content for case in read_cases(config.dataset_dir / "cases.jsonl")}
    trained = read_examples(config.dataset_dir / "train.jsonl")
    assert held and not held & set(heard)
    assert set(heard) == {to_chat(row.messages[1])["content"] for row in trained}


def test_it_goes_on_where_it_stopped_and_a_new_student_is_asked_anew(config, student):
    assert rehearse(config, "--limit", "4").exit_code == 0
    first = attempts(config)
    assert (len(first), student.asked) == (4, 8)
    assert rehearse(config).exit_code == 0
    every = attempts(config)
    assert first < every and len(every) == len(train_tasks(config))
    assert student.asked == 2 * len(every)
    assert rehearse(config).exit_code == 0
    assert student.asked == 2 * len(every)
    (config.run_dir / "adapter" / "adapter_model.safetensors").write_bytes(b"trained again")
    student.play = lambda messages: said("I cannot do that.")
    assert rehearse(config).exit_code == 0
    assert len(attempts(config)) == 2 * len(every)
    build_dataset(config)
    pairs = read_pairs(config.dataset_dir / "pairs.jsonl")
    assert {(pair.by, pair.kind) for pair in pairs} == {("student", "missing_call")}


def test_it_starts_the_server_itself_and_not_when_nothing_is_owed(config, student, monkeypatch):
    started = []

    @contextmanager
    def endpoint(deployed, dataset_dir, console, look):
        started.append(deployed.url)
        yield None

    monkeypatch.setattr(serve, "endpoint", endpoint)
    for _ in range(2):
        done = CliRunner().invoke(app, ["rehearse", str(config.source), "--limit", "2"])
        assert done.exit_code == 0, done.output
    assert started == ["http://127.0.0.1:8000/v1"]
    assert len(attempts(config)) == 2


def test_an_endpoint_that_fails_leaves_its_tasks_owed(config, student):
    def fail(messages):
        raise TeacherError("no such model", Failure.BAD_REQUEST)

    student.play = fail
    done = rehearse(config)
    assert done.exit_code == 1
    assert "are without an answer" in done.output
    assert not attempts(config)


def test_a_store_without_attempts_is_whole(config):
    with TraceStore.open(config.store_url) as store:
        assert list(AttemptStore(store).texts()) == []
    assert "attempts" not in metadata.tables


def test_without_a_task_that_says_what_is_right(tmp_path, student):
    tasks = [make_task(f"o{n}", f"Dim the hall to {n}", None) for n in range(1, 13)]
    config = make_workspace(tmp_path, tasks)
    now = load_toolset(config.toolset_dir).toolset.hash
    deed = [("set_light", {"room": "hall", "percent": 1})]
    traces = [
        make_trace(t, now, [[("set_light", {**deed[0][1], "percent": n})], "Ok."])
        for n, t in enumerate(tasks, 1)
    ]
    store_traces(config, traces)
    build_dataset(config)
    adapter(config.run_dir)
    done = rehearse(config)
    assert done.exit_code != 0 and "no answer can be called wrong" in str(done.exception)
