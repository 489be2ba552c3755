from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from wire import BROKEN, CONVERSATION, TOOLS, Asker, Wire, checker, failing

from distill.config import TeacherConfig
from distill.errors import ConfigError
from distill.teachers import Failure, create_teacher
from distill.teachers.openai import OpenAITeacher
from distill.types import StopReason, ToolMessage, Usage

check_body = checker(ResponseCreateParamsNonStreaming)
asker = Asker(
    OpenAITeacher,
    check_body,
    provider="openai",
    model="gpt-6.2-sol",
    base_url="http://teacher.internal/v1",
)
ask, failure = asker.ask, asker.failure

REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "encrypted_content": "b3BhcXVl",
    "status": None,
}
TEXT = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_9",
    "name": "set_lamp",
    "arguments": '{"room":"hall"',
    "status": "completed",
}


def answer(*output: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "gpt-6.2-sol-2026-11-17",
        "status": status,
        "output": list(output),
        "error": None,
        "incomplete_details": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 20},
            "output_tokens": 9,
            "output_tokens_details": {"reasoning_tokens": 4},
            "total_tokens": 109,
        },
        **fields,
    }


def error(code: str | None, message: str = "no", kind: str = "x") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": code, "param": None}}


# --- what is sent ------------------------------------------------------------------------------


async def test_the_body_is_what_the_sdk_declares():
    wire = Wire(answer(TEXT))
    await ask(wire)
    (body,) = wire.bodies
    assert body["store"] is False
    assert body["include"] == ["reasoning.encrypted_content"]
    assert body["instructions"] == "You run the lamps."
    assert body["max_output_tokens"] == 2048
    assert "temperature" not in body
    assert body["tools"][0]["parameters"] == TOOLS[0].parameters
    assert body["tools"][0]["strict"] is False


async def test_calls_and_results_are_items_of_their_own():
    wire = Wire(answer(TEXT))
    await ask(wire)
    items = wire.bodies[0]["input"]
    assert [item.get("type", item.get("role")) for item in items] == [
        "user",
        "assistant",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
        "assistant",
        "user",
    ]
    assert items[2]["call_id"] == items[4]["call_id"] == "call_1"
    assert items[2]["arguments"] == '{"room": "hall"}'


async def test_reasoning_is_replayed_with_its_neighbours_and_without_nulls():
    wire = Wire(answer(REASONING, TEXT, CALL), answer(TEXT))
    turn = await ask(wire)
    json.dumps(turn.message.provider_state)
    result = ToolMessage(tool_call_id="call_9", name="set_lamp", content="{}")
    await ask(wire, messages=[*CONVERSATION, turn.message, result])
    body = wire.bodies[1]
    replayed = {name: value for name, value in REASONING.items() if value is not None}
    assert body["input"][-4:-1] == [replayed, TEXT, CALL]


async def test_temperature_and_extra_fields_are_sent_only_when_configured():
    wire = Wire(answer(TEXT))
    await ask(wire, temperature=0.2, extra={"reasoning": {"effort": "none"}, "include": []})
    body = wire.bodies[0]
    assert body["temperature"] == 0.2
    assert body["reasoning"] == {"effort": "none"}
    assert body["include"] == []


@pytest.mark.parametrize(
    "choice",
    [
        "auto",
        "none",
        "required",
        {"type": "function", "name": "set_lamp"},
        {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "set_lamp"}],
        },
    ],
)
async def test_a_tool_choice_and_effort_are_passed_on(choice: Any):
    wire = Wire(answer(TEXT))
    extra = {
        "tool_choice": choice,
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low", "summary": "auto"},
        "prompt_cache_key": "lamps",
        "service_tier": "flex",
    }
    await ask(wire, extra=extra)
    assert {name: wire.bodies[0][name] for name in extra} == extra


async def test_the_cached_prefix_is_the_same_bytes_in_every_call():
    wire = Wire(*[answer(TEXT)] * 3)
    for length in (2, 5, 7):
        await ask(wire, messages=CONVERSATION[:length])
    first, second, third = (body["input"] for body in wire.bodies)
    assert json.dumps(second)[:-1].startswith(json.dumps(first)[:-1])
    assert json.dumps(third)[:-1].startswith(json.dumps(second)[:-1])
    assert len({json.dumps([body["tools"], body["instructions"]]) for body in wire.bodies}) == 1


