"""The tool sets of the repository, tasks made for them, and episodes: shared by their tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from distill.toolsets import LoadedToolSet, ToolRunner, load_tasks, load_toolset
from distill.types import AssistantMessage, Kind, Message, Task, ToolCall, UserMessage, UserTurn

TOOLS = Path(__file__).parents[2] / "tools"
MADE = {"home": 3_000, "retail": 400, "travel": 400}


@cache
def toolset(name: str) -> LoadedToolSet:
    return load_toolset(TOOLS / name)


@cache
def tasks_of(name: str) -> list[Task]:
    """Make the tasks of a tool set, seed 0; once for all test modules."""
    return load_tasks(toolset(name), None, MADE[name], seed=0)


@contextmanager
def episode(name: str, **setup: Any) -> Iterator[tuple[Callable[..., Any], ToolRunner]]:
    """Give a function that calls a tool and returns its result, and the runner."""
    turn = UserTurn(content="-")
    task = Task(id="t", toolset=name, kind=Kind.SINGLE, family="f", turns=(turn,), setup=setup)
    runner = toolset(name).runner(task)

    def use(tool: str, **arguments: Any) -> Any:
        call = ToolCall(id="c", name=tool, arguments=json.dumps(arguments))
        return json.loads(runner.call_sync(call).content)

    yield use, runner
    runner.close()


def replay(task: Task, *, backwards: bool = False) -> tuple[list[Message], dict[str, Any], int]:
    """Play the reference answer; return the conversation, what it changed, and failed calls."""
    runner, messages, failed = toolset(task.toolset).runner(task), [], 0
    for turn in task.turns:
        messages.append(UserMessage(content=turn.content))
        for step in sorted({call.step for call in turn.expectation.calls}):
            expected = [call for call in turn.expectation.calls if call.step == step]
            calls = [
                ToolCall(id=f"{len(messages)}.{n}", name=e.name, arguments=json.dumps(e.arguments))
                for n, e in enumerate(expected[::-1] if backwards else expected)
            ]
            results = [runner.call_sync(call) for call in calls]
            failed += sum(result.is_error for result in results)
            messages += [AssistantMessage(tool_calls=calls), *results]
        messages.append(AssistantMessage(content=turn.expectation.answer))
    changes = runner.changes()
    runner.close()
    return messages, changes, failed
