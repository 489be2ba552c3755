"""Claim: behind the gate no call is lost at a rate limit, and the limit is used up.

Two clients ask the same questions of two equal `llmock` servers with a quota, at the same time:

    ours   `paced(AnthropicTeacher)`: one gate, the SDK's own retries off
    sdk    `anthropic.AsyncAnthropic` as it comes, with its own retries

Both keep `--in-flight` calls going. The quota's initial allowance is used up first, so that the
best anybody can do is `rpm` answers a minute. Every tenth of the time a burst of faults comes over
both: 429 with Retry-After, 529, connections that are closed before an answer, answers cut in the
middle (a proxy before each server does the last two). An answer that is cut has used its quota.

    python benchmarks/collect_pacing.py [--rpm 120 600] [--seconds 60] [--in-flight 64]

`lost`: questions without an answer at the end. `rate_share`: what the server let through, of what
its quota allowed until the last answer, or in `--seconds` when a client had given up before that.
`passed`: the server's own verdict of its client. Prints a table; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2

from distill.config import TeacherConfig
from distill.teachers import TeacherError, create_teacher, paced
from distill.types import UserMessage

MODEL = "claude-haiku-4-5"
BURST = 12
"""Faults of one kind in a burst; an SDK gives a call up after three."""
BURSTS = 10


class Proxy:
    """A TCP proxy that cuts the next answers when told to."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.close = 0
        self.cut = 0
        self.cuts_done = 0

    async def serve(self) -> asyncio.Server:
        """Listen on a free port."""
        return await asyncio.start_server(self._connection, "127.0.0.1", 0)

    async def _connection(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        server, request = await asyncio.open_connection("127.0.0.1", self.target)
        forward = asyncio.create_task(self._forward(client, request))
        with suppress(ConnectionError, asyncio.CancelledError):
            while data := await server.read(65536):
                ours = data.startswith(b"HTTP/1.1 200")
                if ours and self.close:
                    self.close -= 1
                    self.cuts_done += 1
                    break
                if ours and self.cut:
                    self.cut -= 1
                    self.cuts_done += 1
                    answer.write(data[: len(data) - 40])
                    await answer.drain()
                    break
                answer.write(data)
                await answer.drain()
        forward.cancel()
        answer.close()
        request.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@dataclass
class Side:
    """One client's server, its proxy, and how to ask."""

    url: str
    admin: httpx2.AsyncClient
    proxy: Proxy

    async def burst(self, number: int) -> None:
        """Let one kind of fault come over the next calls, in turn."""
        match number % 4:
            case 0:
                await self._fail(429, retry_after=1.0)
            case 1:
                await self._fail(529, retry_after=0.5)
            case 2:
                self.proxy.close = BURST
            case 3:
                self.proxy.cut = BURST

    async def _fail(self, status: int, retry_after: float) -> None:
        fault = {"type": "fail", "status": status, "retry_after": retry_after, "times": BURST}
        await self.admin.post("/_llmock/scenario", json={"behaviors": [fault]})


@asynccontextmanager
async def side(rpm: int) -> AsyncIterator[Side]:
    """Start a server with its proxy and use up its initial allowance."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from llmock.cli import app; app()", "serve"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--rpm", str(rpm)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    proxy = Proxy(port)
    server = await proxy.serve()
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as admin:
            await _ready(admin)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/anthropic"
            yield Side(url, admin, proxy)
    finally:
        server.close()
        process.terminate()
        process.wait(10)


async def _ready(admin: httpx2.AsyncClient) -> None:
    for _ in range(600):
        with suppress(httpx2.TransportError):
            if (await admin.get("/health")).status_code == 200:
                return
        await asyncio.sleep(0.1)
    raise RuntimeError("llmock did not start")


async def use_up(side: Side) -> int:
    """Spend the quota's initial allowance without being refused; return the requests it took."""
    body = {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "x"}]}
    headers = {"authorization": "Bearer none", "anthropic-version": "2023-06-01"}
    for sent in itertools.count(1):
        answer = await side.admin.post("/anthropic/v1/messages", json=body, headers=headers)
        if answer.headers["anthropic-ratelimit-requests-remaining"] == "0":
            return sent
    raise AssertionError("unreachable")


Ask = Callable[[int], Awaitable[bool]]


@asynccontextmanager
async def ours(url: str, in_flight: int) -> AsyncIterator[Ask]:
    config = TeacherConfig(provider="anthropic", model=MODEL, base_url=url, max_tokens=16)
    teacher = paced(create_teacher(config), in_flight)

    async def ask(number: int) -> bool:
        try:
            await teacher.complete((UserMessage(content=f"question {number}"),), ())
        except TeacherError:
            return False
        return True

    yield ask
    await teacher.close()


@asynccontextmanager
async def sdk(url: str, in_flight: int) -> AsyncIterator[Ask]:
    client = anthropic.AsyncAnthropic(base_url=url, api_key="none")

    async def ask(number: int) -> bool:
        message = {"role": "user", "content": f"question {number}"}
        try:
            await client.messages.create(model=MODEL, max_tokens=16, messages=[message])
        except anthropic.APIError:
            return False
        return True

    yield ask
    await client.close()


async def measure(client: Any, rpm: int, seconds: float, in_flight: int) -> dict[str, Any]:
    """Ask as many questions as the quota allows in `seconds`."""
    questions = iter(range(round(rpm * seconds / 60)))
    answered = lost = 0
    async with side(rpm) as server, client(server.url, in_flight) as ask:
        before = await use_up(server)
        start = time.monotonic()

        async def work() -> None:
            nonlocal answered, lost
            for number in questions:
                ok = await ask(number)
                answered, lost = answered + ok, lost + (not ok)

        bursts = asyncio.create_task(faults(server, seconds))
        await asyncio.gather(*(work() for _ in range(in_flight)))
        elapsed = time.monotonic() - start
        bursts.cancel()
        verdict = (await server.admin.get("/_llmock/verdict")).json()
        admitted = answered + server.proxy.cuts_done
    return {
        "lost": lost,
        "rate_share": round(admitted / (rpm * max(elapsed, seconds) / 60), 4),
        "answered": answered,
        "attempts": verdict["attempts"] - before,
        "seconds": round(elapsed, 1),
        "passed": verdict["passed"],
        "findings": sorted({finding["code"] for finding in verdict["findings"]}),
    }


async def faults(server: Side, seconds: float) -> None:
    for number in range(BURSTS - 1):
        await asyncio.sleep(seconds / BURSTS)
        await server.burst(number)


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rpm", type=int, nargs="+", default=[120, 600])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--in-flight", type=int, default=64)
    options = parser.parse_args()
    print(f"{'rpm':>5} {'client':<6} {'questions':>9} {'lost':>5} {'rate share':>10}  verdict")
    runs = []
    for rpm in options.rpm:
        results = await asyncio.gather(
            *(measure(client, rpm, options.seconds, options.in_flight) for client in (ours, sdk))
        )
        run = {"rpm": rpm, **dict(zip(("ours", "sdk"), results, strict=True))}
        runs.append(run)
        for name in ("ours", "sdk"):
            row = run[name]
            words = "clean" if not row["findings"] else ", ".join(row["findings"])
            print(
                f"{rpm:>5} {name:<6} {row['answered'] + row['lost']:>9} {row['lost']:>5} "
                f"{row['rate_share']:>10.1%}  {words}"
            )
    print(json.dumps({"runs": runs}))


if __name__ == "__main__":
    asyncio.run(main())
