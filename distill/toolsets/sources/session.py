"""What an imported tool set opens for one episode, and a tool that is executed through it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distill.toolsets.environment import Environment
from distill.toolsets.sources.snapshot import Snapshot
from distill.types import Json, Tool

if TYPE_CHECKING:
    from distill.toolsets.sources.simulated import Simulation


class Session(Environment):
    """The way to whatever executes the calls of one episode. Its state is not observed."""

    @abstractmethod
    def call(self, name: str, arguments: dict[str, Json]) -> Json:
        """Execute a call and return its result.

        Args:
            name: The tool, as the model knows it.
            arguments: Valid under its schema.

        Raises:
            ToolError: The tool answers with an error, which the model is to see.
            ToolSetError: There was no answer of the tool at all.
        """


@dataclass(frozen=True)
class SessionTool:
    """A tool whose calls go through the episode's `Session`."""

    tool: Tool

    def invoke(self, environment: Environment | None, arguments: dict[str, Json]) -> Any:
        """Execute a call."""
        assert isinstance(environment, Session)
        return environment.call(self.tool.name, arguments)


@dataclass(frozen=True)
class Source:
    """Where the tools of an imported set come from and how their calls are executed."""

    snapshot: Snapshot
    session: Callable[[float], Session]
    """Opens a session, given seconds for each call."""
    gaps: tuple[str, ...] = ()
    """What keeps calls from being executed as things stand."""
    simulation: Simulation | None = None
    """How a model answers the calls, while traces are collected."""
