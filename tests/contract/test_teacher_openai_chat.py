from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from wire import BROKEN, CONVERSATION, Asker, Wire, checker, failing

from distill.teachers import Failure
from distill.teachers.openai_chat import OpenAIChatTeacher
from distill.types import StopReason, Usage

check_declared = checker(CompletionCreateParamsNonStreaming)


def check_body(body: dict[str, Any], added: Collection[str] = ()) -> None:
    """Pass over what OpenRouter adds to the shape."""
    messages = [
        {name: value for name, value in message.items() if name != "reasoning_details"}
        for message in body["messages"]
    ]
    check_declared(body | {"messages": messages}, added)


asker = Asker(
    OpenAIChatTeacher,
    check_body,
    provider="openai_chat",
    model="open-weights",
    base_url="http://teacher.internal/v1",
)
ask, failure = asker.ask, asker.failure

CALL = {
    "id": "call_9",
    "type": "function",
    "function": {"name": "set_lamp", "arguments": '{"room": '},
}


def answer(
    content: str | None = "Let me see.",
    finish: str | None = "stop",
    usage: dict[str, Any] | None = None,
    **message: Any,
) -> dict[str, Any]:
    choice = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": content, **message},
    }
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "served-model",
        "choices": [choice],
        "usage": {"prompt_tokens": 50, "completion_tokens": 8, "total_tokens": 58, **(usage or {})},
    }


async def test_the_body_is_what_the_sdk_declares():
    wire = Wire(answer())
    await ask(wire)
    (body,) = wire.bodies
    assert set(body) == {"model", "messages", "max_tokens", "tools"}
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]
    assert set(body["messages"][4]) == {"role", "tool_call_id", "content"}


async def test_a_conversation_without_tools_offers_none():
    wire = Wire(answer())
    await ask(wire, tools=())
    assert "tools" not in wire.bodies[0]


async def test_temperature_and_extra_fields_are_sent_only_when_configured():
    wire = Wire(answer())
    await ask(wire, temperature=0, extra={"provider": {"require_parameters": True}, "seed": 7})
    body = wire.bodies[0]
    assert (body["temperature"], body["seed"]) == (0, 7)
    assert body["provider"] == {"require_parameters": True}


@pytest.mark.parametrize(
    "choice",
    ["auto", "none", "required", {"type": "function", "function": {"name": "set_lamp"}}],
)
async def test_a_tool_choice_is_passed_on(choice: Any):
    wire = Wire(answer())
    extra = {"tool_choice": choice, "parallel_tool_calls": False, "reasoning_effort": "low"}
    await ask(wire, extra=extra)
    assert {name: wire.bodies[0][name] for name in extra} == extra


async def test_the_cached_prefix_is_the_same_bytes_in_every_call():
    wire = Wire(*[answer()] * 3)
    for length in (2, 5, 7):
        await ask(wire, messages=CONVERSATION[:length])
    first, second, third = (body["messages"] for body in wire.bodies)
    assert json.dumps(second)[:-1].startswith(json.dumps(first)[:-1])
    assert json.dumps(third)[:-1].startswith(json.dumps(second)[:-1])
    assert len({json.dumps(body["tools"]) for body in wire.bodies}) == 1


async def test_vllm_counts_tokens_beside_its_v1():
    wire = Wire({"count": 321, "max_model_len": 4096, "tokens": [1]})

    def check(body: dict[str, Any]) -> None:
        check_body(body | {"max_tokens": 16})

    assert await asker.count(wire, check) == 321
    assert wire.requests[0].url.path == "/tokenize"
    assert "max_tokens" not in wire.bodies[0]


@pytest.mark.parametrize("unable", [failing(404, {"detail": "Not Found"}), {"tokens": 3}])
async def test_a_server_without_a_counter_is_no_fault(unable: Any):
    assert await asker.count(Wire(unable), check_body) is None


