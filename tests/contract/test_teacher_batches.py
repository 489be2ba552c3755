"""What the batch APIs are sent, against the SDKs' own types, and how what they say is read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from anthropic.types.messages.batch_create_params import BatchCreateParams as AnthropicParams
from openai.types.batch_create_params import BatchCreateParams as OpenAIParams
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from wire import CONVERSATION, TOOLS, checker

from distill.config import TeacherConfig
from distill.teachers import Failure, TeacherError
from distill.teachers.anthropic import AnthropicTeacher
from distill.teachers.anthropic_batch import AnthropicBatches
from distill.teachers.batch import Ask, Batches
from distill.teachers.openai import OpenAITeacher
from distill.teachers.openai_batch import OpenAIBatches
from distill.teachers.openai_chat import OpenAIChatTeacher
from distill.types import StopReason, Turn

URL = "http://teacher.internal"
TEACHERS = {
    "anthropic": (AnthropicTeacher, AnthropicBatches),
    "openai": (OpenAITeacher, OpenAIBatches),
    "openai_chat": (OpenAIChatTeacher, OpenAIBatches),
}
ASKS = [Ask("c1", CONVERSATION, TOOLS), Ask("c2", CONVERSATION[:2], TOOLS)]
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Provider:
    """Answers by method and path; keeps the requests."""

    def __init__(self, **routes: Any) -> None:
        self.routes = routes
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.routes[f"{request.method} {request.url.path}"]
        if isinstance(answer, str):
            return httpx2.Response(200, text=answer)
        return httpx2.Response(200, json=answer)

    def body(self, index: int) -> dict[str, Any]:
        return json.loads(self.requests[index].content)


def batches(provider: str, routes: dict[str, Any], **fields: Any) -> tuple[Batches, Provider]:
    teacher, kind = TEACHERS[provider]
    server = Provider(**routes)
    config = TeacherConfig(provider=provider, model="claude-haiku-4-5", base_url=URL, **fields)
    client = httpx2.AsyncClient(transport=httpx2.MockTransport(server))
    return kind(teacher(config, client)), server


def lines(*rows: dict[str, Any]) -> str:
    return "\n".join(map(json.dumps, rows))


# --- Anthropic ---------------------------------------------------------------------------------


def message_batch(**fields: Any) -> dict[str, Any]:
    counts = dict.fromkeys(["canceled", "errored", "expired", "succeeded"], 0)
    return {
        "id": "msgbatch_1",
        "type": "message_batch",
        "processing_status": "ended",
        "request_counts": counts | {"processing": 2},
        "created_at": NOW.isoformat(),
        "expires_at": NOW.isoformat(),
        "results_url": "https://elsewhere.example/results",
        "cancel_initiated_at": None,
        **fields,
    }


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "content": [
        {"type": "tool_use", "id": "toolu_1", "name": "set_lamp", "input": {"room": "hall"}}
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 1000, "output_tokens": 100},
}


async def test_anthropic_requests_are_what_the_sdk_declares():
    api, server = batches(
        "anthropic", {"POST /v1/messages/batches": message_batch()}, extra={"effort": "low"}
    )
    assert await api.submit("w", ASKS) == "msgbatch_1"
    body = server.body(0)
    assert [request["custom_id"] for request in body["requests"]] == ["c1", "c2"]
    assert all(request["params"].pop("effort") == "low" for request in body["requests"])
    checker(AnthropicParams)(body)


async def test_anthropic_results_are_matched_by_id_and_classified():
    def errored(name: str, kind: str) -> dict[str, Any]:
        error = {"type": "error", "error": {"type": kind, "message": "no"}, "request_id": "req_1"}
        return {"custom_id": name, "result": {"type": "errored", "error": error}}

    kinds = {
        "invalid_request_error": Failure.BAD_REQUEST,
        "authentication_error": Failure.AUTH,
        "permission_error": Failure.AUTH,
        "billing_error": Failure.QUOTA,
        "rate_limit_error": Failure.THROTTLE,
        "overloaded_error": Failure.OVERLOAD,
        "timeout_error": Failure.TRANSIENT,
        "api_error": Failure.TRANSIENT,
        "something_new": Failure.TRANSIENT,
    }
    results = lines(
        *(errored(kind, kind) for kind in kinds),
        {"custom_id": "late", "result": {"type": "expired"}},
        {"custom_id": "off", "result": {"type": "canceled"}},
        {"custom_id": "good", "result": {"type": "succeeded", "message": MESSAGE}},
    )
    api, server = batches("anthropic", {"GET /v1/messages/batches/msgbatch_1/results": results})
    answers = await api.answers("msgbatch_1")
    turn = answers.pop("good")
    assert isinstance(turn, Turn)
    assert (turn.stop, turn.request_id) == (StopReason.TOOL_CALLS, "msgbatch_1")
    assert turn.message.tool_calls[0].name == "set_lamp"
    assert turn.cost_usd == pytest.approx((1000 * 1 + 100 * 5) / 1e6 / 2)
    failures = {name: error.failure for name, error in answers.items()}
    assert failures == kinds | {"late": Failure.OVERLOAD, "off": Failure.TRANSIENT}
    # Whatever address the batch names, the key goes to the configured endpoint alone.
    assert {request.url.host for request in server.requests} == {"teacher.internal"}


async def test_anthropic_states():
    path = "GET /v1/messages/batches/msgbatch_1"
    api, _ = batches("anthropic", {path: message_batch(processing_status="in_progress")})
    state = await api.state("msgbatch_1")
    assert (state.over, state.cancelled, state.rest) == (False, False, None)
    api, _ = batches("anthropic", {path: message_batch(cancel_initiated_at=NOW.isoformat())})
    state = await api.state("msgbatch_1")
    assert (state.over, state.cancelled) == (True, True)
    assert "was cancelled" in str(state.rest)


async def test_anthropic_candidates_are_of_that_time_and_size():
    def made(name: str, minutes: float, size: int = 2) -> dict[str, Any]:
        at = (NOW + timedelta(minutes=minutes)).isoformat()
        counts = message_batch()["request_counts"] | {"processing": 1, "succeeded": size - 1}
        return message_batch(id=name, created_at=at, request_counts=counts)

    data = [made("later", 60), made("larger", 1, 3), made("right", 0.1), made("old", -30)]
    page = {"data": data, "has_more": False, "first_id": "later", "last_id": "old"}
    api, _ = batches("anthropic", {"GET /v1/messages/batches": page})
    assert await api.find("w", NOW, 2) == ["right"]


# --- OpenAI ------------------------------------------------------------------------------------


def batch(**fields: Any) -> dict[str, Any]:
    return {
        "id": "batch_1",
        "object": "batch",
        "endpoint": "/v1/responses",
        "completion_window": "24h",
        "created_at": int(NOW.timestamp()),
        "input_file_id": "file_in",
        "status": "completed",
        **fields,
    }


COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 0,
    "model": "served",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "set_lamp", "arguments": "{"},
                    }
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 0,
    "model": "served",
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "set_lamp",
            "arguments": "{",
            "status": "completed",
        },
    ],
    "usage": {
        "input_tokens": 1000,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 100,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 1100,
    },
}
SHAPES = [
    ("openai", "/v1/responses", ResponseCreateParamsNonStreaming, RESPONSE),
    ("openai_chat", "/v1/chat/completions", CompletionCreateParamsNonStreaming, COMPLETION),
]
each_shape = pytest.mark.parametrize(("provider", "endpoint", "params", "native"), SHAPES)


@each_shape
async def test_openai_requests_are_what_the_sdk_declares(
    provider: str, endpoint: str, params: Any, native: Any
):
    file = {"id": "file_in", "object": "file", "bytes": 1, "created_at": 0, "filename": "w"}
    file |= {"purpose": "batch", "status": "processed"}
    api, server = batches(provider, {"POST /files": file, "POST /batches": batch()})
    assert await api.submit("w7", ASKS) == "batch_1"
    upload = server.requests[0].content.decode()
    assert 'name="purpose"\r\n\r\nbatch' in upload
    rows = [json.loads(row) for row in upload.splitlines() if row.startswith('{"custom_id"')]
    assert [(row["custom_id"], row["method"], row["url"]) for row in rows] == [
        ("c1", "POST", endpoint),
        ("c2", "POST", endpoint),
    ]
    for row in rows:
        checker(params)(row["body"])
    body = server.body(1)
    checker(OpenAIParams)(body)
    assert (body["endpoint"], body["metadata"]) == (endpoint, {"distill_wave": "w7"})


@each_shape
async def test_openai_results_of_both_files_are_matched_by_id_and_classified(
    provider: str, endpoint: str, params: Any, native: Any
):
    def row(name: str, status: int, body: Any, error: Any = None) -> dict[str, Any]:
        response = {"status_code": status, "request_id": "req_9", "body": body}
        return {"id": "r", "custom_id": name, "response": response, "error": error}

    def said(code: str | None, kind: str = "x") -> dict[str, Any]:
        return {"error": {"message": "no", "code": code, "type": kind}}

    good = lines(row("good", 200, native))
    bad = lines(
        row("bad", 400, said("invalid")),
        row("fast", 429, said("rate_limit_exceeded")),
        row("poor", 429, said(None, "insufficient_quota")),
        row("down", 503, said(None)),
        {"custom_id": "late", "response": None, "error": {"code": "batch_expired", "message": "x"}},
        {"custom_id": "off", "response": None, "error": {"code": "batch_cancelled", "message": ""}},
    )
    found = batch(output_file_id="file_out", error_file_id="file_bad", status="expired")
    routes = {
        "GET /batches/batch_1": found,
        "GET /files/file_out/content": good,
        "GET /files/file_bad/content": bad,
    }
    price = {"input": 1, "output": 5}
    api, _ = batches(provider, routes, price=price)
    answers = await api.answers("batch_1")
    turn = answers.pop("good")
    assert isinstance(turn, Turn)
    assert (turn.stop, turn.request_id, turn.model) == (StopReason.TOOL_CALLS, "req_9", "served")
    assert turn.message.tool_calls[0].arguments == "{"
    assert turn.cost_usd == pytest.approx((1000 * 1 + 100 * 5) / 1e6 / 2)
    assert (turn.message.provider_state is not None) == (provider == "openai")
    failures = {name: error.failure for name, error in answers.items()}
    assert failures == {
        "bad": Failure.BAD_REQUEST,
        "fast": Failure.THROTTLE,
        "poor": Failure.QUOTA,
        "down": Failure.OVERLOAD,
        "late": Failure.OVERLOAD,
        "off": Failure.TRANSIENT,
    }


@pytest.mark.parametrize(
    ("status", "over", "rest"),
    [
        ("validating", False, None),
        ("finalizing", False, None),
        ("completed", True, None),
        ("expired", True, Failure.OVERLOAD),
        ("cancelling", False, Failure.TRANSIENT),
        ("cancelled", True, Failure.TRANSIENT),
    ],
)
async def test_openai_states(status: str, over: bool, rest: Failure | None):
    api, _ = batches("openai", {"GET /batches/batch_1": batch(status=status)})
    state = await api.state("batch_1")
    assert state.over is over
    assert state.cancelled == status.startswith("cancel")
    assert (state.rest and state.rest.failure) == rest


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("token_limit_exceeded", Failure.THROTTLE),
        ("insufficient_quota", Failure.QUOTA),
        ("invalid_json_line", Failure.BAD_REQUEST),
    ],
)
async def test_a_batch_that_fails_as_a_whole_says_why(code: str, failure: Failure):
    errors = {"object": "list", "data": [{"code": code, "message": "Too much.", "line": None}]}
    found = batch(status="failed", errors=errors)
    api, _ = batches("openai", {"GET /batches/batch_1": found})
    state = await api.state("batch_1")
    assert state.over
    assert isinstance(state.rest, TeacherError)
    assert state.rest.failure is failure
    assert f"{code}: Too much." in str(state.rest)
    assert await api.answers("batch_1") == {}


async def test_an_openai_batch_is_found_by_the_name_it_bears():
    data = [batch(id="other"), batch(id="ours", metadata={"distill_wave": "w"})]
    page = {"object": "list", "data": data, "has_more": False}
    api, _ = batches("openai", {"GET /batches": page})
    assert await api.find("w", NOW, 2) == ["ours"]
    assert await api.find("another", NOW, 2) == []
