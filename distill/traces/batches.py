"""Calls in batches: what was handed over to a provider, and what has come back of it.

A wave is one batch of ours, known here before the provider knows of it. Each of its calls has a row
with the conversation that was sent and, once it is there, the answer. So an episode that is cut
short between two turns goes on from what was paid for: its conversation, with the results of its
tools, is in the row of its last call.

    noted      wave and calls are stored, the money is reserved; the batch has no id yet
    submitted  the provider's id is stored
    answered   every call has its answer, or is gone because it failed

Rows go when their episode is done. The ledger has a line of every call, for good.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from pydantic import TypeAdapter

from distill.traces import ledger, schema
from distill.traces.store import TraceStore
from distill.traces.trace import LedgerLine, Reservation
from distill.types import Message, Turn

_CHUNK = 500
"""Most values in one IN (...) list."""
_CONVERSATION: TypeAdapter[tuple[Message, ...]] = TypeAdapter(tuple[Message, ...])


class Wave(NamedTuple):
    """A batch of ours."""

    id: str
    batch: str | None
    """The provider's id; None: it was not told yet, or never will be."""
    at: str
    """When it was handed over; ISO 8601, UTC."""
    calls: int


class Asked(NamedTuple):
    """A call of a wave."""

    call: str
    """Its id in the ledger and in the batch."""
    wave: str
    key: str
    """Its episode."""
    messages: tuple[Message, ...]
    answer: Turn | None
    """None: not there yet."""


class BatchStore:
    """The waves of one trace store; methods may be called from several threads.

    Every database fault is raised as a one-line `StoreError`.
    """

    def __init__(self, store: TraceStore) -> None:
        """Take a store that was opened to be written to."""
        self.store = store

    def note(
        self,
        at: str,
        calls: Sequence[tuple[Reservation, Sequence[Message]]],
        budget_usd: float | None,
    ) -> tuple[Wave, set[str]]:
        """Note a wave that is about to be handed over, with those calls the budget allows.

        Args:
            at: Now.
            calls: The calls, most urgent first, with their conversations.
            budget_usd: The spend limit.

        Returns:
            The wave and the ids of its calls.
        """
        wave = secrets.token_hex(8)
        with self.store._transaction() as connection:
            granted = ledger.reserve(connection, [call for call, _ in calls], budget_usd)
            rows = [
                {
                    "call": call.call,
                    "wave": wave,
                    "key": call.key,
                    "messages": _CONVERSATION.dump_json(tuple(messages)).decode(),
                }
                for call, messages in calls
                if call.call in granted
            ]
            if rows:
                row = {"id": wave, "at": at, "calls": len(rows)}
                connection.execute(sa.insert(schema.waves), [row])
                connection.execute(sa.insert(schema.asked), rows)
        return Wave(wave, None, at, len(rows)), granted

    def submitted(self, wave: str, batch: str) -> None:
        """Store the provider's id of a wave."""
        columns = schema.waves.c
        with self.store._transaction() as connection:
            query = sa.update(schema.waves).where(columns.id == wave).values(batch=batch)
            connection.execute(query)

    def close(
        self,
        lines: Sequence[LedgerLine],
        answers: Mapping[str, Turn],
        failed: Collection[str],
    ) -> None:
        """Settle calls, keep the answers, forget the calls that failed: all or nothing."""
        columns = schema.asked.c
        with self.store._transaction() as connection:
            ledger.settle(connection, lines)
            if answers:
                connection.execute(
                    sa.update(schema.asked)
                    .where(columns.call == sa.bindparam("this"))
                    .values(answer=sa.bindparam("turn")),
                    [
                        {"this": call, "turn": turn.model_dump_json()}
                        for call, turn in answers.items()
                    ],
                )
            for part in _parts(list(failed)):
                connection.execute(sa.delete(schema.asked).where(columns.call.in_(part)))

    def forget_done(self) -> None:
        """Drop what nobody needs any more: calls of episodes that are done, waves without calls."""
        columns, episodes = schema.asked.c, schema.episodes.c
        done = sa.select(episodes.key).where(episodes.status == "done")
        with self.store._transaction() as connection:
            # A call that is not over stays: its cost is not known yet.
            connection.execute(
                sa.delete(schema.asked).where(columns.key.in_(done), columns.answer.is_not(None))
            )
            connection.execute(
                sa.delete(schema.waves).where(schema.waves.c.id.not_in(sa.select(columns.wave)))
            )

    def wave(self, wave: str) -> Wave:
        """Return a wave."""
        with self.store._transaction() as connection:
            query = sa.select(schema.waves).where(schema.waves.c.id == wave)
            return Wave(**connection.execute(query).mappings().one())

    def batches(self) -> set[str]:
        """Return the provider's ids of all waves that are known."""
        columns = schema.waves.c
        with self.store._transaction() as connection:
            query = sa.select(columns.batch).where(columns.batch.is_not(None))
            return set(connection.execute(query).scalars())

    def episodes(self) -> set[str]:
        """Return the keys of the episodes that have calls in a wave and are not done."""
        columns, episodes = schema.asked.c, schema.episodes.c
        done = sa.select(episodes.key).where(episodes.status == "done")
        with self.store._transaction() as connection:
            query = sa.select(columns.key).where(columns.key.not_in(done)).distinct()
            return set(connection.execute(query).scalars())

    def of_episode(self, key: str) -> list[Asked]:
        """Return the calls of one episode, the longest conversation last."""
        with self.store._transaction() as connection:
            query = sa.select(schema.asked).where(schema.asked.c.key == key)
            rows = connection.execute(query).mappings().all()
        calls = [_asked(**row) for row in rows]
        return sorted(calls, key=lambda call: len(call.messages))

    def open_calls(self, wave: str) -> dict[str, LedgerLine]:
        """Return the ledger lines of a wave's calls that are not over, by their id."""
        columns, lines = schema.asked.c, schema.ledger.c
        asked = sa.select(columns.call).where(columns.wave == wave, columns.answer.is_(None))
        with self.store._transaction() as connection:
            found = ledger.lines(connection, lines.call.in_(asked))
            return {line.call: line for line in found}


def _asked(call: str, wave: str, key: str, messages: str, answer: str | None) -> Asked:
    turn = None if answer is None else Turn.model_validate_json(answer)
    return Asked(call, wave, key, _CONVERSATION.validate_json(messages), turn)


def _parts(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
