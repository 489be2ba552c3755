"""One reviewer's work: the sampled rows, what is decided about each, and what that adds up to.

Several desks may share a store: each sees the others' decisions, and a trace that somebody has
open is not offered to anybody else until it is decided or the lease runs out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from distill.audit import Audit, AuditState, Found, audit_rows
from distill.config import Config
from distill.dataset import read_info
from distill.errors import DatasetError
from distill.review.conversation import Result, View, result_of, view
from distill.review.mending import Edit, Problem, correction, edited, problems
from distill.review.sample import in_order, population
from distill.toolsets import LoadedToolSet, ToolRunner, load_toolset
from distill.traces import Trace, TraceStore
from distill.traces.reviews import Correction, Decision, Review, ReviewStore
from distill.types import Frozen, Task, Verdict

LEASE_S = 15 * 60
"""How long a trace stays with whoever has it open and does nothing."""
MORE = 50
"""Rows added when a reviewer goes on beyond the sample."""

Judge = Callable[[Trace], Sequence[Verdict]]
"""Gives every verdict of the filter on one trace."""


class Slot(Frozen):
    """Where one row of the sample stands."""

    verdict: Decision | None = None
    by: str | None = None
    """Who decided, or who has it open."""


class Status(Frozen):
    """Where the whole sample stands."""

    slots: tuple[Slot, ...]
    audit: Audit
    outlook: str
    """What it takes for the audit to be over, in one sentence."""
    more: int
    """Rows that could be added to the sample."""


class Finding(NamedTuple):
    """What a fix would lead to."""

    problems: list[Problem]
    """Why it cannot be stored; nothing else is known while there are any."""
    results: tuple[Result, ...]
    """What the tools say now."""
    failure: Verdict | None
    """Why the filter would drop the mended trace; None: it would keep it."""
    correction: Correction | None


class Desk:
    """One reviewer's work on the sample of one data set."""

    def __init__(self, config: Config, store: TraceStore, reviewer: str, judge: Judge) -> None:
        """Draw the sample.

        Args:
            config: The distillation; its data set has been filtered.
            store: Its open trace store.
            reviewer: Who reviews.
            judge: Gives the filter's verdicts on a trace.

        Raises:
            DatasetError: There is no data set, or its tool set has changed since.
            StoreError: The store cannot be written to.
            ToolSetError: The tool set cannot be loaded.
        """
        self.config = config
        self.reviewer = reviewer
        self.loaded = _same_tools(config)
        self._judge = judge
        self._reviews = ReviewStore(store)
        self._reviews.create()
        known, decisions = self._reviews.known(), self._reviews.decisions()
        rows = [r for r in population(config.dataset_dir, decisions) if r.key in known]
        ordered = in_order(rows, config.review.seed, config.review.disputed)
        size = config.review.sample
        self._rest = [row for row in ordered[size:] if row.key not in decisions]
        beyond = [row for row in ordered[size:] if row.key in decisions]
        self.rows = [*ordered[:size], *beyond]
        self.population = len(rows)

    def status(self) -> Status:
        """Return where every row stands, and the audit."""
        decisions, holders = self._reviews.decisions(), self._reviews.holders()
        settings = self.config.review
        state = audit_rows(
            (
                Found(row.disputed, review.wrong if (review := decisions.get(row.key)) else None)
                for row in (*self.rows, *self._rest)
            ),
            sample=settings.sample,
            first=settings.disputed,
            limit=settings.limit,
        )
        slots = tuple(_slot(decisions.get(row.key), holders.get(row.key)) for row in self.rows)
        return Status(slots=slots, audit=state, outlook=outlook(state), more=len(self._rest))

    def view(self, number: int) -> View:
        """Return everything about one row of the sample, from 0."""
        row = self.rows[number]
        trace, review = self._reviews.trace(row.key), self._reviews.decisions().get(row.key)
        shown = review.corrected(trace) if review else trace
        return view(trace, row, self.loaded.toolset, self._judge(shown), review)

    def look(self, number: int) -> bool:
        """Keep a row from others while it is looked at; False when it is decided or not free."""
        return self._reviews.take(self.rows[number].key, self.reviewer, LEASE_S)

    def check(self, number: int, edits: Sequence[Edit]) -> Finding:
        """Return what a fix would lead to; nothing is stored.

        Raises:
            ValueError: An edit names no text of the assistant.
        """
        trace = self._current(number)
        messages = edited(trace.messages, edits)
        if wrong := problems(messages, edits, self.loaded.toolset):
            return Finding(wrong, (), None, None)
        mended = correction(trace, messages, self._tools)
        judged = trace.model_copy(update={"messages": mended.messages, "changes": mended.changes})
        shown = (result_of(mended.messages, at) for at in range(len(mended.messages)))
        results = tuple(result for result in shown if result is not None)
        failure = next((verdict for verdict in self._judge(judged) if not verdict.ok), None)
        return Finding([], results, failure, mended)

    def decide(self, number: int, verdict: Decision, reason: str = "", note: str = "") -> None:
        """Store an approval or a rejection.

        Raises:
            ReviewTaken: Somebody else has decided, or has it open.
        """
        key = self.rows[number].key
        self._reviews.decide(
            Review(key=key, reviewer=self.reviewer, verdict=verdict, reason=reason, note=note)
        )

    def fix(self, number: int, edits: Sequence[Edit]) -> Finding:
        """Store a fix, unless it has problems.

        Raises:
            ReviewTaken: Somebody else has decided, or has it open.
            ValueError: An edit names no text of the assistant.
        """
        found = self.check(number, edits)
        if found.correction is not None:
            self._reviews.decide(
                Review(
                    key=self.rows[number].key,
                    reviewer=self.reviewer,
                    verdict=Decision.FIX,
                    correction=found.correction,
                )
            )
        return found

    def undo(self) -> int | None:
        """Take back the reviewer's newest decision; return its row, None when there is none."""
        keys = [row.key for row in self.rows]
        key = self._reviews.undo(self.reviewer, keys)
        return None if key is None else keys.index(key)

    def extend(self) -> None:
        """Add the next rows of the order to the sample."""
        self.rows += self._rest[:MORE]
        del self._rest[:MORE]

    def leave(self) -> None:
        """Let go of the row that is open."""
        self._reviews.release(self.reviewer)

    def _current(self, number: int) -> Trace:
        key = self.rows[number].key
        trace, review = self._reviews.trace(key), self._reviews.decisions().get(key)
        return review.corrected(trace) if review else trace

    def _tools(self, task: Task) -> ToolRunner:
        return self.loaded.runner(task, self.config.collect.tool_timeout_s)


