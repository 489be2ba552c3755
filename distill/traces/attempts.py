"""What students did at tasks that they were trained on, beside the traces of their teacher.

They are no examples: the filter looks for wrong answers in them, for the rejected side of
preference pairs. A student that was trained again is another student, asked anew; the answers of
the one asked last come first.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import sqlalchemy as sa

from distill.traces.beside import TableBeside
from distill.traces.trace import Trace

_CHUNK = 500
"""Traces read at a time."""

metadata = sa.MetaData()
table = sa.Table(
    "attempts",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("student", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("trace", sa.Text, nullable=False),
)


class AttemptStore(TableBeside):
    """The attempts kept with one trace store; it has no table of them before `create`."""

    table = table

    def keys(self) -> set[str]:
        """Return the keys of all attempts."""
        with self._transaction() as connection:
            return set(connection.execute(sa.select(table.c.key)).scalars())

    def add(self, student: str, trace: Trace) -> None:
        """Keep an attempt; the first one of a key stays.

        Args:
            student: Digest of what decides its answers.
            trace: What it did.
        """
        row = {
            "key": trace.key,
            "student": student,
            "at": datetime.now(UTC).isoformat(timespec="microseconds"),
            "trace": trace.model_dump_json(),
        }
        with self._transaction() as connection:
            connection.execute(self._insert(table).on_conflict_do_nothing(), [row])

    def texts(self) -> Iterator[str]:
        """Yield the attempts, those of the student asked last first; none without a table."""
        with self._transaction() as connection:
            if not sa.inspect(connection).has_table(table.name):
                return
            latest = sa.func.max(table.c.at).over(partition_by=table.c.student)
            query = sa.select(table.c.key).order_by(latest.desc(), table.c.student, table.c.key)
            keys = list(connection.execute(query).scalars())
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            query = sa.select(table.c.key, table.c.trace).where(table.c.key.in_(chunk))
            with self._transaction() as connection:
                found = {key: text for key, text in connection.execute(query)}
            yield from (found[key] for key in chunk)
