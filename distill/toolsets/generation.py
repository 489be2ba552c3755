"""Writing the tasks of a tool set: ideas, scripts, and a seeded generator.

An `Idea` is one family of tasks. It writes a task as a `Script`, turn by turn, and executes the
calls it expects while it writes them, on a real environment. So results can be used in later calls
and quoted in answers, an expectation that cannot be executed is noticed at once, and the end state
of the task is what those calls really did.

    def dim(script: Script) -> None:
        room = script.rng.choice(ROOMS)
        result = script.call("set_light", room=room, percent=30)
        script.says(f"Dim the {room} light", answer=f"The {room} light is at {result['percent']}%.")

    IDEAS = [Idea(Kind.SINGLE, "set_light/dim", dim)]

    def generate(seed, count):
        return write_tasks(load_toolset(HERE), IDEAS, SHARES, seed, count)
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill.errors import TaskError
from distill.toolsets.folder import LoadedToolSet
from distill.toolsets.runner import ToolRunner
from distill.toolsets.wording import (
    WEEKDAYS,
    amount,
    clock,
    dates,
    day,
    in_words,
    listed,
    phrase,
)
from distill.types import (
    Expectation,
    ExpectedCall,
    Fault,
    Json,
    Kind,
    Task,
    ToolCall,
    UserTurn,
)

__all__ = [
    "SHARES",
    "WEEKDAYS",
    "Idea",
    "Script",
    "amount",
    "clock",
    "dates",
    "day",
    "in_words",
    "listed",
    "phrase",
    "write_tasks",
]

Mentions = Sequence[Sequence[str]]
"""Groups of words; a right final text contains one of each group."""

SHARES: Mapping[Kind, float] = {
    Kind.SINGLE: 0.24,
    Kind.CHOOSE: 0.14,
    Kind.PARALLEL: 0.12,
    Kind.MULTI_STEP: 0.12,
    Kind.MULTI_TURN: 0.10,
    Kind.NO_TOOL: 0.09,
    Kind.MISSING: 0.09,
    Kind.TOOL_FAILED: 0.06,
    Kind.CHAT: 0.04,
}
"""A usual mix of kinds; about a fifth of the tasks is right to be answered without a call."""


class Script:
    """One task while it is written. `setup` and `fault` come before the first call."""

    def __init__(self, loaded: LoadedToolSet, idea: Idea, task_id: str, rng: random.Random) -> None:
        self.rng = rng
        self._loaded = loaded
        self._task: dict[str, Any] = {
            "id": task_id,
            "toolset": loaded.toolset.name,
            "kind": idea.kind,
            "family": idea.family,
            "turns": (UserTurn(content="-"),),
        }
        self._runner: ToolRunner | None = None
        self._turns: list[UserTurn] = []
        self._calls: list[ExpectedCall] = []

    def setup(self, **setup: Json) -> None:
        """Start from an environment made with these keywords."""
        self._task["setup"] = setup

    def fault(self, tool: str, message: str, times: int | None = 1) -> None:
        """Let the first `times` calls of `tool` fail with `message` (None: all of them)."""
        self._task["faults"] = (Fault(tool=tool, message=message, times=times),)

    def call(
        self,
        name: str,
        *,
        step: int = 0,
        accept: Mapping[str, Sequence[Json]] | None = None,
        free: Sequence[str] = (),
        **arguments: Json,
    ) -> Any:
        """Expect a call in this turn, execute it, and return its result.

        Args:
            name: The tool.
            step: Calls of one step may come in any order; steps follow each other.
            accept: Further right values of a parameter (None: it may be left out).
            free: Parameters whose text is free.
            **arguments: The expected arguments.

        Raises:
            TaskError: The call gives an error; use `failing` when it shall.
        """
        result, is_error = self._execute(name, arguments)
        if is_error:
            raise TaskError(f"{self._task['family']}: {name}({arguments}) fails: {result}")
        self._expect(name, step, accept, free, arguments)
        return result

    def failing(
        self,
        name: str,
        *,
        step: int = 0,
        accept: Mapping[str, Sequence[Json]] | None = None,
        **arguments: Json,
    ) -> str:
        """Expect a call that the tool answers with an error, and return its message.

        Raises:
            TaskError: The call succeeds.
        """
        result, is_error = self._execute(name, arguments)
        if not is_error:
            raise TaskError(f"{self._task['family']}: {name}({arguments}) does not fail")
        self._expect(name, step, accept, (), arguments)
        return str(result["error"])

    def look(self, name: str, **arguments: Json) -> Any:
        """Execute a call that only reads, without expecting it, and return its result."""
        return self._execute(name, arguments)[0]

    def reorder(self, order: Sequence[int]) -> None:
        """Put the calls of this turn in the order in which the user speaks of them.

        Args:
            order: For each place the number of the call that goes there.
        """
        self._calls = [self._calls[number] for number in order]

    @property
    def expected(self) -> int:
        """How many calls this turn expects so far."""
        return len(self._calls)

    def says(self, text: str, answer: str, mentions: Mentions = ()) -> None:
        """End a turn that wants the calls written since the last one."""
        self._turn("call", text, answer, mentions)

    def asks(self, text: str, answer: str, mentions: Mentions) -> None:
        """End a turn that is right to be answered with a question back."""
        self._turn("ask", text, answer, mentions)

    def abstains(self, text: str, answer: str, mentions: Mentions = ()) -> None:
        """End a turn that no tool fits."""
        self._turn("abstain", text, answer, mentions)

    def chats(self, text: str, answer: str, mentions: Mentions = ()) -> None:
        """End a turn of plain talk."""
        self._turn("answer", text, answer, mentions)

    @property
    def opening(self) -> str:
        """What the user says first."""
        return self._turns[0].content

    def task(self) -> Task:
        """Return the finished task; its end state is what the expected calls changed."""
        end_state = self._runner.changes() if self._runner and self._loaded.environment else None
        return Task(**self._task | {"turns": tuple(self._turns), "end_state": end_state})

    def close(self) -> None:
        """Release the environment."""
        if self._runner:
            self._runner.close()

    def _execute(self, name: str, arguments: dict[str, Json]) -> tuple[Any, bool]:
        if self._runner is None:
            self._runner = self._loaded.runner(Task(**self._task))
        call = ToolCall(id="call", name=name, arguments=json.dumps(arguments))
        message = self._runner.call_sync(call)
        return json.loads(message.content), message.is_error

    def _expect(
        self,
        name: str,
        step: int,
        accept: Mapping[str, Sequence[Json]] | None,
        free: Sequence[str],
        arguments: dict[str, Json],
    ) -> None:
        alternatives = {key: tuple(values) for key, values in (accept or {}).items()}
        self._calls.append(
            ExpectedCall(
                name=name, arguments=arguments, accept=alternatives, free=tuple(free), step=step
            )
        )

    def _turn(self, action: Any, text: str, answer: str, mentions: Mentions) -> None:
        expectation = Expectation(
            action=action,
            calls=tuple(self._calls),
            mentions=tuple(tuple(group) for group in mentions),
            answer=answer,
        )
        self._turns.append(UserTurn(content=text, expectation=expectation))
        self._calls = []


@dataclass(frozen=True)
class Idea:
    """One family of tasks: what it exercises, its name, and how a task of it is written."""

    kind: Kind
    family: str
    write: Callable[[Script], None]
    weight: float = 1.0
    """How often it is drawn among the ideas of its kind."""


def write_tasks(
    loaded: LoadedToolSet,
    ideas: Sequence[Idea],
    shares: Mapping[Kind, float],
    seed: int,
    count: int,
) -> Iterator[Task]:
    """Yield `count` tasks, each of which opens with a user text of its own.

    So what a user has said, however little of a conversation that is, was said in one task only.
    The same seed gives the same tasks, and a smaller count the first of them.

    Raises:
        TaskError: The ideas cannot give that many different openings.
    """
    rng = random.Random(seed)
    seen: set[str] = set()
    by_kind = {kind: [idea for idea in ideas if idea.kind is kind] for kind in shares}
    for number in range(count):
        kind = rng.choices(list(shares), weights=list(shares.values()))[0]
        for attempt in range(400):
            if attempt == 200:  # this kind has run dry; any other will do
                kind = max(shares, key=lambda k: (k is not kind) * shares[k])
            family = rng.choices(by_kind[kind], weights=[i.weight for i in by_kind[kind]])[0]
            script = Script(loaded, family, f"{loaded.toolset.name}-{number:05d}", rng)
            try:
                family.write(script)
                opening = script.opening.lower()
                if opening not in seen:
                    seen.add(opening)
                    yield script.task()
                    break
            finally:
                script.close()
        else:
            raise TaskError(f"seed {seed}: no new text after {number} tasks; add ideas or wording")