async def test_calls_keep_their_raw_arguments_and_go_back_as_they_were():
    wire = Wire(answer(None, "tool_calls", tool_calls=[CALL]), answer())
    turn = await ask(wire)
    assert turn.message.tool_calls[0].arguments == '{"room": '
    assert turn.message.content is None
    assert (turn.stop, turn.model, turn.request_id) == (
        StopReason.TOOL_CALLS,
        "served-model",
        "req_7",
    )
    await ask(wire, messages=[*CONVERSATION, turn.message])
    assert wire.bodies[1]["messages"][-1]["tool_calls"] == [CALL]


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_reasoning_is_kept_apart_and_not_sent_back(field: str):
    wire = Wire(answer(**{field: "hmm"}), answer())
    turn = await ask(wire)
    assert turn.message.content == "Let me see."
    assert turn.message.provider_state == {"provider": "openai_chat", field: "hmm"}
    await ask(wire, messages=[*CONVERSATION, turn.message])
    assert "hmm" not in str(wire.bodies[1])


async def test_reasoning_details_are_sent_back():
    details = [{"type": "reasoning.encrypted", "data": "b3BhcXVl"}]
    wire = Wire(answer(reasoning_details=details), answer())
    turn = await ask(wire)
    await ask(wire, messages=[*CONVERSATION, turn.message])
    assert wire.bodies[1]["messages"][-1]["reasoning_details"] == details


@pytest.mark.parametrize(
    ("finish", "calls", "stop"),
    [
        ("stop", [], StopReason.END),
        ("stop", [CALL], StopReason.TOOL_CALLS),
        ("tool_calls", [CALL], StopReason.TOOL_CALLS),
        ("tool_calls", [], StopReason.END),
        ("content_filter", [], StopReason.REFUSAL),
        ("refusal", [], StopReason.REFUSAL),
        ("length", [], StopReason.LENGTH),
        ("length", [CALL], StopReason.LENGTH),
        (None, [CALL], StopReason.LENGTH),
        ("abort", [], StopReason.LENGTH),
    ],
)
async def test_stop_reasons(finish: str | None, calls: list[Any], stop: StopReason):
    assert (await ask(Wire(answer(finish=finish, tool_calls=calls)))).stop is stop


async def test_a_refusal_field_is_a_refusal():
    turn = await ask(Wire(answer(None, refusal="I will not.")))
    assert (turn.stop, turn.message.content) == (StopReason.REFUSAL, "I will not.")


async def test_usage_and_the_bill_of_a_router():
    usage = {
        "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": None},
        "completion_tokens_details": {"reasoning_tokens": 5},
        "cost": 0.0125,
    }
    turn = await ask(Wire(answer(usage=usage)))
    assert turn.usage == Usage(
        input_tokens=50, cached_tokens=30, output_tokens=8, reasoning_tokens=5
    )
    assert turn.cost_usd == 0.0125


async def test_a_server_that_counts_nothing_costs_an_unknown_amount():
    body = answer()
    del body["usage"]
    turn = await ask(Wire(body))
    assert (turn.usage, turn.cost_usd) == (Usage(), None)


@pytest.mark.parametrize(
    ("code", "expected"),
    [(402, Failure.QUOTA), (429, Failure.THROTTLE), (502, Failure.TRANSIENT)],
)
async def test_an_error_inside_a_200_is_classified(code: int, expected: Failure):
    body = answer() | {"choices": [], "error": {"code": code, "message": "upstream"}}
    caught = await failure(Wire(body))
    assert caught.failure is expected
    assert "upstream" in str(caught)


async def test_an_answer_without_a_choice_is_transient():
    assert (await failure(Wire(answer() | {"choices": []}))).failure is Failure.TRANSIENT


async def test_the_servers_own_words_reach_the_user():
    message = "auto tool choice requires --enable-auto-tool-choice"
    body = {"error": {"message": message, "type": "BadRequestError", "code": 400}}
    caught = await failure(Wire(failing(400, body)))
    assert caught.failure is Failure.BAD_REQUEST
    assert message in str(caught)
    assert "openai_chat/open-weights" in str(caught)


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_broken_connection_is_transient(broken: Any):
    assert (await failure(Wire(broken))).failure is Failure.TRANSIENT
