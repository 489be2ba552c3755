"""Reviews applied: what people decided in `distill review` changes what becomes a row.

A rejected trace is dropped at stage `review` with the reviewer's reason; a fixed one takes the
place of the original and passes through the same checks. Decisions about traces that the checks
drop anyway change nothing, and do not count in the audit: it is about the rows trained on.

Here a trace is judged by itself. `assembly` drops the rejected ones, where traces are compared, so
that the twin of a rejected trace stays a duplicate and does not take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from distill.audit import Audit, Disputed, Found, audit_rows
from distill.config import Config
from distill.filter.sieve import Judgement, Sieve
from distill.filter.subject import Rules, Subject
from distill.toolsets import load_toolset
from distill.traces import Trace, TraceStore
from distill.traces.reviews import Decision, Review
from distill.types import Verdict

STAGE = "review"


@dataclass(frozen=True)
class Reviewed:
    """What became of one trace, given its review."""

    judgement: Judgement
    """What the checks say of the trace as its review leaves it."""
    sound: bool
    """Whether the checks keep it as it was collected."""
    collected: Subject
    """The whole trace as it was collected."""


def judge_reviewed(
    sieve: Sieve, trace: Trace, review: Review | None, *, fully: bool = False
) -> Reviewed:
    """Judge a trace as `Sieve.judge` does, mended where its review says how."""
    if review is None:
        judgement = sieve.judge(trace, fully=fully)
        return Reviewed(judgement, judgement.failure is None, judgement.whole)
    judgement = sieve.judge(review.corrected(trace), fully=fully)
    original = judgement if review.correction is None else sieve.judge(trace)
    if judgement.failure is not None:  # the first fault drops it; the review is told all the same
        told = (*judgement.verdicts, verdict_of(review))
        judgement = replace(judgement, verdicts=told)
    return Reviewed(judgement, original.failure is None, original.whole)


def verdict_of(review: Review) -> Verdict:
    """Return a review as a verdict of stage `review`."""
    by = f"by {review.reviewer}"
    if review.verdict is Decision.REJECT:
        detail = f"{review.note} ({by})" if review.note else by
        return Verdict(ok=False, stage=STAGE, code=review.reason or "rejected", detail=detail)
    code = "approved" if review.verdict is Decision.APPROVE else "fixed"
    return Verdict(ok=True, stage=STAGE, code=code, detail=by)


def audit_of(config: Config, rows: Iterable[Found]) -> Audit:
    """Return what the reviews say about the data set.

    Args:
        config: The config.
        rows: Every row the checks kept for training (`Assembly.found`).
    """
    settings = config.review
    return audit_rows(rows, sample=settings.sample, first=settings.disputed, limit=settings.limit)


def judge_for(config: Config) -> Callable[[Trace], tuple[Verdict, ...]]:
    """Return a function that gives every verdict on one trace by itself; other traces unseen.

    Of a trace that is cut, the faults are forgiven: the user turns before them are kept.

    Raises:
        StoreError: The store is missing or cannot be read.
        ToolSetError: The tool set cannot be loaded.
    """
    with TraceStore.open(config.store_url) as store:
        older = store.toolsets()
    sieve = Sieve(Rules.of(config, load_toolset(config.toolset_dir), older))

    def judge(trace: Trace) -> tuple[Verdict, ...]:
        judgement = sieve.judge(trace, fully=True)
        if judgement.cut is None:
            return judgement.verdicts
        return tuple(one if one.ok else _cut_off(one) for one in judgement.verdicts)

    return judge


def _cut_off(fault: Verdict) -> Verdict:
    return fault.model_copy(update={"ok": True, "detail": f"cut off from here: {fault.detail}"})


def audit_section(found: Audit | None) -> str:
    """Return the card's section about the audit."""
    if found is None or not found.reviewed:
        return "No row was reviewed by a person (`distill review`)."
    verdict = {
        "passed": "The audit has **passed**.",
        "failed": "The audit has **failed**: do not train on this before the cause is mended.",
        "open": "The audit is **open**: nothing can be said yet.",
    }[found.state]
    return (
        f"{verdict} {found.wrong} of {found.reviewed} reviewed rows were wrong (95% interval "
        f"{100 * found.low:.1f}-{100 * found.high:.1f}%, limit {100 * found.limit:g}%), of "
        f"{found.population} rows the checks kept for training; planned sample {found.sample}. "
        f"{_disputed(found.disputed)}Rows found wrong are out, or mended."
    )


def _disputed(found: Disputed | None) -> str:
    if found is None:
        return ""
    return (
        f"Of the {found.rows} rows whose samples disagree {found.reviewed} were reviewed and "
        f"{found.wrong} of these wrong; in rate and interval they count by their share. "
    )
