"""Exact duplicates: conversations that teach the same thing twice.

Two traces are duplicates when their messages are equal once call ids, which every provider makes up
afresh, are replaced by their position, and argument strings by what they say.
"""

from __future__ import annotations

from distill.traces import Trace
from distill.types import AssistantMessage, Json, ToolCall, ToolMessage, Verdict, digest

STAGE = "duplicates"


class Duplicates:
    """Remembers the conversations seen so far."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def verdict(self, trace: Trace) -> Verdict:
        """Compare a trace with those added before."""
        first = self._first.get(fingerprint(trace))
        if first is None:
            return Verdict(
                ok=True, stage=STAGE, code="unique", detail="No earlier trace equals it."
            )
        return Verdict(
            ok=False, stage=STAGE, code="exact_duplicate", detail=f"equals trace {first}"
        )

    def add(self, trace: Trace) -> None:
        """Remember a trace that is kept."""
        self._first.setdefault(fingerprint(trace), trace.key)


def fingerprint(trace: Trace) -> str:
    """Hash the messages, call ids replaced by position and arguments by their parsed value."""
    rows: list[Json] = []
    ids: list[str] = []
    for message in trace.messages:
        row: list[Json] = [message.role, message.content]
        if isinstance(message, AssistantMessage):
            ids = [call.id for call in message.tool_calls]
            row += [[call.name, _value(call)] for call in message.tool_calls]
        elif isinstance(message, ToolMessage):
            known = message.tool_call_id in ids
            row += [ids.index(message.tool_call_id) if known else None, message.is_error]
        rows.append(row)
    return digest(rows)


def _value(call: ToolCall) -> Json:
    try:
        return call.parsed()
    except ValueError:
        return call.arguments
