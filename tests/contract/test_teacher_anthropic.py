from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from wire import BROKEN, CONVERSATION, TOOLS, Asker, Wire, checker, failing

from distill.teachers import Failure, TeacherError
from distill.teachers.anthropic import AnthropicTeacher
from distill.types import StopReason, ToolMessage, Usage, UserMessage

check_body = checker(MessageCreateParamsNonStreaming)
asker = Asker(
    AnthropicTeacher,
    check_body,
    provider="anthropic",
    model="claude-haiku-4-5",
    base_url="http://teacher.internal",
)
ask, failure = asker.ask, asker.failure

THINKING = {"type": "thinking", "thinking": "", "signature": "c2lnbmVk"}
REDACTED = {"type": "redacted_thinking", "data": "b3BhcXVl"}
TEXT = {"type": "text", "text": "Let me see."}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "set_lamp", "input": {"room": "hall"}}


def answer(*content: dict[str, Any], stop: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5, **usage},
    }


def error(kind: str, message: str = "no", code: str | None = None) -> dict[str, Any]:
    details = {"details": {"error_code": code}} if code else {}
    return {"type": "error", "error": {"type": kind, "message": message, **details}}


# --- what is sent ------------------------------------------------------------------------------


async def test_the_body_is_what_the_sdk_declares():
    wire = Wire(answer(TEXT))
    await ask(wire)
    (body,) = wire.bodies
    assert body["model"] == "claude-haiku-4-5"
    assert body["max_tokens"] == 2048
    assert not {"temperature", "stream", "tool_choice"} & set(body)
    assert body["tools"][0]["input_schema"] == TOOLS[0].parameters


async def test_results_of_one_turn_share_one_user_message_before_any_text():
    wire = Wire(answer(TEXT))
    await ask(wire, messages=[*CONVERSATION[:5], UserMessage(content="And?")])
    messages = wire.bodies[0]["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    kinds = [block["type"] for block in messages[2]["content"]]
    assert kinds == ["tool_result", "tool_result", "text"]
    first, second, _ = messages[2]["content"]
    assert (first["tool_use_id"], second["tool_use_id"]) == ("call_1", "call_2")
    assert second["is_error"] is True
    assert "is_error" not in first
    assert messages[1]["content"][1]["input"] == {"room": "hall"}


async def test_one_cache_breakpoint_covers_tools_and_system():
    wire = Wire(answer(TEXT), answer(TEXT))
    await ask(wire)
    await ask(wire, messages=CONVERSATION[1:])
    with_system, without = wire.bodies
    assert with_system["system"] == [
        {
            "type": "text",
            "text": "You run the lamps.",
            "cache_control": {"type": "ephemeral"},
        }
    ]
    assert json.dumps(with_system).count("cache_control") == 1
    assert without["tools"][-1]["cache_control"] == {"type": "ephemeral"}
    assert json.dumps(without).count("cache_control") == 1


async def test_temperature_and_extra_fields_are_sent_only_when_configured():
    wire = Wire(answer(TEXT))
    extra = {"thinking": {"type": "adaptive"}, "max_tokens": 9000}
    await ask(wire, temperature=0.5, extra=extra)
    body = wire.bodies[0]
    assert (body["temperature"], body["max_tokens"]) == (0.5, 9000)
    assert body["thinking"] == {"type": "adaptive"}


async def test_a_large_max_tokens_is_sent_rather_than_refused_by_the_sdk():
    wire = Wire(answer(TEXT))
    await ask(wire, max_tokens=64_000, timeout_s=600)
    assert wire.bodies[0]["max_tokens"] == 64_000


async def test_thinking_is_replayed_unmodified_and_in_place():
    wire = Wire(answer(THINKING, REDACTED, TEXT, CALL, stop="tool_use"), answer(TEXT))
    turn = await ask(wire)
    json.dumps(turn.message.provider_state)
    result = ToolMessage(tool_call_id="toolu_1", name="set_lamp", content="{}")
    await ask(wire, messages=[*CONVERSATION, turn.message, result])
    assert wire.bodies[1]["messages"][-2]["content"] == [THINKING, REDACTED, TEXT, CALL]


async def test_an_empty_answer_is_left_out_of_the_replay():
    wire = Wire(answer(), answer(TEXT))
    turn = await ask(wire)
    assert turn.message.content is None
    await ask(wire, messages=[*CONVERSATION, turn.message, UserMessage(content="Hello?")])
    assert all(message["content"] for message in wire.bodies[1]["messages"])


async def test_the_cached_prefix_is_the_same_bytes_in_every_call():
    wire = Wire(*[answer(TEXT)] * 4)
    others = (
        CONVERSATION[:2],
        CONVERSATION[:5],
        (CONVERSATION[0], UserMessage(content="Something else.")),
        CONVERSATION,
    )
    for conversation in others:
        await ask(wire, messages=conversation)
    prefixes = {json.dumps([body["tools"], body["system"], body["model"]]) for body in wire.bodies}
    assert len(prefixes) == 1


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "auto", "disable_parallel_tool_use": True},
        {"type": "any"},
        {"type": "tool", "name": "set_lamp"},
        {"type": "none"},
    ],
)
async def test_a_tool_choice_and_thinking_are_passed_on(choice: dict[str, Any]):
    wire = Wire(answer(TEXT))
    extra = {
        "tool_choice": choice,
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "low"},
    }
    await ask(wire, extra=extra)
    assert {name: wire.bodies[0][name] for name in extra} == extra


