"""Simulated tools: what is asked of the model, what is taken from it, what stays the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from collect_world import ScriptedTeacher, call, say
from simulated_world import MANIFEST, write_library

from distill.collect import make_plan
from distill.collect.authoring import prepare
from distill.config import load_config
from distill.episode import run_episode
from distill.errors import ConfigError, ToolSetError
from distill.preflight import inspect
from distill.teachers import Failure, TeacherError
from distill.toolsets import ToolRunner, UnansweredError, load_toolset
from distill.toolsets.sources.simulated import AGAIN
from distill.types import Kind, Message, Outcome, StopReason, Task, ToolCall, ToolMessage, UserTurn


def task(**fields: Any) -> Task:
    turn = UserTurn(content="Lend me a book")
    return Task(id="t", toolset="library", kind=Kind.SINGLE, family="f", turns=(turn,), **fields)


class Model:
    """Answers in turn; an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.left = list(answers)
        self.seen: list[list[Message]] = []

    def __call__(self, messages: Sequence[Message]) -> str | None:
        self.seen.append(list(messages))
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str | None) else json.dumps(answer)


@contextmanager
def library(folder: Path, *answers: Any, **setup: Any) -> Iterator[tuple[ToolRunner, Model]]:
    model = Model(*answers)
    runner = load_toolset(write_library(folder)).runner(task(setup=setup), 5, model)
    try:
        yield runner, model
    finally:
        runner.close()


def made(runner: ToolRunner, name: str, **arguments: Any) -> ToolMessage:
    return runner.call_sync(ToolCall(id="c", name=name, arguments=json.dumps(arguments)))


def content(runner: ToolRunner, name: str, **arguments: Any) -> Any:
    return json.loads(made(runner, name, **arguments).content)


BOOK = {"result": {"title": "Dune", "free": True}}


def test_a_call_is_answered_by_the_model_and_the_same_call_alike(tmp_path: Path) -> None:
    with library(tmp_path, BOOK, shelf="B7") as (runner, model):
        assert content(runner, "get_book", isbn="2") == BOOK["result"]
        assert content(runner, "get_book", isbn="2") == BOOK["result"]
    (asked,) = model.seen
    assert json.loads(asked[-1].content) == {"call": "get_book", "arguments": {"isbn": "2"}}
    prompt = asked[0].content
    assert "A small library in Leeds." in prompt and '{"shelf": "B7"}' in prompt
    assert '"result": {"type": "object", "properties": {"due"' in prompt


def test_the_model_sees_what_it_answered_and_is_asked_again_after_a_change(tmp_path: Path) -> None:
    lent, now = {"result": {"due": "2026-12-01"}}, {"result": {"title": "Dune", "free": False}}
    with library(tmp_path, BOOK, lent, now, {"error": "it is lent"}) as (runner, model):
        content(runner, "get_book", isbn="2")
        assert content(runner, "lend_book", isbn="2") == lent["result"]
        assert content(runner, "get_book", isbn="2") == now["result"]
        assert content(runner, "lend_book", isbn="2") == {"error": "it is lent"}
    told = [json.loads(m.content) for m in model.seen[2][1:]]
    assert told == [
        {"call": "get_book", "arguments": {"isbn": "2"}},
        BOOK,
        {"call": "lend_book", "arguments": {"isbn": "2"}},
        lent,
        {"call": "get_book", "arguments": {"isbn": "2"}},
    ]


def test_a_recorded_call_gets_the_recorded_result(tmp_path: Path) -> None:
    with library(tmp_path) as (runner, model):
        assert content(runner, "get_book", isbn="1") == {"title": "Emma"}
    assert model.seen == []


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("The book is Dune.", "it is not"),
        (None, "it is not"),
        ("[1]", "it is not"),
        ({"result": {}, "error": ""}, "it is not"),
        ({"result": {"free": True}}, "'title' is a required property"),
        ({"result": {"title": "Dune", "free": "yes"}}, "free: 'yes' is not of type 'boolean'"),
    ],
)
def test_a_wrong_result_is_asked_for_once_more_and_then_an_error(
    tmp_path: Path, bad: Any, why: str
) -> None:
    with library(tmp_path, bad, BOOK, bad, bad, BOOK) as (runner, model):
        assert content(runner, "get_book", isbn="2") == BOOK["result"]
        assert why in model.seen[1][-1].content
        assert model.seen[1][-1].content.startswith(AGAIN.split("{")[0])
        failed = made(runner, "get_book", isbn="3")
        assert failed.is_error and "gave no valid result" in failed.content
        assert content(runner, "get_book", isbn="3") == BOOK["result"]
    assert len(model.seen[4]) == 4  # neither the fault nor its correction is held against it


def test_a_fence_around_json_is_no_fault(tmp_path: Path) -> None:
    with library(tmp_path, f"```json\n{json.dumps(BOOK)}\n```") as (runner, _):
        assert content(runner, "get_book", isbn="2") == BOOK["result"]


