"""What people decided about traces: one row per trace, beside them in the store's database.

A row is first a lease (somebody has the trace open), then a decision: approve, reject with a
reason, or fix. A trace is reviewed once; whoever decides first keeps it, and only they may change
or undo it. The trace itself is never touched: a fix is kept as the mended conversation, and
`corrected` puts it in the trace's place.

    {"key": "5d0c...", "reviewer": "ann", "verdict": "reject", "reason": "wrong_answer",
     "note": "the 3rd is a Tuesday", "correction": null, "at": "2026-11-02T09:14:03Z"}
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from distill.errors import StoreError
from distill.traces import schema
from distill.traces.beside import TableBeside
from distill.traces.trace import Trace
from distill.types import Frozen, Json, Message

metadata = sa.MetaData()
table = sa.Table(
    "reviews",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("reviewer", sa.Text, nullable=False),
    sa.Column("lease_until", sa.Double),
    sa.Column("verdict", sa.Text),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("correction", sa.Text),
    sa.Column("at", sa.Text),
)


class Decision(StrEnum):
    """What a reviewer says about a trace."""

    APPROVE = "approve"
    REJECT = "reject"
    FIX = "fix"


class Correction(Frozen):
    """A mended conversation: as many messages as before, in the same roles."""

    messages: tuple[Message, ...]
    changes: dict[str, Json] | None
    """As `Trace.changes`, after the mended calls were executed."""


class Review(Frozen):
    """One decision."""

    key: str
    reviewer: str
    verdict: Decision
    reason: str = ""
    """Code of a rejection's reason."""
    note: str = ""
    """What the reviewer adds in words."""
    correction: Correction | None = None
    at: str = ""
    """ISO 8601, UTC; set when it is stored."""

    @property
    def wrong(self) -> bool:
        """Whether the trace was found wrong: a mended one was."""
        return self.verdict is not Decision.APPROVE

    def corrected(self, trace: Trace) -> Trace:
        """Return the trace as this review leaves it."""
        if self.correction is None:
            return trace
        mended = {"messages": self.correction.messages, "changes": self.correction.changes}
        return trace.model_copy(update=mended)


class ReviewTaken(Exception):
    """Somebody else has decided about this trace, or has it open."""

    def __init__(self, reviewer: str) -> None:
        super().__init__(reviewer)
        self.reviewer = reviewer


class ReviewStore(TableBeside):
    """The reviews of one trace store."""

    table = table

    def decisions(self) -> dict[str, Review]:
        """Return every decision by trace key; none where nobody has reviewed yet.

        Raises:
            StoreError: The database cannot be read, or a row is not a review.
        """
        with self._transaction() as connection:
            if not sa.inspect(connection).has_table(table.name):
                return {}
            query = sa.select(table).where(table.c.verdict.is_not(None)).order_by(table.c.key)
            rows = connection.execute(query).mappings().all()
        return {row["key"]: self._review(row) for row in rows}

    def holders(self) -> dict[str, str]:
        """Return who has which undecided trace open: key -> reviewer."""
        open_ = sa.and_(table.c.verdict.is_(None), table.c.lease_until >= time.time())
        with self._transaction() as connection:
            rows = connection.execute(sa.select(table.c.key, table.c.reviewer).where(open_)).all()
        return {key: reviewer for key, reviewer in rows}

    def take(self, key: str, reviewer: str, ttl_s: float) -> bool:
        """Open an undecided trace for a reviewer, letting go what else they had open.

        Returns:
            False when it is decided, or open with somebody else.
        """
        until = time.time() + ttl_s
        mine = sa.and_(table.c.reviewer == reviewer, table.c.verdict.is_(None))
        fresh = {"key": key, "reviewer": reviewer, "lease_until": until}
        insert = self._insert(table).values(**fresh)
        claim = insert.on_conflict_do_update(
            index_elements=["key"],
            set_={"reviewer": reviewer, "lease_until": until},
            where=sa.and_(table.c.verdict.is_(None), _free_for(reviewer)),
        ).returning(table.c.key)
        with self._transaction() as connection:
            connection.execute(sa.delete(table).where(mine, table.c.key != key))
            return connection.execute(claim).first() is not None

    def release(self, reviewer: str) -> None:
        """Let go of what a reviewer has open."""
        with self._transaction() as connection:
            connection.execute(
                sa.delete(table).where(table.c.reviewer == reviewer, table.c.verdict.is_(None))
            )

    def decide(self, review: Review) -> None:
        """Store a decision, in the place of an earlier one of the same reviewer.

        Raises:
            ReviewTaken: Somebody else has decided, or has it open.
            StoreError: It was not stored.
        """
        values = {
            "reviewer": review.reviewer,
            "lease_until": None,
            "verdict": str(review.verdict),
            "reason": review.reason,
            "note": review.note,
            "correction": review.correction.model_dump_json() if review.correction else None,
            "at": datetime.now(UTC).isoformat(timespec="microseconds"),
        }
        statement = (
            self._insert(table)
            .values(key=review.key, **values)
            .on_conflict_do_update(
                index_elements=["key"], set_=values, where=_free_for(review.reviewer)
            )
            .returning(table.c.key)
        )
        with self._transaction() as connection:
            if connection.execute(statement).first() is None:
                query = sa.select(table.c.reviewer).where(table.c.key == review.key)
                raise ReviewTaken(connection.execute(query).scalar_one())

    def undo(self, reviewer: str, keys: Collection[str]) -> str | None:
        """Take back a reviewer's newest decision about one of `keys`; return its key, or None."""
        mine = sa.and_(
            table.c.reviewer == reviewer, table.c.verdict.is_not(None), table.c.key.in_(keys)
        )
        newest = sa.select(table.c.key).where(mine).order_by(table.c.at.desc()).limit(1)
        statement = (
            sa.delete(table).where(table.c.key == newest.scalar_subquery()).returning(table.c.key)
        )
        with self._transaction() as connection:
            key: str | None = connection.execute(statement).scalar()
        return key

    def trace(self, key: str) -> Trace:
        """Read one trace.

        Raises:
            StoreError: There is none, or this version cannot read it.
        """
        query = sa.select(schema.episodes.c.trace).where(schema.episodes.c.key == key)
        with self._transaction() as connection:
            text = connection.execute(query).scalar()
        if text is None:
            raise StoreError(f"trace store {self.store.name!r} has no trace {key!r}")
        return Trace.model_validate_json(text)

    def known(self) -> set[str]:
        """Return the keys of all finished traces."""
        query = sa.select(schema.episodes.c.key).where(schema.episodes.c.status == "done")
        with self._transaction() as connection:
            return set(connection.execute(query).scalars())

    def _review(self, row: Mapping[Any, Any]) -> Review:
        text = row["correction"]
        try:
            return Review(
                **{name: row[name] for name in ("key", "reviewer", "verdict", "reason", "note")},
                correction=Correction.model_validate_json(text) if text else None,
                at=row["at"],
            )
        except ValueError as error:
            raise StoreError(
                f"trace store {self.store.name!r}: the review of {row['key']!r} cannot be read "
                f"({str(error).splitlines()[0]}); it was written by another version"
            ) from None


def _free_for(reviewer: str) -> sa.ColumnElement[bool]:
    """Whether a row is the reviewer's own, or only a lease that has run out."""
    lapsed = sa.and_(table.c.verdict.is_(None), table.c.lease_until < time.time())
    return sa.or_(table.c.reviewer == reviewer, lapsed)
