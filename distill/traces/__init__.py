"""What collecting leaves behind: the `Trace` of every episode, kept in a `TraceStore`."""

from distill.traces.batches import Asked, BatchStore, Wave
from distill.traces.ledger import Money
from distill.traces.store import Counts, Owed, TraceStore
from distill.traces.trace import (
    LedgerLine,
    Reservation,
    SimulatorRecord,
    TeacherRef,
    Trace,
    TurnRecord,
    UserEnd,
    UserRecord,
    episode_key,
)

__all__ = [
    "Asked",
    "BatchStore",
    "Counts",
    "LedgerLine",
    "Money",
    "Owed",
    "Reservation",
    "SimulatorRecord",
    "TeacherRef",
    "Trace",
    "TraceStore",
    "TurnRecord",
    "UserEnd",
    "UserRecord",
    "Wave",
    "episode_key",
]