def outlook(found: Audit) -> str:
    """Return what it takes for an audit to be over, in one sentence."""
    limit = f"{100 * found.limit:g}%"
    left = found.sample - found.reviewed
    match found.state:
        case AuditState.PASSED if found.reviewed >= found.population:
            return "Every row was reviewed; what was wrong is out or mended."
        case AuditState.PASSED:
            return f"The error rate is below {limit}, with 95% confidence."
        case AuditState.FAILED if left:
            return f"The error rate is above {limit}, even if the other {left} are right."
        case AuditState.FAILED:
            return f"The error rate is above {limit}, with 95% confidence."
    if found.rate is None and found.disputed and found.disputed.reviewed:
        return "First the rows whose samples disagree; then the others show the error rate."
    if found.needed is None:
        return f"The interval will not fall below {limit} within reach."
    if found.wrong == 0:
        return f"Passes at {found.needed} reviews if none is wrong."
    return f"Passes at {found.needed} reviews if no further one is wrong."


def _slot(review: Review | None, holder: str | None) -> Slot:
    if review is not None:
        return Slot(verdict=review.verdict, by=review.reviewer)
    return Slot(by=holder)


def _same_tools(config: Config) -> LoadedToolSet:
    loaded, info = load_toolset(config.toolset_dir), read_info(config.dataset_dir)
    if loaded.toolset.hash != info.toolset_hash:
        raise DatasetError(
            f"data set {str(config.dataset_dir)!r} is of tool set {info.toolset_hash!r}, which is "
            f"now {loaded.toolset.hash!r}; undo the change to the tools, or run `distill filter "
            f"{config.source}`"
        )
    return loaded
