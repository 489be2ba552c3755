"""The ledger lines of calls that were reserved, and the words when there is no money for one."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from distill.teachers import Failure, TeacherError
from distill.traces.ledger import Money
from distill.traces.trace import LedgerLine, Reservation
from distill.types import Turn

BILLED_MAYBE = frozenset({Failure.TRANSIENT})
"""Failures after which nobody knows whether the provider has done the work."""


def over_budget(budget_usd: float, money: Money, worst_usd: float) -> str:
    """Say that a call would pass a budget."""
    unknown = f" and ${money.unknown_usd:.4g} not known" if money.unknown_usd else ""
    return (
        f"the budget of ${budget_usd:g} is reached: ${money.spent_usd:.4g} are spent{unknown}, "
        f"the next call may cost ${worst_usd:.4g}"
    )


def answered_line(reservation: Reservation | LedgerLine, turn: Turn) -> LedgerLine:
    """Return the line of a call that was answered."""
    return LedgerLine(
        call=reservation.call,
        key=reservation.key,
        reserved_usd=reservation.reserved_usd,
        at=now(),
        provider=reservation.provider,
        model=turn.model or reservation.model,
        usage=turn.usage,
        cost_usd=turn.cost_usd,
        attempts=turn.attempts,
        latency_s=round(turn.latency_s, 3),
        request_id=turn.request_id,
    )


def failed_line(reservation: Reservation, begun: float, error: TeacherError) -> LedgerLine:
    """Return the line of a call that was not answered: refused, so free, or nobody knows."""
    maybe = error.failure in BILLED_MAYBE
    return line_of(
        reservation,
        begun,
        status="unknown" if maybe else "settled",
        cost_usd=None if maybe else 0.0,
        attempts=error.attempts,
        request_id=error.request_id,
        failure=str(error.failure),
    )


def line_of(reservation: Reservation, begun: float, **fields: Any) -> LedgerLine:
    """Return the line of a reserved call that ended just now."""
    return reservation.line(now(), latency_s=round(time.monotonic() - begun, 3), **fields)


def now() -> str:
    """Return this instant as the ledger writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
