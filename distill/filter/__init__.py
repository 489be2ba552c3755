"""From traces to a data set: what is right is kept, everything else gets a line that says why not.

Stages, in order: outcome, toolset, kind, format, schema, execution, expectation, grounding and
privacy judge each trace by itself (`screening`); agreement, contamination, duplicates and mix
compare it with others (`assembly`); what is left may be shown to a judge (`judging`). A trace is
dropped at its first failure, or cut before the user turn that failed.

`build_dataset` does it all; `explain` gives every verdict on one trace; `reverify` says what
today's checks judge otherwise. Only `build_dataset` asks a model, and only where `filter.judge`
names one; tools run only for `filter.replay`.
"""

from distill.filter.checks import CHECKS, Check, Finding, check
from distill.filter.reviews import judge_for
from distill.filter.runner import (
    Change,
    Explanation,
    Report,
    build_dataset,
    estimate_judging,
    explain,
    reverify,
)
from distill.filter.sieve import Judgement, Sieve
from distill.filter.split import split_families
from distill.filter.subject import Rules, Subject

__all__ = [
    "CHECKS",
    "Change",
    "Check",
    "Explanation",
    "Finding",
    "Judgement",
    "Report",
    "Rules",
    "Sieve",
    "Subject",
    "build_dataset",
    "check",
    "estimate_judging",
    "explain",
    "judge_for",
    "reverify",
    "split_families",
]
