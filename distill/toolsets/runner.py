"""Executes the tool calls of one episode.

Every call gives a `ToolMessage`: JSON text of the return value, or `{"error": "..."}` when the
arguments are malformed or violate the schema, the tool is unknown, raises, returns too much or too
late, or a `Fault` of the task is due. A fault of a tool never reaches the caller as an exception.

All calls of an episode run on one thread of their own, one after the other. So state needs no
locks (and a SQLite connection stays on its thread), and a call that times out cannot interleave
with a later one: the later call waits for it and, when it too runs out of time, is never started.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import queue
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic_core import PydanticSerializationError, to_jsonable_python

from distill.errors import TaskError, ToolSetError
from distill.toolsets.arguments import validate_arguments
from distill.toolsets.environment import Environment, ToolError, UnansweredError
from distill.toolsets.state import diff
from distill.types import Json, Task, Tool, ToolCall, ToolMessage

MAX_RESULT_BYTES = 64 * 1024
"""A longer result is an error: it would crowd the conversation out of the context."""

_T = TypeVar("_T")


class Executable(Protocol):
    """A tool with what executes it: a Python function, or a session's way to a server."""

    @property
    def tool(self) -> Tool:
        """The tool as the model sees it."""

    def invoke(self, environment: Environment | None, arguments: dict[str, Json]) -> Any:
        """Execute a call whose arguments are valid; may give a coroutine."""


@dataclass(frozen=True)
class NotThere:
    """A tool that is only shown (`Offer.extra`): every call of it is an error."""

    tool: Tool

    def invoke(self, environment: Environment | None, arguments: dict[str, Json]) -> Any:
        """Refuse the call."""
        raise ToolError(f"{self.tool.name} is not available")


class ToolRunner:
    """The tools of one episode, with its environment and the faults of its task.

    Raises:
        TaskError: The environment refuses the task's setup.
        ToolSetError: The tool set itself is at fault, here or in a later call: a snapshot fails, a
            server cannot be reached.
    """

    def __init__(
        self,
        tools: Mapping[str, Executable],
        environment: Callable[..., Environment] | None,
        task: Task,
        timeout_s: float = 30,
    ) -> None:
        self._tools = tools
        self._faults = task.faults
        self._called: Counter[str] = Counter()
        self._timeout_s = timeout_s
        self._thread = _Thread()
        try:
            self._environment, self._start = self._thread.submit(
                lambda: _open(environment, task.setup)
            ).result()
        except Exception as error:
            self._thread.stop()
            if isinstance(error, ToolSetError):
                raise
            raise TaskError(
                f"task {task.id!r}: the environment refuses setup {task.setup!r}: {_first(error)}"
            ) from error
        self._now = self._start

    async def call(self, call: ToolCall) -> ToolMessage:
        """Execute one call; a call that fails gives an error result."""
        future = self._thread.submit(lambda: self._execute(call))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._timeout_s)
        except TimeoutError:
            return _error(call, self._too_late(call.name))

    def call_sync(self, call: ToolCall) -> ToolMessage:
        """Execute one call from code that runs no event loop (generators, tests)."""
        future = self._thread.submit(lambda: self._execute(call))
        try:
            return future.result(self._timeout_s)
        except TimeoutError:
            future.cancel()
            return _error(call, self._too_late(call.name))

    def changes(self) -> dict[str, Json]:
        """Return what finished calls changed: JSON pointer -> new value, None when removed."""
        return diff(self._start, self._now)

    def close(self) -> None:
        """Close the environment once the last call has ended; no call may follow."""
        if self._environment is not None:
            self._thread.submit(self._environment.close)
        self._thread.stop()

    def _execute(self, call: ToolCall) -> ToolMessage:
        function = self._tools.get(call.name)
        if function is None:
            known = ", ".join(self._tools)
            return _error(call, f"unknown tool {call.name!r}; the tools are {known}")
        try:
            arguments = call.parsed()
        except ValueError as error:
            return _error(call, f"malformed arguments: {error}")
        if violation := validate_arguments(function.tool, arguments):
            return _error(call, f"invalid arguments: {violation}")
        if (message := self._fault(call.name)) is not None:
            return _error(call, message)
        try:
            content = _json(self._invoke(function, arguments))
        except ToolError as error:
            return _error(call, str(error))
        except (ToolSetError, UnansweredError):
            raise  # no answer of a tool: the episode would teach what a broken set-up looks like
        except (Exception, SystemExit) as error:
            return _error(call, _first(error))
        finally:
            self._look()
        return ToolMessage(tool_call_id=call.id, name=call.name, content=content)

    def _invoke(self, function: Executable, arguments: dict[str, Json]) -> Any:
        result = function.invoke(self._environment, arguments)
        if inspect.iscoroutine(result):
            try:
                return self._thread.run(result, self._timeout_s)
            except TimeoutError:
                raise ToolError(self._too_late(function.tool.name)) from None
        return result

    def _too_late(self, name: str) -> str:
        return f"{name} gave no answer within {self._timeout_s:g} s"

    def _fault(self, name: str) -> str | None:
        self._called[name] += 1
        for fault in self._faults:
            if fault.tool == name and (fault.times is None or self._called[name] <= fault.times):
                return fault.message
        return None

    def _look(self) -> None:
        if self._environment is not None:
            self._now = _snapshot(self._environment)


class _Thread:
    """One daemon thread that runs functions in order, with an event loop for async tools.

    A pool of `concurrent.futures` would be joined at exit and so hang on a tool that never ends.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._loop: asyncio.Runner | None = None
        threading.Thread(target=self._work, name="distill-tools", daemon=True).start()

    def submit(self, function: Callable[[], _T]) -> Future[_T]:
        future: Future[_T] = Future()
        self._queue.put((future, function))
        return future

    def run(self, coroutine: Any, timeout_s: float) -> Any:
        """Run an async tool to its end or its timeout (on this thread only)."""
        if self._loop is None:
            self._loop = asyncio.Runner()
        return self._loop.run(asyncio.wait_for(coroutine, timeout_s))

    def stop(self) -> None:
        self._queue.put(None)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            future, function = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)
        if self._loop is not None:
            self._loop.close()


def _open(
    kind: Callable[..., Environment] | None, setup: dict[str, Json]
) -> tuple[Environment | None, dict[str, Json]]:
    if kind is None:
        return None, {}
    environment = kind(**setup)
    return environment, _snapshot(environment)


def _snapshot(environment: Environment) -> dict[str, Json]:
    try:
        snapshot: dict[str, Json] = json.loads(_json(environment.snapshot(), limit=None))
    except Exception as error:
        name = type(environment).__name__
        raise ToolSetError(f"{name}.snapshot fails: {_first(error)}; return plain JSON") from error
    return snapshot


def _json(value: Any, limit: int | None = MAX_RESULT_BYTES) -> str:
    try:
        text = json.dumps(to_jsonable_python(value), ensure_ascii=False, allow_nan=False)
    except (PydanticSerializationError, ValueError, TypeError) as error:
        raise ToolError(f"the result is not JSON: {_first(error)}") from error
    if limit is not None and len(text.encode()) > limit:
        raise ToolError(f"the result is longer than {limit // 1024} KiB; ask for less")
    return text


def _first(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}" if lines[0] else type(error).__name__


def _error(call: ToolCall, message: str) -> ToolMessage:
    content = json.dumps({"error": message}, ensure_ascii=False)
    return ToolMessage(tool_call_id=call.id, name=call.name, content=content, is_error=True)
