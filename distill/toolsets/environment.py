"""What a user's `tools.py` is written with: `tool`, `Environment`, `ToolError`.

    class Shelf(Environment):
        def __init__(self, books: int = 3) -> None: ...     # keywords: Task.setup
        def snapshot(self) -> dict[str, Json]: ...          # {"books": 3}

        @tool
        def take_books(self, count: int) -> dict[str, int]: ...

This module only marks; schemas are derived in `functions`, calls are executed in `runner`, and
`tools/README.md` shows a whole tool set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from distill.types import Json

_Function = TypeVar("_Function", bound=Callable[..., Any])
_MARK = "__distill_tool__"


class ToolError(Exception):
    """Raised inside a tool when it cannot do what was asked; the model sees the message."""


class UnansweredError(Exception):
    """What executes a call could not be asked, which says nothing about the call.

    Attributes:
        cause: Why; raised to who runs the episode.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def tool(function: _Function) -> _Function:
    """Mark a function, or a method of an `Environment`, as a tool the model may call."""
    setattr(function, _MARK, True)
    return function


def is_tool(value: object) -> bool:
    """Whether `value` was marked with `tool`."""
    return callable(value) and hasattr(value, _MARK)


class Environment:
    """State of one episode, made fresh for it; methods marked with `tool` act on it.

    All calls of an episode run one after the other on one thread, from `__init__` to `close`.
    """

    def __init__(self, **setup: Json) -> None:
        """Start from `Task.setup`; a subclass names the keywords it takes."""
        if setup:
            raise TypeError(f"this environment takes no setup, got {sorted(setup)}")

    def snapshot(self) -> dict[str, Json]:
        """Return the state that counts as JSON: no free text, no clocks, nothing random."""
        return {}

    def close(self) -> None:
        """Release what the episode held."""
