"""The verbs of the student's world: what tools do, how people ask for it, how it is reported.

The words are in the tables `deeds`, `opposites`, `readings` and `facts`. Sentences are put together
in `sentences`, tools in `toolbox`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from .tables import rows, split


@dataclass(frozen=True)
class Deed:
    """Something a tool does to a thing."""

    stems: tuple[str, ...]
    requests: tuple[str, ...]
    hints: tuple[str, ...]
    reports: tuple[str, ...]
    purpose: str


@dataclass(frozen=True)
class Reading:
    """Something a tool tells about a thing; `unit` is empty for facts that are no number."""

    stem: str
    unit: str
    low: int
    high: int
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    purpose: str
    kind: str = "number"


@functools.cache
def deeds() -> tuple[Deed, ...]:
    """Return all deeds."""
    return tuple(
        Deed(tuple(stems.split()), split(requests), split(hints), split(reports), purpose)
        for stems, requests, hints, reports, purpose in rows("deeds")
    )


@functools.cache
def opposites() -> tuple[tuple[Deed, Deed], ...]:
    """Return the pairs of deeds that one tool may do and undo."""
    known = {deed.stems[0]: deed for deed in deeds()}
    return tuple((known[one], known[other]) for one, other in rows("opposites"))


@functools.cache
def readings() -> tuple[Reading, ...]:
    """Return all readings, numbers first."""
    return tuple(
        Reading(stem, unit, int(low), int(high), split(ask), split(answer), purpose)
        for stem, unit, low, high, ask, answer, purpose in rows("readings")
    ) + tuple(
        Reading(stem, "", 0, 0, split(ask), split(answer), purpose, kind)
        for stem, ask, answer, purpose, kind in rows("facts")
    )