async def test_tokens_are_counted_by_their_own_endpoint_and_nothing_is_generated():
    wire = Wire({"object": "response.input_tokens", "input_tokens": 321})
    assert await asker.count(wire, checker(InputTokenCountParams)) == 321
    assert wire.requests[0].url.path == "/v1/responses/input_tokens"


# --- what comes back ---------------------------------------------------------------------------


async def test_calls_keep_their_raw_arguments():
    turn = await ask(Wire(answer(REASONING, TEXT, CALL)))
    assert turn.message.tool_calls[0].arguments == '{"room":"hall"'
    assert turn.message.tool_calls[0].id == "call_9"
    assert turn.message.content == "Let me see."
    assert turn.stop is StopReason.TOOL_CALLS
    assert turn.request_id == "req_7"
    assert turn.usage == Usage(
        input_tokens=100,
        cached_tokens=60,
        cache_write_tokens=20,
        output_tokens=9,
        reasoning_tokens=4,
    )
    assert turn.cost_usd == pytest.approx((100 * 2 + 9 * 10) / 1e6)


@pytest.mark.parametrize(
    ("fields", "stop"),
    [
        ({}, StopReason.END),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            StopReason.LENGTH,
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            StopReason.REFUSAL,
        ),
        ({"status": "in_progress"}, StopReason.LENGTH),
        (
            {"status": "failed", "error": {"code": "bio_policy", "message": "no"}},
            StopReason.REFUSAL,
        ),
    ],
)
async def test_stop_reasons(fields: dict[str, Any], stop: StopReason):
    assert (await ask(Wire(answer(TEXT, **fields)))).stop is stop


async def test_a_refusal_is_a_turn():
    refusal = TEXT | {"content": [{"type": "refusal", "refusal": "I will not."}]}
    turn = await ask(Wire(answer(refusal)))
    assert (turn.stop, turn.message.content) == (StopReason.REFUSAL, "I will not.")


# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("rate_limit_exceeded", Failure.THROTTLE),
        ("server_error", Failure.TRANSIENT),
        ("invalid_prompt", Failure.BAD_REQUEST),
    ],
)
async def test_a_failed_response_is_classified_by_its_code(code: str, expected: Failure):
    body = answer(status="failed", error={"code": code, "message": "no"}, usage=None)
    assert (await failure(Wire(body))).failure is expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, error("context_length_exceeded"), Failure.BAD_REQUEST),
        (401, error("invalid_api_key"), Failure.AUTH),
        (403, error(None), Failure.AUTH),
        (429, error("rate_limit_exceeded"), Failure.THROTTLE),
        (429, error("slow_down"), Failure.THROTTLE),
        (
            429,
            error("rate_limit_exceeded", "Request too large for gpt-6: Limit 30000", "tokens"),
            Failure.BAD_REQUEST,
        ),
        (429, error("insufficient_quota", kind="insufficient_quota"), Failure.QUOTA),
        (429, error("project_spend_limit_exceeded"), Failure.QUOTA),
        (409, error(None), Failure.TRANSIENT),
        (500, error(None), Failure.TRANSIENT),
        (503, error(None), Failure.OVERLOAD),
    ],
)
async def test_every_status_is_one_failure_and_sent_once(
    status: int, body: dict[str, Any], expected: Failure
):
    wire = Wire(failing(status, body, retry_after="3"))
    caught = await failure(wire)
    assert caught.failure is expected
    assert (caught.request_id, caught.retry_after_s) == ("req_7", 3)
    assert len(wire.requests) == 1


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_broken_connection_is_transient(broken: Any):
    assert (await failure(Wire(broken))).failure is Failure.TRANSIENT


# --- keys --------------------------------------------------------------------------------------


async def test_a_vendors_key_is_not_sent_to_another_endpoint(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-2")
    wire = Wire(answer(TEXT))
    await ask(wire)
    assert wire.requests[0].headers["authorization"] == "Bearer none"


@pytest.mark.parametrize(
    ("provider", "default"), [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY")]
)
def test_a_missing_key_is_named_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, provider: Any, default: str
):
    monkeypatch.delenv(default, raising=False)
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match=rf"'{default}' is not set.*export"):
        create_teacher(TeacherConfig(provider=provider, model="m"))
    with pytest.raises(ConfigError, match="'MY_KEY' is not set"):
        create_teacher(TeacherConfig(provider=provider, model="m", api_key_env="MY_KEY"))


def test_a_compatible_server_needs_an_address():
    with pytest.raises(ConfigError, match=r"teacher\.base_url"):
        create_teacher(TeacherConfig(provider="openai_chat", model="m"))
