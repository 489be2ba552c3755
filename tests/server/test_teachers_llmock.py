"""The three teachers over real HTTP against `llmock`, and whole runs through its failures."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from llmock_world import SECRET, SERVER, Mock, run, serving, workspace

from distill.collect import Status, collect, make_plan
from distill.config import TeacherConfig, load_config
from distill.errors import DistillError
from distill.teachers import Failure, Teacher, TeacherError, create_teacher, paced
from distill.traces import TraceStore
from distill.types import Outcome, StopReason, SystemMessage, Tool, ToolMessage, UserMessage

PROVIDERS = ("anthropic", "openai", "openai_chat")
TOOL = Tool(
    name="set_lamp",
    description="Set the lamp to a level.",
    parameters={
        "type": "object",
        "properties": {"level": {"type": "integer"}},
        "required": ["level"],
        "additionalProperties": False,
    },
)
ASKED = (SystemMessage(content="You run the lamps."), UserMessage(content="Set the lamp to 3"))


@pytest.fixture
async def teacher(mock: Mock, request: pytest.FixtureRequest) -> Any:
    provider = request.param
    created = create_teacher(
        TeacherConfig(provider=provider, model="claude-haiku-4-5", base_url=mock.base_url(provider))
    )
    yield created
    await created.close()


each_provider = pytest.mark.parametrize("teacher", PROVIDERS, indirect=True)
with_raw_arguments = pytest.mark.parametrize("teacher", PROVIDERS[1:], indirect=True)


# --- one call ----------------------------------------------------------------------------------


@each_provider
async def test_a_call_and_its_result_go_there_and_back(teacher: Teacher):
    turn = await teacher.complete(ASKED, (TOOL,))
    (call,) = turn.message.tool_calls
    assert turn.stop is StopReason.TOOL_CALLS
    assert call.name == "set_lamp"
    assert set(call.parsed()) == {"level"}
    assert turn.usage.input_tokens > 0
    assert turn.cost_usd > 0
    result = ToolMessage(tool_call_id=call.id, name=call.name, content="{}")
    answer = await teacher.complete([*ASKED, turn.message, result], (TOOL,))
    assert answer.stop is StopReason.END
    assert answer.message.content


@each_provider
async def test_parallel_calls_keep_their_order_and_are_answered(mock: Mock, teacher: Teacher):
    calls = [{"name": "set_lamp", "arguments": {"level": n}} for n in (1, 2, 3)]
    mock.behave({"type": "reply", "tool_calls": calls})
    turn = await teacher.complete(ASKED, (TOOL,))
    assert [call.parsed()["level"] for call in turn.message.tool_calls] == [1, 2, 3]
    results = [
        ToolMessage(tool_call_id=call.id, name=call.name, content="{}")
        for call in turn.message.tool_calls
    ]
    answer = await teacher.complete([*ASKED, turn.message, *results], (TOOL,))
    assert answer.stop is StopReason.END


@with_raw_arguments
async def test_malformed_arguments_are_kept_as_they_are(mock: Mock, teacher: Teacher):
    mock.behave({"type": "tool_fault", "kind": "malformed_arguments"})
    (call,) = (await teacher.complete(ASKED, (TOOL,))).message.tool_calls
    with pytest.raises(json.JSONDecodeError):
        call.parsed()


@each_provider
async def test_a_truncated_turn_is_no_complete_one(mock: Mock, teacher: Teacher):
    mock.behave({"type": "reply", "text": "I would", "finish_reason": "length"})
    assert (await teacher.complete(ASKED, (TOOL,))).stop is StopReason.LENGTH


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (400, Failure.BAD_REQUEST),
        (401, Failure.AUTH),
        (402, Failure.QUOTA),
        (429, Failure.THROTTLE),
        (500, Failure.TRANSIENT),
        (503, Failure.OVERLOAD),
        (529, Failure.OVERLOAD),
    ],
)
@each_provider
async def test_every_error_is_classified_after_one_request(
    mock: Mock, teacher: Teacher, status: int, failure: Failure
):
    mock.behave({"type": "fail", "status": status, "retry_after": 2})
    with pytest.raises(TeacherError) as caught:
        await teacher.complete(ASKED, (TOOL,))
    assert caught.value.failure is failure
    assert (await teacher.complete(ASKED, (TOOL,))).message.tool_calls
    if status == 429:
        assert caught.value.retry_after_s == 2


@each_provider
async def test_no_answer_in_time_is_transient(mock: Mock, teacher: Teacher):
    mock.behave({"type": "delay", "seconds": 30})
    hasty = create_teacher(teacher.config.model_copy(update={"timeout_s": 0.2}))
    with pytest.raises(TeacherError) as caught:
        await hasty.complete(ASKED, (TOOL,))
    await hasty.close()
    assert caught.value.failure is Failure.TRANSIENT


@each_provider
async def test_the_gate_waits_out_a_burst_of_throttling_and_overload(mock: Mock, teacher: Teacher):
    mock.behave(
        {"type": "fail", "status": 429, "retry_after": 0.05, "times": 2},
        {"type": "fail", "status": 529, "retry_after": 0.05, "times": 2},
    )
    turn = await paced(teacher, 4).complete(ASKED, (TOOL,))
    assert turn.attempts == 5
    verdict = mock.verdict()
    assert verdict["attempts"] == 5
    assert verdict["passed"], verdict["findings"]


async def test_a_port_where_nobody_listens_is_named():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = TeacherConfig(
        provider="openai_chat", model="m", base_url=f"http://127.0.0.1:{port}/v1"
    )
    nobody = create_teacher(config)
    with pytest.raises(
        TeacherError, match=rf"cannot reach http://127\.0\.0\.1:{port}/v1"
    ) as caught:
        await nobody.complete(ASKED, ())
    await nobody.close()
    assert caught.value.failure is Failure.TRANSIENT


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_gate_knows_the_limit_from_the_first_answer(provider: str):
    with serving(SERVER, "--rpm", "6000") as limited:
        config = TeacherConfig(
            provider=provider, model="claude-haiku-4-5", base_url=limited.base_url(provider)
        )
        teacher = paced(create_teacher(config), 8)
        assert teacher.gate.most == float("inf")
        await teacher.complete(ASKED, ())
        assert teacher.gate.most == 100
        await teacher.close()


# --- whole runs --------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_run_through_bursts_of_errors_loses_no_episode_and_leaks_no_key(
    tmp_path: Path, mock: Mock, monkeypatch: pytest.MonkeyPatch, provider: str
):
    monkeypatch.setenv("LAMPS_KEY", SECRET)
    config = load_config(workspace(tmp_path, mock, provider, 24))
    mock.behave(
        {"type": "fail", "status": 429, "retry_after": 0.05, "times": 6},
        {"type": "fail", "status": 529, "times": 1},
        {"type": "fail", "status": 500, "times": 2},
        {"type": "tool_fault", "kind": "unknown_tool", "times": 2},
    )
    status = await run(config)
    assert status.outcomes == {Outcome.COMPLETED: 24}
    with TraceStore.open(config.store_url) as store:
        ledger = list(store.ledger())
        assert len(ledger) == status.calls >= 48
        assert sum(line.attempts - 1 for line in ledger) == 9
        traces = list(store.traces())
        assert len({trace.task.id for trace in traces}) == 24
        unknown = [m for t in traces for m in t.messages if m.role == "tool" and m.is_error]
        assert len(unknown) == 2
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_truncated_answer_is_stored_as_truncated(
    tmp_path: Path, mock: Mock, monkeypatch: pytest.MonkeyPatch, provider: str
):
    monkeypatch.setenv("LAMPS_KEY", SECRET)
    config = load_config(workspace(tmp_path, mock, provider, 3))
    mock.behave({"type": "reply", "text": "I would", "finish_reason": "length"})
    status = await run(config)
    assert status.outcomes == {Outcome.COMPLETED: 2, Outcome.TRUNCATED: 1}


@pytest.mark.parametrize(
    ("provider", "refusal"),
    [
        *((provider, {"status": 402}) for provider in PROVIDERS),
        *((provider, {"status": 429, "code": "insufficient_quota"}) for provider in PROVIDERS[1:]),
        ("openai", {"status": 429, "code": "project_spend_limit_exceeded"}),
    ],
)
async def test_no_credit_stops_the_run_and_it_resumes_later(
    tmp_path: Path,
    mock: Mock,
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    refusal: dict[str, Any],
):
    monkeypatch.setenv("LAMPS_KEY", SECRET)
    path = workspace(tmp_path, mock, provider, 20, concurrency=4, budget_usd=50)
    config = load_config(path)
    mock.behave({"type": "reply", "text": "Done.", "times": 5})
    await collect(config, make_plan(config, 5), Status())
    mock.behave({"type": "fail", "times": None, **refusal})
    status = Status()
    with pytest.raises(TeacherError, match="top up or raise the limit") as caught:
        await collect(config, make_plan(config), status)
    assert caught.value.failure is Failure.QUOTA
    assert (status.before, status.finished) == (5, 0)
    assert status.calls <= 4
    with TraceStore.open(config.store_url) as store:
        assert (store.counts().done, store.counts().leased) == (5, 0)
        assert (store.money().reserved_usd, store.money().unknown_usd) == (0, 0)
    mock.reset()
    assert (await run(config)).done == 20


async def test_a_missing_key_is_one_line_before_anything_is_asked(
    tmp_path: Path, mock: Mock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("LAMPS_KEY", raising=False)
    config = load_config(workspace(tmp_path, mock, "openai_chat", 2))
    with pytest.raises(DistillError, match=r"'LAMPS_KEY' is not set"):
        await run(config)
