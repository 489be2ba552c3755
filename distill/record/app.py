"""The endpoint: every path is passed on, and what comes back is passed back as it arrives.

A stream that the provider breaks off is broken off towards the agent too, and an agent that leaves
has its request ended at the provider, as if nothing stood between them.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import httpx2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from distill.endpoint import unless_gone
from distill.record.recorder import Exchange, Recorder
from distill.record.upstream import Upstream, passed_back
from distill.record.wires import wire_of

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create_app(
    make: Callable[[], Upstream], recorder: Recorder, *, spends: bool = False
) -> Starlette:
    """Return the application.

    Args:
        make: Makes the way to the provider, inside the event loop it will live in.
        recorder: Told what passes.
        spends: Whether requests go out with a key of ours. Web pages are then refused: any page in
            a browser on this machine could spend it.
    """
    opened: list[Upstream] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        opened.append(make())
        yield
        await opened.pop().close()

    async def endpoint(request: Request) -> Response:
        if spends and "origin" in request.headers:
            return _refused(403, "requests of web pages are not passed on with the config's key")
        body = await request.body()
        try:
            return await _pass(opened[0], recorder, request, body)
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
            fault = f"{opened[0].root} cannot be reached: {reason}"
            recorder.counts.unreached += 1
            recorder.counts.fault = fault
            return _refused(502, f"distill record: {fault}")
        except HTTPException as error:  # the agent has left; nobody reads this
            return _refused(error.status_code, error.detail)

    route = Route("/{path:path}", endpoint, methods=METHODS)
    return Starlette(routes=[route], lifespan=lifespan)


async def _pass(upstream: Upstream, recorder: Recorder, request: Request, body: bytes) -> Response:
    started = time.monotonic()
    path, query = request.scope["raw_path"].decode(), request.scope["query_string"].decode()
    path = path.partition("?")[0]
    sent = upstream.send(request.method, path, query, request.headers.raw, body)
    reply = await unless_gone(request, sent)
    wire = wire_of(path) if request.method == "POST" else None
    exchange = Exchange(wire, body, started) if wire else None
    return _Passing(reply, recorder, exchange)


class _Passing(StreamingResponse):
    """An answer on its way back."""

    def __init__(
        self, reply: httpx2.Response, recorder: Recorder, exchange: Exchange | None
    ) -> None:
        super().__init__(self._pieces(), reply.status_code)
        self.raw_headers = passed_back(reply.headers.raw)
        self._reply = reply
        self._recorder = recorder
        self._exchange = exchange
        self._parts: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and tell the recorder what was sent."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._reply.aclose()
            if self._exchange is not None:
                self._tell(self._exchange)

    async def _pieces(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._reply.aiter_raw():
                if self._exchange is not None:
                    self._parts.append(part)
                yield part
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
            self._recorder.counts.fault = f"the provider broke off an answer: {reason}"
            raise  # so that the agent's connection breaks off, too

    def _tell(self, exchange: Exchange) -> None:
        exchange.status = self._reply.status_code
        exchange.headers = dict(self._reply.headers)
        exchange.content = b"".join(self._parts)
        exchange.latency_s = time.monotonic() - exchange.started
        self._recorder.take(exchange)


def _refused(status: int, message: str) -> Response:
    body = {"error": {"message": message, "type": "distill", "param": None, "code": None}}
    return JSONResponse(body, status)
