"""The writer: stores what episodes leave, in batches, off the event loop.

Episodes hand over what they leave and go on; one task writes whatever has come together since the
last transaction. Nothing that was handed over is dropped: what the store refuses (a full disk) is
kept and tried once more at the end, when it may fit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distill.errors import StoreError
from distill.traces import LedgerLine, Trace, TraceStore

LARGEST_BATCH = 256


@dataclass(frozen=True)
class Left:
    """What an episode leaves: a finished trace or, without one, the duty to run it again."""

    key: str
    trace: Trace | None
    ledger: Sequence[LedgerLine]


class Writer:
    """The one task that writes to the store.

    Attributes:
        refused: What the store has not taken.
    """

    def __init__(self, store: TraceStore, on_error: Callable[[StoreError], None]) -> None:
        self.store = store
        self.on_error = on_error
        self.refused: list[Left] = []
        self._queue: asyncio.Queue[Left | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    def put(self, left: Left) -> None:
        """Hand over what an episode leaves."""
        self._queue.put_nowait(left)

    async def close(self) -> StoreError | None:
        """Write everything that was handed over; return the store's last refusal, if any."""
        self._queue.put_nowait(None)
        await self._task
        if not self.refused:
            return None
        batch, self.refused = self.refused, []
        return await self._write(batch)

    async def _run(self) -> None:
        while (left := await self._queue.get()) is not None:
            batch = [left]
            while not self._queue.empty() and len(batch) < LARGEST_BATCH:
                following = self._queue.get_nowait()
                if following is None:
                    self._queue.put_nowait(None)
                    break
                batch.append(following)
            error = await self._write(batch)
            if error is not None:
                self.on_error(error)

    async def _write(self, batch: list[Left]) -> StoreError | None:
        traces = [left.trace for left in batch if left.trace is not None]
        given_up = [left.key for left in batch if left.trace is None]
        ledger = [line for left in batch for line in left.ledger]
        try:
            await asyncio.to_thread(self.store.write, traces, given_up, ledger)
        except StoreError as error:
            self.refused.extend(batch)
            return error
        return None
