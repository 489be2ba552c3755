"""Question: what does a student gain from filtered traces against the raw ones?

Both learn from the same store of the embedded teacher, which errs in about one task of nine, and
from the same families of tasks; both start from the embedded student, with the same settings and
the same number of optimizer steps, and keep their last weights:

    filtered   what `distill filter` writes
    raw        every finished trace as it is; those whose calls are not JSON cannot be rendered

Then base and students answer the same held-out cases, with the tools really run (vLLM, `distill
eval`). Every step is the public command in a process of its own and resumes where it stopped, so a
killed run costs little. Without a store, collect one first: `distill demo` leaves it.

    python benchmarks/filtered_vs_raw.py [--store traces/demo.db] [--steps N] [--cases N]

Prints a table; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.config import Config, load_config
from distill.dataset import (
    CASES,
    INFO,
    TRAIN,
    VALIDATION,
    dataset_hash,
    example_to_row,
    read_info,
    write_rows,
)
from distill.evaluate.comparison import Pair, compare_pairs
from distill.filter import build_dataset, split_families
from distill.filter.examples import plain_message
from distill.toolsets import configured_tasks, load_toolset
from distill.traces import Trace, TraceStore
from distill.types import AssistantMessage, Example, Outcome, ToolSet

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "demo.yaml"
ARMS = ("filtered", "raw")
SHARES = ("call_accuracy", "tool_accuracy", "argument_accuracy", "schema_validity", "over_call")


def settings(arm: str, store: Path, *more: str) -> list[str]:
    """Return the `--set` overrides of one arm."""
    return [
        f"name=vs-{arm}",
        f"collect.store={store}",
        "train.evals=0",
        "eval.teacher=none",
        *more,
    ]


def raw_rows(config: Config, toolset: ToolSet) -> Iterator[Example | None]:
    """Yield the finished traces of the training families; None for one that nobody can render."""
    shares = config.filter.split
    wanted = {"train": shares.train, "validation": shares.validation, "test": shares.test}
    with TraceStore.open(config.store_url) as store:
        tasks = {t.id: t for t in configured_tasks(config, load_toolset(config.toolset_dir))}
        others = [one.task for one in store.traces() if tasks.get(one.task.id) != one.task]
        split_of = split_families([*tasks.values(), *others], wanted, shares.seed)
        for trace in store.traces(Outcome.COMPLETED):
            if split_of[trace.task.family] == "train":
                yield _example(trace, toolset)


def _example(trace: Trace, toolset: ToolSet) -> Example | None:
    try:
        messages = tuple(plain_message(message) for message in trace.messages)
    except ValueError:
        return None
    spoken = sum(isinstance(message, AssistantMessage) for message in messages)
    meta = {"task": trace.task.id, "kind": str(trace.task.kind), "key": trace.key}
    tools = toolset.offered(trace.task).tools
    return Example(messages=messages, tools=tools, weights=(1.0,) * spoken, meta=meta)


def write_raw(raw: Config, filtered: Config) -> int:
    """Write the raw data set beside the filtered one; return how many traces were left out."""
    folder, other = raw.dataset_dir, filtered.dataset_dir
    folder.mkdir(parents=True, exist_ok=True)
    found = list(raw_rows(raw, load_toolset(raw.toolset_dir).toolset))
    rows = [example for example in found if example is not None]
    write_rows(folder / TRAIN, map(example_to_row, rows))
    for name in (VALIDATION, CASES):
        (folder / name).write_bytes((other / name).read_bytes())
    info = read_info(other)
    counts = info.counts | {"train": len(rows), "rejects": 0}
    changed = {"name": raw.name, "counts": counts, "rejected": {}, "hash": dataset_hash(folder)}
    (folder / INFO).write_text(info.model_copy(update=changed).model_dump_json(indent=2) + "\n")
    return len(found) - len(rows)


def epochs_for(steps: int, rows: int, batch_size: int) -> float:
    """Return the epochs that are exactly `steps` optimizer steps."""
    return (steps - 0.5) / math.ceil(rows / batch_size)


def command(name: str, overrides: list[str], *more: str) -> None:
    """Run a public command; its exit code counts."""
    sets = [part for override in overrides for part in ("--set", override)]
    line = [sys.executable, "-m", "distill", name, str(CONFIG), *more, *sets]
    print(f"$ distill {' '.join(line[3:])}", file=sys.stderr, flush=True)
    subprocess.run(line, check=True, stdout=sys.stderr)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def report_of(config: Config) -> dict[str, Any]:
    """Read what `distill eval` found."""
    found: dict[str, Any] = json.loads((config.results_dir / "report.json").read_text())
    return found


def row_of(model: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of one model."""
    shares = {name: model[name] for name in SHARES}
    told = model["abstention"]
    return shares | {
        "abstention_precision": told["precision"],
        "abstention_recall": told["recall"],
        "abstention_f1": told["f1"],
        "ask_accuracy": model["ask_accuracy"],
    }


