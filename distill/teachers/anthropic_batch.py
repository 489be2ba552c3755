"""Anthropic Message Batches.

The requests travel in the body of one call. A batch bears no name of ours, so one whose creation
was cut off is looked for by its time and its number of requests; its results tell by their ids
whether it is ours. Results are fetched from the endpoint that is configured, not from the address
the batch names: a key is never sent to an endpoint it was not configured for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx2
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse

from distill.teachers.anthropic import AnthropicTeacher, read_answer, whole_body
from distill.teachers.base import TeacherError, failure_of
from distill.teachers.batch import (
    CANCELLED,
    EXPIRED,
    TRANSFER_S,
    Ask,
    Batches,
    BatchState,
    around,
)
from distill.types import Turn

_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status that goes with an error's type; every other one is 500."""


class AnthropicBatches(Batches):
    """The Message Batches API."""

    most_calls = 100_000
    most_bytes = 256_000_000
    named = False

    def __init__(self, teacher: AnthropicTeacher) -> None:
        self.teacher: AnthropicTeacher = teacher
        self._api = teacher._client.messages.batches

    def request(self, ask: Ask) -> dict[str, Any]:
        """Return `{"custom_id": ..., "params": the body}`."""
        body = whole_body(self.teacher.config, ask.messages, ask.tools)
        return {"custom_id": ask.id, "params": body}

    async def submit(self, wave: str, asks: Sequence[Ask]) -> str:
        """Create a batch."""
        requests: Any = [self.request(ask) for ask in asks]
        async with self.teacher.asking(TRANSFER_S):
            made = await self._api.create(requests=requests, timeout=TRANSFER_S)
        return made.id

    async def find(self, wave: str, begun: datetime, calls: int) -> list[str]:
        """Return the batches of that time with as many requests."""
        found = []
        async with self.teacher.asking():
            async for batch in self._api.list(limit=100):
                if around(begun, batch.created_at):
                    if _requests(batch) == calls:
                        found.append(batch.id)
                elif batch.created_at < begun:
                    break  # the newest come first
        return found

    async def state(self, batch: str) -> BatchState:
        """Ask for its processing status."""
        async with self.teacher.asking():
            found = await self._api.retrieve(batch)
        over = found.processing_status == "ended"
        if found.cancel_initiated_at is None:
            return BatchState(over)
        return BatchState(over, cancelled=True, rest=self.unrun(batch, CANCELLED))

    async def answers(self, batch: str) -> dict[str, Turn | TeacherError]:
        """Fetch the results."""
        async with self.teacher.asking(TRANSFER_S):
            response = await self.teacher._client.get(
                f"/v1/messages/batches/{batch}/results",
                cast_to=httpx2.Response,
                options={"timeout": TRANSFER_S},
            )
            lines = [json.loads(line) for line in response.text.split("\n") if line.strip()]
        results = [MessageBatchIndividualResponse.construct(**line) for line in lines]
        return {result.custom_id: self._answer(batch, result) for result in results}

    def _answer(self, batch: str, row: MessageBatchIndividualResponse) -> Turn | TeacherError:
        result = row.result
        match result.type:
            case "succeeded":
                result.message._request_id = batch
                return self.teacher.priced(read_answer(result.message), batch=True)
            case "errored":
                error, status = result.error.error, _STATUS.get(result.error.error.type, 500)
                failure = failure_of(status, {error.type})
                request_id = result.error.request_id or batch
                return self.teacher.error(
                    f"{error.type}: {error.message}", failure, request_id=request_id
                )
        return self.unrun(batch, EXPIRED if result.type == "expired" else CANCELLED)


def _requests(batch: MessageBatch) -> int:
    counts = batch.request_counts
    ended = counts.canceled + counts.errored + counts.expired + counts.succeeded
    return counts.processing + ended
