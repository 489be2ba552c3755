"""Values for parameters nobody gave: free text, and guesses that fit a JSON Schema.

Models fill gaps with what was said, whether it belongs there or not, and with plausible values
otherwise; so does this. Not a schema sampler: constraints beyond type, enum, format and bounds are
not looked at.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from distill.types import Json, Tool

_QUOTED = re.compile('["\u201c]([^"\u201d]{3,})["\u201d]')
_FORMATS = {
    "date": "2026-12-01",
    "time": "09:00:00",
    "date-time": "2026-12-01T09:00:00",
    "email": "someone@example.com",
}
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
}


class Known(NamedTuple):
    """What a guess can draw on."""

    said: str
    """The user's words."""
    arguments: dict[str, Json]
    """Arguments of the right call, where there is one."""


def free_text(said: str) -> str:
    """Return text for a free parameter: what the user quoted, or the end of what they said."""
    if quoted := _QUOTED.search(said):
        return quoted.group(1)
    sentences = [s for s in re.split(r"(?<=[.!?])\s+", said.strip()) if s]
    return " ".join(sentences[-1].rstrip(".!?").split()[:12]) or "note"


def known_arguments(tool: Tool, known: Known) -> dict[str, Json]:
    """Return those arguments of `tool` that follow from what is known."""
    properties = tool.parameters.get("properties", {})
    found = {name: next(_candidates(name, s, known), None) for name, s in properties.items()}
    return {name: value for name, value in found.items() if value is not None}


def guess_arguments(tool: Tool, known: Known, rng: random.Random) -> dict[str, Json]:
    """Return arguments for `tool`: what is known where it fits, guesses for what is required."""
    found = known_arguments(tool, known)
    properties, required = (
        tool.parameters.get("properties", {}),
        tool.parameters.get("required", ()),
    )
    return {
        name: found[name] if name in found else guess(schema, known, rng)
        for name, schema in properties.items()
        if name in found or name in required
    }


def guess(schema: dict[str, Any], known: Known, rng: random.Random) -> Json:
    """Return a plausible value of `schema`."""
    if "enum" in schema:
        return rng.choice(schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return guess(next(s for s in schema[key] if s.get("type") != "null"), known, rng)
    match schema.get("type"):
        case "boolean":
            return True
        case "integer" | "number":
            low = schema.get("minimum", 1)
            high = schema.get("maximum", low + 9)
            said = [int(n) for n in re.findall(r"\d+", known.said) if low <= int(n) <= high]
            return said[0] if said else rng.randint(int(low), int(min(high, low + 9)))
        case "array":
            return [guess(schema.get("items", {}), known, rng)]
        case "object":
            inner = schema.get("properties", {})
            return {name: guess(inner[name], known, rng) for name in schema.get("required", ())}
        case _:
            words = [w for w in re.findall(r"\w+", known.said.lower()) if len(w) > 3]
            return _FORMATS.get(schema.get("format", "")) or rng.choice(words or ["main"])


def _candidates(name: str, schema: dict[str, Any], known: Known) -> Iterator[Json]:
    """Yield values that are known and fit: the same parameter, then any choice that was named."""
    if name in known.arguments and _fits(known.arguments[name], schema):
        yield known.arguments[name]
    named = [*known.arguments.values(), *re.findall(r"\w+", known.said.lower())]
    if "enum" in schema:
        yield from (value for value in named if value in schema["enum"])
    elif "enum" in schema.get("items", {}):
        if chosen := [value for value in named if value in schema["items"]["enum"]]:
            yield list(dict.fromkeys(chosen))


def _fits(value: Json, schema: dict[str, Any]) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    return isinstance(value, _TYPES.get(schema.get("type", ""), object))
