"""A small workspace with tasks, and a teacher that answers them as a test wants."""

from __future__ import annotations

import json
from pathlib import Path

from distill.config import Config, load_config
from distill.toolsets import load_toolset
from distill.traces import Owed, TeacherRef, Trace, TraceStore
from distill.types import (
    AssistantMessage,
    Expectation,
    ExpectedCall,
    Kind,
    Outcome,
    SystemMessage,
    Task,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserTurn,
)

TOOLS = '''
from typing import Literal

from distill.toolsets import Environment, tool

Room = Literal["hall", "office", "attic"]


class Lamps(Environment):
    def __init__(self) -> None:
        self.levels = {}

    @tool
    def set_light(self, room: Room, percent: int = 100) -> dict:
        """Dim a light.

        Args:
            room: Where.
            percent: How bright.
        """
        self.levels[room] = percent
        return {"percent": percent}

    @tool
    def get_light(self, room: Room) -> dict:
        """Read a light.

        Args:
            room: Where.
        """
        return {"percent": self.levels.get(room, 0)}

    @tool
    def leave_note(self, to: str, text: str) -> dict:
        """Leave a note.

        Args:
            to: Whom it is for.
            text: What it says.
        """
        return {}

    def snapshot(self):
        return {"levels": self.levels}
'''
SYSTEM = "You run the lamps."
MANIFEST = f"""
name: lamps
description: Lamps.
system: {SYSTEM}
source: tools.py
tasks: tasks.jsonl
"""
CONFIG = """
name: lamps
toolset: tools/lamps
teacher: {provider: openai_chat, model: big, base_url: "http://127.0.0.1:1/v1", terms: Mine.}
"""


def make_workspace(folder: Path, tasks: list[Task], extra: str = "") -> Config:
    """Write the tool set, its tasks and a config; return the config."""
    tools = folder / "tools" / "lamps"
    tools.mkdir(parents=True)
    (folder / "configs").mkdir()
    (tools / "tools.py").write_text(TOOLS)
    (tools / "toolset.yaml").write_text(MANIFEST)
    (tools / "tasks.jsonl").write_text("".join(t.model_dump_json() + "\n" for t in tasks))
    (folder / "configs" / "lamps.yaml").write_text(CONFIG + extra)
    return load_config(folder / "configs" / "lamps.yaml")


def store_traces(config: Config, traces: list[Trace]) -> None:
    """Put traces into the config's store, as a collector would."""
    with TraceStore.open(config.store_url, create=True) as store:
        store.add_toolset(load_toolset(config.toolset_dir).toolset)
        store.add_episodes([Owed(t.key, t.task.id, t.sample) for t in traces])
        store.write(traces, [], [])


def make_task(name: str, text: str, *expectations: Expectation | None, **fields) -> Task:
    """A task with one user turn per expectation."""
    turns = tuple(
        UserTurn(content=text if n == 0 else f"{text}, part {n}", expectation=e)
        for n, e in enumerate(expectations)
    )
    base = {"id": name, "toolset": "lamps", "kind": Kind.SINGLE, "family": name, "turns": turns}
    return Task(**base | fields)


def light(room: str, percent: int) -> ExpectedCall:
    return ExpectedCall(name="set_light", arguments={"room": room, "percent": percent})


def calling(*calls: ExpectedCall) -> Expectation:
    return Expectation(action="call", calls=calls)


Step = str | list
"""Words of the assistant, or calls: (name, arguments) or (name, arguments, error)."""


def make_trace(task: Task, toolset_hash: str, *turns: list[Step], **fields) -> Trace:
    """A trace in which the assistant does these steps in each user turn."""
    messages: list = [SystemMessage(content=SYSTEM)]
    key = fields.get("key", f"key-{task.id}")
    for turn, steps in zip(task.turns, turns, strict=False):
        messages.append(UserMessage(content=turn.content))
        for step in steps:
            messages += _step(step, f"{key}-{len(messages)}")
    base = {
        "key": key,
        "task": task,
        "toolset_name": "lamps",
        "toolset_hash": toolset_hash,
        "teacher": TeacherRef(provider="openai_chat", model="big", terms="Mine."),
        "outcome": Outcome.COMPLETED,
        "messages": tuple(messages),
        "changes": task.end_state,
        "started_at": "2026-01-01T00:00:00Z",
        "finished_at": "2026-01-01T00:00:01Z",
    }
    return Trace(**base | fields)


def _step(step: Step, name: str) -> list:
    if isinstance(step, str):
        return [AssistantMessage(content=step)]
    calls, results = [], []
    for n, (tool, arguments, *error) in enumerate(step):
        raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
        calls.append(ToolCall(id=f"{name}-{n}", name=tool, arguments=raw))
        content = json.dumps({"error": error[0]} if error else {"done": True})
        results.append(
            ToolMessage(
                tool_call_id=f"{name}-{n}", name=tool, content=content, is_error=bool(error)
            )
        )
    return [AssistantMessage(tool_calls=tuple(calls)), *results]
