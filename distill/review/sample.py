"""Which rows are reviewed, in which order: random, yet every kind keeps its share.

All rows are put in one order, and the sample is its beginning. Each kind's rows are shuffled by a
hash of seed and key; then the kinds take turns as a divisor method (Sainte-Lague's) deals out
seats, after one row of each kind. So every prefix is a stratified sample: a review that stops
early, or goes on for longer, is one too. A row's place depends on no other row of its kind being
there, so that two reviewers, or a run after the next `filter`, see the same order.

Rows whose samples disagree take turns apart from the others of their kind, and some of them are
pulled to the front: they are a stratum of the audit, so that looking at them more often than at
others does not bend its rate.

Not sampled: what the checks dropped (`rejects.jsonl` says why), and the held-out cases.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from distill.dataset import REJECTS, TRAIN, VALIDATION, read_rows
from distill.traces.reviews import Decision, Review

REVIEW_STAGE = "review"
"""Stage of `rejects.jsonl` at which a review dropped a trace."""


class Row(NamedTuple):
    """One row of the data set, or one that a review took out of it."""

    key: str
    kind: str
    place: str
    """Which file it is in, or that a review took it out."""
    context: tuple[int, ...] = ()
    """Which assistant turns, counted from 0, are context only."""
    agreement: float | None = None
    """Share of the task's samples that did the same; None: nothing was compared."""

    @property
    def disputed(self) -> bool:
        """Whether the samples of its task disagree."""
        return self.agreement is not None and self.agreement < 1


def population(folder: Path, decisions: Mapping[str, Review]) -> list[Row]:
    """Return the rows the checks kept for training, those that reviews took out among them.

    Args:
        folder: The data set.
        decisions: The reviews by key.

    Raises:
        DatasetError: There is no data set, or a row of it is malformed.
    """
    rows = [
        Row(
            key=row["meta"]["key"],
            kind=row["meta"]["kind"],
            place=Path(name).stem,
            context=_context(row["messages"]),
            agreement=row["meta"].get("agreement"),
        )
        for name in (TRAIN, VALIDATION)
        for _, row in read_rows(folder / name)
    ]
    return rows + [
        Row(row["key"], row["kind"], "taken out", agreement=row.get("agreement"))
        for _, row in read_rows(folder / REJECTS)
        if row["key"] in decisions
        and (row["stage"] == REVIEW_STAGE or decisions[row["key"]].verdict is Decision.FIX)
    ]


def in_order(rows: Iterable[Row], seed: int, first: int = 0) -> list[Row]:
    """Return the rows in the order they are reviewed; see the module.

    Args:
        rows: The rows.
        seed: Of the draw.
        first: So many disputed rows come before all others.
    """
    dealt = _dealt(rows, seed, apart=first > 0)
    ahead = [row for row in dealt if row.disputed][:first]
    pulled = {row.key for row in ahead}
    return ahead + [row for row in dealt if row.key not in pulled]


def _dealt(rows: Iterable[Row], seed: int, *, apart: bool) -> list[Row]:
    strata: dict[tuple[str, bool], list[Row]] = defaultdict(list)
    for row in rows:
        strata[row.kind, apart and row.disputed].append(row)
    dealt = []
    for members in strata.values():
        members.sort(key=lambda row: _shuffle(seed, row.key))
        for n, row in enumerate(members):
            turn = (n + 0.5) / len(members) if n else 0.0
            dealt.append((turn, _shuffle(seed, row.key), row))
    return [row for *_, row in sorted(dealt)]


def _context(messages: list[dict[str, object]]) -> tuple[int, ...]:
    turns = [message for message in messages if message["role"] == "assistant"]
    return tuple(n for n, turn in enumerate(turns) if turn.get("weight", 1) == 0)


def _shuffle(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()
