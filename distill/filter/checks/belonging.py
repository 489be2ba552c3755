"""Does the trace belong into this data set at all?"""

from __future__ import annotations

from collections.abc import Iterator

from distill.filter.checks.base import Finding, check
from distill.filter.subject import Subject
from distill.types import Outcome


@check("outcome")
def completed(subject: Subject) -> Iterator[Finding]:
    """The episode came to its end."""
    trace = subject.trace
    if trace.outcome is not Outcome.COMPLETED:
        last = len(trace.messages) - 1
        evidence = trace.error or f"the episode ended as {trace.outcome}"
        yield Finding(trace.outcome, evidence, last if len(subject.windows) > 1 else None)


@check("toolset")
def same_tools(subject: Subject) -> Iterator[Finding]:
    """The tool set is the one the trace was collected with."""
    then, now = subject.trace.toolset_hash, subject.rules.toolset_hash
    if then != now:
        drift = subject.rules.drift
        reason = drift.reasons.get(then) if drift else None
        evidence = f"collected with tool set {then}, it is now {now}"
        yield Finding("drift", f"{evidence}: {reason}" if reason else evidence)


@check("kind")
def wanted_kind(subject: Subject) -> Iterator[Finding]:
    """The kind of task is not among `filter.drop_kinds`."""
    kind = subject.trace.task.kind
    if kind in subject.rules.drop_kinds:
        yield Finding("dropped_kind", f"filter.drop_kinds holds {str(kind)!r}")
