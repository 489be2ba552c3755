"""The checks of a trace: small objects with a stage, run in the order they are defined.

A check looks at a `Subject` and yields a `Finding` (code, evidence, message) for everything that is
wrong. The first finding drops the trace, or the user turn it is about and all that follows; one
about a turn the episode recovered from is forgiven. A new check is a decorated function:

    @check("format")
    def shouting(subject: Subject) -> Iterator[Finding]:
        '''The teacher does not shout.'''
        ...

Checks see one trace at a time; what needs its neighbours (agreement, duplicates) is elsewhere.
"""

# The order of these imports is the order in which the checks run.
from distill.filter.checks import belonging, format, execution, pointless, expectation  # isort: skip
from distill.filter.checks import grounding, privacy  # isort: skip
from distill.filter.checks.base import CHECKS, FORMAT, Check, Finding, check

__all__ = [
    "CHECKS",
    "FORMAT",
    "Check",
    "Finding",
    "belonging",
    "check",
    "execution",
    "expectation",
    "format",
    "grounding",
    "pointless",
    "privacy",
]
