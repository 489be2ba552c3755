"""The trace store: tool sets, episodes, their traces and a ledger (tables in `schema`).

SQLite in WAL mode by default, any SQLAlchemy URL otherwise. Several processes may work on one
store: an episode is leased before it runs, and the first finished trace of a key wins. A call is in
the ledger before it is sent (`reserve`), and a trace is written in one transaction with what its
calls have cost, so a killed process leaves nothing half told.

The store knows nothing of teachers or tools; what may not differ between two runs is decided by
the caller (`bind`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from distill.errors import StoreError
from distill.traces import ledger, schema
from distill.traces.engine import (
    COLLECT_HINT,
    create_engine,
    database_name,
    explain,
    is_sqlite,
    prepare_file,
)
from distill.traces.trace import LedgerLine, Reservation, Trace
from distill.types import Json, Outcome, ToolSet, canonical_json

_CHUNK = 500
"""Most values in one IN (...) list."""


class Owed(NamedTuple):
    """An episode that is to be run: its key, its task's id, which sample."""

    key: str
    task_id: str
    sample: int


@dataclass(frozen=True)
class Counts:
    """How many episodes stand where."""

    pending: int = 0
    leased: int = 0
    done: int = 0
    outcomes: Mapping[str, int] | None = None
    """Outcome -> episodes, of those that are done."""