def test_arguments_results_and_faults_are_held_to_what_real_tools_are(tmp_path: Path) -> None:
    huge = {"result": {"title": "x" * 70_000}}
    with library(tmp_path, huge, ZeroDivisionError("bug")) as (runner, model):
        assert "invalid arguments" in content(runner, "get_book")["error"]
        assert "longer than 64 KiB" in content(runner, "get_book", isbn="2")["error"]
        assert content(runner, "get_book", isbn="3")["error"] == "ZeroDivisionError: bug"
    assert len(model.seen) == 2


def test_a_model_that_cannot_be_asked_is_no_error_of_the_tool(tmp_path: Path) -> None:
    with library(tmp_path, UnansweredError(OSError("down"))) as (runner, _):
        with pytest.raises(UnansweredError, match="down"):
            made(runner, "get_book", isbn="2")


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("notes: x\n", "simulated.yaml: outputs: Field required"),
        ("outputs: {get_book: true}\n", "no schema for the results of 'lend_book'"),
        (MANIFEST + "other: 1\n", "other: Extra inputs"),
        (MANIFEST.replace("[lend_book]", "[buy]"), "'buy' is no tool; tools: get_book, lend_book"),
        ("outputs: {get_book: true, lend_book: {type: shelf}}\n", "outputs.lend_book: "),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, manifest: str, message: str) -> None:
    with pytest.raises(ToolSetError) as error:
        load_toolset(write_library(tmp_path, manifest))
    assert message in str(error.value)


def write_config(folder: Path) -> Path:
    tools = write_library(folder / "tools")
    (tools / "tasks.jsonl").write_text(task(setup={"shelf": 1}).model_dump_json() + "\n")
    teacher = {"provider": "openai_chat", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    path = folder / "library.yaml"
    path.write_text(json.dumps({"name": "library", "toolset": "tools", "teacher": teacher}))
    return path


def test_the_model_and_the_manifest_are_part_of_what_an_episode_is(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    with pytest.raises(ConfigError, match=r"are simulated, and collect\.simulator is not set"):
        make_plan(load_config(path))
    faults = [finding.text for finding in inspect(load_config(path)) if finding.level == "fault"]
    assert any("collect.simulator" in text for text in faults)
    model = "{provider: openai_chat, model: MODEL, base_url: 'http://127.0.0.1:9/v1'}"
    sets = [[f"collect.simulator={model.replace('MODEL', name)}"] for name in ("a", "b")]
    plans = [make_plan(load_config(path, one)) for one in sets]
    write_library(tmp_path / "tools", MANIFEST.replace("Leeds", "York"))
    plans.append(make_plan(load_config(path, sets[0])))
    assert len({plan.episodes[0].key for plan in plans}) == 3
    assert plans[0].settings["collect.simulator"]["model"] == "a"
    with pytest.raises(ToolSetError, match="simulated tools cannot be tried"):
        prepare(load_config(path, ["tasks.generate.execute=true"]))


# --- episodes ---------------------------------------------------------------------------------


async def episode(folder: Path, simulator: ScriptedTeacher | None) -> Any:
    answers = iter([call("get_book", '{"isbn": "2"}'), say("It is Dune.")])
    return await run_episode(
        task(),
        load_toolset(write_library(folder)),
        ScriptedTeacher(lambda _: next(answers)),
        key="k",
        max_steps=5,
        tool_timeout_s=5,
        simulator=simulator,
    )


async def test_an_episode_asks_the_model_and_says_so_on_its_trace(tmp_path: Path) -> None:
    cut = say('{"result"', stop=StopReason.LENGTH)
    answers = iter([cut, say(json.dumps(BOOK), cost_usd=0.5)])
    trace = await episode(tmp_path, ScriptedTeacher(lambda _: next(answers)))
    assert trace.outcome is Outcome.COMPLETED
    assert json.loads(trace.messages[2].content) == BOOK["result"]
    assert trace.simulator.calls == 2 and trace.simulator.cost_usd is None
    assert trace.simulator.teacher.model == "fake"
    assert len(trace.turns) == 2


async def test_without_a_model_only_recorded_calls_are_answered(tmp_path: Path) -> None:
    trace = await episode(tmp_path, None)
    assert trace.messages[2].is_error and "was recorded" in trace.messages[2].content
    assert trace.simulator is None


@pytest.mark.parametrize("failure", [Failure.QUOTA, Failure.TRANSIENT])
async def test_an_endpoint_that_fails_leaves_the_episode_owed(
    tmp_path: Path, failure: Failure
) -> None:
    with pytest.raises(TeacherError) as error:
        await episode(tmp_path, ScriptedTeacher(lambda _: TeacherError("no", failure)))
    assert error.value.failure is failure


async def test_a_request_the_model_refuses_fails_the_episode(tmp_path: Path) -> None:
    refusal = TeacherError("too long", Failure.BAD_REQUEST)
    trace = await episode(tmp_path, ScriptedTeacher(lambda _: refusal))
    assert trace.outcome is Outcome.ERROR and trace.error == "too long"
