"""The difference between two snapshots of an environment, as JSON pointers (RFC 6901).

    before {"lights": {"hall": 0, "office": 40}, "alarm": "off"}
    after  {"lights": {"hall": 30}, "alarm": "off"}
    diff   {"/lights/hall": 30, "/lights/office": None}

Objects are compared key by key; lists and scalars as whole values.
"""

from __future__ import annotations

from collections.abc import Mapping

from distill.types import Json


def diff(before: Mapping[str, Json], after: Mapping[str, Json]) -> dict[str, Json]:
    """Return pointer -> new value for everything that differs; None marks what was removed."""
    return dict(sorted(_walk("", before, after)))


def _walk(
    pointer: str, before: Mapping[str, Json], after: Mapping[str, Json]
) -> list[tuple[str, Json]]:
    found: list[tuple[str, Json]] = []
    for key in before.keys() | after.keys():
        here = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
        if key not in after:
            found.append((here, None))
        elif key not in before:
            found.append((here, after[key]))
        elif isinstance(before[key], Mapping) and isinstance(after[key], Mapping):
            found.extend(_walk(here, before[key], after[key]))
        elif before[key] != after[key]:
            found.append((here, after[key]))
    return found