class TraceStore:
    """Episodes, traces and ledger of one distillation.

    Use as a context manager, or `close` it. Methods may be called from several threads. Every
    database fault is raised as a one-line `StoreError`; what was stored before stays stored.
    """

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self.engine = engine
        self.name = name
        self._insert: Any = sqlite.insert if is_sqlite(engine.url) else postgresql.insert

    @classmethod
    def open(cls, url: str, *, create: bool = False) -> TraceStore:
        """Open a store.

        Args:
            url: An SQLAlchemy URL, such as `Config.store_url`.
            create: Make the store (and its folder) when it does not exist.

        Raises:
            StoreError: It does not exist, is not a trace store, or cannot be opened.
        """
        try:
            parsed = sa.make_url(url)
            prepare_file(parsed, create)
            engine = create_engine(parsed)
        except ModuleNotFoundError as error:
            raise StoreError(
                f"collect.store cannot be opened: {error}; install the driver (for PostgreSQL: "
                f"tool-distill[postgres])"
            ) from None
        except SQLAlchemyError as error:
            raise StoreError(f"collect.store cannot be opened: {error}; check the URL") from None
        store = cls(engine, database_name(parsed))
        try:
            store._prepare_schema(create)
        except StoreError:
            engine.dispose()
            raise
        return store

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def __enter__(self) -> TraceStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what all traces have in common -------------------------------------------------------

    def bind(self, settings: Mapping[str, Json]) -> None:
        """Record the settings every trace in this store is made with, or check them.

        Raises:
            StoreError: The store was collected with other settings; the message names them.
        """
        rows = [{"key": key, "value": canonical_json(value)} for key, value in settings.items()]
        with self._transaction() as connection:
            connection.execute(self._insert(schema.meta).on_conflict_do_nothing(), rows)
            stored = _settings(connection)
        changed = [row["key"] for row in rows if stored[row["key"]] != row["value"]]
        if changed:
            words = ", ".join(
                f"{key} was {_short(stored[key])}, is now {_short(canonical_json(settings[key]))}"
                for key in changed
            )
            raise StoreError(
                f"trace store {self.name!r} was collected with other settings: {words}; "
                f"undo the change, or collect into a new store (another `name` or `collect.store`)"
            )

    def settings(self) -> dict[str, Json]:
        """Return the settings the store was bound to."""
        with self._transaction() as connection:
            return {key: json.loads(value) for key, value in _settings(connection).items()}

    def add_toolset(self, toolset: ToolSet) -> None:
        """Keep a tool set, once."""
        row = {
            "hash": toolset.hash,
            "name": toolset.name,
            "content": toolset.model_dump_json(),
        }
        with self._transaction() as connection:
            connection.execute(self._insert(schema.toolsets).on_conflict_do_nothing(), [row])

    def get_toolset(self, toolset_hash: str) -> ToolSet:
        """Return a tool set by its hash.

        Raises:
            StoreError: It is not in the store.
        """
        query = sa.select(schema.toolsets.c.content).where(schema.toolsets.c.hash == toolset_hash)
        with self._transaction() as connection:
            content = connection.execute(query).scalar()
        if content is None:
            raise StoreError(f"trace store {self.name!r} has no tool set {toolset_hash!r}")
        return ToolSet.model_validate_json(content)

    def toolsets(self) -> list[ToolSet]:
        """Return every tool set that was collected with, by hash."""
        query = sa.select(schema.toolsets.c.content).order_by(schema.toolsets.c.hash)
        with self._transaction() as connection:
            contents = connection.execute(query).scalars().all()
        return [ToolSet.model_validate_json(content) for content in contents]

    # --- episodes -----------------------------------------------------------------------------

    def add_episodes(self, episodes: Sequence[Owed]) -> None:
        """Note episodes that are to be run; known ones stay as they are."""
        rows = [{**episode._asdict(), "status": "pending"} for episode in episodes]
        with self._transaction() as connection:
            for part in _parts(rows):
                connection.execute(self._insert(schema.episodes).on_conflict_do_nothing(), part)

    def done(self, keys: Iterable[str]) -> set[str]:
        """Return which of `keys` need not run again: done, and not ended as an error."""
        columns = schema.episodes.c
        found: set[str] = set()
        with self._transaction() as connection:
            for part in _parts(list(keys)):
                query = sa.select(columns.key).where(
                    columns.key.in_(part),
                    columns.status == "done",
                    columns.outcome != str(Outcome.ERROR),
                )
                found.update(connection.execute(query).scalars())
        return found

    def reopen(self, keys: Iterable[str]) -> set[str]:
        """Owe episodes again that ended as an error, and return them.

        Their trace stays until the next one.
        """
        columns = schema.episodes.c
        reopened: set[str] = set()
        with self._transaction() as connection:
            for part in _parts(list(keys)):
                wanted = (columns.key.in_(part), columns.outcome == str(Outcome.ERROR))
                query = (
                    sa.update(schema.episodes)
                    .where(columns.key.in_(_ours(*wanted)))
                    .values(status="pending", outcome=None)
                    .returning(columns.key)
                )
                reopened.update(connection.execute(query).scalars())
        return reopened

    def lease(self, owner: str, keys: Sequence[str], ttl_s: float) -> list[str]:
        """Take those of `keys` that nobody holds; return them in the order given.

        Args:
            owner: Who takes them.
            keys: Candidates.
            ttl_s: Seconds after which another owner may take them, unless renewed.
        """
        columns, now, taken = schema.episodes.c, time.time(), set[str]()
        free = sa.or_(
            columns.status == "pending",
            sa.and_(columns.status == "leased", columns.lease_until < now),
        )
        with self._transaction() as connection:
            for part in _parts(keys):
                query = (
                    sa.update(schema.episodes)
                    .where(columns.key.in_(_ours(columns.key.in_(part), free)))
                    .values(status="leased", owner=owner, lease_until=now + ttl_s)
                    .returning(columns.key)
                )
                taken.update(connection.execute(query).scalars())
        return [key for key in keys if key in taken]

    def renew(self, owner: str, ttl_s: float) -> None:
        """Keep everything `owner` holds for another `ttl_s` seconds."""
        columns = schema.episodes.c
        with self._transaction() as connection:
            connection.execute(
                sa.update(schema.episodes)
                .where(columns.key.in_(_ours(*_held_by(owner))))
                .values(lease_until=time.time() + ttl_s)
            )

    def owners(self) -> dict[str, float]:
        """Return who holds leases or has calls under way, and until when their leases last."""
        columns, until = schema.episodes.c, sa.func.max(schema.episodes.c.lease_until)
        leases = sa.select(columns.owner, until).where(columns.status == "leased")
        calls = sa.select(schema.ledger.c.owner).where(
            schema.ledger.c.status == "reserved", schema.ledger.c.owner.is_not(None)
        )
        with self._transaction() as connection:
            found = dict.fromkeys(connection.execute(calls.distinct()).scalars(), 0.0)
            for owner, last in connection.execute(leases.group_by(columns.owner)):
                found[owner] = last
        return found

    def release(self, owner: str) -> None:
        """`owner` is over: its episodes may be run by anybody, its open calls are unknown."""
        with self._transaction() as connection:
            ledger.disown(connection, owner)
            connection.execute(
                sa.update(schema.episodes)
                .where(schema.episodes.c.key.in_(_ours(*_held_by(owner))))
                .values(status="pending", owner=None, lease_until=None)
            )

    def finish(self, trace: Trace, calls: Sequence[LedgerLine]) -> None:
        """Store a finished trace with the calls it took; see `write`."""
        self.write([trace], [], calls)

    def write(
        self, traces: Sequence[Trace], given_up: Sequence[str], calls: Sequence[LedgerLine]
    ) -> None:
        """Store finished traces, give back episodes, settle calls: all or nothing.

        A trace whose episode is already done is dropped (another process was faster); its calls
        are booked all the same, because they were paid for.

        Raises:
            StoreError: Nothing of this was stored.
        """
        columns = schema.episodes.c
        with self._transaction() as connection:
            ledger.settle(connection, calls)
            if traces:
                connection.execute(_FINISH, [_finished(trace) for trace in traces])
            for part in _parts(given_up):
                connection.execute(
                    sa.update(schema.episodes)
                    .where(columns.key.in_(part), columns.status == "leased")
                    .values(status="pending", owner=None, lease_until=None)
                )

    def grow(self, trace: Trace, former: Sequence[str], calls: Sequence[LedgerLine]) -> None:
        """Store a trace that continues stored ones: it takes their place, with their calls.

        A trace with its key that is there already stays as it is.

        Args:
            trace: The trace; its episode need not be known.
            former: Keys of the episodes it continues, a few at most; none of its own.
            calls: The calls it took besides.

        Raises:
            StoreError: Nothing of this was stored.
        """
        columns = schema.episodes.c
        row = {"key": trace.key, "task_id": trace.task.id, "sample": trace.sample}
        row |= {"status": "done", "outcome": str(trace.outcome), "trace": trace.model_dump_json()}
        with self._transaction() as connection:
            connection.execute(self._insert(schema.episodes).on_conflict_do_nothing(), [row])
            if former:
                ledger.move(connection, former, trace.key)
                connection.execute(sa.delete(schema.episodes).where(columns.key.in_(former)))
            ledger.settle(connection, calls)

    # --- money --------------------------------------------------------------------------------

    def reserve(
        self, reservations: Sequence[Reservation], budget_usd: float | None = None
    ) -> set[str]:
        """Note calls that are about to be sent; return the ids of those the budget allows."""
        with self._transaction() as connection:
            return ledger.reserve(connection, reservations, budget_usd)

    def money(self) -> ledger.Money:
        """Return what the calls of all runs have cost, and what is held for others."""
        with self._transaction() as connection:
            return ledger.money(connection)

    def under_way(self) -> bool:
        """Whether a call is under way whose end a run waits for; it may make room."""
        calls, columns = schema.ledger.c, schema.episodes.c
        leased = sa.select(columns.key).where(columns.status == "leased")
        query = sa.select(calls.id).where(
            calls.status == "reserved", sa.or_(calls.owner.is_not(None), calls.key.in_(leased))
        )
        with self._transaction() as connection:
            return connection.execute(query.limit(1)).first() is not None

    # --- reading ------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """Count the episodes by where they stand."""
        columns = schema.episodes.c
        query = sa.select(columns.status, columns.outcome, sa.func.count()).group_by(
            columns.status, columns.outcome
        )
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        status = {name: sum(n for s, _, n in rows if s == name) for name in _STATUSES}
        outcomes = {outcome: n for s, outcome, n in rows if s == "done" and outcome is not None}
        return Counts(**status, outcomes=outcomes)

    def find(self, keys: Sequence[str]) -> dict[str, Trace]:
        """Return the finished traces among `keys`, by key."""
        columns, found = schema.episodes.c, dict[str, Trace]()
        with self._transaction() as connection:
            for part in _parts(keys):
                query = sa.select(columns.key, columns.trace).where(
                    columns.key.in_(part), columns.status == "done"
                )
                for key, text in connection.execute(query):
                    found[key] = Trace.model_validate_json(text)
        return found

    def traces(self, outcome: Outcome | None = None) -> Iterator[Trace]:
        """Yield the finished traces in a fixed order: by task, sample, key.

        Args:
            outcome: Only traces that ended so.

        Raises:
            StoreError: A row is not a trace this version can read.
        """
        for text in self.trace_texts(outcome):
            try:
                yield Trace.model_validate_json(text)
            except ValidationError as error:
                raise self.unreadable(error) from None

    def trace_texts(self, outcome: Outcome | None = None) -> Iterator[str]:
        """Yield the traces as they are stored, in the order of `traces`."""
        columns = schema.episodes.c
        query = sa.select(columns.trace).where(columns.status == "done")
        if outcome is not None:
            query = query.where(columns.outcome == str(outcome))
        query = query.order_by(columns.task_id, columns.sample, columns.key)
        with (
            self._transaction() as connection,
            connection.execution_options(yield_per=200).execute(query) as rows,
        ):
            yield from rows.scalars()

    def unreadable(self, error: ValidationError) -> StoreError:
        """Return what to raise when a text of `trace_texts` is not a trace."""
        return StoreError(
            f"trace store {self.name!r}: a stored trace cannot be read "
            f"({str(error).splitlines()[0]}); it was written by another version"
        )

    def ledger(self) -> Iterator[LedgerLine]:
        """Yield the calls in the order in which they were reserved."""
        with self._transaction() as connection:
            yield from ledger.lines(connection)

    # --- the database -------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(explain(self.name, error)) from None

    def _prepare_schema(self, create: bool) -> None:
        with self._transaction() as connection:
            if create:
                schema.create(connection)
                row = {"key": "schema", "value": str(schema.SCHEMA_VERSION)}
                connection.execute(self._insert(schema.meta).on_conflict_do_nothing(), [row])
                nothing = {"id": 1, "spent": 0, "reserved": 0, "unknown": 0}
                connection.execute(self._insert(schema.money).on_conflict_do_nothing(), [nothing])
            elif not sa.inspect(connection).has_table(schema.episodes.name):
                raise StoreError(f"{self.name!r} is not a trace store; {COLLECT_HINT}")
            found = connection.execute(
                sa.select(schema.meta.c.value).where(schema.meta.c.key == "schema")
            ).scalar()
            if found != str(schema.SCHEMA_VERSION):
                raise StoreError(
                    f"trace store {self.name!r} has schema {found}, this version of distill reads "
                    f"{schema.SCHEMA_VERSION}; collect into another store"
                )


