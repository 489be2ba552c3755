from __future__ import annotations

import json
from pathlib import Path

import pytest
from collect_world import ScriptedTeacher, call, call_then_answer, in_turn, lamps, make_task, say

from distill.episode import run_episode
from distill.teachers import Failure, TeacherError
from distill.toolsets import LoadedToolSet
from distill.traces import Trace
from distill.types import Fault, Outcome, StopReason, Task, Usage


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedToolSet:
    return lamps(tmp_path)


async def play(
    loaded: LoadedToolSet, teacher: ScriptedTeacher, task: Task | None = None, max_steps: int = 5
) -> Trace:
    return await run_episode(
        task or make_task(),
        loaded,
        teacher,
        key="k",
        sample=2,
        config_digest="d",
        max_steps=max_steps,
        tool_timeout_s=5,
    )


def roles(trace: Trace) -> list[str]:
    return [message.role for message in trace.messages]


async def test_a_call_is_executed_and_its_result_goes_back(loaded: LoadedToolSet):
    teacher = ScriptedTeacher(call_then_answer)
    trace = await play(loaded, teacher)
    assert trace.outcome is Outcome.COMPLETED
    assert roles(trace) == ["system", "user", "assistant", "tool", "assistant"]
    assert json.loads(trace.messages[3].content) == {"level": 3}
    assert trace.changes == {"/level": 3}
    assert teacher.seen[1] == trace.messages[:4]
    assert [turn.message for turn in trace.turns] == [2, 4]
    assert trace.usage == Usage(input_tokens=200, output_tokens=20)
    assert (trace.key, trace.sample, trace.config_digest) == ("k", 2, "d")
    assert trace.toolset_hash == loaded.toolset.hash
    assert trace.started_at <= trace.finished_at
    assert "openai" in trace.versions


async def test_all_calls_of_a_turn_are_answered_in_order(loaded: LoadedToolSet):
    trace = await play(loaded, in_turn(call(count=3), say()))
    assert [m.tool_call_id for m in trace.messages if m.role == "tool"] == ["c0", "c1", "c2"]


async def test_the_next_user_turn_waits_for_an_answer_without_calls(loaded: LoadedToolSet):
    teacher = in_turn(call(), call(), say("one"), say("two"))
    trace = await play(loaded, teacher, make_task(turns=2))
    assert roles(trace)[1:] == "user assistant tool assistant tool assistant user assistant".split()
    assert trace.messages[7].content == "lamp to 1"


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("no_such_tool", "{}", "unknown tool"),
        ("set_lamp", "{not json", "malformed"),
        ("set_lamp", '{"level": "high"}', "level"),
        ("set_lamp", "[]", "malformed"),
    ],
)
async def test_a_bad_call_is_an_error_result_and_kept_as_it_was(
    loaded: LoadedToolSet, name: str, arguments: str, words: str
):
    trace = await play(loaded, in_turn(call(name, arguments), say()))
    assert trace.outcome is Outcome.COMPLETED
    assert trace.calls[0].arguments == arguments
    result = trace.messages[3]
    assert result.is_error
    assert words in result.content
    assert trace.changes == {}


async def test_an_injected_fault_reaches_the_teacher(loaded: LoadedToolSet):
    task = make_task(faults=(Fault(tool="set_lamp", message="no power"),))
    trace = await play(loaded, in_turn(call(), call(), say()), task)
    assert [m.is_error for m in trace.messages if m.role == "tool"] == [True, False]


@pytest.mark.parametrize(
    ("stop", "outcome"),
    [(StopReason.LENGTH, Outcome.TRUNCATED), (StopReason.REFUSAL, Outcome.REFUSED)],
)
async def test_a_cut_or_refused_turn_ends_the_episode(
    loaded: LoadedToolSet, stop: StopReason, outcome: Outcome
):
    turn = call().model_copy(update={"stop": stop})
    trace = await play(loaded, in_turn(turn), make_task(turns=2))
    assert trace.outcome is outcome
    assert roles(trace) == ["system", "user", "assistant"]
    assert len(trace.turns) == 1


async def test_an_episode_that_never_ends_is_ended(loaded: LoadedToolSet):
    trace = await play(loaded, ScriptedTeacher(lambda _: call()), max_steps=3)
    assert trace.outcome is Outcome.TURN_LIMIT
    assert len(trace.turns) == 3
    assert roles(trace)[-1] == "tool"


async def test_the_last_allowed_step_may_be_the_answer(loaded: LoadedToolSet):
    trace = await play(loaded, in_turn(call(), say()), max_steps=2)
    assert trace.outcome is Outcome.COMPLETED


async def test_a_bad_request_is_an_outcome_with_its_reason(loaded: LoadedToolSet):
    error = TeacherError("teacher 'x': HTTP 400: context too long", Failure.BAD_REQUEST)
    trace = await play(loaded, in_turn(call(), error))
    assert trace.outcome is Outcome.ERROR
    assert trace.error == str(error)
    assert trace.changes == {"/level": 3}
    assert len(trace.turns) == 1


@pytest.mark.parametrize(
    "failure", [Failure.QUOTA, Failure.AUTH, Failure.THROTTLE, Failure.TRANSIENT]
)
async def test_a_failure_that_is_not_the_episodes_is_raised(
    loaded: LoadedToolSet, failure: Failure
):
    with pytest.raises(TeacherError):
        await play(loaded, in_turn(TeacherError("no", failure)))


async def test_an_environment_that_refuses_its_setup_is_an_outcome(loaded: LoadedToolSet):
    trace = await play(loaded, in_turn(), make_task(setup={"broken": True}))
    assert trace.outcome is Outcome.ERROR
    assert "no power" in trace.error
    assert trace.changes is None


async def test_provider_state_is_kept_and_shown_to_the_teacher_again(loaded: LoadedToolSet):
    first = call()
    state = {"provider": "p", "content": [{"signature": "s"}]}
    message = first.message.model_copy(update={"provider_state": state})
    teacher = in_turn(first.model_copy(update={"message": message}), say())
    trace = await play(loaded, teacher)
    assert teacher.seen[1][2].provider_state == state
    assert Trace.model_validate_json(trace.model_dump_json()) == trace
