"""The gateway's routes: chat completions, completions, models, health; nothing else exists.

Each answer to a chat request says who gave it: the body's `model`, and the headers

    x-distill-model    who answered: a served name, or the teacher's model
    x-distill-route    direct, retried or escalated
    x-distill-problem  code of what is wrong with it, when something is
    x-distill-stale    1 when an adapter's files have changed since they were loaded

A streamed answer's headers leave with its first words, so what is found later stands in its last
chunk. Keys are compared in constant time and never written anywhere.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from distill.chat import OBSERVE
from distill.endpoint import unless_gone
from distill.serve.gateway.check import find_problem
from distill.serve.gateway.exchange import Ask, Problem, read_ask
from distill.serve.gateway.keep import Keeper
from distill.serve.gateway.remedy import Answer, Remedies
from distill.serve.gateway.stream import Passage, event
from distill.serve.gateway.upstream import CHAT, Fault, Reply, Upstream, completion

LOG = logging.getLogger("distill.gateway")

LARGEST_BODY = 32 * 2**20
"""Bytes of a request."""


@dataclass(frozen=True)
class Gateway:
    """What the routes work with."""

    upstream: Upstream
    students: frozenset[str]
    """Served names whose unfit answers are mended and kept."""
    remedies: Remedies
    keeper: Keeper | None = None
    key: str | None = field(default=None, repr=False)
    """What clients must send; None: anything."""
    stale: Callable[[], Mapping[str, bool]] = dict
    """Served name -> whether its files have changed since they were loaded."""

    async def close(self) -> None:
        """Close every connection; write what is still to be kept."""
        await self.upstream.close()
        await self.remedies.close()
        if self.keeper is not None:
            await asyncio.to_thread(self.keeper.close)

    # --- chat ---------------------------------------------------------------------------------

    async def chat(self, request: Request) -> Response:
        """Answer a chat request."""
        raw = await _body(request)
        ask = read_ask(raw)
        if ask is None:
            raise HTTPException(400, "the body is not a JSON object")
        if OBSERVE in ask.body:
            raw = ask.raw()
        if ask.streams:
            return await self._streamed(request, ask, raw)
        return await unless_gone(request, self._whole(ask, raw))

    async def _whole(self, ask: Ask, raw: bytes) -> Response:
        try:
            reply = await self.upstream.post(CHAT, raw)
            if reply.status != 200 or not ask.offers_tools:
                return _relayed(reply, self._headers(ask, "direct"))
            answer = completion(reply)
        except Fault as fault:
            mended = await self._mend(ask, Problem(fault.code, str(fault)), None)
            return self._sent(ask, mended) if isinstance(mended, Answer) else _failed(fault, mended)
        problem = find_problem(ask, answer["choices"])
        if problem is None:
            self._follow(ask, answer["choices"])
            return _relayed(reply, self._headers(ask, "direct"))
        mended = await self._mend(ask, problem, answer)
        if isinstance(mended, Problem):
            mended = Answer(answer, "direct", mended)
        return self._sent(ask, mended)

    async def _streamed(self, request: Request, ask: Ask, raw: bytes) -> Response:
        stack = AsyncExitStack()
        passage, headers = Passage(ask), self._headers(ask, "direct")
        try:
            reply = await stack.enter_async_context(self.upstream.stream(CHAT, raw))
            if reply.status != 200:
                await stack.aclose()
                return _relayed(reply, headers)
            events = self._events(ask, passage, self.upstream.lines(reply), headers)
            first = await unless_gone(request, anext(events))
        except Fault as fault:
            await stack.aclose()
            mended = await self._mend(ask, Problem(fault.code, str(fault)), None)
            if isinstance(mended, Problem):
                return _failed(fault, mended)
            if (whole := passage.replacement(mended.body)) is None:
                return _failed(fault)
            headers |= self._headers(ask, mended.route, mended.body)
            return Response(b"".join(whole), headers=headers, media_type="text/event-stream")
        except BaseException:
            await stack.aclose()
            raise
        if passage.ended:  # calls, mostly: nothing could leave before, and all leaves at once
            await events.aclose()
            await stack.aclose()
            return Response(first, headers=headers, media_type="text/event-stream")
        body = _rest(first, events, stack)
        return StreamingResponse(body, headers=headers, media_type="text/event-stream")

    async def _events(
        self, ask: Ask, passage: Passage, lines: AsyncIterator[bytes], headers: dict[str, str]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events of an answer; `headers` count until the first one.

        Raises:
            Fault: Before the first event; later ones are told in the stream.
        """
        begun = False
        try:
            async for words in passage.words(lines):
                begun = True
                yield words
        except Fault as fault:
            if not begun:
                raise
            LOG.warning("%s: %s: %s", ask.model, fault.code, fault)
            yield event(_error(str(fault), fault.code))
            return
        problem = passage.problem()
        if problem is None:
            self._follow(ask, passage.choices)
            yield b"".join(passage.rest(None))
            return
        mended = await self._mend(ask, problem, {"choices": passage.choices})
        if isinstance(mended, Problem):
            problem, replaced = mended, None
        elif (replaced := passage.replacement(mended.body)) is not None:
            headers |= self._headers(ask, mended.route, mended.body)
        if replaced is None:
            headers["x-distill-problem"] = problem.code
        yield b"".join(passage.rest(problem) if replaced is None else replaced)

    async def _mend(
        self, ask: Ask, problem: Problem, answer: Mapping[str, Any] | None
    ) -> Answer | Problem:
        """Keep an unfit answer and return a fit one, or the problem when there is none."""
        LOG.warning("%s: %s: %s", ask.model, problem.code, problem.detail)
        if ask.observed or ask.model not in self.students:
            return problem
        if self.keeper is not None and answer is not None:  # a server that is down teaches nothing
            self.keeper.failed(ask, problem, answer)
        mended = await self.remedies.mend(ask, problem) if ask.single else problem
        if isinstance(mended, Answer) and mended.route == "retried":
            self._follow(ask, mended.body["choices"])
        return mended

    def _follow(self, ask: Ask, choices: Sequence[Mapping[str, Any]]) -> None:
        """Keep a fit answer of the student that goes on with the teacher's."""
        kept = ask.model in self.students and ask.single and not ask.observed
        if self.keeper is not None and kept:
            self.keeper.answered(ask, choices)

    def _sent(self, ask: Ask, answer: Answer) -> Response:
        headers = self._headers(ask, answer.route, answer.body)
        body = dict(answer.body)
        if answer.problem is not None:
            headers["x-distill-problem"] = answer.problem.code
            body["distill"] = answer.problem._asdict()
        return JSONResponse(body, headers=headers)

    def _headers(
        self, ask: Ask, route: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        model = str(body.get("model")) if body else ask.model
        headers = {"x-distill-model": _header(model), "x-distill-route": route}
        if self.stale().get(ask.model):
            headers["x-distill-stale"] = "1"
        return headers

    # --- the other routes ---------------------------------------------------------------------

    async def complete(self, request: Request) -> Response:
        """Pass a text completion on; it has no calls to look at."""
        raw = await _body(request)
        ask = read_ask(raw)
        if ask is None:
            raise HTTPException(400, "the body is not a JSON object")
        headers = self._headers(ask, "direct")
        if not ask.streams:
            reply = await unless_gone(request, self.upstream.post("/v1/completions", raw))
            return _relayed(reply, headers)
        stack = AsyncExitStack()
        reply = await stack.enter_async_context(self.upstream.stream("/v1/completions", raw))
        if reply.status != 200:
            await stack.aclose()
            return _relayed(reply, headers)
        body = _rest(b"", self.upstream.pieces(reply), stack)
        return StreamingResponse(body, headers=headers, media_type="text/event-stream")

    async def models(self, request: Request) -> Response:
        """List the models, or one of them."""
        reply = await self.upstream.get("/v1/models")
        if reply.status != 200:
            return _relayed(reply, {})
        listed, stale = json.loads(reply.content), self.stale()
        for model in listed["data"]:
            model["stale"] = stale.get(model["id"], False)
        name = request.path_params.get("name")
        if name is None:
            return JSONResponse(listed)
        found = [model for model in listed["data"] if model["id"] == name]
        if not found:
            raise HTTPException(404, f"no model {name!r}")
        return JSONResponse(found[0])

    async def health(self, request: Request) -> Response:
        """Say whether vLLM is well; needs no key."""
        reply = await self.upstream.get("/health")
        return Response(status_code=reply.status)


Handler = Callable[[Gateway, Request], Awaitable[Response]]


def create_app(make: Callable[[], Gateway]) -> Starlette:
    """Return the application.

    Args:
        make: Makes the gateway, inside the event loop it will live in.
    """
    opened: list[Gateway] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        opened.append(make())
        yield
        await opened.pop().close()

    def route(handler: Handler, *, open_: bool = False) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            gateway = opened[0]
            if not open_ and not _admitted(gateway.key, request):
                return _refused(401, "the API key is missing or wrong", "invalid_api_key")
            try:
                return await handler(gateway, request)
            except Fault as fault:
                return _failed(fault)

        return endpoint

    routes = [
        Route("/v1/chat/completions", route(Gateway.chat), methods=["POST"]),
        Route("/v1/completions", route(Gateway.complete), methods=["POST"]),
        Route("/v1/models", route(Gateway.models), methods=["GET"]),
        Route("/v1/models/{name:path}", route(Gateway.models), methods=["GET"]),
        Route("/health", route(Gateway.health, open_=True), methods=["GET"]),
    ]
    return Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _http_error}
    )


def _admitted(key: str | None, request: Request) -> bool:
    if key is None:
        return True
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and secrets.compare_digest(given.encode(), key.encode())


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            raise HTTPException(413, f"the body has more than {LARGEST_BODY} bytes")
        parts.append(part)
    return b"".join(parts)


async def _rest(
    first: bytes, events: AsyncIterator[bytes], stack: AsyncExitStack
) -> AsyncIterator[bytes]:
    async with stack:
        yield first
        async for part in events:
            yield part


def _relayed(reply: Reply, headers: Mapping[str, str]) -> Response:
    return Response(reply.content, reply.status, dict(headers), media_type=reply.kind)


def _failed(fault: Fault, problem: Problem | None = None) -> Response:
    LOG.warning("%s: %s", fault.code, fault)
    return _refused(fault.status, problem.detail if problem else str(fault), fault.code)


def _refused(status: int, message: str, code: str) -> Response:
    return JSONResponse(_error(message, code), status)


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "distill", "param": None, "code": code}}


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _refused(error.status_code, error.detail, "bad_request")


def _header(text: str) -> str:
    return json.dumps(text)[1:-1]  # ASCII, no line breaks
