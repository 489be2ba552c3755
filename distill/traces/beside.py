"""What others keep beside the traces: a table of their own in the store's database.

The store knows nothing of it: the table is made when it is first needed, and a store without one is
whole. Reviews and judgements are such tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from distill.errors import StoreError
from distill.traces.engine import explain, is_sqlite
from distill.traces.store import TraceStore


class TableBeside:
    """One table in an open store's database; methods may be called from several threads."""

    table: sa.Table

    def __init__(self, store: TraceStore) -> None:
        """Take an open store; it may have no such table before `create`."""
        self.store = store
        self._insert: Any = sqlite.insert if is_sqlite(store.engine.url) else postgresql.insert

    def create(self) -> None:
        """Make the table if there is none.

        Raises:
            StoreError: The database cannot be written to.
        """
        with self._transaction() as connection:
            connection.execute(sa.schema.CreateTable(self.table, if_not_exists=True))

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self.store.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(explain(self.store.name, error)) from None
