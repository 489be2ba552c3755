"""The APIs that are recorded: what a request said, and what its answer was.

Requests are read as `distill traces import` reads logs of them. Answers are given to the vendor's
own SDK, as if it received them just now: it unpacks them, puts streams together and knows its
types, and a `Teacher` maps what it makes of them. So an answer means here what it meant to the
agent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from distill.traces.importers import Conversation, Skip
from distill.traces.importers import anthropic as anthropic_logs
from distill.traces.importers import openai as openai_logs
from distill.types import Turn

STREAM = "text/event-stream"


@dataclass(frozen=True)
class Wire:
    """One API."""

    name: str
    read: Callable[[Mapping[str, Any]], Conversation]
    """Reads a log of it."""
    client: Callable[[httpx2.BaseTransport], Any]
    """Makes a client of its SDK."""
    receive: Callable[[Any, bool], Any]
    """(that client, whether the answer is a stream) -> the answer as the SDK has it."""
    turn_of: Callable[[Any], Turn]
    """Maps that."""

    def request(self, body: Mapping[str, Any]) -> Conversation:
        """Read a request.

        Raises:
            Skip: It cannot be told as a conversation.
        """
        if body.get("n") not in (None, 1):
            raise Skip("several answers were asked for at once")
        if body.get("conversation"):
            raise Skip("the provider holds the conversation")
        return self.read({"request": body})

    def turn(self, content: bytes, headers: Mapping[str, str]) -> tuple[Turn, str]:
        """Read an answer.

        Returns:
            The answer, and the provider's id of it.

        Raises:
            Skip: It did not come to its end.
        """
        client, replay = _replaying(self.name)
        replay.load(content, headers)
        answer = self.receive(client, headers.get("content-type", "").startswith(STREAM))
        if answer is None:
            raise Skip("the answer was cut off")
        # What an SDK puts together from a stream has none.
        answer._request_id = headers.get("x-request-id") or headers.get("request-id")
        return self.turn_of(answer), answer.id


def wire_of(path: str) -> Wire | None:
    """Return the API that a path is of; None: nothing to record."""
    return WIRES.get(path.rstrip("/").removeprefix("/v1"))


def prepare(provider: str) -> None:
    """Load the SDK that a provider's answers need, before an answer has to wait for it."""
    _replaying("messages" if provider == "anthropic" else "chat")


class _Replay(httpx2.BaseTransport):
    """Receives the same answer again."""

    def load(self, content: bytes, headers: Mapping[str, str]) -> None:
        kept = ("content-type", "content-encoding", "x-request-id", "request-id")
        self._headers = {name: headers[name] for name in kept if name in headers}
        self._content = content

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=self._headers, content=self._content)


@functools.cache
def _replaying(name: str) -> tuple[Any, _Replay]:
    """Return a client of a wire's SDK; the recorder's thread is the only one to use it."""
    wire = next(wire for wire in WIRES.values() if wire.name == name)
    replay = _Replay()
    return wire.client(replay), replay


# --- OpenAI -----------------------------------------------------------------------------------


def _openai(transport: httpx2.BaseTransport) -> Any:
    import openai

    client = httpx2.Client(transport=transport)
    return openai.OpenAI(
        api_key="none", base_url="http://recorded", max_retries=0, http_client=client
    )


def _completion(client: Any, streamed: bool) -> Any:
    from openai.lib.streaming.chat import ChatCompletionStreamState

    create = functools.partial(client.chat.completions.create, model="", messages=[])
    if not streamed:
        answer = create()
    else:
        state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        chunks = list(create(stream=True))
        for chunk in chunks:
            state.handle_chunk(chunk)
        answer = state.current_completion_snapshot if chunks else None
    ended = answer is not None and answer.choices and answer.choices[0].finish_reason
    return answer if ended else None


def _completion_turn(answer: Any) -> Turn:
    from distill.teachers.openai_chat import read_answer

    return read_answer(answer)


def _response(client: Any, streamed: bool) -> Any:
    create = functools.partial(client.responses.create, model="", input=[])
    if not streamed:
        answer = create()
    else:
        last = ("response.completed", "response.incomplete", "response.failed")
        events = create(stream=True)
        answer = next((event.response for event in events if event.type in last), None)
    return answer if answer and answer.status in ("completed", "incomplete") else None


def _response_turn(answer: Any) -> Turn:
    from distill.teachers.openai import read_answer

    return read_answer(answer)


# --- Anthropic --------------------------------------------------------------------------------


def _anthropic(transport: httpx2.BaseTransport) -> Any:
    import anthropic

    client = httpx2.Client(transport=transport)
    return anthropic.Anthropic(
        api_key="none", base_url="http://recorded", max_retries=0, http_client=client
    )


def _message(client: Any, streamed: bool) -> Any:
    asked: dict[str, Any] = {"model": "", "max_tokens": 1, "messages": []}
    if streamed:
        with client.messages.stream(**asked) as stream:
            answer = stream.get_final_message()
    else:
        answer = client.messages.create(**asked)
    return answer if answer.stop_reason else None


def _message_turn(answer: Any) -> Turn:
    from distill.teachers.anthropic import read_answer

    return read_answer(answer)


_openai_log, _anthropic_log = openai_logs.conversation, anthropic_logs.conversation
WIRES = {
    "/chat/completions": Wire("chat", _openai_log, _openai, _completion, _completion_turn),
    "/responses": Wire("responses", _openai_log, _openai, _response, _response_turn),
    "/messages": Wire("messages", _anthropic_log, _anthropic, _message, _message_turn),
}
"""Path without `/v1` -> API."""
