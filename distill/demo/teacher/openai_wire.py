"""The OpenAI Chat Completions shape."""

from __future__ import annotations

import time
from typing import Any

from distill.chat import from_chat, to_chat
from distill.demo.teacher.busy import Rejection
from distill.demo.teacher.wire import (
    MODEL,
    BadRequest,
    Request,
    Response,
    Wire,
    check_common,
    output_tokens,
    retry_headers,
    tokens,
)
from distill.types import AssistantMessage


class OpenAIWire(Wire):
    """`POST /v1/chat/completions`."""

    request_id_header = "x-request-id"

    def read(self, body: dict[str, Any]) -> Request:
        """Read a request; content given as text parts is joined."""
        check_common(body)
        try:
            messages = tuple(from_chat(_flat(row)) for row in body["messages"])
            offered = frozenset(tool["function"]["name"] for tool in body.get("tools") or ())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadRequest(f"messages or tools: {error!r}") from error
        if body.get("tool_choice") == "none":
            offered = frozenset()
        return Request(messages, offered, tokens(body["messages"], body.get("tools")))

    def write(self, answer: AssistantMessage, request: Request, token: str) -> dict[str, Any]:
        """Return a `chat.completion` with one choice."""
        reason = "tool_calls" if answer.tool_calls else "stop"
        message = to_chat(answer) | {"refusal": None}
        written = output_tokens(answer)
        return {
            "id": f"chatcmpl-{token}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": MODEL,
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
            ],
            "usage": {
                "prompt_tokens": request.input_tokens,
                "completion_tokens": written,
                "total_tokens": request.input_tokens + written,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        }

    def rejection(self, rejection: Rejection, request_id: str) -> Response:
        """429 with a waiting time, or 503."""
        if rejection.retry_after_s is None:
            return Response(503, self.error(503, "The engine is overloaded.", request_id), {})
        body = self.error(429, "Rate limit reached for requests.", request_id)
        body["error"] |= {"type": "requests", "code": "rate_limit_exceeded"}
        return Response(429, body, retry_headers(rejection))

    def error(self, status: int, message: str, request_id: str) -> dict[str, Any]:
        """Return `{"error": {...}}`; the request id travels in the header only."""
        kind = "invalid_request_error" if status < 500 else "server_error"
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def models() -> dict[str, Any]:
    """Return the body of `GET /v1/models`."""
    model = {"id": MODEL, "object": "model", "created": 1767225600, "owned_by": "distill"}
    return {"object": "list", "data": [model]}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    content = row.get("content")
    if not isinstance(content, list):
        return row
    return row | {"content": "".join(part["text"] for part in content)}
