"""Traces as JSONL files, as they are: what `distill filter` would drop is there too.

traces   the whole trace, as the store keeps it
openai   {"messages": [...], "tools": [...]}, the shape fine-tuning services and trl read
tasks    what was asked, a task once: a tasks.jsonl
calls    every call with its result, each once: a recorded.jsonl
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from distill.chat import to_chat
from distill.errors import StoreError
from distill.toolsets.sources.recorded import write_recordings
from distill.traces.importing import recorded_calls
from distill.traces.store import TraceStore
from distill.traces.trace import Trace
from distill.types import Json, ToolSet


def export_traces(store: TraceStore, format_: str, output: Path) -> int:
    """Write a file and return how many lines it has.

    Raises:
        StoreError: The format is unknown, or the file cannot be written.
    """
    if format_ != "calls" and format_ not in _FORMATS:
        known = ", ".join([*_FORMATS, "calls"])
        raise StoreError(f"no format is called {format_!r}; known: {known}")
    try:
        if format_ == "calls":
            return write_recordings(output, recorded_calls(t.messages for t in store.traces()))
        count = 0
        with output.open("w", encoding="utf-8") as file:
            for row in _FORMATS[format_](store):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
        return count
    except OSError as error:
        raise StoreError(f"cannot write {str(output)!r}: {error.strerror}") from error


def _whole(store: TraceStore) -> Iterator[Json]:
    for trace in store.traces():
        yield trace.model_dump(mode="json")


def _openai(store: TraceStore) -> Iterator[Json]:
    toolsets: dict[str, ToolSet] = {}
    for trace in store.traces():
        if trace.toolset_hash not in toolsets:
            toolsets[trace.toolset_hash] = store.get_toolset(trace.toolset_hash)
        offered = toolsets[trace.toolset_hash].offered(trace.task)
        yield {
            "messages": [to_chat(message) for message in trace.messages],
            "tools": [tool.as_function() for tool in offered.tools],
        }


def _tasks(store: TraceStore) -> Iterator[Json]:
    yield from _once(store.traces())


def _once(traces: Iterable[Trace]) -> Iterator[Json]:
    seen: set[str] = set()
    for trace in traces:
        if trace.task.id not in seen:
            seen.add(trace.task.id)
            yield trace.asked.model_dump(mode="json", exclude_defaults=True)


_FORMATS: dict[str, Callable[[TraceStore], Iterator[Json]]] = {
    "traces": _whole,
    "openai": _openai,
    "tasks": _tasks,
}
