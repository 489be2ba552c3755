"""Teacher over Anthropic Messages.

What is particular here: the system prompt stands beside the messages; all results of one parallel
turn go back in one user message, results before text; thinking blocks are replayed unmodified, in
place (`provider_state` keeps the native content of such a turn); `max_tokens` is required; the SDK
has no sampling parameters, so a temperature travels as an extra field. One cache breakpoint after
the tools and the system prompt makes every call of a run read that prefix from the cache.

`tool_use.input` is an object by construction: the arguments kept are its JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import anthropic
from anthropic.types import Message as NativeMessage

from distill.config import TeacherConfig
from distill.teachers.sdk import SdkTeacher, build_turn
from distill.types import (
    AssistantMessage,
    Json,
    Message,
    StopReason,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    Turn,
    Usage,
    UserMessage,
)

_STOPS = {
    "end_turn": StopReason.END,
    "stop_sequence": StopReason.END,
    "tool_use": StopReason.TOOL_CALLS,
    "refusal": StopReason.REFUSAL,
}
"""Every other stop reason, or none, is an answer cut off."""
_THINKING = ("thinking", "redacted_thinking")
_CACHE = {"type": "ephemeral"}


class AnthropicTeacher(SdkTeacher):
    """A model behind the Messages API."""

    sdk = anthropic
    client_type = anthropic.AsyncAnthropic
    key_env = "ANTHROPIC_API_KEY"
    _client: anthropic.AsyncAnthropic

    async def _send(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        # The explicit time-out also lifts the SDK's refusal of a large max_tokens.
        answer = await self._client.messages.create(
            **request_body(self.config, messages, tools),
            extra_body=extra_body(self.config),
            timeout=self.config.timeout_s,
        )
        return read_answer(answer)

    async def _count(self, messages: Sequence[Message], tools: Sequence[Tool]) -> int:
        body = request_body(self.config, messages, tools)
        del body["max_tokens"]
        counted = await self._client.messages.count_tokens(**body)
        return counted.input_tokens

    def _status(self, error: anthropic.APIStatusError) -> tuple[Collection[str | None], str]:
        return {error.type, error.error_code}, error.api_message or error.message


def request_body(
    config: TeacherConfig, messages: Sequence[Message], tools: Sequence[Tool]
) -> dict[str, Any]:
    """Return the request in the SDK's `MessageCreateParams` shape, without extra fields."""
    system = [m.content for m in messages if isinstance(m, SystemMessage)]
    body: dict[str, Any] = {
        "model": config.model,
        "max_tokens": config.max_tokens,
        "messages": _conversation(messages),
    }
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]
    if system:
        body["system"] = [{"type": "text", "text": "\n\n".join(system), "cache_control": _CACHE}]
    elif tools:
        body["tools"][-1]["cache_control"] = _CACHE
    return body


def whole_body(
    config: TeacherConfig, messages: Sequence[Message], tools: Sequence[Tool]
) -> dict[str, Any]:
    """Return the request with its extra fields."""
    return request_body(config, messages, tools) | extra_body(config)


def extra_body(config: TeacherConfig) -> dict[str, Json]:
    """Return the fields the SDK has no parameter for; they win over the others."""
    sampling = {} if config.temperature is None else {"temperature": config.temperature}
    return sampling | config.extra


def read_answer(answer: NativeMessage) -> Turn:
    """Map a native message to a turn."""
    text = "".join(block.text for block in answer.content if block.type == "text")
    calls = tuple(
        ToolCall(
            id=block.id, name=block.name, arguments=json.dumps(block.input, ensure_ascii=False)
        )
        for block in answer.content
        if block.type == "tool_use"
    )
    state = None
    if any(block.type in _THINKING for block in answer.content):
        content = [block.to_dict(mode="json") for block in answer.content]
        state = {"provider": "anthropic", "content": content}
    return build_turn(
        AssistantMessage(content=text or None, tool_calls=calls, provider_state=state),
        _STOPS.get(answer.stop_reason or "", StopReason.LENGTH),
        _usage(answer),
        model=answer.model,
        request_id=answer._request_id,
    )


def _conversation(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Map the messages, neighbours of one role joined into one."""
    joined: list[dict[str, Any]] = []
    for message in messages:
        match message:
            case SystemMessage():
                continue
            case UserMessage():
                role, blocks = "user", [{"type": "text", "text": message.content}]
            case ToolMessage():
                role, blocks = "user", [_result(message)]
            case AssistantMessage():
                role, blocks = "assistant", list(_assistant_blocks(message))
        if joined and joined[-1]["role"] == role:
            joined[-1]["content"].extend(blocks)
        elif blocks:  # an empty answer has nothing that could be replayed
            joined.append({"role": role, "content": blocks})
    return joined


def _assistant_blocks(message: AssistantMessage) -> Iterable[dict[str, Any]]:
    state = message.provider_state
    if state and state.get("provider") == "anthropic":
        yield from state["content"]
        return
    if message.content:
        yield {"type": "text", "text": message.content}
    for call in message.tool_calls:
        yield {"type": "tool_use", "id": call.id, "name": call.name, "input": call.parsed()}


def _result(message: ToolMessage) -> dict[str, Any]:
    block: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": message.tool_call_id,
        "content": message.content,
    }
    return block | {"is_error": True} if message.is_error else block


def _tool(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.parameters,
    }


def _usage(answer: NativeMessage) -> Usage:
    usage = answer.usage
    cached = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    details = usage.output_tokens_details
    return Usage(
        input_tokens=usage.input_tokens + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=usage.output_tokens,
        reasoning_tokens=details.thinking_tokens if details else 0,
    )
