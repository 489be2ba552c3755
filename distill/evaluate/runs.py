"""Several evaluations side by side: which run's student is better, on the cases they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from distill.errors import ConfigError
from distill.evaluate.comparison import Pair, compare_pairs
from distill.evaluate.stats import holm
from distill.results import Comparison, Report, read_report

OK = "ok"


class Against(NamedTuple):
    """One run against the first."""

    run: str
    comparison: Comparison
    adjusted: float
    """Holm's p-value, over all runs compared."""
    only: str
    """What the two do not have in common, in words; empty: the same cases and tools."""


def read_runs(folders: list[Path], model: str) -> dict[str, Report]:
    """Return the reports of results folders, by a name that tells them apart.

    Those of one config have one name: they are told apart by their folders.

    Raises:
        DatasetError: A folder has no report.
        ConfigError: A report does not have the model.
    """
    read = [(folder, read_report(folder)) for folder in folders]
    for folder, report in read:
        if model not in report.models:
            known = ", ".join(report.models)
            raise ConfigError(f"--model {model!r}: not in {str(folder)!r}, which has {known}")
    uses = Counter(report.name for _, report in read)
    return {
        str(folder) if uses[report.name] > 1 else report.name: report for folder, report in read
    }


def against_first(reports: Mapping[str, Report], model: str) -> list[Against]:
    """Compare every run with the first, on the cases both answered."""
    first, *_ = reports.values()
    others = list(reports.items())[1:]
    made = {
        name: comparison
        for name, report in others
        if (comparison := compare_pairs(_pairs(report, first, model)))
    }
    adjusted = holm({name: comparison.p for name, comparison in made.items()})
    return [
        Against(name, comparison, adjusted[name], _differences(reports[name], first, comparison))
        for name, comparison in made.items()
    ]


def _pairs(report: Report, first: Report, model: str) -> list[Pair]:
    ours, theirs = report.outcomes[model], first.outcomes[model]
    return [
        Pair(report.family_of.get(case, case), code == OK, theirs[case] == OK)
        for case, code in ours.items()
        if case in theirs
    ]


def _differences(report: Report, first: Report, comparison: Comparison) -> str:
    found = []
    if report.toolset_hash != first.toolset_hash:
        found.append("another tool set")
    if report.cases_hash != first.cases_hash:
        found.append(f"other cases, {comparison.n} in common")
    return ", ".join(found)
