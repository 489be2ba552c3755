"""Draws `report.json` as Markdown: for a pull request, a chat, a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill.results import (
    DECISIONS,
    SHARES,
    TEXT,
    Comparison,
    ModelReport,
    Report,
    Share,
    Silence,
    SuiteReport,
)


def write_text(folder: Path, report: Report) -> Path:
    """Write `report.md` and return its path."""
    path = folder / TEXT
    path.write_text(markdown(report), encoding="utf-8")
    return path


def markdown(report: Report) -> str:
    """Return the report's tables and sentences."""
    names = list(report.models)
    action = DECISIONS[report.decision.action]
    parts = [
        f"# {report.name}: tool calling on {report.toolset}\n",
        f"**{report.verdict}**\n",
        f"**{action}.** " + " ".join(report.decision.reasons) + "\n",
        *(f"- {name}: {why}" for name, why in report.gaps.items()),
        *(f"- Warning: {warning}" for warning in report.warnings),
        f"\n{report.cases} cases of {report.families} families; 95% intervals.\n",
        _table(["", *names], [_row(h, field, report) for h, field, _ in SHARES]),
        _table(["", *names], _numbers(list(report.models.values()))),
        *(_suite(suite) for suite in report.suites),
        "## Comparisons\n" if report.comparisons else "",
        *_comparisons(report),
        "## By kind\n",
        _table(["", *names], _breakdown(report.breakdowns.by_kind, names)),
        "## By tool\n",
        _table(["", *names], _breakdown(report.breakdowns.by_tool, names)),
        "## Gate\n",
        _table(
            ["threshold", "limit", "measured", ""],
            [[c.name, c.limit, c.value, "pass" if c.ok else "**FAIL**"] for c in report.gate],
        ),
        f"Cases {report.cases_hash}, tool set {report.toolset_hash}, "
        f"data set {report.dataset_hash}, weights {report.weights_hash}; {report.created_at}.",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _row(heading: str, field: str, report: Report) -> list[str]:
    return [heading, *(_share(getattr(model, field)) for model in report.models.values())]


def _numbers(models: Sequence[ModelReport]) -> list[list[str]]:
    return [
        *_trials(models),
        ["Abstention precision", *(_share(m.abstention.precision) for m in models)],
        ["Abstention recall", *(_share(m.abstention.recall) for m in models)],
        ["Abstention F1", *(_percent(m.abstention.f1) for m in models)],
        ["Decision F1", *(_percent(m.decision_f1) for m in models)],
        ["Parallel F1", *(_percent(m.parallel.f1) for m in models)],
        ["Request p50 / p95 / p99, s", *(_latency(m) for m in models)],
        ["Tokens per case", *(f"{m.tokens.input:.0f} + {m.tokens.output:.0f}" for m in models)],
        ["$ per 1,000 requests", *(f"{m.cost.per_1000:.3f}" if m.cost else "-" for m in models)],
        [
            "$ per solved case",
            *(
                f"{m.cost.per_solved:.5f}" if m.cost and m.cost.per_solved is not None else "-"
                for m in models
            ),
        ],
    ]


def _trials(models: Sequence[ModelReport]) -> list[list[str]]:
    """Return what repeated trials show, where there were any."""
    most = max((one.k for m in models for one in m.pass_k), default=1)
    rows = [[f"pass^{k}", *(_passed(m, k) for m in models)] for k in range(2, most + 1)]
    if any(m.agreement for m in models):
        rows.append(["Agrees with itself", *(_share(m.agreement) for m in models)])
    return rows


def _passed(model: ModelReport, k: int) -> str:
    one = next((one for one in model.pass_k if one.k == k), None)
    if one is None:
        return _percent(None)
    if one.low is None or one.high is None:
        return _percent(one.value)
    return f"{100 * one.value:.1f}% ({100 * one.low:.0f}-{100 * one.high:.0f})"


def _suite(suite: SuiteReport) -> str:
    names = list(dict.fromkeys(name for part in suite.parts.values() for name in part))
    rows = [[p, *(_share(s.get(name)) for name in names)] for p, s in suite.parts.items()]
    if suite.headline:
        rows.append(["composite", *(_percent(suite.headline.get(name)) for name in names)])
    rows += [
        [f"{part}: silent turns with {what}", *(_silence(models.get(n), field) for n in names)]
        for part, models in suite.silent.items()
        for what, field in (("a call", "called"), ("a change", "acted"))
    ]
    rows += [
        [f"{part}, points against unchanged", *(_change(models.get(name)) for name in names)]
        for part, models in suite.changes.items()
    ]
    said = (*suite.notes, *(f"{name}: {why}." for name, why in suite.gaps.items()))
    notes = "".join(f"{note}\n\n" for note in said)
    return f"## {suite.name} ({suite.version})\n\n{notes}" + _table(["", *names], rows)


def _change(one: Comparison | None) -> str:
    if one is None:
        return "-"
    low, high = one.interval
    return f"{100 * one.difference:+.1f} ({100 * low:+.0f} to {100 * high:+.0f}, p {one.p:.2g})"


def _silence(silence: Silence | None, field: str) -> str:
    return _share(getattr(silence, field) if silence else None)


def _comparisons(report: Report) -> list[str]:
    lines = []
    for name, one in report.comparisons.items():
        first, second = name.split("/")
        low, high = one.interval
        lines.append(
            f"- {first} minus {second}: {100 * one.difference:+.1f} points "
            f"({100 * low:+.1f} to {100 * high:+.1f}), {one.wins} won, {one.losses} lost of "
            f"{one.n}, p = {one.p:.2g}; {100 * one.detectable:.0f} points could be seen"
        )
    if report.gap_closed:
        gap = report.gap_closed
        lines.append(f"- gap closed: {gap.value:.0%} ({gap.low:.0%} to {gap.high:.0%})")
    if even := report.break_even:
        when = "never at these prices" if even.requests is None else f"{even.requests:,} requests"
        spent = even.teacher_usd + even.training_usd
        lines.append(f"- break-even: {when} (${spent:,.2f} spent on traces and training)")
    return [*lines, ""]


def _breakdown(parts: dict[str, dict[str, Share]], names: Sequence[str]) -> list[list[str]]:
    return [[part, *(_share(s.get(name)) for name in names)] for part, s in parts.items()]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _share(share: Share | None) -> str:
    if share is None or share.value is None:
        return "-"
    return f"{100 * share.value:.1f}% ({100 * share.low:.0f}-{100 * share.high:.0f})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _latency(model: ModelReport) -> str:
    times = model.latency_s
    return " / ".join("-" if t is None else f"{t:.2f}" for t in (times.p50, times.p95, times.p99))
