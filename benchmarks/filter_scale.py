"""Claim: 100,000 traces are filtered on two cores in minutes, in memory that stays bounded.

Traces of the home tool set are collected with the embedded teacher's script, repeated with other
closing words until there are enough, and stored. Then, each in a process of its own on the same
traces with two processes:

    map      `datasets.map` with what a script would check: tool exists, arguments parse, jsonschema
    checks   the same three checks as `distill` makes them, on the traces in the store
    filter   `distill filter`: every check, duplicates, pairs, split, all files

Processor time is that of the step and all its processes; on a machine that others use, too, it
says more than the clock. Memory is the largest sum over the process and its children (resident
set), sampled; what several of them share counts for each. `tenth` is the filter with a tenth of the
traces, to show how it grows.

    python benchmarks/filter_scale.py [--traces 100000] [--tasks 1000]

Prints a table; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import psutil
from filter_damage import ROOT, World, collect

from distill.config import load_config
from distill.matching import call_problem
from distill.toolsets import load_toolset
from distill.traces import Owed, Trace, TraceStore
from distill.types import AssistantMessage, ToolSet

CORES = 2
CONFIG = """
name: scale
toolset: {toolset}
tasks: {{count: {tasks}, seed: 7}}
teacher: {{provider: openai_chat, model: script, base_url: "http://127.0.0.1:1/v1", terms: Free.}}
"""
SAMPLE_S = 0.1


def traces_of(world: World, count: int) -> Iterator[Trace]:
    """Yield traces that differ in their closing words."""
    rng = random.Random(0)
    for number in range(count):
        trace = world.traces[number % len(world.traces)]
        words = " ".join(f"{rng.getrandbits(32):08x}" for _ in range(12))
        last = trace.messages[-1]
        assert isinstance(last, AssistantMessage)
        said = last.model_copy(update={"content": f"{last.content} Reference {words}."})
        sample = number // len(world.traces)
        yield trace.model_copy(
            update={
                "key": f"{trace.task.id}/{sample}",
                "sample": sample,
                "messages": (*trace.messages[:-1], said),
            }
        )


def prepare(folder: Path, world: World, count: int, tasks: int) -> Path:
    """Write a workspace with a full store, and the same traces as JSONL; return its config."""
    (folder / "configs").mkdir(parents=True)
    path = folder / "configs" / "scale.yaml"
    path.write_text(CONFIG.format(toolset=ROOT / "tools" / "home", tasks=tasks))
    traces = traces_of(world, count)
    with (
        TraceStore.open(load_config(path).store_url, create=True) as store,
        (folder / "traces.jsonl").open("w") as file,
    ):
        store.add_toolset(world.toolset)
        while part := list(islice(traces, 2000)):
            store.add_episodes([Owed(t.key, t.task.id, t.sample) for t in part])
            store.write(part, [], [])
            file.writelines(trace.model_dump_json() + "\n" for trace in part)
    return path


def run_filter(config: Path) -> None:
    """Filter the store."""
    from distill.filter import build_dataset

    report = build_dataset(load_config(config))
    print(report.kept)


def run_checks(config: Path) -> None:
    """Check the calls of the same traces, in order; keep what passes."""
    kept = 0
    context = get_context("spawn")
    with (
        TraceStore.open(load_config(config).store_url) as store,
        (config.parent.parent / "checked.jsonl").open("w") as file,
        ProcessPoolExecutor(CORES, context, _load_tools) as pool,
    ):
        waiting: deque[tuple[list[str], Future[list[bool]]]] = deque()
        texts = store.trace_texts()
        while True:
            if batch := list(islice(texts, 500)):
                waiting.append((batch, pool.submit(_passing, batch)))
            if not waiting:
                break
            if len(waiting) > 2 * CORES or not batch:
                done, verdicts = waiting.popleft()
                passed = [text for text, ok in zip(done, verdicts.result(), strict=True) if ok]
                file.writelines(f"{text}\n" for text in passed)
                kept += len(passed)
    print(kept)


_toolsets: list[ToolSet] = []


def _load_tools() -> None:
    _toolsets.append(load_toolset(ROOT / "tools" / "home").toolset)


def _passing(texts: list[str]) -> list[bool]:
    traces = (Trace.model_validate_json(text) for text in texts)
    return [not any(call_problem(c, _toolsets[0]) for c in trace.calls) for trace in traces]


def run_map(config: Path) -> None:
    """Check the same traces with `datasets`."""
    from datasets import load_dataset
    from jsonschema import Draft202012Validator

    from distill.toolsets.arguments import FORMATS

    tools = load_toolset(ROOT / "tools" / "home").toolset.tools
    validators = {
        tool.name: Draft202012Validator(tool.parameters, format_checker=FORMATS) for tool in tools
    }

    def check(row: dict[str, str]) -> dict[str, bool]:
        messages = json.loads(row["text"])["messages"]
        calls = (call for m in messages for call in m.get("tool_calls") or ())
        for call in calls:
            try:
                arguments = json.loads(call["arguments"])
            except ValueError:
                return {"ok": False}
            validator = validators.get(call["name"])
            if validator is None or next(validator.iter_errors(arguments), None):
                return {"ok": False}
        return {"ok": True}

    folder = config.parent.parent
    data = load_dataset(
        "text", data_files=str(folder / "traces.jsonl"), split="train", cache_dir=folder / "cache"
    )
    checked = data.map(check, num_proc=CORES)
    kept = checked.filter(lambda row: row["ok"], num_proc=CORES)
    kept.to_json(folder / "kept.jsonl")
    print(len(kept))


def measured(what: str, config: Path) -> dict[str, float]:
    """Run one step in a process of its own on two cores; return its time and memory."""
    started, before = time.perf_counter(), _cpu_s()
    command = [sys.executable, __file__, "--run", what, str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    own, peak = psutil.Process(process.pid), 0.0
    own.cpu_affinity(sorted(psutil.Process().cpu_affinity())[:CORES])
    while process.poll() is None:
        peak = max(peak, _resident(own))
        time.sleep(SAMPLE_S)
    seconds = time.perf_counter() - started
    assert process.stdout is not None
    kept = int(process.stdout.read().split()[-1])
    if process.returncode:
        raise SystemExit(f"{what} failed")
    cpu = round(_cpu_s() - before, 1)
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": cpu,
        "peak_mib": round(peak / 2**20),
        "kept": kept,
    }


def _cpu_s() -> float:
    """Return the processor time of all children that are over, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident(process: psutil.Process) -> float:
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=1000, help="different tasks among them")
    parser.add_argument("--run", nargs=2, metavar=("STEP", "CONFIG"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        step = {"filter": run_filter, "checks": run_checks, "map": run_map}[options.run[0]]
        step(Path(options.run[1]))
        return
    world = collect("home", options.tasks, 0)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        full = prepare(Path(name) / "full", world, options.traces, options.tasks)
        found["map"] = measured("map", full)
        found["checks"] = measured("checks", full)
        found["filter"] = measured("filter", full)
        tenth = prepare(Path(name) / "tenth", world, options.traces // 10, options.tasks)
        found["tenth"] = measured("filter", tenth)
    print(f"{options.traces} traces, {CORES} cores")
    columns = ("seconds", "cpu_seconds", "peak_mib", "kept")
    print(" " * 10 + "".join(column.replace("_", " ").rjust(13) for column in columns))
    for step, row in found.items():
        print(f"{step:10}" + "".join(str(row[column]).rjust(13) for column in columns))
    against = {
        f"{step}_to_map{suffix}": round(found[step][column] / found["map"][column], 2)
        for suffix, column in (("", "seconds"), ("_cpu", "cpu_seconds"))
        for step in ("checks", "filter")
    }
    rate = options.traces / found["filter"]["seconds"]
    print(", ".join(f"{name.replace('_', ' ')}: {ratio}" for name, ratio in against.items()))
    print(json.dumps({"traces": options.traces, "cores": CORES, **found, **against,
                      "traces_per_second": round(rate)}))  # fmt: skip


if __name__ == "__main__":
    main()
