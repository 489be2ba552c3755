"""A trace through every check, one after the other, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from distill.filter.checks import CHECKS
from distill.filter.duplicates import Duplicates
from distill.filter.subject import Rules, Subject
from distill.traces import Trace
from distill.types import Json, Verdict


@dataclass(frozen=True)
class Judgement:
    """What became of one trace."""

    subject: Subject
    verdicts: tuple[Verdict, ...]
    """In the order of the checks; up to the first failure, unless all were asked for."""

    @property
    def failure(self) -> Verdict | None:
        """Why the trace is dropped; None: it is kept."""
        return next((verdict for verdict in self.verdicts if not verdict.ok), None)

    def reject_row(self, failure: Verdict) -> dict[str, Json]:
        """Return the ledger line of the trace, dropped for `failure`."""
        trace = self.subject.trace
        return {
            "key": trace.key,
            "task": trace.task.id,
            "kind": str(trace.task.kind),
            "family": trace.task.family,
            "stage": failure.stage,
            "code": failure.code,
            "evidence": " ".join(failure.detail.split()),
            "turn": failure.turn,
        }


class Sieve:
    """Judges traces one after the other; only duplicates depend on the ones before."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._duplicates = Duplicates()

    def judge(self, trace: Trace, *, fully: bool = False) -> Judgement:
        """Judge a trace.

        Args:
            trace: The trace.
            fully: Go on after the first failure, so that every check gives its verdict.
        """
        subject = Subject(trace, self.rules)
        verdicts: list[Verdict] = []
        for verdict in self._verdicts(subject):
            verdicts.append(verdict)
            if not verdict.ok and not fully:
                break
        judgement = Judgement(subject, tuple(verdicts))
        if judgement.failure is None:
            self._duplicates.add(trace)
        return judgement

    def _verdicts(self, subject: Subject) -> Iterator[Verdict]:
        for check in CHECKS:
            yield from check.verdicts(subject)
        yield self._duplicates.verdict(subject.trace)
