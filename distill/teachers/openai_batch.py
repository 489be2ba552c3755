"""OpenAI Batch, over the Responses or the Chat Completions endpoint.

The requests are uploaded as a file of one JSON object a line, and so the answers come back: one
file of answers, one of errors. A batch carries our name for it in its metadata, by which one whose
creation was cut off is found again. A batch that fails as a whole (a malformed file, too much
enqueued) has run nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from openai.types import Batch

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
from distill.teachers.openai import OpenAISdkTeacher
from distill.types import Json, Turn

_NAME = "distill_wave"
_OVER = ("completed", "expired", "cancelled", "failed")
_CODES = {"batch_expired": EXPIRED, "batch_cancelled": CANCELLED, "token_limit_exceeded": 429}
"""The HTTP status that goes with a code of the batch itself."""


class OpenAIBatches(Batches):
    """The Batch API."""

    most_calls = 50_000
    most_bytes = 200_000_000
    named = True

    def __init__(self, teacher: OpenAISdkTeacher) -> None:
        self.teacher: OpenAISdkTeacher = teacher
        self._client = teacher._client

    def request(self, ask: Ask) -> dict[str, Any]:
        """Return a line of the input file."""
        body = self.teacher.body(ask.messages, ask.tools)
        url = self.teacher.endpoint
        return {"custom_id": ask.id, "method": "POST", "url": url, "body": body}

    async def submit(self, wave: str, asks: Sequence[Ask]) -> str:
        """Upload the file and create the batch."""
        # Escaped, so that no reader takes a character of a conversation for the end of a line.
        lines = (json.dumps(self.request(ask)) + "\n" for ask in asks)
        content = "".join(lines).encode()
        endpoint: Any = self.teacher.endpoint
        async with self.teacher.asking(TRANSFER_S):
            file = await self._client.files.create(
                file=(f"{wave}.jsonl", content), purpose="batch", timeout=TRANSFER_S
            )
            made = await self._client.batches.create(
                input_file_id=file.id,
                endpoint=endpoint,
                completion_window="24h",
                metadata={_NAME: wave},
            )
        return made.id

    async def find(self, wave: str, begun: datetime, calls: int) -> list[str]:
        """Return the batch that bears the name."""
        async with self.teacher.asking():
            async for batch in self._client.batches.list(limit=100):
                created = datetime.fromtimestamp(batch.created_at, UTC)
                if (batch.metadata or {}).get(_NAME) == wave:
                    return [batch.id]
                if created < begun and not around(begun, created):
                    break  # the newest come first
        return []

    async def state(self, batch: str) -> BatchState:
        """Ask for its status."""
        found = await self._retrieve(batch)
        over = found.status in _OVER
        match found.status:
            case "cancelled" | "cancelling":
                return BatchState(over, cancelled=True, rest=self.unrun(batch, CANCELLED))
            case "expired":
                return BatchState(over, rest=self.unrun(batch, EXPIRED))
            case "failed":
                return BatchState(over, rest=self._failed(found))
        return BatchState(over)

    async def answers(self, batch: str) -> dict[str, Turn | TeacherError]:
        """Fetch the file of answers and the file of errors."""
        found = await self._retrieve(batch)
        answers: dict[str, Turn | TeacherError] = {}
        for file in (found.output_file_id, found.error_file_id):
            if file is not None:
                rows = await self._download(file)
                answers |= {row["custom_id"]: self._answer(batch, row) for row in rows}
        return answers

    async def _retrieve(self, batch: str) -> Batch:
        async with self.teacher.asking():
            return await self._client.batches.retrieve(batch)

    async def _download(self, file: str) -> list[dict[str, Any]]:
        async with self.teacher.asking(TRANSFER_S):
            content = await self._client.files.content(file, timeout=TRANSFER_S)
            return [json.loads(line) for line in content.text.split("\n") if line.strip()]

    def _answer(self, batch: str, row: dict[str, Any]) -> Turn | TeacherError:
        response = row.get("response") or {}
        request_id = response.get("request_id") or batch
        status, body = response.get("status_code"), response.get("body") or {}
        if status == 200:
            try:
                turn = self.teacher.answer(body, request_id)
            except TeacherError as failed:
                return failed
            return self.teacher.priced(turn, batch=True)
        error: dict[str, Json] = body.get("error") or row.get("error") or {}
        code = error.get("code")
        status = _CODES.get(str(code), status or 400)
        failure = failure_of(status, {code, error.get("type")})
        return self.teacher.error(
            f"{code or status}: {error.get('message')}", failure, request_id=request_id
        )

    def _failed(self, batch: Batch) -> TeacherError:
        errors = (batch.errors and batch.errors.data) or []
        codes = [str(error.code) for error in errors]
        status = next((_CODES[code] for code in codes if code in _CODES), 400)
        words = "; ".join(f"{error.code}: {error.message}" for error in errors[:3])
        return self.teacher.error(
            f"batch {batch.id} failed: {words or 'no reason given'}",
            failure_of(status, set(codes)),
            request_id=batch.id,
        )
