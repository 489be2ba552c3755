"""A model server that plays what a test tells it to, and a gateway in front of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from distill.config import Prices, TeacherConfig
from distill.endpoint import bound_socket, listening
from distill.serve.address import Address, private_address
from distill.serve.gateway.app import Gateway, create_app
from distill.serve.gateway.keep import Budget, Keeper
from distill.serve.gateway.remedy import Remedies
from distill.serve.gateway.upstream import Upstream
from distill.teachers import create_teacher
from distill.traces import TraceStore

LAMP = {
    "type": "function",
    "function": {
        "name": "set_lamp",
        "description": "Set a lamp.",
        "parameters": {
            "type": "object",
            "properties": {"room": {"type": "string"}, "level": {"type": "integer"}},
            "required": ["room", "level"],
            "additionalProperties": False,
        },
    },
}
RIGHT = ("set_lamp", '{"room": "hall", "level": 30}')
WRONG = ("set_lamp", '{"room": "hall", "level": "dim"}')

Answer = Callable[[Mapping[str, Any]], Response]


def asked(**more: Any) -> dict[str, Any]:
    """A request with a tool."""
    messages = [
        {"role": "system", "content": "You mind the lamps."},
        {"role": "user", "content": "Dim the hall"},
    ]
    return {"model": "student", "messages": messages, "tools": [LAMP]} | more


def calls(*made: tuple[str, str], model: str = "student", content: str | None = None) -> Answer:
    """Answer with calls, as a completion or as a stream."""
    rows = [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(made)
    ]
    return says(content, model=model, tool_calls=rows, finish="tool_calls")


def says(
    content: str | None,
    *,
    model: str = "student",
    tool_calls: list[dict[str, Any]] | None = None,
    finish: str = "stop",
) -> Answer:
    """Answer with words, as a completion or as a stream."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if tool_calls:
        message["tool_calls"] = tool_calls

    def answer(body: Mapping[str, Any]) -> Response:
        if body.get("stream"):
            return stream(pieces(message, finish, model))
        choice = {"index": 0, "message": message, "finish_reason": finish}
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        value = {"id": "x", "object": "chat.completion", "created": 1, "model": model}
        return JSONResponse(value | {"choices": [choice], "usage": usage})

    return answer


def pieces(message: Mapping[str, Any], finish: str, model: str) -> list[str]:
    """The events of a streamed answer: words one by one, arguments in halves."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word + " "} for word in (message["content"] or "").split()]
    for n, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        half = len(function["arguments"]) // 2
        first = {"name": function["name"], "arguments": function["arguments"][:half]}
        rest = {"arguments": function["arguments"][half:]}
        deltas.append({"tool_calls": [{"index": n, **call, "function": first}]})
        deltas.append({"tool_calls": [{"index": n, "function": rest}]})
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": model}
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    return [json.dumps(head | {"choices": [choice]}) for choice in choices] + ["[DONE]"]


def stream(events: list[str]) -> Response:
    """A response of server-sent events."""

    async def body():
        for item in events:
            yield f"data: {item}\n\n"
            await asyncio.sleep(0)

    return StreamingResponse(body(), media_type="text/event-stream")


@dataclass
class Model:
    """What the model server answers, one after the other, and what it was asked."""

    answers: list[Answer] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    left: int = 0
    """Requests whose client went away."""

    def app(self) -> Starlette:
        """The server."""

        async def everything(request: Request) -> Response:
            self.paths.append(request.url.path)
            if request.url.path == "/v1/models":
                data = [{"id": name, "root": f"/{name}"} for name in ("base", "student")]
                return JSONResponse({"object": "list", "data": data})
            if request.method == "GET":
                return Response("open")
            self.bodies.append(await request.json())
            return self.answers.pop(0)(self.bodies[-1])

        async def slow(request: Request) -> Response:
            for _ in range(300):
                if await request.is_disconnected():
                    self.left += 1
                    break
                await asyncio.sleep(0.01)
            return JSONResponse({})

        return Starlette(
            routes=[
                Route("/v1/completions", slow, methods=["POST"]),
                Route("/{path:path}", everything, methods=["GET", "POST", "DELETE"]),
            ]
        )


@dataclass
class World:
    """A gateway in front of a model, beside a teacher."""

    url: str
    """Root of the gateway."""
    model: Model
    teacher: Model
    stop_model: Callable[[], None]
    stale: dict[str, bool]


@contextmanager
def door(
    address: Address,
    teacher: TeacherConfig,
    *steps: str,
    key: str | None = None,
    store: str | None = None,
    timeout_s: float = 30,
    budget_usd: float | None = None,
    stale: Mapping[str, bool] | None = None,
) -> Iterator[str]:
    """Run a gateway in front of what listens at an address; yields its root."""

    def make() -> Gateway:
        upstream = Upstream(address, timeout_s)
        asked_too = create_teacher(teacher) if "escalate" in steps else None
        budget = Budget(budget_usd, teacher) if budget_usd else None
        keeper = store and Keeper(lambda: TraceStore.open(store, create=True), asked_too, budget)
        return Gateway(
            upstream=upstream,
            students=frozenset({"student"}),
            remedies=Remedies(steps, upstream, asked_too, keeper or None),
            keeper=keeper or None,
            key=key,
            stale=lambda: stale or {},
        )

    listener = bound_socket("127.0.0.1", 0)
    with listening(create_app(make), listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def gateway(*steps: str, **settings: Any) -> Iterator[World]:
    """Run a gateway, its model server and its teacher; `settings` as for `door`."""
    model, teacher, stale = Model(), Model(), {"student": False}
    with ExitStack() as stack, ExitStack() as model_stack:
        address = stack.enter_context(private_address())
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(address.file))
        model_stack.enter_context(listening(model.app(), listener))
        above = bound_socket("127.0.0.1", 0)
        stack.enter_context(listening(teacher.app(), above))
        config = TeacherConfig(
            provider="openai_chat",
            model="big",
            base_url=f"http://127.0.0.1:{above.getsockname()[1]}/v1",
            terms="ours",
            max_tokens=16,
            price=Prices(input=1000, output=1000),
        )
        url = stack.enter_context(door(address, config, *steps, stale=stale, **settings))
        yield World(url, model, teacher, model_stack.close, stale)
