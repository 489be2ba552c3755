"""The tables of a trace store, one schema for every SQL engine.

meta      what every trace in the store has in common (tool set, teacher, limits)
toolsets  each tool set once, by its content hash
episodes  key (unique), task, sample, status pending | leased | done, owner, lease, trace
ledger    one line per call to a teacher, whatever became of its episode
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from distill.traces.trace import LedgerLine
from distill.types import Json, Usage

SCHEMA_VERSION = 1

metadata = sa.MetaData()
meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
toolsets = sa.Table(
    "toolsets",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
)
episodes = sa.Table(
    "episodes",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("task_id", sa.Text, nullable=False),
    sa.Column("sample", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False, index=True),
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", sa.Double),
    sa.Column("outcome", sa.Text),
    sa.Column("trace", sa.Text),
)
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, sa.ForeignKey("episodes.key"), nullable=False, index=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("input_tokens", sa.Integer, nullable=False),
    sa.Column("cached_tokens", sa.Integer, nullable=False),
    sa.Column("cache_write_tokens", sa.Integer, nullable=False),
    sa.Column("output_tokens", sa.Integer, nullable=False),
    sa.Column("reasoning_tokens", sa.Integer, nullable=False),
    sa.Column("cost_usd", sa.Double),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("latency_s", sa.Double, nullable=False),
    sa.Column("request_id", sa.Text),
    sa.Column("failure", sa.Text),
)


def create(connection: sa.Connection) -> None:
    """Make the tables that do not exist, even when another process does the same just now."""
    for table in metadata.sorted_tables:
        connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))


def ledger_row(line: LedgerLine) -> dict[str, Json]:
    """Return a ledger line as the columns of its row."""
    row: dict[str, Json] = line.model_dump()
    usage: dict[str, Json] = row.pop("usage")
    return row | usage


def ledger_line(row: Mapping[Any, Any]) -> LedgerLine:
    """Read a ledger line from its row."""
    usage = Usage(**{name: row[name] for name in Usage.model_fields})
    rest = {name: row[name] for name in LedgerLine.model_fields if name != "usage"}
    return LedgerLine(usage=usage, **rest)
