"""What judges said, once for each (judge, rubric, text) they were shown, beside the traces.

So filtering again, with the same judge, costs nothing; another model, other settings or another
rubric is another judge. What stands in `opinion` is the judge's business; null is an answer nobody
could read. It is written in one transaction with the ledger line of the call it cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from distill.traces import ledger
from distill.traces.beside import TableBeside
from distill.traces.store import TraceStore
from distill.traces.trace import LedgerLine

_CHUNK = 500
"""Most values in one IN (...) list."""

metadata = sa.MetaData()
table = sa.Table(
    "judgements",
    metadata,
    sa.Column("judge", sa.Text, primary_key=True),
    sa.Column("rubric", sa.Text, primary_key=True),
    sa.Column("content", sa.Text, primary_key=True),
    sa.Column("opinion", sa.Text),
    sa.Column("at", sa.Text, nullable=False),
)


class JudgementStore(TableBeside):
    """The opinions of one judge under one rubric."""

    table = table

    def __init__(self, store: TraceStore, judge: str, rubric: str) -> None:
        """Take an open store; it has no table of judgements before `create`.

        Args:
            store: Where the traces are.
            judge: Digest of the model and its settings.
            rubric: Digest of what it is asked.
        """
        super().__init__(store)
        self._same = {"judge": judge, "rubric": rubric}

    def opinions(self, contents: Sequence[str]) -> Mapping[str, str | None]:
        """Return what is known of these texts, by their digest."""
        columns, found = table.c, dict[str, str | None]()
        with self._transaction() as connection:
            if not sa.inspect(connection).has_table(table.name):
                return {}
            for start in range(0, len(contents), _CHUNK):
                query = sa.select(columns.content, columns.opinion).where(
                    columns.judge == self._same["judge"],
                    columns.rubric == self._same["rubric"],
                    columns.content.in_(contents[start : start + _CHUNK]),
                )
                found |= {content: opinion for content, opinion in connection.execute(query)}
        return found

    def settle(self, lines: Sequence[LedgerLine], content: str, opinion: str | None) -> None:
        """Book the calls that an opinion took and keep it; the first one of a text stays."""
        row = self._same | {"content": content, "opinion": opinion, "at": lines[-1].at}
        with self._transaction() as connection:
            ledger.settle(connection, lines)
            connection.execute(self._insert(table).on_conflict_do_nothing(), [row])

    def book(self, line: LedgerLine) -> None:
        """Book a call that brought no opinion."""
        with self._transaction() as connection:
            ledger.settle(connection, [line])
