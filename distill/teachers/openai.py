"""Teacher over OpenAI Responses.

OpenAI's current models take function tools together with reasoning only here, not on Chat
Completions. The conversation is sent whole every time (`store: false`), so reasoning items travel
encrypted and are replayed unmodified, in place (`provider_state` keeps the native items of such a
turn). Arguments are kept as the raw string. Schemas are sent as they are (`strict: false`): the
strict form turns optional parameters into nullable ones, which a student would learn.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import openai
from openai.types.responses import Response

from distill.config import TeacherConfig
from distill.teachers.base import Failure
from distill.teachers.sdk import SdkTeacher, build_turn
from distill.types import (
    AssistantMessage,
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

_REFUSALS = frozenset({"bio_policy", "misalignment_policy_violation"})
"""Failure codes that say the model would not, rather than could not."""
_FAILURES = {
    "rate_limit_exceeded": Failure.THROTTLE,
    "server_error": Failure.TRANSIENT,
}
"""Failure codes of a response; every other one is a bad request."""
_COUNTED = ("model", "input", "instructions", "tools")
"""Fields of a request that its input tokens depend on."""


class OpenAISdkTeacher(SdkTeacher):
    """A model behind one of the APIs that the openai SDK speaks."""

    sdk = openai
    client_type = openai.AsyncOpenAI
    key_env = "OPENAI_API_KEY"
    endpoint: str
    """How a batch names the API."""
    _client: openai.AsyncOpenAI

    @abstractmethod
    def body(self, messages: Sequence[Message], tools: Sequence[Tool]) -> dict[str, Any]:
        """Return the whole body of a request."""

    @abstractmethod
    def answer(self, raw: dict[str, Any], request_id: str | None) -> Turn:
        """Map the body of an answer; raise a `TeacherError` where it says that it failed."""

    def _status(self, error: openai.APIStatusError) -> tuple[Collection[str | None], str]:
        body = error.body
        words = body.get("message") if isinstance(body, dict) else None
        return {error.type, error.code}, str(words or error.message)


class OpenAITeacher(OpenAISdkTeacher):
    """A model behind the Responses API."""

    endpoint = "/v1/responses"

    async def _send(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        # As extra fields, which the SDK passes on as they are: parameters it walks through, every
        # schema of every request, which takes longer than the rest of the call.
        answer = await self._client.responses.create(
            model=self.model, extra_body=self.body(messages, tools)
        )
        return self.read(answer)

    def body(self, messages: Sequence[Message], tools: Sequence[Tool]) -> dict[str, Any]:
        """Return the request with its extra fields."""
        return request_body(self.config, messages, tools) | self.config.extra

    def answer(self, raw: dict[str, Any], request_id: str | None) -> Turn:
        """Map the body of an answer."""
        answer = Response.construct(**raw)
        answer._request_id = request_id
        return self.read(answer)

    def read(self, answer: Response) -> Turn:
        """Map an answer.

        Raises:
            TeacherError: It says that the request failed.
        """
        failed = answer.error
        if failed is not None and failed.code not in _REFUSALS:
            failure = _FAILURES.get(failed.code, Failure.BAD_REQUEST)
            raise self.error(
                f"{failed.code}: {failed.message}", failure, request_id=answer._request_id
            )
        return read_answer(answer)

    async def _count(self, messages: Sequence[Message], tools: Sequence[Tool]) -> int:
        body = request_body(self.config, messages, tools)
        fields = {name: body[name] for name in _COUNTED if name in body}
        counted = await self._client.responses.input_tokens.count(**fields)
        return counted.input_tokens


def request_body(
    config: TeacherConfig, messages: Sequence[Message], tools: Sequence[Tool]
) -> dict[str, Any]:
    """Return the request in the SDK's `ResponseCreateParams` shape, without extra fields."""
    system = [m.content for m in messages if isinstance(m, SystemMessage)]
    body: dict[str, Any] = {
        "model": config.model,
        "input": [item for message in messages for item in _items(message)],
        "max_output_tokens": config.max_tokens,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    if system:
        body["instructions"] = "\n\n".join(system)
    if tools:
        body["tools"] = [
            {"type": "function", "strict": False, **tool.as_function()["function"]}
            for tool in tools
        ]
    if config.temperature is not None:
        body["temperature"] = config.temperature
    return body


def read_answer(answer: Response) -> Turn:
    """Map a native response to a turn."""
    parts = [p for item in answer.output if item.type == "message" for p in item.content]
    text = "".join(p.text if p.type == "output_text" else p.refusal for p in parts)
    calls = tuple(
        ToolCall(id=item.call_id, name=item.name, arguments=item.arguments)
        for item in answer.output
        if item.type == "function_call"
    )
    state = None
    if any(item.type == "reasoning" for item in answer.output):
        # A null means "not given"; sent back, some of them are refused.
        items = [item.to_dict(mode="json", exclude_none=True) for item in answer.output]
        state = {"provider": "openai", "items": items}
    return build_turn(
        AssistantMessage(content=text or None, tool_calls=calls, provider_state=state),
        _stop(answer, refused=any(p.type == "refusal" for p in parts)),
        _usage(answer),
        model=answer.model,
        request_id=answer._request_id,
    )


def _stop(answer: Response, refused: bool) -> StopReason:
    details = answer.incomplete_details
    if refused or answer.error is not None or (details and details.reason == "content_filter"):
        return StopReason.REFUSAL
    return StopReason.END if answer.status == "completed" else StopReason.LENGTH


def _items(message: Message) -> Iterable[Mapping[str, Any]]:
    match message:
        case UserMessage():
            yield {"role": "user", "content": message.content}
        case ToolMessage():
            yield {
                "type": "function_call_output",
                "call_id": message.tool_call_id,
                "output": message.content,
            }
        case AssistantMessage():
            yield from _assistant_items(message)


def _assistant_items(message: AssistantMessage) -> Iterable[Mapping[str, Any]]:
    state = message.provider_state
    if state and state.get("provider") == "openai":
        yield from state["items"]
        return
    if message.content:
        yield {"role": "assistant", "content": message.content}
    for call in message.tool_calls:
        yield {
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }


def _usage(answer: Response) -> Usage:
    usage = answer.usage
    if usage is None:
        return Usage()
    read, made = usage.input_tokens_details, usage.output_tokens_details
    return Usage(
        input_tokens=usage.input_tokens,
        cached_tokens=read.cached_tokens,
        # A gateway that predates the field leaves it out.
        cache_write_tokens=getattr(read, "cache_write_tokens", None) or 0,
        output_tokens=usage.output_tokens,
        reasoning_tokens=made.reasoning_tokens,
    )
