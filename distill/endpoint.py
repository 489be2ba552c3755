"""What the HTTP servers of several stages share: a socket, a server, a client that leaves.

uvicorn runs in a thread, up before the block and down after it. Routes, keys and what is answered
are each stage's own.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request

from distill.errors import ServeError

LOOPBACK = ("127.0.0.1", "localhost", "::1")

READY_TIMEOUT_S = 30.0
GRACE_S = 5
"""How long answers under way may take once the end was asked for."""

T = TypeVar("T")


def bound_socket(host: str, port: int, option: str = "--set serve.port=PORT") -> socket.socket:
    """Return a socket that is bound, so that nobody else takes the port.

    Args:
        host: Address to listen on.
        port: Port; 0 picks a free one.
        option: How a user names another port.

    Raises:
        ServeError: The port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise ServeError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what runs there or pass "
            f"{option}"
        ) from error
    return made


@contextmanager
def listening(
    app: Starlette, sock: socket.socket, *, grace_s: int = GRACE_S, **settings: Any
) -> Iterator[None]:
    """Serve an application on a bound socket within the block.

    A Ctrl-C while it waits for the answers under way drops them.

    Args:
        app: The application.
        sock: What `bound_socket` returned.
        grace_s: How long answers under way may take after the block.
        settings: Further settings of uvicorn.

    Raises:
        ServeError: It does not come up.
    """
    settings = {"log_level": "error"} | settings
    config = uvicorn.Config(
        app, access_log=False, timeout_graceful_shutdown=grace_s, lifespan="on", **settings
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, args=([sock],), name="distill-endpoint", daemon=True
    )
    thread.start()
    try:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise ServeError("the endpoint did not come up; its reason stands above")
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        try:
            thread.join(grace_s + 5)
        except KeyboardInterrupt:
            server.force_exit = True
            thread.join(GRACE_S)
            raise


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Do the work unless the client leaves: whoever is asked on its behalf need not go on.

    Raises:
        HTTPException: The client has left (499).
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise HTTPException(499, "the client has left")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
