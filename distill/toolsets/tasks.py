"""Tasks of a tool set: read from a `tasks.jsonl`, or made by a `tasks.py`, and checked.

    def generate(seed: int, count: int) -> Iterator[Task]: ...

A task that cannot be right (it expects a tool that does not exist, arguments the schema refuses, a
setup the environment does not take) is refused before an episode is paid for.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from distill.config import Config
from distill.errors import TaskError
from distill.toolsets.arguments import validate_arguments
from distill.toolsets.folder import LoadedToolSet, describe_failure, load_module
from distill.toolsets.variants import derive
from distill.types import Expectation, ExpectedCall, Json, Task, Tool, ToolSet


def configured_tasks(config: Config, loaded: LoadedToolSet) -> list[Task]:
    """Return the tasks of a config, and the variants it derives from them.

    Raises:
        TaskError: There are no tasks, or one of them is wrong.
    """
    settings = config.tasks
    path = config.path(settings.path) if settings.path else None
    tasks = load_tasks(loaded, path, settings.count, settings.seed)
    shares = settings.variants.model_dump()
    return [*tasks, *derive(tasks, loaded.toolset, shares, settings.seed)]


def load_tasks(loaded: LoadedToolSet, path: Path | None, count: int, seed: int) -> list[Task]:
    """Return at most `count` tasks, checked against the tool set.

    Args:
        loaded: The tool set the tasks are for.
        path: A tasks.jsonl, or a tasks.py with `generate(seed, count)`; None: the tool set's own.
        count: How many are generated, or read from the top of a file.
        seed: Seed of the generator.

    Raises:
        TaskError: There are no tasks, or one of them is wrong.
    """
    path = path or loaded.tasks_path
    if path is None:
        raise TaskError(
            f"{loaded.folder / 'toolset.yaml'}: names no tasks; add `tasks: tasks.jsonl`, "
            "set tasks.path in the config, or have them written: distill tasks generate"
        )
    source = _generated(path, seed, count) if path.suffix == ".py" else _read(path)
    tasks: dict[str, Task] = {}
    places: dict[str, str] = {}
    for where, task in itertools.islice(source, count):
        if task.id in tasks:
            raise TaskError(
                f"{where}: id {task.id!r} is taken by {places[task.id]}; ids are unique"
            )
        if problem := check_task(loaded, task):
            raise TaskError(f"{where}: {problem}")
        tasks[task.id], places[task.id] = task, where
    if not tasks:
        raise TaskError(f"{path}: holds no tasks")
    return list(tasks.values())


def check_task(loaded: LoadedToolSet, task: Task) -> str | None:
    """Return what makes `task` impossible on this tool set, or None."""
    if task.toolset != loaded.toolset.name:
        return f"it is for tool set {task.toolset!r}, this is {loaded.toolset.name!r}"
    offered = loaded.toolset.offered(task)
    if task.offer is not None and len(offered.tools) < len(task.offer.names):
        gone = next(name for name in task.offer.names if offered.get(name) is None)
        return f"it offers {_unknown(loaded.toolset, gone)}"
    for fault in task.faults:
        if offered.get(fault.tool) is None:
            return f"a fault names {_unknown(offered, fault.tool)}"
    for turn in task.turns:
        if turn.expectation and (problem := _check_expectation(offered, turn.expectation)):
            return problem
    return _check_state(loaded, task)


def _check_expectation(toolset: ToolSet, expectation: Expectation) -> str | None:
    if bool(expectation.calls) != (expectation.action == "call"):
        return f"action {expectation.action!r} with {len(expectation.calls)} calls"
    for call in expectation.calls:
        tool = toolset.get(call.name)
        if tool is None:
            return f"the expectation names {_unknown(toolset, call.name)}"
        for arguments in _variants(call):
            if violation := validate_arguments(tool, arguments):
                return f"expected arguments of {call.name!r} are invalid: {violation}"
        if unknown := _unknown_parameter(tool, call):
            return f"{call.name!r} has no parameter {unknown!r}"
    return None


def _variants(call: ExpectedCall) -> Iterator[dict[str, Json]]:
    yield call.arguments
    for name, values in call.accept.items():
        for value in values:
            rest = {key: v for key, v in call.arguments.items() if key != name}
            yield rest if value is None else rest | {name: value}


def _unknown_parameter(tool: Tool, call: ExpectedCall) -> str | None:
    known = tool.parameters.get("properties", {})
    return next((name for name in (*call.accept, *call.free) if name not in known), None)


def _check_state(loaded: LoadedToolSet, task: Task) -> str | None:
    if loaded.environment is None:
        if (task.setup and loaded.simulation is None) or task.end_state is not None:
            return "it has a setup or an end state, but the tool set has no Environment"
        return None
    try:
        inspect.signature(loaded.environment).bind(**task.setup)
    except TypeError as error:
        return f"{loaded.environment.__name__} does not take setup {task.setup!r}: {error}"
    return None


def _unknown(toolset: ToolSet, name: str) -> str:
    known = ", ".join(tool.name for tool in toolset.tools)
    return f"{name!r}, which is no tool; tools: {known}"


def _read(path: Path) -> Iterator[tuple[str, Task]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() breaks at U+2028
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"cannot read tasks {str(path)!r}: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield f"{path}:{number}", Task.model_validate_json(line)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                key = ".".join(str(part) for part in first["loc"]) or "task"
                got = repr(first["input"])[:80]
                raise TaskError(f"{path}:{number}: {key}: {first['msg']}, got {got}") from None


def _generated(path: Path, seed: int, count: int) -> Iterator[tuple[str, Task]]:
    generate = getattr(load_module(path, TaskError), "generate", None)
    if generate is None:
        raise TaskError(f"{path}: has no function generate(seed, count)")
    try:
        for task in generate(seed, count):
            if not isinstance(task, Task):
                raise TypeError(f"generate gave {task!r}, not a Task")
            yield f"{path}: task {task.id!r}", task
    except TaskError:
        raise
    except Exception as problem:
        raise TaskError(describe_failure(problem, path)) from problem