async def test_tokens_are_counted_by_their_own_endpoint_and_nothing_is_generated():
    wire = Wire({"input_tokens": 321})
    assert await asker.count(wire, checker(MessageCountTokensParams)) == 321
    assert wire.requests[0].url.path == "/v1/messages/count_tokens"
    assert {"tools", "system", "messages"} <= set(wire.bodies[0])


async def test_an_endpoint_that_counts_nothing_is_no_fault_but_a_refused_key_is():
    check = checker(MessageCountTokensParams)
    missing = Wire(failing(404, error("not_found_error")))
    assert await asker.count(missing, check) is None
    with pytest.raises(TeacherError, match="HTTP 401"):
        await asker.count(Wire(failing(401, error("authentication_error"))), check)


# --- what comes back ---------------------------------------------------------------------------


async def test_calls_keep_their_arguments_as_a_string_and_thinking_is_no_content():
    turn = await ask(Wire(answer(THINKING, TEXT, CALL, CALL | {"id": "toolu_2"}, stop="tool_use")))
    assert turn.message.content == "Let me see."
    assert [c.id for c in turn.message.tool_calls] == ["toolu_1", "toolu_2"]
    assert turn.message.tool_calls[0].arguments == '{"room": "hall"}'
    assert turn.stop is StopReason.TOOL_CALLS
    assert turn.model == "claude-haiku-4-5-20251001"
    assert turn.request_id == "req_7"


async def test_usage_counts_cached_and_written_tokens_as_input():
    turn = await ask(
        Wire(
            answer(
                TEXT,
                cache_read_input_tokens=100,
                cache_creation_input_tokens=20,
                output_tokens_details={"thinking_tokens": 3},
            )
        )
    )
    assert turn.usage == Usage(
        input_tokens=130,
        cached_tokens=100,
        cache_write_tokens=20,
        output_tokens=5,
        reasoning_tokens=3,
    )
    assert turn.cost_usd == pytest.approx((10 * 1 + 100 * 0.1 + 20 * 1.25 + 5 * 5) / 1e6)


@pytest.mark.parametrize(
    ("native", "stop"),
    [
        ("end_turn", StopReason.END),
        ("stop_sequence", StopReason.END),
        ("refusal", StopReason.REFUSAL),
        ("max_tokens", StopReason.LENGTH),
        ("model_context_window_exceeded", StopReason.LENGTH),
        ("pause_turn", StopReason.LENGTH),
        ("something_new", StopReason.LENGTH),
        (None, StopReason.LENGTH),
    ],
)
async def test_stop_reasons(native: str | None, stop: StopReason):
    assert (await ask(Wire(answer(TEXT, stop=native)))).stop is stop


async def test_a_cut_off_turn_with_a_call_stays_cut_off():
    turn = await ask(Wire(answer(CALL, stop="max_tokens")))
    assert turn.stop is StopReason.LENGTH


# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, error("invalid_request_error"), Failure.BAD_REQUEST),
        (401, error("authentication_error"), Failure.AUTH),
        (402, error("billing_error"), Failure.QUOTA),
        (403, error("permission_error"), Failure.AUTH),
        (404, error("not_found_error"), Failure.BAD_REQUEST),
        (408, error("timeout_error"), Failure.TRANSIENT),
        (413, error("request_too_large"), Failure.BAD_REQUEST),
        (429, error("rate_limit_error"), Failure.THROTTLE),
        (429, error("rate_limit_error", code="ramp_limit_exceeded"), Failure.THROTTLE),
        (429, error("rate_limit_error", code="enforced_spend_limit_reached"), Failure.QUOTA),
        (400, error("invalid_request_error", code="contract_spend_limit_reached"), Failure.QUOTA),
        (500, error("api_error"), Failure.TRANSIENT),
        (503, error("api_error"), Failure.OVERLOAD),
        (529, error("overloaded_error"), Failure.OVERLOAD),
    ],
)
async def test_every_status_is_one_failure_and_sent_once(
    status: int, body: dict[str, Any], expected: Failure
):
    wire = Wire(failing(status, body))
    caught = await failure(wire)
    assert caught.failure is expected
    assert caught.request_id == "req_7"
    assert len(wire.requests) == 1
    assert "\n" not in str(caught)
    assert f"HTTP {status}: no" in str(caught)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry_after": "7"}, 7.0), ({"retry_after_ms": "250"}, 0.25), ({}, None)],
)
async def test_the_wait_the_server_asks_for(headers: dict[str, str], seconds: float | None):
    caught = await failure(Wire(failing(429, error("rate_limit_error"), **headers)))
    assert caught.retry_after_s == seconds


async def test_a_wait_given_as_a_date_in_the_past_is_no_wait():
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    caught = await failure(Wire(failing(429, error("rate_limit_error"), retry_after=date)))
    assert caught.retry_after_s == 0


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_broken_connection_is_transient(broken: Any):
    assert (await failure(Wire(broken))).failure is Failure.TRANSIENT


async def test_the_key_comes_from_the_environment_and_never_shows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_KEY", "sk-secret-1")
    wire = Wire(failing(401, error("authentication_error", "bad key sk-secret-1")))
    caught = await failure(wire, api_key_env="MY_KEY")
    assert "sk-secret-1" in str(wire.requests[0].headers.raw)
    assert "sk-secret-1" not in str(caught)
    assert "MY_KEY" in str(caught)


async def test_a_vendors_key_is_not_sent_to_another_endpoint(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret-2")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "sk-secret-3")
    wire = Wire(answer(TEXT))
    await ask(wire)
    assert "sk-secret" not in str(wire.requests[0].headers.raw)
