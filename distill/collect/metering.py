"""Metering: a ledger line for every call to the teacher, whatever becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from distill.teachers import Teacher, TeacherError
from distill.traces import LedgerLine
from distill.types import Message, Tool, Turn


class MeteredTeacher(Teacher):
    """The teacher of one episode; books each call through `book` before anyone sees its answer."""

    def __init__(self, teacher: Teacher, key: str, book: Callable[[LedgerLine], None]) -> None:
        self.teacher = teacher
        self.key = key
        self.book = book
        self.provider, self.model = teacher.provider, teacher.model
        self.terms, self.settings = teacher.terms, teacher.settings

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Return the next turn, booked.

        Raises:
            TeacherError: The call failed; it is booked as well.
        """
        start = time.monotonic()
        try:
            turn = await self.teacher.complete(messages, tools)
        except TeacherError as error:
            line = self._line(start, str(error.failure))
            update = {"attempts": error.attempts, "request_id": error.request_id}
            self.book(line.model_copy(update=update))
            raise
        except asyncio.CancelledError:
            self.book(self._line(start, "cancelled"))
            raise
        self.book(
            LedgerLine(
                key=self.key,
                at=_now(),
                provider=self.provider,
                model=turn.model or self.model,
                usage=turn.usage,
                cost_usd=turn.cost_usd,
                attempts=turn.attempts,
                latency_s=round(turn.latency_s, 3),
                request_id=turn.request_id,
            )
        )
        return turn

    def _line(self, start: float, failure: str) -> LedgerLine:
        return LedgerLine(
            key=self.key,
            at=_now(),
            provider=self.provider,
            model=self.model,
            latency_s=round(time.monotonic() - start, 3),
            failure=failure,
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