_STATUSES = ("pending", "leased", "done")
_FINISH = (
    sa.update(schema.episodes)
    .where(schema.episodes.c.key == sa.bindparam("this"), schema.episodes.c.status != "done")
    .values(
        status="done",
        owner=None,
        lease_until=None,
        outcome=sa.bindparam("ended"),
        trace=sa.bindparam("text"),
    )
)
"""Built once: building it for every trace costs more than executing it."""


def _finished(trace: Trace) -> dict[str, str]:
    return {"this": trace.key, "ended": str(trace.outcome), "text": trace.model_dump_json()}


def _held_by(owner: str) -> tuple[sa.ColumnElement[bool], ...]:
    columns = schema.episodes.c
    return columns.owner == owner, columns.status == "leased"


def _ours(*wanted: sa.ColumnElement[bool]) -> sa.Select[tuple[str]]:
    """Keys of the episodes that no other transaction is changing at this moment.

    PostgreSQL locks row by row: two processes that wanted the same rows in different orders would
    wait for each other for ever. What another one holds is passed over; SQLite has one writer.
    """
    columns = schema.episodes.c
    return sa.select(columns.key).where(*wanted).with_for_update(skip_locked=True)


def _settings(connection: sa.Connection) -> dict[str, str]:
    rows = connection.execute(sa.select(schema.meta))
    return {row.key: row.value for row in rows}


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
