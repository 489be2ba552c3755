"""Importing: rows of existing data into the store of a config, each a trace or a reasoned skip.

What the formats share is done here: names a provider would refuse are replaced, rows that say what
another says, or that another continues (a log has a line per model call), are skipped, and a task
is made of what the user said. The tools most rows offer are the tool set; a row with other tools
keeps them as its `Task.offer`. When the config's tool set does not exist yet, it is made of them,
with the results seen as recordings.

Imported traces cost nothing and have no ledger. Whether they are fit to train on is for `distill
filter` to say.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

import distill
from distill.config import Config
from distill.errors import DatasetError
from distill.toolsets import load_toolset
from distill.toolsets.sources.names import TOOL_NAME, accepted_names
from distill.toolsets.sources.recorded import RECORDED, RecordedCall, write_recordings
from distill.toolsets.sources.snapshot import SNAPSHOT, Snapshot, write_snapshot
from distill.traces.foreign import links, offer_of, told_task
from distill.traces.importers import IMPORTERS, Conversation, Importer, Skip
from distill.traces.store import Owed, TraceStore
from distill.traces.trace import TeacherRef, Trace, TurnRecord, episode_key
from distill.types import (
    AssistantMessage,
    Json,
    Message,
    Outcome,
    StopReason,
    SystemMessage,
    Task,
    Tool,
    ToolMessage,
    ToolSet,
    UserMessage,
    digest,
)

CHUNK = 500
"""Traces written in one transaction."""


@dataclass
class ImportReport:
    """What became of the rows."""

    rows: int = 0
    imported: int = 0
    known: int = 0
    """Rows whose trace was in the store before."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Reason -> rows."""
    examples: dict[str, int] = field(default_factory=dict)
    """Reason -> the first row skipped for it, counted from 1."""
    kinds: Counter[str] = field(default_factory=Counter)
    toolset: str = ""
    toolset_made: bool = False
    own_tools: int = 0
    """Traces that keep tools of their own."""
    terms: str | None = None

    def skip(self, reason: str, row: int) -> None:
        """Count a row that gives no trace."""
        self.skipped[reason] += 1
        self.examples.setdefault(reason, row)


def import_traces(
    config: Config, format_: str, file: Path, *, limit: int | None = None
) -> ImportReport:
    """Import a file into the store of a config.

    Args:
        config: Names the tool set, the store, and the terms of the data.
        format_: A key of `IMPORTERS`.
        file: JSON, JSONL or CSV.
        limit: Only the first so many rows.

    Raises:
        DatasetError: The file cannot be read, or no row gives a trace.
        ToolSetError: The tool set cannot be loaded.
        StoreError: The store cannot be written.
    """
    importer = IMPORTERS.get(format_)
    if importer is None:
        known = ", ".join(IMPORTERS)
        raise DatasetError(f"no format is called {format_!r}; known: {known}")
    report = ImportReport(terms=config.teacher.terms or importer.terms)
    found = _without_repeats(_conversations(importer, file, limit, report), report)
    if not found:
        reasons = "; ".join(f"{reason}: {n}" for reason, n in report.skipped.most_common(3))
        raise DatasetError(f"{file}: none of {report.rows} rows gives a trace ({reasons})")
    toolset = _toolset(config, format_, found, report)
    traces = [_trace(one, toolset, format_, report) for one in found]
    _store(config, toolset, traces, report)
    return report


# --- reading ----------------------------------------------------------------------------------


def _conversations(
    importer: Importer, file: Path, limit: int | None, report: ImportReport
) -> Iterator[tuple[int, Conversation]]:
    rows = (row for value in _values(file) for row in importer.rows(value))
    for number, row in enumerate(islice(rows, limit), 1):
        report.rows += 1
        try:
            if not isinstance(row, dict):
                raise Skip("a row that is no object")
            yield number, _renamed(_checked(importer.conversation(row)))
        except Skip as skip:
            report.skip(str(skip), number)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            report.skip(f"not as the format has it ({type(error).__name__})", number)


