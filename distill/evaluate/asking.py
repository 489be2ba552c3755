"""Asking an endpoint many things at once, and when it is not worth asking any more.

The pacing retries each request; what still fails is the endpoint's fault and leaves its question
without an answer. After a few such in a row nobody is asked any more. A question longer than the
model's context is no fault of the endpoint: it is counted apart, and the asking goes on. What the
answers are worth is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from distill.teachers import Failure, Teacher, TeacherError, outgrew_context, paced

GIVE_UP_AFTER = 3
"""Questions in a row an endpoint may fail to answer before it is not asked any more."""

T = TypeVar("T")


class Unanswered(Exception):
    """The endpoint refused a question that no model has seen."""


class Left(NamedTuple):
    """Why questions have no answer."""

    reason: str
    """Empty when all have one."""
    too_long: int
    """Those that the model's context does not hold."""


async def ask_all(
    owed: Sequence[T],
    model: Teacher,
    concurrency: int,
    answer: Callable[[T, Teacher], Awaitable[None]],
) -> Left:
    """Ask everything that is owed and return why some of it has no answer.

    Args:
        owed: What to ask.
        model: Who is asked; it is paced here.
        concurrency: Most questions in flight.
        answer: Asks one question and keeps its answer; raises `Unanswered` or `TeacherError`.

    Raises:
        TeacherError: A key is wrong or an allowance is used up.
    """
    left = iter(owed)
    failures = _Failures()
    gate = paced(model, concurrency)

    async def work() -> None:
        for one in left:
            if failures.hopeless:
                return
            try:
                await answer(one, gate)
            except (TeacherError, Unanswered) as error:
                failures.add(error)
            else:
                failures.clear()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    if failures.fatal:
        raise failures.fatal
    return Left(failures.reason, failures.too_long)


class _Failures:
    """What an endpoint failed at."""

    def __init__(self) -> None:
        self.too_long = 0
        self.fatal: TeacherError | None = None
        self._last = self._too_long = ""
        self._in_a_row = 0

    @property
    def reason(self) -> str:
        """All that went wrong, in one line."""
        if not self.too_long:
            return self._last
        beyond = f"{self.too_long} longer than the model's context ({self._too_long})"
        return f"{beyond}; {self._last}" if self._last else beyond

    @property
    def hopeless(self) -> bool:
        return self.fatal is not None or self._in_a_row >= GIVE_UP_AFTER

    def add(self, error: Exception) -> None:
        if outgrew_context(str(error)):
            self.too_long += 1
            self._too_long = str(error)
            return
        if isinstance(error, TeacherError) and error.failure in (Failure.AUTH, Failure.QUOTA):
            self.fatal = error
        self._last = str(error)
        self._in_a_row += 1

    def clear(self) -> None:
        self._in_a_row = 0
