"""The ledger of a trace store: money reserved before a call, settled after it.

A call to a teacher has one row, from before it is sent until for ever:

    reserved  not over yet: its worst case is held
    settled   over: its cost is counted (nothing, when it was refused)
    unknown   nobody can say whether it was billed (killed, cancelled, timed out): the worst case
              stays held, and whoever looks is told

The totals stand in one row (`money`), in whole billionths of a dollar so that they add up exactly.
Every change starts by locking that row: whatever the number of processes, a reservation is granted
only where it fits under the budget.

The functions here work inside a transaction of the caller's. What a call may cost at most is the
caller's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from distill.traces import schema
from distill.traces.trace import LedgerLine, Reservation
from distill.types import Json, Usage

_NANO = 10**9
_CHUNK = 500
"""Most values in one IN (...) list."""


class Money(NamedTuple):
    """Dollars of all calls of a store."""

    spent_usd: float = 0.0
    """Of settled calls with a known price."""
    reserved_usd: float = 0.0
    """Worst case of the calls that are under way."""
    unknown_usd: float = 0.0
    """Worst case of the calls of which nobody knows whether they were billed."""
    unknown_calls: int = 0

    @property
    def committed_usd(self) -> float:
        """What may have been spent at most."""
        return self.spent_usd + self.reserved_usd + self.unknown_usd


def reserve(
    connection: sa.Connection, reservations: Sequence[Reservation], budget_usd: float | None
) -> set[str]:
    """Note the calls that are about to be sent, as far as the budget has room for them.

    Returns:
        The ids of the calls that may be sent.
    """
    committed = sum(_lock(connection))
    rows: list[dict[str, Json]] = []
    held = 0
    for reservation in reservations:
        amount = _nano(reservation.reserved_usd)
        if budget_usd is not None and committed + held + amount > _nano(budget_usd):
            continue
        held += amount
        usage = Usage().model_dump()
        rows.append(
            reservation.model_dump()
            | usage
            | {"status": "reserved", "attempts": 0, "latency_s": 0.0}
        )
    if rows:
        connection.execute(sa.insert(schema.ledger), rows)
        _add(connection, Counter(reserved=held))
    return {str(row["call"]) for row in rows}


def settle(connection: sa.Connection, lines: Sequence[LedgerLine]) -> None:
    """Write the lines of calls that are over; one that was never reserved is added.

    A call settled before stays as it is.
    """
    if not lines:
        return
    _lock(connection)
    known = _known(connection, [line.call for line in lines])
    changes: Counter[str] = Counter()
    updates: list[dict[str, Json]] = []
    inserts: list[dict[str, Json]] = []
    for line in lines:
        status, held = known.get(line.call, (None, line.reserved_usd))
        if status == "settled":
            continue
        if status is not None:
            changes[status] -= _nano(held)
        if line.status == "unknown":
            changes["unknown"] += _nano(held)
        else:
            changes["spent"] += _nano(line.cost_usd)
        row = _row(line) | {"reserved_usd": held}
        (inserts if status is None else updates).append(row)
    if inserts:
        connection.execute(sa.insert(schema.ledger), inserts)
    if updates:
        _update(connection, updates)
    _add(connection, changes)


def disown(connection: sa.Connection, owner: str) -> None:
    """Nobody will settle the calls that `owner` has under way: they become unknown."""
    columns = schema.ledger.c
    _lock(connection)
    query = (
        sa.update(schema.ledger)
        .where(columns.owner == owner, columns.status == "reserved")
        .values(status="unknown")
        .returning(columns.reserved_usd)
    )
    amount = sum(_nano(held) for held in connection.execute(query).scalars())
    _add(connection, Counter(reserved=-amount, unknown=amount))


def move(connection: sa.Connection, keys: Sequence[str], key: str) -> None:
    """The calls of some episodes are those of another one from now on."""
    query = sa.update(schema.ledger).where(schema.ledger.c.key.in_(keys)).values(key=key)
    connection.execute(query)


def money(connection: sa.Connection) -> Money:
    """Return the totals."""
    row = connection.execute(sa.select(schema.money)).one()
    unknown = sa.select(sa.func.count()).where(schema.ledger.c.status == "unknown")
    return Money(
        row.spent / _NANO,
        row.reserved / _NANO,
        row.unknown / _NANO,
        connection.execute(unknown).scalar_one(),
    )


def lines(connection: sa.Connection, *wanted: sa.ColumnElement[bool]) -> Iterator[LedgerLine]:
    """Yield the calls (those that meet all of `wanted`) in the order they were reserved in."""
    query = sa.select(schema.ledger).where(*wanted).order_by(schema.ledger.c.id)
    with connection.execution_options(yield_per=500).execute(query) as rows:
        for row in rows.mappings():
            yield _line(row)


def _lock(connection: sa.Connection) -> tuple[int, int, int]:
    """Keep every other process from the money until the transaction ends; return the totals."""
    columns = schema.money.c
    query = (
        sa.update(schema.money)
        .values(spent=columns.spent)
        .returning(columns.spent, columns.reserved, columns.unknown)
    )
    row = connection.execute(query).one()
    return row.spent, row.reserved, row.unknown


def _add(connection: sa.Connection, changes: Mapping[str, int]) -> None:
    columns = schema.money.c
    values = {name: columns[name] + amount for name, amount in changes.items() if amount}
    if values:
        connection.execute(sa.update(schema.money).values(**values))


def _known(
    connection: sa.Connection, calls: Sequence[str]
) -> dict[str, tuple[str | None, float | None]]:
    columns = schema.ledger.c
    found: dict[str, tuple[str | None, float | None]] = {}
    for start in range(0, len(calls), _CHUNK):
        query = sa.select(columns.call, columns.status, columns.reserved_usd).where(
            columns.call.in_(calls[start : start + _CHUNK])
        )
        found |= {row.call: (row.status, row.reserved_usd) for row in connection.execute(query)}
    return found


def _update(connection: sa.Connection, rows: Sequence[dict[str, Json]]) -> None:
    names = [name for name in rows[0] if name != "call"]
    statement = (
        sa.update(schema.ledger)
        .where(schema.ledger.c.call == sa.bindparam("this"))
        .values({name: sa.bindparam(f"new_{name}") for name in names})
    )
    connection.execute(
        statement,
        [{"this": row["call"]} | {f"new_{name}": row[name] for name in names} for row in rows],
    )


def _row(line: LedgerLine) -> dict[str, Json]:
    row: dict[str, Json] = line.model_dump()
    usage: dict[str, Json] = row.pop("usage")
    return row | usage


def _line(row: Mapping[Any, Any]) -> LedgerLine:
    usage = Usage(**{name: row[name] for name in Usage.model_fields})
    rest = {name: row[name] for name in LedgerLine.model_fields if name != "usage"}
    return LedgerLine(usage=usage, **rest)


def _nano(usd: float | None) -> int:
    return round((usd or 0.0) * _NANO)