def compared(reports: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Compare the two students case by case."""
    outcomes = {arm: reports[arm]["outcomes"]["student"] for arm in ARMS}
    families = reports["filtered"]["family_of"]
    pairs = [
        Pair(families[case], code == "ok", outcomes["raw"][case] == "ok")
        for case, code in outcomes["filtered"].items()
        if case in outcomes["raw"]
    ]
    found = compare_pairs(pairs)
    assert found is not None
    return found.model_dump()


def show(rows: dict[str, dict[str, Any]], versus: dict[str, Any]) -> None:
    """Print the table."""
    names = list(rows)
    print(" " * 22 + "".join(name.rjust(24) for name in names))
    for figure in rows[names[0]]:
        cells = [_cell(rows[name][figure]).rjust(24) for name in names]
        print(figure.replace("_", " ").ljust(22) + "".join(cells))
    print(
        f"filtered - raw, call accuracy: {100 * versus['difference']:+.1f} points "
        f"(95% interval {100 * versus['low']:+.1f} to {100 * versus['high']:+.1f}, "
        f"p = {versus['p_value']:.2g}, {versus['wins']} won, {versus['losses']} lost of "
        f"{versus['n']})"
    )


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, dict) and value["value"] is None):
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{100 * value['value']:.1f} ({100 * value['low']:.1f}-{100 * value['high']:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, default=ROOT / "traces" / "demo.db")
    parser.add_argument("--steps", type=int, help="of both; three epochs of the filtered data")
    parser.add_argument("--cases", type=int, help="at most so many held-out cases")
    options = parser.parse_args()
    store = options.store.resolve()
    if not store.is_file():
        raise SystemExit(f"{str(store)!r} is missing: `distill demo` collects it")
    configs = {arm: load_config(CONFIG, settings(arm, store)) for arm in ARMS}
    build_dataset(configs["filtered"])
    left_out = write_raw(configs["raw"], configs["filtered"])
    counts = {arm: read_info(configs[arm].dataset_dir).counts["train"] for arm in ARMS}
    size = configs["raw"].train.batch_size
    steps = options.steps or 3 * math.ceil(counts["filtered"] / size)
    reports, seconds = {}, {}
    for arm in ARMS:
        epochs = epochs_for(steps, counts[arm], size)
        folder = f"runs/vs-{arm}-{steps}"
        sets = settings(arm, store, f"train.epochs={epochs}", f"train.output={folder}")
        limit = ["--limit", str(options.cases)] if options.cases else []
        command("train", sets)
        served = [*sets, f"serve.port={free_port()}"]
        command(
            "eval", served, "--only", "base,student" if arm == "filtered" else "student", *limit
        )
        reports[arm] = report_of(load_config(CONFIG, sets))
        manifest = json.loads((ROOT / folder / "adapter" / "distill.json").read_text())
        assert manifest["metrics"]["steps"] == steps
        seconds[arm] = manifest["metrics"]["seconds"]
    rows = {"base": row_of(reports["filtered"]["models"]["base"])}
    rows |= {arm: row_of(reports[arm]["models"]["student"]) for arm in ARMS}
    versus = compared(reports)
    print(
        f"{steps} steps of {size}; rows: {counts['filtered']} filtered, {counts['raw']} raw "
        f"({left_out} more cannot be rendered)"
    )
    show(rows, versus)
    print(json.dumps({"steps": steps, "rows": counts, "left_out": left_out, "models": rows,
                      "filtered_vs_raw": versus, "train_seconds": seconds}))  # fmt: skip


if __name__ == "__main__":
    main()
