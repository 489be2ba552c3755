"""What of a tool set tasks can cover, apart from its tools: values of choices, optional parameters.

A parameter with a choice (enum, boolean, an array of an enum) has one point for each value; an
optional parameter without one has a single point: it is given. What stands inside of objects, and
choices among objects, are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from distill.types import ExpectedCall, Frozen, Json, Tool, ToolSet, canonical_json


class Point(Frozen):
    """One thing about a parameter that a call can show."""

    tool: str
    parameter: str
    value: Json = None
    """One value of its choice."""
    any_value: bool = False
    """The parameter is optional and has no choice: any value will do."""

    def __str__(self) -> str:
        """Return the point as a reader reads it: `set_light.room="hall"`."""
        name = f"{self.tool}.{self.parameter}"
        return name if self.any_value else f"{name}={canonical_json(self.value)}"

    def shown_by(self, call: ExpectedCall) -> bool:
        """Whether a call shows it."""
        if call.name != self.tool or self.parameter not in call.arguments:
            return False
        given = call.arguments[self.parameter]
        values = [given, *given] if isinstance(given, list) else [given]
        # As JSON: to Python, true is 1.
        return self.any_value or canonical_json(self.value) in map(canonical_json, values)


def points_of(toolset: ToolSet) -> list[Point]:
    """Return the points of every tool, in the order of the schemas."""
    return [point for tool in toolset.tools for point in _points(tool)]


def _points(tool: Tool) -> Iterator[Point]:
    required = tool.parameters.get("required", ())
    for name, schema in tool.parameters.get("properties", {}).items():
        if values := choices(schema):
            yield from (Point(tool=tool.name, parameter=name, value=value) for value in values)
        elif name not in required:
            yield Point(tool=tool.name, parameter=name, any_value=True)


def choices(schema: Json) -> list[Json]:
    """Return the values a schema names, those of an array's items too."""
    if not isinstance(schema, Mapping):
        return []
    found: list[Any] = []
    if isinstance(schema.get("enum"), list):
        found += schema["enum"]
    elif schema.get("type") == "boolean":
        found += [True, False]
    elif schema.get("type") == "array":
        found += choices(schema.get("items"))
    for key in ("anyOf", "oneOf"):
        for option in schema.get(key, ()):
            found += choices(option)
    plain = [value for value in found if isinstance(value, str | int | float | bool)]
    return list({canonical_json(value): value for value in plain}.values())
