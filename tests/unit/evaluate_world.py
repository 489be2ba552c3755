"""A small house, its cases, and models that answer by heart: shared by the evaluation tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from distill.config import Config, load_config
from distill.dataset import write_rows
from distill.evaluate.answers import Answer
from distill.student.manifest import ADAPTER, TEMPLATE, Manifest, write_manifest
from distill.teachers import Teacher
from distill.toolsets import LoadedToolSet, load_toolset
from distill.traces import TeacherRef, Trace, TurnRecord
from distill.types import (
    AssistantMessage,
    Expectation,
    ExpectedCall,
    Kind,
    Message,
    Outcome,
    StopReason,
    Task,
    Tool,
    ToolCall,
    Turn,
    Usage,
    UserMessage,
    UserTurn,
)

TOOLS = '''
from distill.toolsets import Environment, tool


class Lamps(Environment):
    def __init__(self):
        self.levels = {}

    @tool
    def set_lamp(self, room: str, level: int) -> dict:
        """Set a lamp.

        Args:
            room: Where.
            level: Brightness.
        """
        self.levels[room] = level
        return {"level": level}

    @tool
    def read_lamp(self, room: str) -> dict:
        """Read a lamp.

        Args:
            room: Where.
        """
        return {"level": self.levels.get(room, 0)}

    def snapshot(self):
        return dict(self.levels)
'''

CONFIG = """
name: lamps
toolset: tools/lamps
teacher: {provider: openai_chat, model: big, base_url: "http://127.0.0.1:1/v1"}
student: {base: base}
eval: {concurrency: 2, teacher: none}
"""


def workspace(folder: Path, cases: Sequence[Task], changes: Sequence[str] = ()) -> Config:
    """Write a workspace with a tool set, cases and a trained student; return its config."""
    tools = folder / "tools" / "lamps"
    tools.mkdir(parents=True)
    (tools / "toolset.yaml").write_text("name: lamps\ndescription: Lamps.\nsource: tools.py\n")
    (tools / "tools.py").write_text(TOOLS)
    (folder / "configs").mkdir()
    (folder / "configs" / "lamps.yaml").write_text(CONFIG)
    config = load_config(folder / "configs" / "lamps.yaml", list(changes))
    config.dataset_dir.mkdir(parents=True)
    write_rows(config.dataset_dir / "cases.jsonl", [c.model_dump(mode="json") for c in cases])
    adapter(config.run_dir)
    return config


def adapter(run_dir: Path, **changes: object) -> Path:
    """Write what training leaves behind, as far as serving and evaluating read it."""
    folder = run_dir / ADAPTER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / TEMPLATE).write_text("{{ messages }}")
    manifest = {
        "name": "lamps",
        "base": "some/base",
        "base_hash": "b45e",
        "revision": None,
        "family": "qwen2.5",
        "parser": "hermes",
        "rank": 12,
        "toolset_name": "lamps",
        "toolset_hash": "t001",
        "dataset_hash": "da7a",
        "created_at": "2026-01-01T00:00:00+00:00",
        "config": {"serve": {"port": 8123}},
        "versions": {},
        "metrics": {},
    }
    write_manifest(folder, Manifest.model_validate(manifest | changes))
    return folder


def toolset(folder: Path) -> LoadedToolSet:
    """Load the lamps of a workspace."""
    return load_toolset(folder / "tools" / "lamps")


# --- cases ------------------------------------------------------------------------------------


def lamp(n: int, room: str = "hall", level: int = 30) -> Task:
    """A case that asks for one lamp."""
    right = ExpectedCall(name="set_lamp", arguments={"room": room, "level": level})
    return case(f"lamp-{n}", Kind.SINGLE, Expectation(action="call", calls=(right,)), {"/hall": 30})


def pair(n: int) -> Task:
    """A case that asks for two lamps at once."""
    calls = tuple(
        ExpectedCall(name="set_lamp", arguments={"room": room, "level": 5}) for room in ("a", "b")
    )
    state = {"/a": 5, "/b": 5}
    return case(f"pair-{n}", Kind.PARALLEL, Expectation(action="call", calls=calls), state)


def missing(n: int) -> Task:
    """A case that does not say which room."""
    return case(f"ask-{n}", Kind.MISSING, Expectation(action="ask"), {})


def no_tool(n: int) -> Task:
    """A case that no tool fits."""
    return case(f"no-{n}", Kind.NO_TOOL, Expectation(action="abstain"), {})


def case(name: str, kind: Kind, expectation: Expectation, state: dict[str, object]) -> Task:
    """One case with one user turn."""
    return Task(
        id=name,
        toolset="lamps",
        kind=kind,
        family=name,
        turns=(UserTurn(content=f"please: {name}", expectation=expectation),),
        end_state=state,
    )


# --- answers ----------------------------------------------------------------------------------


def call(name: str, arguments: str, number: int = 0) -> ToolCall:
    """A call as a model writes it."""
    return ToolCall(id=f"c{number}", name=name, arguments=arguments)


def said(text: str) -> AssistantMessage:
    """An answer in words."""
    return AssistantMessage(content=text)


def called(*calls: ToolCall) -> AssistantMessage:
    """An answer that calls."""
    return AssistantMessage(tool_calls=calls)


def answer(
    task: Task,
    *messages: Message,
    outcome: Outcome = Outcome.COMPLETED,
    changes: dict[str, object] | None = None,
    model: str = "student",
    latency_s: float = 0.5,
) -> Answer:
    """An answer to a case with one user turn; `messages` follow the user's."""
    opening = UserMessage(content=task.turns[0].content)
    turns = tuple(
        TurnRecord(
            message=n,
            stop=StopReason.END,
            usage=Usage(input_tokens=100, output_tokens=10),
            latency_s=latency_s,
        )
        for n, message in enumerate(messages, 1)
        if isinstance(message, AssistantMessage)
    )
    trace = Trace(
        key="k",
        task=task,
        toolset_name="lamps",
        toolset_hash="t001",
        teacher=TeacherRef(provider="openai_chat", model=model),
        outcome=outcome,
        messages=(opening, *messages),
        turns=turns,
        changes=changes if changes is not None else {},
        started_at="2026-01-01T00:00:00+00:00",
        finished_at="2026-01-01T00:00:01+00:00",
    )
    return Answer(key="k", model=model, identity="i", trace=trace)


class ByHeart(Teacher):
    """A model that plays a function of the conversation; counts what it is asked."""

    provider, model = "openai_chat", "by-heart"

    def __init__(self, play: Callable[[Sequence[Message]], AssistantMessage]) -> None:
        self.play = play
        self.asked = 0
        self.closed = False

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        self.asked += 1
        message = self.play(messages)
        stop = StopReason.TOOL_CALLS if message.tool_calls else StopReason.END
        return Turn(message=message, stop=stop, model="by-heart")

    async def close(self) -> None:
        self.closed = True


def right(messages: Sequence[Message]) -> AssistantMessage:
    """Answer every lamp case rightly."""
    if messages[-1].role == "tool":
        return said("The hall is at 30%.")
    return called(call("set_lamp", '{"room": "hall", "level": 30}'))


def wrong(messages: Sequence[Message]) -> AssistantMessage:
    """Never call."""
    return said("I cannot do that.")
