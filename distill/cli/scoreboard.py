"""What the evaluation commands print: tables for a terminal. Computes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from distill.results import DECISIONS, SHARES, Comparison, ModelReport, Report, Share, SuiteReport

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 3
"""Columns up to which intervals fit a terminal; the files beside have them all."""


def show(report: Report, console: Console) -> None:
    """Print every metric, the comparisons, the suites, the verdict and the decision."""
    console.print()
    console.print(scoreboard(report))
    for name, comparison in report.comparisons.items():
        if name.startswith("student/"):
            console.print(versus(name, comparison))
    if report.gap_closed:
        gap = report.gap_closed
        console.print(
            f"Gap closed: {gap.value:.0%} of the way from base to teacher "
            f"(95% interval {gap.low:.0%} to {gap.high:.0%})"
        )
    for suite in report.suites:
        console.print()
        console.print(suite_table(suite))
    for name, why in _gaps(report):
        console.print(Text.assemble((f"{name}: ", "yellow"), why))
    for warning in report.warnings:
        console.print(Text.assemble(("warning: ", "yellow"), warning))
    console.print(f"\n[b]{report.verdict}[/]")
    console.print(f"[b]{DECISIONS[report.decision.action]}.[/]", end=" ")
    console.print(" ".join(report.decision.reasons))


def versus(name: str, comparison: Comparison) -> str:
    """Return a paired comparison in one line."""
    first, second = name.split("/")
    detectable = f"a difference of {100 * comparison.detectable:.0f} points could be seen"
    families = (
        f"over {comparison.clusters} families p = {comparison.cluster_p:.2g}; "
        if comparison.cluster_p is not None
        else ""
    )
    return (
        f"{first.capitalize()} against {second}: won {comparison.wins}, lost {comparison.losses} "
        f"of {comparison.n} cases; exact McNemar p = {comparison.p_value:.2g}; "
        f"{families}{detectable}"
    )


def scoreboard(report: Report) -> Table:
    """Return every metric of every model, shares with their 95% intervals."""
    return _metrics(report.models)


def model_table(model: ModelReport, cases: int) -> Table:
    """Return the metrics of one model that answered some of the cases."""
    return _metrics({f"{model.answered} of {cases} cases": model})


def runs_table(reports: Mapping[str, Report], model: str) -> Table:
    """Return the metrics of one model of several runs."""
    return _metrics({name: report.models[model] for name, report in reports.items()})


def _metrics(columns: Mapping[str, ModelReport]) -> Table:
    models = columns.values()
    wide = len(columns) <= WIDE
    table = _table("[dim]95% intervals[/]" if wide else "", columns)
    for heading, field, _ in SHARES:
        style = "bold" if field == "call_accuracy" else ""
        table.add_row(
            heading, *(cell(getattr(model, field), wide) for model in models), style=style
        )
    table.add_row("Abstention F1", *(_number(m.abstention.f1, 100, "%", wide=wide) for m in models))
    table.add_row("Decision F1", *(_number(m.decision_f1, 100, "%", wide=wide) for m in models))
    table.add_row("Parallel F1", *(_number(m.parallel.f1, 100, "%", wide=wide) for m in models))
    for k in range(2, 1 + max((m.pass_k[-1].k for m in models if m.pass_k), default=1)):
        shares = ({one.k: one.value for one in m.pass_k}.get(k) for m in models)
        table.add_row(f"pass^{k}", *(_number(value, 100, "%", wide=wide) for value in shares))
    if any(m.agreement for m in models):
        table.add_row("Agrees with itself", *(cell(m.agreement, wide) for m in models))
    if any(m.requests for m in models):
        table.add_row(
            "Median request", *(_number(m.latency_s.p50, 1, " s", 2, wide=wide) for m in models)
        )
        table.add_row(
            "95th percentile", *(_number(m.latency_s.p95, 1, " s", 2, wide=wide) for m in models)
        )
    if any(m.cost for m in models):
        costs = [m.cost for m in models]
        per_1000 = (_number(c.per_1000 if c else None, 1, "", 3, wide=wide) for c in costs)
        per_solved = (_number(c.per_solved if c else None, 1, "", 5, wide=wide) for c in costs)
        table.add_row("$ / 1000 requests", *per_1000)
        table.add_row("$ / solved case", *per_solved)
    return table


def suite_table(suite: SuiteReport) -> Table:
    """Return a suite's parts with every model's share of right answers."""
    models = list(dict.fromkeys(name for part in suite.parts.values() for name in part))
    table = _table(f"[b]{suite.name}[/] [dim]{suite.version}[/]", models)
    for part, shares in suite.parts.items():
        table.add_row(part, *(cell(shares.get(name)) for name in models))
    for part, silent in suite.silent.items():
        called = (silent[name].called if name in silent else None for name in models)
        table.add_row(f"[dim]{part}: silent turns with a call[/]", *map(cell, called))
    if suite.headline:
        values = (_number(suite.headline.get(name), 100, "%") for name in models)
        table.add_row("composite", *values, style="bold")
    return table


def gate_table(report: Report) -> Table:
    """Return the thresholds, each with what was measured."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("gate", "limit", "measured", ""):
        table.add_column(heading)
    for check in report.gate:
        mark = "[green]pass[/]" if check.ok else "[red]FAIL[/]"
        table.add_row(check.name, check.limit, check.value, mark)
    return table


def suites_table() -> Table:
    """Return the suites and what they need."""
    from distill.evaluate.suites.registry import CASES, SUITES

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("suite", "measures", "needs"):
        table.add_column(heading)
    table.add_row(CASES, "your held-out cases, executed live, with end states", "distill filter")
    for suite in SUITES:
        table.add_row(suite.name, suite.summary, suite.needs)
    return table


def cell(share: Share | None, wide: bool = True) -> str:
    """Return a share, with its interval where there is room; a dash where nothing was counted."""
    if share is None or share.value is None:
        return "-" + " " * 8 * wide
    if not wide:
        return f"{100 * share.value:.1f}%"
    return f"{100 * share.value:.1f}% [dim]{100 * share.low:>3.0f}-{100 * share.high:<3.0f}[/]"


def _gaps(report: Report) -> Iterable[tuple[str, str]]:
    yield from report.gaps.items()
    for suite in report.suites:
        for name, why in suite.gaps.items():
            yield f"{suite.name} {name}", why


def _table(corner: str, models: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(corner)
    for name in models:
        table.add_column(name, justify="right")
    return table


def _number(
    value: float | None, scale: float, unit: str, digits: int = 1, *, wide: bool = True
) -> str:
    aligned = " " * 8 * wide  # as wide as an interval
    return ("-" if value is None else f"{scale * value:.{digits}f}{unit}") + aligned
