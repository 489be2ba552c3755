"""BFCL's files: entries, tools and gold as the `bfcl-eval` package holds them.

The package is found, never imported: importing it makes folders and loads every vendor's SDK.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from distill.dataset import read_rows
from distill.errors import DatasetError
from distill.matching.bfcl import Call
from distill.types import Json, Tool

PACKAGE = "bfcl_eval"
NEEDS = "pip install --no-deps bfcl-eval mpmath"
NON_LIVE = ("simple_python", "multiple", "parallel", "parallel_multiple")
LIVE = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
AST = (*NON_LIVE, *LIVE)
RELEVANCE = ("irrelevance", "live_irrelevance", "live_relevance")
MULTI_TURN = (
    "multi_turn_base",
    "multi_turn_miss_func",
    "multi_turn_miss_param",
    "multi_turn_long_context",
)
TYPES = {
    "dict": "object",
    "float": "number",
    "tuple": "array",
    "any": "string",
}
"""JSON Schema's names of BFCL's types, where they differ."""

BACK_ENDS = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
"""Class -> module of its code and file of its tools' descriptions."""


def version() -> str:
    """Return the version of the data.

    Raises:
        DatasetError: It is not installed.
    """
    try:
        return metadata.version("bfcl-eval")
    except metadata.PackageNotFoundError:
        raise DatasetError(f"suite 'bfcl' is not installed; run `{NEEDS}`") from None


def rows(category: str) -> list[dict[str, Any]]:
    """Return the rows of a category; its right answers are in `possible_answer/<category>`.

    Raises:
        DatasetError: The package is not installed.
    """
    folder, _, name = category.rpartition("/")
    return _lines(_folder() / "data" / folder / f"BFCL_v4_{name}.json")


def documents(class_name: str) -> list[dict[str, Any]]:
    """Return the tools of one multi-turn back end."""
    return _lines(_folder() / "data" / "multi_turn_func_doc" / f"{BACK_ENDS[class_name]}.json")


def as_tool(row: Mapping[str, Any]) -> Tool:
    """Return a tool as an OpenAI-style endpoint takes it: no dots, JSON Schema's types."""
    return Tool(
        name=row["name"].replace(".", "_"),
        description=row["description"],
        parameters=_schema(row["parameters"]),
    )


def cluster(entry_id: str) -> str:
    """Return what entries of one tool document share: the middle number of a live id."""
    numbers = entry_id.rsplit("_", 1)[-1].split("-")
    return numbers[1] if len(numbers) == 3 else numbers[0]


def right_calls(
    tools: Sequence[Mapping[str, Any]],
    right: Sequence[Mapping[str, Any]],
    rng: random.Random,
    *,
    dots: bool = False,
) -> list[Call]:
    """Return calls that are right by the gold of an entry, drawn among its alternatives.

    An entry whose gold accepts nothing for an argument gets null there, which is never right. One
    that its tool's schema lacks is left out where that is right (parallel_multiple_12).
    """
    required = {tool["name"]: tool["parameters"]["required"] for tool in tools}
    known = {tool["name"]: tool["parameters"]["properties"] for tool in tools}
    calls: list[Call] = []
    for wanted in right:
        ((name, accepted),) = wanted.items()
        drawn = {
            argument: _draw(_given(values) if argument in required.get(name, ()) else values, rng)
            for argument, values in accepted.items()
            if argument in known.get(name, accepted) or "" not in values
        }
        given = {argument: value for argument, value in drawn.items() if value is not _LEFT_OUT}
        calls.append({name if dots else name.replace(".", "_"): given})
    return calls


def _folder() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DatasetError(f"suite 'bfcl' is not installed; run `{NEEDS}`")
    return Path(spec.submodule_search_locations[0])


def _lines(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path)]


def _schema(old: Mapping[str, Any]) -> dict[str, Any]:
    new: dict[str, Any] = dict(old)
    if "type" in new:
        new["type"] = TYPES.get(new["type"], new["type"])
    if old.get("type") == "float":
        new["format"] = "float"
        new["description"] = new.get("description", "") + " This is a float type value."
    if "properties" in new:
        new["properties"] = {key: _schema(value) for key, value in new["properties"].items()}
    if "items" in new:
        new["items"] = _schema(new["items"])
    return new


_LEFT_OUT = object()
_EMPTY = object()


def _draw(values: Sequence[Json], rng: random.Random) -> Any:
    """Draw an argument: an object is drawn key by key, and so is every object in a list."""
    value = _pick(values, rng)
    if isinstance(value, dict):
        return _draw_object(value, rng)
    if isinstance(value, list):
        return [_draw_object(item, rng) if isinstance(item, dict) else item for item in value]
    return value


def _draw_object(accepted: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    drawn = {key: _pick(options, rng) for key, options in accepted.items()}
    return {key: value for key, value in drawn.items() if value is not _LEFT_OUT}


def _given(values: Sequence[Json]) -> Sequence[Json]:
    """Return the values of an argument that must be there: "" only if nothing else is right."""
    return [value for value in values if value != ""] or ([_EMPTY] if values else [])


def _pick(values: Sequence[Json], rng: random.Random) -> Any:
    value = rng.choice(values) if values else None
    if value is _EMPTY:
        return ""
    return _LEFT_OUT if value == "" else value