def _values(file: Path) -> Iterator[Json]:
    """Yield the JSON values of a file: lines, or one value that may be a list."""
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            if file.suffix == ".csv":
                csv.field_size_limit(2**31 - 1)
                yield from csv.DictReader(opened)
            elif file.suffix == ".json":
                yield json.load(opened)
            else:
                for number, line in enumerate(opened, 1):
                    if line.strip():
                        yield _line(file, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {str(file)!r}: {error}") from None
    except ValueError as error:
        raise DatasetError(f"{file}: not JSON: {error}; name a file of lines .jsonl") from None


def _line(file: Path, number: int, line: str) -> Json:
    try:
        return json.loads(line)
    except ValueError as error:
        raise DatasetError(f"{file}:{number}: not JSON: {error}") from None


def _checked(one: Conversation) -> Conversation:
    if not any(isinstance(m, UserMessage) for m in one.messages):
        raise Skip("no message of a user")
    if not isinstance(one.messages[-1], AssistantMessage):
        raise Skip("it does not end with an answer")
    return one


def _renamed(one: Conversation) -> Conversation:
    """Replace names of tools that a provider would refuse."""
    offered = [tool.name for tool in one.tools or ()]
    called = [c.name for m in one.messages if isinstance(m, AssistantMessage) for c in m.tool_calls]
    names = accepted_names(dict.fromkeys([*offered, *called]), TOOL_NAME)
    if all(old == new for old, new in names.items()):
        return one
    tools = tuple(t.model_copy(update={"name": names[t.name]}) for t in one.tools or ())
    expectation = one.expectation and one.expectation.model_copy(
        update={
            "calls": tuple(
                c.model_copy(update={"name": names.get(c.name, c.name)})
                for c in one.expectation.calls
            )
        }
    )
    messages = tuple(_message_renamed(message, names) for message in one.messages)
    offered_now = tools if one.tools is not None else None
    return replace(one, messages=messages, tools=offered_now, expectation=expectation)


def _message_renamed(message: Message, names: dict[str, str]) -> Message:
    if isinstance(message, AssistantMessage):
        calls = tuple(c.model_copy(update={"name": names[c.name]}) for c in message.tool_calls)
        return message.model_copy(update={"tool_calls": calls})
    if isinstance(message, ToolMessage):
        return message.model_copy(update={"name": names.get(message.name, message.name)})
    return message


def _without_repeats(
    rows: Iterable[tuple[int, Conversation]], report: ImportReport
) -> list[Conversation]:
    """Keep the longest of conversations that continue each other, and one of equals."""
    found = [(number, one, _chain(one)) for number, one in rows]
    beginnings = {link for _, _, chain in found for link in chain[:-1]}
    seen: set[str] = set()
    kept = []
    for number, one, chain in found:
        if chain[-1] in seen:
            report.skip("the same as an earlier row", number)
        elif chain[-1] in beginnings:
            report.skip("continued by another row", number)
        else:
            kept.append(one)
        seen.add(chain[-1])
    return kept


def _chain(one: Conversation) -> list[str]:
    return links(one.messages, [tool.model_dump() for tool in one.tools or ()])


# --- the tool set -----------------------------------------------------------------------------


def _toolset(
    config: Config, format_: str, found: Sequence[Conversation], report: ImportReport
) -> ToolSet:
    folder = config.toolset_dir
    if not (folder / "toolset.yaml").exists():
        _make_toolset(config, format_, found)
        report.toolset_made = True
    report.toolset = str(folder)
    return load_toolset(folder).toolset


def _make_toolset(config: Config, format_: str, found: Sequence[Conversation]) -> None:
    """Write a tool set of the tools most conversations offer."""
    counts: Counter[str] = Counter()
    lists: dict[str, tuple[Tool, ...]] = {}
    for one in found:
        if one.tools:
            key = digest([tool.model_dump() for tool in one.tools])
            counts[key] += 1
            lists[key] = one.tools
    if not lists:
        raise DatasetError(
            f"the data does not say which tools there were, and {str(config.toolset_dir)!r} does "
            "not exist; make the tool set first (`distill tools import`)"
        )
    folder, tools = config.toolset_dir, lists[counts.most_common(1)[0][0]]
    folder.mkdir(parents=True, exist_ok=True)
    write_snapshot(folder / SNAPSHOT, Snapshot(tools=tools))
    write_recordings(folder / RECORDED, recorded_calls(m for one in found for m in [one.messages]))
    head: dict[str, str] = {
        "name": folder.name.lower(),
        "description": f"Tools of imported data ({format_}).",
        "source": SNAPSHOT,
    }
    systems = {m.content for one in found for m in one.messages if isinstance(m, SystemMessage)}
    if len(systems) == 1 and all(one.messages[0].role == "system" for one in found):
        head["system"] = systems.pop()
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=100)
    (folder / "toolset.yaml").write_text(text, encoding="utf-8")


