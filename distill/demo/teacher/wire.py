"""What the two API shapes have in common: a request read, an answer and an error written.

Token counts are approximate by definition: four characters of JSON are one token. There is no
tokenizer behind this server, and nothing downstream may rely on more.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from distill.demo.teacher.busy import Rejection
from distill.types import AssistantMessage, Json, Message

MODEL = "demo-teacher"
"""The model every answer says it comes from, whatever was asked for."""

CHARACTERS_PER_TOKEN = 4


class BadRequest(ValueError):
    """The request cannot be read; the message goes back to the client."""


@dataclass(frozen=True)
class Request:
    """What a client asks: the conversation and the names of the tools it offers."""

    messages: tuple[Message, ...]
    tools: frozenset[str]
    input_tokens: int


@dataclass(frozen=True)
class Response:
    """Status, JSON body and extra headers of an HTTP answer."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


class Wire(ABC):
    """One API shape."""

    request_id_header: str

    @abstractmethod
    def read(self, body: dict[str, Any]) -> Request:
        """Read a request.

        Raises:
            BadRequest: A field is missing or malformed, or asks for what is not implemented.
        """

    @abstractmethod
    def write(self, answer: AssistantMessage, request: Request, token: str) -> dict[str, Any]:
        """Return the response body; `token` is what its id is made of."""

    @abstractmethod
    def rejection(self, rejection: Rejection, request_id: str) -> Response:
        """Return the answer to a request that is turned away."""

    @abstractmethod
    def error(self, status: int, message: str, request_id: str) -> dict[str, Any]:
        """Return the body of an error answer."""


def tokens(*parts: Json) -> int:
    """Approximate token count of JSON values; at least 1."""
    characters = sum(len(p if isinstance(p, str) else json.dumps(p)) for p in parts if p)
    return max(1, characters // CHARACTERS_PER_TOKEN)


def output_tokens(answer: AssistantMessage) -> int:
    """Approximate token count of an answer."""
    return tokens(answer.content or "", *(call.name + call.arguments for call in answer.tool_calls))


def retry_headers(rejection: Rejection) -> dict[str, str]:
    """Return both spellings of the waiting time that clients look for."""
    if rejection.retry_after_s is None:
        return {}
    return {
        "retry-after": str(rejection.retry_after_s),
        "retry-after-ms": str(round(rejection.retry_after_s * 1000)),
    }


def check_common(body: dict[str, Any]) -> None:
    """Refuse what neither shape implements here.

    Raises:
        BadRequest: `model` or `messages` is missing, or streaming is asked for.
    """
    if not isinstance(body.get("model"), str):
        raise BadRequest("model: field required")
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise BadRequest("messages: at least one message is required")
    if body.get("stream"):
        raise BadRequest("stream: the embedded teacher answers in one piece; leave it out")
