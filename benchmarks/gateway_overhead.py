"""Claim: the gateway adds less than 2 ms at the median to a request with tools.

One process plays the model: it answers at once, with a tool call, over TCP (asked directly) and
over the socket file behind the gateway, which runs in a process of its own; so does `distill
record`, before the same TCP port. In every round the model is asked directly and through one of
them, first this way round, then that, and what is added is taken round by round: whatever else the
machine does hits both of a pair, and the median of the differences, given with its 95% interval, is
not moved by the rounds in which it hit one of them. The agent of a recorder waits a little after
each answer (`--pause`), as agents do, while that answer is stored.

The request is one of an agent with twenty tools; its answer is parsed and its call held against the
schema, or stored as a trace. What the process computes per request is read beside it, and hardly
depends on what else runs.

    python benchmarks/gateway_overhead.py [--rounds 1000] [--tools 20] [--pause 0.02]

Prints a table; the last line is one JSON object, times in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import tempfile
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

from distill.config import Config
from distill.endpoint import bound_socket
from distill.record import Recorder, Upstream
from distill.record import create_app as recording
from distill.serve.address import Address, private_address
from distill.serve.gateway.app import Gateway, create_app
from distill.serve.gateway.remedy import Remedies
from distill.serve.gateway.upstream import Upstream as Vllm
from distill.toolsets.sources.foreign import read_tool
from distill.traces import TraceStore
from distill.types import ToolSet

WARM = 25
"""Rounds before it counts."""
MARK = b"Oslo"
"""Stands in every request, which is made a conversation of its own there."""

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
        upstream = Vllm(address, 60)
        return Gateway(upstream, frozenset({"student"}), Remedies((), upstream, None), key="k")

    serve(create_app(make), listeners)


def play_recorder(
    provider: str, tools: list[dict[str, Any]], listeners: list[socket.socket]
) -> None:
    """Stand in front of the model, as `distill record` does."""
    with tempfile.TemporaryDirectory() as folder:
        teacher = {"provider": "openai_chat", "model": "student", "base_url": f"{provider}/v1"}
        named = {"name": "b", "toolset": "none", "teacher": teacher}
        config = Config.model_validate(named | {"collect": {"store": f"{folder}/traces.db"}})
        toolset = ToolSet(name="b", tools=tuple(read_tool(tool) for tool in tools))
        with TraceStore.open(config.store_url, create=True) as store:
            recorder = Recorder(config, toolset, store)
            serve(recording(lambda: Upstream(config.teacher), recorder), listeners)


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


def paired(
    direct: str, way: str, content: bytes, rounds: int, pause_s: float
) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each direct request, and of the one beside it."""
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
    taken: dict[str, list[float]] = {direct: [], way: []}
    with httpx2.Client(headers=headers, timeout=60) as client:
        for number in range(WARM + rounds):
            sent = content.replace(MARK, MARK + b" %d" % number)
            for url in (direct, way) if number % 2 else (way, direct):
                started = time.perf_counter()
                reply = client.post(f"{url}/v1/chat/completions", content=sent)
                taken[url].append(1000 * (time.perf_counter() - started))
                assert reply.status_code == 200 and b"call_1" in reply.content, reply.text
                time.sleep(pause_s)
    return taken[direct][WARM:], taken[way][WARM:]


def median_interval(values: list[float]) -> tuple[float, float]:
    """Return the 95% interval of the median, by order statistics: no assumption on the values."""
    ordered, half = sorted(values), 0.98 * len(values) ** 0.5
    low, high = int(len(values) / 2 - half), int(len(values) / 2 + half)
    return ordered[max(0, low)], ordered[min(len(values) - 1, high)]


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
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--tools", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds, recorder only")
    options = parser.parse_args()
    asked = body(options.tools)
    result: dict[str, Any] = {"rounds": options.rounds, "tools": options.tools}
    with ExitStack() as stack:
        address = stack.enter_context(private_address())
        inner = socket.socket(socket.AF_UNIX)
        inner.bind(str(address.file))
        doors = {name: bound_socket("127.0.0.1", 0) for name in ("direct", "gateway", "record")}
        urls = {n: f"http://127.0.0.1:{door.getsockname()[1]}" for n, door in doors.items()}
        stack.enter_context(running(play_model, [inner, doors["direct"]]))
        wait(urls["direct"])
        processes = {
            "gateway": stack.enter_context(running(play_gateway, address, [doors["gateway"]])),
            "record": stack.enter_context(
                running(play_recorder, urls["direct"], asked["tools"], [doors["record"]])
            ),
        }
        for url in urls.values():
            wait(url)
        print(
            f"{'':20}{'direct p50':>12}{'p50':>8}{'added p50':>11}{'95%':>16}"
            f"{'added p95':>11}{'computing':>11}  ms"
        )
        for kind, more in (("whole", {}), ("streamed", {"stream": True})):
            content = json.dumps(asked | more).encode()
            for way, process in processes.items():
                pause, before = options.pause if way == "record" else 0.0, cpu_s(process.pid)
                direct, times = paired(urls["direct"], urls[way], content, options.rounds, pause)
                cpu = 1000 * (cpu_s(process.pid) - before) / (options.rounds + WARM)
                report(result, way, kind, times, direct, cpu)
        rate = concurrent(urls["gateway"], json.dumps(asked).encode(), options.rounds, 16)
        print(f"16 clients at once: {rate:.0f} requests/s through the gateway")
        result["gateway_requests_per_s_16_clients"] = round(rate)
        result["request_bytes"] = len(json.dumps(asked))
    result["load_average"] = round(os.getloadavg()[0], 1)
    print(json.dumps(result))


def report(
    result: dict[str, Any],
    way: str,
    kind: str,
    times: list[float],
    direct: list[float],
    cpu: float,
) -> None:
    """Print a row, and note it."""
    added = [a - b for a, b in zip(times, direct, strict=True)]
    p50, p95, interval = statistics.median(added), quantile(added, 0.95), median_interval(added)
    between = f"{interval[0]:.2f} to {interval[1]:.2f}"
    print(
        f"{way + ', ' + kind:20}{statistics.median(direct):12.2f}{statistics.median(times):8.2f}"
        f"{p50:11.2f}{between:>16}{p95:11.2f}{cpu:11.2f}"
    )
    values = {"added_ms_p50": p50, "added_ms_p95": p95, "cpu_ms": cpu}
    values["direct_ms_p50"] = statistics.median(direct)
    result |= {f"{way}_{kind}_{name}": round(value, 3) for name, value in values.items()}
    result[f"{way}_{kind}_added_ms_p50_95"] = [round(value, 3) for value in interval]


if __name__ == "__main__":
    main()
