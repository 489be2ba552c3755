"""Teacher over Chat Completions: any compatible server (vLLM, OpenRouter, Together, a gateway).

Servers differ in what they add to the shape. Reasoning comes as `reasoning` (vLLM) or
`reasoning_content` (older ones) and is kept in `provider_state`, never as content; it is not sent
back, except `reasoning_details` (OpenRouter), which must be. A server that bills per request says
so in `usage.cost`; that is then the cost. Arguments are kept as the raw string.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage

from distill.chat import to_chat
from distill.config import TeacherConfig
from distill.teachers.base import Failure, TeacherError, failure_of
from distill.teachers.openai import OpenAISdkTeacher
from distill.teachers.sdk import build_turn
from distill.types import (
    AssistantMessage,
    Json,
    Message,
    StopReason,
    Tool,
    ToolCall,
    Turn,
    Usage,
)

_STOPS = {
    "stop": StopReason.END,
    "tool_calls": StopReason.TOOL_CALLS,
    "content_filter": StopReason.REFUSAL,
    "refusal": StopReason.REFUSAL,
}
"""Every other finish reason, or none, is an answer cut off."""
_REASONING = ("reasoning", "reasoning_content", "reasoning_details")


class OpenAIChatTeacher(OpenAISdkTeacher):
    """A model behind a Chat Completions endpoint."""

    endpoint = "/v1/chat/completions"

    async def _send(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        # As extra fields: see `distill.teachers.openai`.
        answer = await self._client.chat.completions.create(
            model=self.model, messages=(), extra_body=self.body(messages, tools)
        )
        return self.read(answer)

    def body(self, messages: Sequence[Message], tools: Sequence[Tool]) -> dict[str, Any]:
        """Return the request with its extra fields."""
        return request_body(self.config, messages, tools) | self.config.extra

    def answer(self, raw: dict[str, Any], request_id: str | None) -> Turn:
        """Map the body of an answer."""
        answer = ChatCompletion.construct(**raw)
        answer._request_id = request_id
        return self.read(answer)

    def read(self, answer: ChatCompletion) -> Turn:
        """Map an answer.

        Raises:
            TeacherError: It holds none.
        """
        if not answer.choices:
            raise self._no_choice(answer)
        return read_answer(answer)

    async def _count(self, messages: Sequence[Message], tools: Sequence[Tool]) -> int:
        """Ask vLLM's `/tokenize`, which stands beside `/v1`; other servers have none."""
        body = request_body(self.config, messages, tools)
        del body["max_tokens"]
        url = str(self._client.base_url).rstrip("/").removesuffix("/v1") + "/tokenize"
        counted = await self._client.post(url, cast_to=dict[str, Any], body=body)
        if not isinstance(counted, dict) or not isinstance(counted.get("count"), int):
            raise self.error("its /tokenize counts nothing", Failure.BAD_REQUEST)
        return int(counted["count"])

    def _no_choice(self, answer: ChatCompletion) -> TeacherError:
        """A router answers 200 and puts the failure of the model behind it into the body."""
        error = (answer.model_extra or {}).get("error")
        if not isinstance(error, dict):
            return self.error("the answer holds no choice", Failure.TRANSIENT)
        code = error.get("code")
        failure = failure_of(code, {}) if isinstance(code, int) else Failure.TRANSIENT
        return self.error(f"{code}: {error.get('message')}", failure)


def request_body(
    config: TeacherConfig, messages: Sequence[Message], tools: Sequence[Tool]
) -> dict[str, Any]:
    """Return the request in the SDK's `CompletionCreateParams` shape, without extra fields."""
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [_message(message) for message in messages],
        "max_tokens": config.max_tokens,
    }
    if tools:
        body["tools"] = [tool.as_function() for tool in tools]
    if config.temperature is not None:
        body["temperature"] = config.temperature
    return body


def read_answer(answer: ChatCompletion) -> Turn:
    """Map the first choice of a completion to a turn."""
    choice = answer.choices[0]
    message = choice.message
    stop = StopReason.REFUSAL if message.refusal else _STOPS.get(choice.finish_reason or "")
    return build_turn(
        AssistantMessage(
            content=message.content or message.refusal or None,
            tool_calls=_calls(message),
            provider_state=_reasoning(message),
        ),
        stop or StopReason.LENGTH,
        _usage(answer.usage),
        model=answer.model,
        request_id=answer._request_id,
        cost=_billed_usd(answer.usage),
    )


def _message(message: Message) -> dict[str, Any]:
    row = to_chat(message)
    if isinstance(message, AssistantMessage) and message.provider_state:
        details = message.provider_state.get("reasoning_details")
        if details:
            row["reasoning_details"] = details
    return row


def _calls(message: ChatCompletionMessage) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments or "")
        for call in message.tool_calls or ()
        if call.type == "function"
    )


def _reasoning(message: ChatCompletionMessage) -> dict[str, Json] | None:
    extra = message.model_extra or {}
    found = {name: extra[name] for name in _REASONING if extra.get(name)}
    return {"provider": "openai_chat", **found} if found else None


def _usage(usage: CompletionUsage | None) -> Usage:
    if usage is None:
        return Usage()
    read, made = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens,
        cached_tokens=(read and read.cached_tokens) or 0,
        cache_write_tokens=(read and read.cache_write_tokens) or 0,
        output_tokens=usage.completion_tokens,
        reasoning_tokens=(made and made.reasoning_tokens) or 0,
    )


def _billed_usd(usage: CompletionUsage | None) -> float | None:
    extra: Mapping[str, Any] = (usage and usage.model_extra) or {}
    cost = extra.get("cost")
    return float(cost) if isinstance(cost, int | float) else None
