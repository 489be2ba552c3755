"""The Anthropic Messages shape.

A call's input is an object by construction here, so malformed arguments cannot be expressed: they
are rendered as the longest readable beginning, an object that misses its last parameters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

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
from distill.types import (
    AssistantMessage,
    Json,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)

ERROR_TYPES = {
    400: "invalid_request_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


class AnthropicWire(Wire):
    """`POST /v1/messages` and, reading only, `/v1/messages/count_tokens`."""

    request_id_header = "request-id"

    def read(self, body: dict[str, Any]) -> Request:
        """Read a request; one user message of several results becomes several tool messages."""
        check_common(body)
        try:
            messages = tuple(_messages(body))
            offered = frozenset(tool["name"] for tool in body.get("tools") or ())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadRequest(f"messages or tools: {error!r}") from error
        if (body.get("tool_choice") or {}).get("type") == "none":
            offered = frozenset()
        size = tokens(body["messages"], body.get("tools"), body.get("system"))
        return Request(messages, offered, size)

    def write(self, answer: AssistantMessage, request: Request, token: str) -> dict[str, Any]:
        """Return a `message`."""
        blocks: list[dict[str, Any]] = []
        if answer.content:
            blocks.append({"type": "text", "text": answer.content, "citations": None})
        for call in answer.tool_calls:
            name = call.id.replace("call_", "toolu_", 1)
            use = {"type": "tool_use", "id": name, "name": call.name}
            blocks.append(use | {"input": readable_object(call.arguments)})
        return {
            "id": f"msg_{token}",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": blocks,
            "stop_reason": "tool_use" if answer.tool_calls else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": request.input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": output_tokens(answer),
                "service_tier": "standard",
            },
        }

    def rejection(self, rejection: Rejection, request_id: str) -> Response:
        """429 with a waiting time, or 529."""
        if rejection.retry_after_s is None:
            return Response(529, self.error(529, "Overloaded", request_id), {})
        body = self.error(429, "This request would exceed your rate limit.", request_id)
        return Response(429, body, retry_headers(rejection))

    def error(self, status: int, message: str, request_id: str) -> dict[str, Any]:
        """Return `{"type": "error", ...}` with the request id."""
        error = {"type": ERROR_TYPES[status], "message": message}
        return {"type": "error", "error": error, "request_id": request_id}


def readable_object(arguments: str) -> dict[str, Json]:
    """Return the object `arguments` holds, or the longest one its beginning can be read as."""
    cuts = [len(arguments), *(i for i in reversed(range(len(arguments))) if arguments[i] == ",")]
    for cut in cuts:
        for text in (arguments[:cut], arguments[:cut] + "}"):
            try:
                value = json.loads(text)
            except ValueError:
                continue
            if isinstance(value, dict):
                return value
    return {}


def _messages(body: dict[str, Any]) -> Iterator[Message]:
    if system := body.get("system"):
        yield SystemMessage(content=_text(system))
    names: dict[str, str] = {}
    for row in body["messages"]:
        blocks = row["content"]
        blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
        if row["role"] == "assistant":
            message = _assistant(blocks)
            names |= {call.id: call.name for call in message.tool_calls}
            yield message
            continue
        yield from (_result(b, names) for b in blocks if b["type"] == "tool_result")
        if text := _text([b for b in blocks if b["type"] == "text"]):
            yield UserMessage(content=text)


def _assistant(blocks: list[dict[str, Any]]) -> AssistantMessage:
    calls = tuple(
        ToolCall(
            id=block["id"],
            name=block["name"],
            arguments=json.dumps(block["input"], ensure_ascii=False),
        )
        for block in blocks
        if block["type"] == "tool_use"
    )
    text = _text([block for block in blocks if block["type"] == "text"])
    return AssistantMessage(content=text or None, tool_calls=calls)


def _result(block: dict[str, Any], names: dict[str, str]) -> ToolMessage:
    return ToolMessage(
        tool_call_id=block["tool_use_id"],
        name=names.get(block["tool_use_id"], ""),
        content=_text(block.get("content") or ""),
        is_error=bool(block.get("is_error")),
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(block["text"] for block in content if block["type"] == "text")
