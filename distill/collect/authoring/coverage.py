"""What a list of tasks covers of its tool set: tools by kind, values, and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distill.collect.authoring.points import Point, points_of
from distill.types import ExpectedCall, Json, Kind, Task, ToolSet


@dataclass(frozen=True)
class Coverage:
    """Counts over the expectations of tasks."""

    count: int
    kinds: Counter[Kind]
    """Tasks of each kind, those without a call too."""
    tools: dict[str, Counter[Kind]]
    """Tool -> kind -> tasks in which a right answer calls it."""
    points: dict[Point, int]
    """Point -> expected calls that show it."""

    @property
    def missing(self) -> list[str]:
        """What no task shows: tools first, then values and optional parameters."""
        unused = [name for name, kinds in self.tools.items() if not kinds]
        hidden = (p for p, n in self.points.items() if not n and p.tool not in unused)
        return [*unused, *map(str, hidden)]

    @property
    def shown(self) -> int:
        """Points that some task shows."""
        return sum(count > 0 for count in self.points.values())

    def as_json(self) -> dict[str, Json]:
        """Return the counts as they are written beside the tasks."""
        return {
            "tasks": self.count,
            "kinds": {str(kind): n for kind, n in sorted(self.kinds.items())},
            "tools": {
                name: {str(kind): n for kind, n in sorted(kinds.items())}
                for name, kinds in self.tools.items()
            },
            "values": {str(point): n for point, n in self.points.items()},
            "missing": self.missing,
        }


def cover(tasks: Sequence[Task], toolset: ToolSet) -> Coverage:
    """Count what tasks cover; a task without expectations covers nothing."""
    tools: dict[str, Counter[Kind]] = {tool.name: Counter() for tool in toolset.tools}
    for task in tasks:
        for name in task.tools:
            if name in tools:
                tools[name][task.kind] += 1
    calls = list(_calls(tasks))
    points = {point: sum(point.shown_by(c) for c in calls) for point in points_of(toolset)}
    return Coverage(len(tasks), Counter(task.kind for task in tasks), tools, points)


def _calls(tasks: Iterable[Task]) -> Iterable[ExpectedCall]:
    for task in tasks:
        for turn in task.turns:
            if turn.expectation:
                yield from turn.expectation.calls
