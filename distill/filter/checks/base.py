"""What a check is: a rule over one trace, with a stage, and findings that carry evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from distill.filter.subject import Subject
from distill.types import Verdict

FORMAT = "format"
"""Findings of this stage are never forgiven: such a turn cannot even be rendered as context."""


@dataclass(frozen=True)
class Finding:
    """Something wrong with a trace."""

    code: str
    evidence: str
    turn: int | None = None
    """Index of the message it is about; None: the whole trace."""


@dataclass(frozen=True)
class Check:
    """One rule over a trace."""

    stage: str
    name: str
    rule: str
    """What holds for a good trace, in one sentence."""
    find: Callable[[Subject], Iterable[Finding]]

    @cached_property
    def clean(self) -> Verdict:
        """The verdict that all is well."""
        return Verdict(ok=True, stage=self.stage, code=self.name, detail=self.rule)

    def verdicts(self, subject: Subject) -> Iterator[Verdict]:
        """Yield a verdict per finding, or one that all is well."""
        clean = True
        for finding in self.find(subject):
            clean = False
            forgiven = self.stage != FORMAT and finding.turn in subject.recovered
            yield Verdict(
                ok=forgiven,
                stage=self.stage,
                code=finding.code,
                detail=f"recovered: {finding.evidence}" if forgiven else finding.evidence,
                turn=finding.turn,
            )
        if clean:
            yield self.clean


CHECKS: list[Check] = []
"""Every check, in the order they run."""

Find = Callable[[Subject], Iterable[Finding]]


def check(stage: str) -> Callable[[Find], Find]:
    """Register a function as a check; its name and docstring name and state the rule."""

    def register(find: Find) -> Find:
        rule = (find.__doc__ or "").strip()
        CHECKS.append(Check(stage=stage, name=find.__name__, rule=rule, find=find))
        return find

    return register
