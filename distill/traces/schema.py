"""The tables of a trace store, one schema for every SQL engine.

meta      what every trace in the store has in common (tool set, teacher, limits)
toolsets  each tool set once, by its content hash
episodes  key (unique), task, sample, status pending | leased | done, owner, lease, trace
ledger    one line per call to a teacher, whatever became of its episode
money     one row: the totals of the ledger in billionths of a dollar
waves     what was handed over to a provider's batch API
asked     the calls of these waves, each with its conversation and, once it is there, its answer
"""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA_VERSION = 2

_CREATING = 0x64697374
"""Key of the lock under which the tables are made."""
_Ordered = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text that is sorted by its bytes, as SQLite does it, whatever the server's language."""

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
    sa.Column("key", _Ordered, primary_key=True),
    sa.Column("task_id", _Ordered, nullable=False),
    sa.Column("sample", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False, index=True),
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", sa.Double),
    sa.Column("outcome", sa.Text),
    sa.Column("trace", sa.Text),
    sa.Index("ix_episodes_order", "task_id", "sample", "key"),
)
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("call", sa.Text, nullable=False, unique=True),
    sa.Column("key", _Ordered, sa.ForeignKey("episodes.key"), nullable=False, index=True),
    sa.Column("status", sa.Text, nullable=False, index=True),
    sa.Column("owner", sa.Text),
    sa.Column("reserved_usd", sa.Double),
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

money = sa.Table(
    "money",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("spent", sa.BigInteger, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("unknown", sa.BigInteger, nullable=False),
)

waves = sa.Table(
    "waves",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("batch", sa.Text),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
)
asked = sa.Table(
    "asked",
    metadata,
    sa.Column("call", sa.Text, primary_key=True),
    sa.Column("wave", sa.Text, nullable=False, index=True),
    sa.Column("key", _Ordered, nullable=False, index=True),
    sa.Column("messages", sa.Text, nullable=False),
    sa.Column("answer", sa.Text),
)


def create(connection: sa.Connection) -> None:
    """Make the tables that do not exist, even when another process does the same just now."""
    made: set[str] = set()
    if connection.dialect.name == "postgresql":
        # Its IF NOT EXISTS does not hold between two transactions, and for an index it waits for
        # all who write to the table, who may be waiting for us.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATING)))
        made.update(sa.inspect(connection).get_table_names())
    for table in metadata.sorted_tables:
        if table.name in made:
            continue
        connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