def recorded_calls(conversations: Iterable[Sequence[Message]]) -> Iterator[RecordedCall]:
    """Yield every call that has a result, with it."""
    for messages in conversations:
        calls = {c.id: c for m in messages if isinstance(m, AssistantMessage) for c in m.tool_calls}
        for message in messages:
            made = calls.get(message.tool_call_id) if isinstance(message, ToolMessage) else None
            if made is None or not isinstance(message, ToolMessage):
                continue
            try:
                arguments = made.parsed()
            except ValueError:
                continue
            yield RecordedCall(
                name=made.name,
                arguments=arguments,
                content=message.content,
                is_error=message.is_error,
            )


# --- tasks and traces -------------------------------------------------------------------------


def _trace(one: Conversation, toolset: ToolSet, format_: str, report: ImportReport) -> Trace:
    task = _task(one, toolset, format_)
    report.kinds[task.kind] += 1
    report.own_tools += task.offer is not None
    spoken = [n for n, m in enumerate(one.messages) if isinstance(m, AssistantMessage)]
    turns = [_turn(n, one) for n in spoken]
    turns[-1] = turns[-1].model_copy(update={"usage": one.usage})
    at = one.at or datetime.now(UTC).isoformat(timespec="milliseconds")
    teacher = TeacherRef(
        provider=f"import:{format_}",
        model=one.model or format_,
        served_model=one.model,
        terms=report.terms,
    )
    return Trace(
        key=episode_key(task, toolset.hash, {"import": format_, "model": one.model}, 0),
        task=task,
        toolset_name=toolset.name,
        toolset_hash=toolset.hash,
        teacher=teacher,
        outcome=Outcome.COMPLETED,
        messages=one.messages,
        turns=tuple(turns),
        started_at=at,
        finished_at=at,
        versions={"distill": distill.__version__},
    )


def _turn(index: int, one: Conversation) -> TurnRecord:
    message = one.messages[index]
    calling = isinstance(message, AssistantMessage) and message.tool_calls
    stop = StopReason.TOOL_CALLS if calling else StopReason.END
    return TurnRecord(message=index, stop=stop, model=one.model)


def _task(one: Conversation, toolset: ToolSet, format_: str) -> Task:
    return told_task(
        one.messages,
        toolset,
        format_,
        _chain(one)[-1],
        offer=offer_of(one.tools, toolset),
        kind=one.kind,
        expectation=one.expectation,
    )


def _store(config: Config, toolset: ToolSet, traces: Sequence[Trace], report: ImportReport) -> None:
    with TraceStore.open(config.store_url, create=True) as store:
        store.add_toolset(toolset)
        known = store.done(trace.key for trace in traces)
        fresh = [trace for trace in traces if trace.key not in known]
        for start in range(0, len(fresh), CHUNK):
            part: list[Any] = fresh[start : start + CHUNK]
            store.add_episodes([Owed(t.key, t.task.id, t.sample) for t in part])
            store.write(part, [], [])
    report.known, report.imported = len(traces) - len(fresh), len(fresh)
