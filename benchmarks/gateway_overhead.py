"""Claim: the gateway adds less than 2 ms at the median to a request with tools.

One process plays the model: it answers at once, with a tool call, over TCP (asked directly) and
over the socket file behind the gateway, which runs in a process of its own. Requests go out one at
a time and in blocks, direct and through the gateway in turn, so that whatever else the machine does
hits both. The request is one of an agent with twenty tools; its answer is parsed and its call held
against the schema. What the gateway's process computes per request is read beside it, and hardly
depends on what else runs. Run it on an idle machine:

    python benchmarks/gateway_overhead.py [--requests 1000] [--tools 20]

Prints a table; the last line is one JSON object, times in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from distill.serve.address import Address, private_address
from distill.serve.gateway.app import Gateway, create_app
from distill.endpoint import bound_socket
from distill.serve.gateway.remedy import Remedies
from distill.serve.gateway.upstream import Upstream

BLOCK = 25
"""Requests in a row of one kind."""

CALL = {"name": "tool_3", "arguments": json.dumps({"place": "Oslo", "days": 3, "unit": "celsius"})}
MESSAGE = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_1", "type": "function", "function": CALL}],
}
HEAD = {"id": "x", "created": 1, "model": "student"}
WHOLE = json.dumps(
    HEAD
    | {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "tool_calls"}],
    }
).encode()


def stream() -> bytes:
    """Return the same call as vLLM streams it: a few characters a chunk."""
    arguments = CALL["arguments"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas.append(
        {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": CALL["name"]}}]}
    )
    deltas += [
        {"tool_calls": [{"index": 0, "function": {"arguments": arguments[n : n + 4]}}]}
        for n in range(0, len(arguments), 4)
    ]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    events = [json.dumps(HEAD | {"choices": [choice]}) for choice in choices]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()


def body(tools: int) -> dict[str, Any]:
    """Return a request of an agent."""
    properties = {
        "place": {"type": "string", "description": "Name of the place. " * 4},
        "days": {"type": "integer", "minimum": 1, "maximum": 14, "description": "How many. " * 6},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    }
    schema = {"type": "object", "properties": properties, "required": ["place"]}
    functions = [
        {"name": f"tool_{n}", "description": "What it does. " * 10, "parameters": schema}
        for n in range(tools)
    ]
    messages = [{"role": "user", "content": "What is the weather in Oslo? " * 20}] * 4
    return {
        "model": "student",
        "messages": messages,
        "tools": [{"type": "function", "function": function} for function in functions],
    }


def play_model(listeners: list[socket.socket]) -> None:
    """Answer every request at once."""
    streamed = stream()

    async def chat(request: Request) -> Response:
        raw = await request.body()
        if b'"stream": true' in raw or b'"stream":true' in raw:
            return Response(streamed, media_type="text/event-stream")
        return Response(WHOLE, media_type="application/json")

    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    serve(app, listeners)


def play_gateway(address: Address, listeners: list[socket.socket]) -> None:
    """Stand in front of the model, as `distill serve` does."""

    def make() -> Gateway:
        upstream = Upstream(address, 60)
        return Gateway(upstream, frozenset({"student"}), Remedies((), upstream, None), key="k")

    serve(create_app(make), listeners)


def serve(app: Starlette, listeners: list[socket.socket]) -> None:
    config = uvicorn.Config(app, log_level="error", access_log=False)
    uvicorn.Server(config).run(listeners)


@contextmanager
def running(target: Callable[..., None], *arguments: Any):
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.terminate()
        process.join()


def sequential(urls: dict[str, str], content: bytes, requests: int) -> dict[str, list[float]]:
    """Return the milliseconds of each request, by where it went."""
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
    taken: dict[str, list[float]] = {name: [] for name in urls}
    with httpx2.Client(headers=headers, timeout=60) as client:
        for _ in range(0, requests + BLOCK, BLOCK):
            for name, url in urls.items():
                for _ in range(BLOCK):
                    started = time.perf_counter()
                    reply = client.post(f"{url}/v1/chat/completions", content=content)
                    taken[name].append(1000 * (time.perf_counter() - started))
                    assert reply.status_code == 200 and b"call_1" in reply.content, reply.text
    return {name: times[BLOCK:] for name, times in taken.items()}  # the first block warms up


def concurrent(url: str, content: bytes, requests: int, clients: int) -> float:
    """Return the requests per second of several clients at once."""
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}

    def ask() -> None:
        with httpx2.Client(headers=headers, timeout=60) as client:
            for _ in range(requests // clients):
                client.post(f"{url}/v1/chat/completions", content=content).raise_for_status()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return requests / (time.perf_counter() - started)


def cpu_s(pid: int) -> float:
    """Return the seconds a process has computed so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait(url: str) -> None:
    """Return once something answers there."""
    for _ in range(200):
        try:
            httpx2.get(url, timeout=1)
            return
        except httpx2.HTTPError:
            time.sleep(0.05)
    raise SystemExit(f"nothing answers at {url}")


def quantile(times: list[float], q: float) -> float:
    return sorted(times)[min(len(times) - 1, int(q * len(times)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--tools", type=int, default=20)
    options = parser.parse_args()
    asked = body(options.tools)
    result: dict[str, Any] = {"requests": options.requests, "tools": options.tools}
    with ExitStack() as stack:
        address = stack.enter_context(private_address())
        inner = socket.socket(socket.AF_UNIX)
        inner.bind(str(address.file))
        direct, door = bound_socket("127.0.0.1", 0), bound_socket("127.0.0.1", 0)
        stack.enter_context(running(play_model, [inner, direct]))
        gateway = stack.enter_context(running(play_gateway, address, [door]))
        urls = {
            "direct": f"http://127.0.0.1:{direct.getsockname()[1]}",
            "gateway": f"http://127.0.0.1:{door.getsockname()[1]}",
        }
        for url in urls.values():
            wait(url)
        print(
            f"{'':18}{'direct p50':>12}{'gateway p50':>13}{'added p50':>11}{'added p95':>11}"
            f"{'computing':>11}  ms"
        )
        for name, more in (("whole", {}), ("streamed", {"stream": True})):
            content = json.dumps(asked | more).encode()
            before = cpu_s(gateway.pid)
            times = sequential(urls, content, options.requests)
            cpu = 1000 * (cpu_s(gateway.pid) - before) / (len(times["gateway"]) + BLOCK)
            p50 = {key: statistics.median(values) for key, values in times.items()}
            p95 = {key: quantile(values, 0.95) for key, values in times.items()}
            added = {"p50": p50["gateway"] - p50["direct"], "p95": p95["gateway"] - p95["direct"]}
            print(
                f"{name:18}{p50['direct']:12.2f}{p50['gateway']:13.2f}"
                f"{added['p50']:11.2f}{added['p95']:11.2f}{cpu:11.2f}"
            )
            result[f"{name}_added_ms_p50"] = round(added["p50"], 3)
            result[f"{name}_added_ms_p95"] = round(added["p95"], 3)
            result[f"{name}_direct_ms_p50"] = round(p50["direct"], 3)
            result[f"{name}_cpu_ms"] = round(cpu, 3)
        rate = concurrent(urls["gateway"], json.dumps(asked).encode(), options.requests, 16)
        print(f"16 clients at once: {rate:.0f} requests/s through the gateway")
        result["gateway_requests_per_s_16_clients"] = round(rate)
        result["request_bytes"] = len(json.dumps(asked))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
