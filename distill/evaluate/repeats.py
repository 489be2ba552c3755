"""Several answers to the same case: how often all are right, and how often they agree.

A model that gives another answer each time cannot be matched by a student more often than it
matches itself: the teacher's self-agreement is the ceiling to read the student's score against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from distill.evaluate.metrics import Scored, share
from distill.evaluate.stats import pass_k
from distill.results import PassK, Share
from distill.types import ToolCall, canonical_json


def passed_k(trials: Sequence[Sequence[Scored]]) -> tuple[PassK, ...]:
    """Return pass^k for every k from 2 on.

    Args:
        trials: The judged answers of each trial; cases that lack one are left out.
    """
    complete = [row for row in _by_case(trials).values() if len(row) == len(trials)]
    if len(trials) < 2 or not complete:
        return ()
    successes = [sum(one.ok for one in row) for row in complete]
    families = [row[0].task.family for row in complete]
    made = []
    for k in range(2, len(trials) + 1):
        value, interval = pass_k(successes, len(trials), k, families)
        low, high = interval if interval else (None, None)
        made.append(PassK(k=k, value=value, low=low, high=high))
    return tuple(made)


def agreement(trials: Sequence[Sequence[Scored]]) -> Share | None:
    """Return how often two answers to a case make the same calls; None with one answer each.

    The interval takes cases, not pairs, as independent: it is that of as many flips as there are
    cases.
    """
    rows = [row for row in _by_case(trials).values() if len(row) > 1]
    if not rows:
        return None
    shares = [
        sum(_did(a) == _did(b) for a, b in combinations(row, 2)) / (len(row) * (len(row) - 1) / 2)
        for row in rows
    ]
    mean = sum(shares) / len(shares)
    whole = share(n < round(mean * len(rows)) for n in range(len(rows)))
    return whole.model_copy(update={"value": mean})


def _by_case(trials: Sequence[Sequence[Scored]]) -> Mapping[str, list[Scored]]:
    rows: dict[str, list[Scored]] = {}
    for trial in trials:
        for one in trial:
            rows.setdefault(one.task.id, []).append(one)
    return rows


def _did(one: Scored) -> tuple[object, ...]:
    """Return what an answer did: its calls turn by turn, in any order within a turn."""
    turns = [sorted(_call(call.call) for call in turn.made) for turn in one.turns]
    return (one.answer.trace.outcome, [turn.decision for turn in one.turns], turns)


def _call(call: ToolCall) -> str:
    try:
        return f"{call.name} {canonical_json(call.parsed())}"
    except ValueError:
        return f"{call.name} {call.arguments}"
