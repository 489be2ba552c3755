"""Batches: many calls handed over at once, answered within a day, at half the price.

A `Batches` speaks one provider's batch API through its SDK. It keeps nothing: what was handed over
and what has come back is the caller's to store, under the ids it gave the calls. Failures of single
calls and of the API itself are told in the one vocabulary of `distill.teachers.base`.

Creating a batch is not repeatable: when the connection breaks before the provider's answer, nobody
knows whether there is one. `find` says which batches it may be.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from distill.teachers.base import TeacherError, failure_of
from distill.types import Message, Tool, Turn

if TYPE_CHECKING:
    from distill.teachers.sdk import SdkTeacher

TRANSFER_S = 600.0
"""Time limit for handing over a batch and for fetching its answers."""
SKEW = timedelta(minutes=10)
"""How far the provider's clock may be from ours."""
EXPIRED, CANCELLED = 503, 499
"""The HTTP statuses that an expired and a cancelled call are classified as."""


@dataclass(frozen=True)
class Ask:
    """One call of a batch."""

    id: str
    """Unique; its answer comes back under this id."""
    messages: Sequence[Message]
    tools: Sequence[Tool]


@dataclass(frozen=True)
class BatchState:
    """Where a batch stands."""

    over: bool
    """No more answers will come."""
    cancelled: bool = False
    """Somebody has cancelled it."""
    rest: TeacherError | None = None
    """What has become of the calls that have no answer, where one thing has become of them all:
    they were not run, and cost nothing."""


class Batches(ABC):
    """The batch API of one teacher."""

    most_calls: int
    """Most calls in one batch."""
    most_bytes: int
    """Most bytes of one batch."""
    named: bool
    """A batch bears our name, so that `find` is certain of it."""
    teacher: SdkTeacher

    @abstractmethod
    def request(self, ask: Ask) -> dict[str, Any]:
        """Return one call as the batch holds it."""

    @abstractmethod
    async def submit(self, wave: str, asks: Sequence[Ask]) -> str:
        """Hand over a batch; return the provider's id of it.

        Args:
            wave: Our name for it.
            asks: Its calls.

        Raises:
            TeacherError: It was refused or, if transient, nobody knows.
        """

    @abstractmethod
    async def find(self, wave: str, begun: datetime, calls: int) -> list[str]:
        """Return the ids of the batches that a broken `submit` may have made, likely ones first.

        Args:
            wave: Our name for it.
            begun: When it was handed over.
            calls: How many calls it has.
        """

    @abstractmethod
    async def state(self, batch: str) -> BatchState:
        """Ask where a batch stands."""

    @abstractmethod
    async def answers(self, batch: str) -> dict[str, Turn | TeacherError]:
        """Return the answers, or failures, of a batch that is over, by the ids of the calls."""

    def size(self, ask: Ask) -> int:
        """Return the bytes that a call takes in a batch."""
        return len(json.dumps(self.request(ask))) + 1

    def unrun(self, batch: str, status: int) -> TeacherError:
        """Return the failure of a call that was not run, because its batch expired or the like."""
        how = "expired" if status == EXPIRED else "was cancelled"
        failure = failure_of(status, ())
        return self.teacher.error(f"batch {batch} {how}", failure, request_id=batch)


def around(begun: datetime, created: datetime) -> bool:
    """Whether a batch created then may be one handed over at `begun`."""
    return begun - SKEW < created < begun + SKEW + timedelta(seconds=TRANSFER_S)


def create_batches(teacher: Any) -> Batches:
    """Return the batch API that goes with a teacher of `create_teacher`."""
    if teacher.provider == "anthropic":
        from distill.teachers.anthropic_batch import AnthropicBatches

        return AnthropicBatches(teacher)
    from distill.teachers.openai_batch import OpenAIBatches

    return OpenAIBatches(teacher)
