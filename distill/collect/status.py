"""The state of a run as it changes: what the display shows and the last table sums up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from distill.traces import LedgerLine, Money
from distill.types import Outcome, Usage


@dataclass
class Status:
    """Counters of one run. Only the event loop's thread writes them."""

    total: int = 0
    """Episodes of the plan."""
    before: int = 0
    """Of these, done by earlier runs."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Finished in this run."""
    owed: int = 0
    """Given up in this run (network, throttling) and left for the next."""
    cut_short: int = 0
    """Stopped before their end because the budget was reached; left for the next run."""
    unstored: int = 0
    """Finished, but the store could not take them."""
    in_flight: int = 0
    pending: dict[str, int] = field(default_factory=dict)
    """Batches that the provider works on, by its ids, with the calls in them."""
    batches: int = 0
    """Batches that came back in this run."""
    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    """Of this run's calls with a known price."""
    unpriced: int = 0
    """Answered calls whose price is unknown."""
    budget_usd: float | None = None
    money: Money = field(default_factory=Money)
    """What all runs on the store have spent and hold; read before the first call and at the end."""
    notice: str | None = None
    """Why no more episodes are started, once that is so."""
    last_error: str | None = None
    store: str = ""
    """Where the traces are."""
    interrupted: bool = False

    @property
    def finished(self) -> int:
        """Episodes finished in this run."""
        return self.outcomes.total()

    @property
    def done(self) -> int:
        """Episodes of the plan that are done."""
        return self.before + self.finished

    @property
    def failed(self) -> int:
        """Episodes of this run that gave no usable trace or none yet."""
        return self.outcomes[Outcome.ERROR] + self.owed

    @property
    def left(self) -> int:
        """Episodes of the plan that are not done."""
        return self.total - self.done + self.unstored

    def book(self, line: LedgerLine) -> None:
        """Count one call."""
        self.calls += 1
        self.usage += line.usage
        if line.cost_usd is not None:
            self.cost_usd += line.cost_usd
        elif line.failure is None:
            self.unpriced += 1

    def pending_text(self) -> str:
        """The pending batches in words."""
        names = ", ".join(sorted(self.pending)[:3]) + (", ..." if len(self.pending) > 3 else "")
        return f"{sum(self.pending.values()):,} calls pending in {len(self.pending)} ({names})"

    def cost_text(self) -> str:
        """The cost of this run in words."""
        if self.unpriced == 0:
            return f"${self.cost_usd:.2f}" if self.cost_usd >= 0.01 else f"${self.cost_usd:.4f}"
        return "unknown" if self.cost_usd == 0 else f"more than ${self.cost_usd:.2f}"
