"""Simulation: tools without an implementation whose results a model makes up, within a schema.

    # simulated.yaml, next to tools.json
    notes: |                        # the world behind the tools, for the model that plays it
      A small library in Leeds. Loans last three weeks.
    outputs:                        # JSON Schema of every tool's result
      get_book: {type: object, properties: {title: {type: string}}, required: [title]}
      lend_book: {type: object, properties: {due: {type: string, format: date}}, required: [due]}
    changes: [lend_book]            # tools after which others may answer differently

A result that is no JSON or violates the schema is asked for once more, then the call is an error.
The model sees the calls and results of the episode so far, and a call that was made before gets the
result it got then, unless one of `changes` was called since. A call that stands in `recorded.jsonl`
gets the recorded result. `Task.setup` may hold anything the model is to know about one task.

Who the model is, what it costs and when it is asked again is not decided here: an episode brings
`Ask`. Without one, only recorded calls are answered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from pydantic import ValidationError

from distill.errors import ToolSetError
from distill.toolsets.arguments import schema_fault, violation
from distill.toolsets.environment import ToolError
from distill.toolsets.sources.files import fault, read_yaml
from distill.toolsets.sources.recorded import (
    RECORDED,
    Recordings,
    Replay,
    parsed,
    read_recordings,
)
from distill.toolsets.sources.session import Session, Source
from distill.toolsets.sources.snapshot import Snapshot
from distill.types import (
    AssistantMessage,
    Frozen,
    Json,
    Message,
    SystemMessage,
    Tool,
    UserMessage,
    canonical_json,
    digest,
)

SIMULATED = "simulated.yaml"

Ask: TypeAlias = Callable[[Sequence[Message]], str | None]
"""Asks the model and waits for its words; None: it gave no whole answer. May raise
`UnansweredError`. Called on the thread of the episode's tools."""

PROMPT = """\
You are what stands behind the tools of an assistant: you answer their calls as the real system \
would. Every answer is one JSON object and nothing else, either {{"result": ...}}, valid under the \
tool's schema of results, or {{"error": "..."}}, where the real system would refuse the call (what \
is asked for does not exist, a rule forbids it).

Be plausible and specific. Stay consistent: what you have answered before is true, and what calls \
have changed stays changed. Identifiers that were never mentioned may exist.
{notes}
The tools:
{tools}"""
AGAIN = "That cannot be the answer: {why}. Answer the same call again, with one JSON object."


class Manifest(Frozen):
    """What `simulated.yaml` says."""

    notes: str = ""
    outputs: dict[str, Json]
    changes: tuple[str, ...] = ()


class Simulation:
    """The tools of a set that are simulated, with what the model is told of them."""

    def __init__(
        self, tools: Sequence[Tool], manifest: Manifest, recordings: Recordings | None = None
    ) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.outputs: Mapping[str, Json] = manifest.outputs
        self.changes = frozenset(manifest.changes)
        self.recordings = recordings or {}
        self._notes = manifest.notes.strip()

    @property
    def digest(self) -> str:
        """Hash of all that shapes the results, but for the model."""
        recorded = [c.model_dump(mode="json") for calls in self.recordings.values() for c in calls]
        return digest([self.prompt({}), sorted(self.changes), recorded])

    def open(self, ask: Ask, **setup: Json) -> Simulated:
        """Open the tools for one episode, with what is particular to its task."""
        return Simulated(self, ask, setup)

    def prompt(self, setup: Mapping[str, Json]) -> str:
        """Return what the model is told before the first call."""
        rows = [
            {"name": name, "description": tool.description, "arguments": tool.parameters}
            | {"result": self.outputs[name]}
            for name, tool in self.tools.items()
        ]
        notes = [f"\n{self._notes}\n"] if self._notes else []
        if setup:
            notes.append(f"\nTrue in this case: {json.dumps(setup, ensure_ascii=False)}\n")
        tools = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        return PROMPT.format(notes="".join(notes), tools=tools)


class Simulated(Session):
    """The simulated tools of one episode."""

    def __init__(self, simulation: Simulation, ask: Ask, setup: Mapping[str, Json]) -> None:
        self._simulation = simulation
        self._ask = ask
        self._replay = Replay(simulation.recordings, "")
        self._history: list[Message] = [SystemMessage(content=simulation.prompt(setup))]
        self._answers: dict[str, dict[str, Json]] = {}

    def call(self, name: str, arguments: dict[str, Json]) -> Json:
        """Answer a call: as it was recorded, as it was answered before, or as the model says.

        Raises:
            ToolError: The system refuses the call, or the model gave no valid result.
            UnansweredError: The model could not be asked.
        """
        key = canonical_json([name, arguments])
        if key in self._simulation.recordings:
            return self._replay.call(name, arguments)
        answer = self._answers.get(key)
        if answer is None:
            asked = {"call": name, "arguments": arguments}
            question = UserMessage(content=json.dumps(asked, ensure_ascii=False))
            answer = self._answer(name, question)
            told = json.dumps(answer, ensure_ascii=False)
            self._history += [question, AssistantMessage(content=told)]
            if name in self._simulation.changes:
                self._answers.clear()
            else:
                self._answers[key] = answer
        if "error" in answer:
            raise ToolError(str(answer["error"]))
        return answer["result"]

    def _answer(self, name: str, question: Message) -> dict[str, Json]:
        """Return `{"result": ...}` or `{"error": ...}`; a fault is asked about once."""
        messages, why = [*self._history, question], ""
        for _ in range(2):
            text = self._ask(messages)
            answer, why = self._read(name, text)
            if answer is not None:
                return answer
            messages += [
                AssistantMessage(content=text or "-"),
                UserMessage(content=AGAIN.format(why=why)),
            ]
        raise ToolError(f"{name} gave no valid result: {why}")

    def _read(self, name: str, text: str | None) -> tuple[dict[str, Json] | None, str]:
        value = parsed(_unfenced(text or ""))
        if not isinstance(value, dict) or len(value.keys() & {"result", "error"}) != 1:
            return None, 'it is not {"result": ...} or {"error": "..."}'
        if "error" in value:
            return {"error": value["error"]}, ""
        if problem := violation(self._simulation.outputs[name], value["result"]):
            return None, f"the result violates the schema: {problem}"
        return {"result": value["result"]}, ""


def open_simulated(path: Path, snapshot: Snapshot) -> Source:
    """Read `simulated.yaml`.

    Raises:
        ToolSetError: It is malformed, or a tool has no schema of its results.
    """
    try:
        manifest = Manifest.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ToolSetError(f"{path}: {fault(error, shown=True)}") from None
    names = [tool.name for tool in snapshot.tools]
    for name in (*manifest.outputs, *manifest.changes):
        if name not in names:
            raise ToolSetError(f"{path}: {name!r} is no tool; tools: {', '.join(names)}")
    for name in names:
        if name not in manifest.outputs:
            raise ToolSetError(
                f"{path}: outputs: no schema for the results of {name!r}; write one, or `true`"
            )
        if problem := schema_fault(manifest.outputs[name]):
            raise ToolSetError(f"{path}: outputs.{name}: {problem}")
    recordings = read_recordings(path.parent / RECORDED)
    why = "it is simulated while traces are collected, and no result of this call was recorded"
    return Source(
        snapshot,
        lambda _: Replay(recordings, why),
        simulation=Simulation(snapshot.tools, manifest, recordings),
    )


def _unfenced(text: str) -> str:
    """Return a text without the Markdown fence that models like to put around JSON."""
    body = text.strip()
    if body.startswith("```") and body.endswith("```"):
        return body.strip("`").removeprefix("json").strip()
    return body
