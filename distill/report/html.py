"""Draws `report.json` as a page: the template says how it looks, this module what it shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from distill.dataset import read_rows
from distill.matching import Code
from distill.results import MODELS, PAGE, SHARES, Report, Transcript, read_report
from distill.types import AssistantMessage, ToolCall, ToolMessage, UserMessage

METRICS = "metrics.jsonl"

EXPLAINED: Mapping[str, str] = {
    Code.MISSING_CALL: "an expected call was not made",
    Code.EXTRA_CALL: "a call beyond the expected ones",
    Code.WRONG_TOOL: "another tool than the expected one",
    Code.WRONG_ARGUMENTS: "the right tool with wrong arguments",
    Code.WRONG_ORDER: "a call before the results it depends on",
    Code.UNKNOWN_TOOL: "a tool that does not exist",
    Code.MALFORMED_ARGUMENTS: "arguments that are not JSON",
    Code.SCHEMA_VIOLATION: "arguments the tool's schema refuses",
    Code.CALLED_INSTEAD_OF_ASKING: "guessed instead of asking back",
    Code.CALLED_INSTEAD_OF_ABSTAINING: "called although no tool fits",
    Code.CALLED_IN_CHAT: "called where words were due",
    Code.NO_QUESTION: "answered where a question was due",
    Code.MISSING_MENTION: "did not say what it had to",
    Code.EMPTY_ANSWER: "ended without a word to the user",
    Code.UNPARSED_CALL: "a call written as text, never made",
    Code.WRONG_END_STATE: "left the environment in a wrong state",
    Code.INCOMPLETE: "stopped before the user was answered",
    "truncated": "cut off by the token limit",
    "refused": "refused by the model's provider",
    "error": "refused by the endpoint midway",
}


class Bubble(NamedTuple):
    """One message of a transcript, as it is drawn."""

    role: str
    text: str
    calls: tuple[tuple[str, str], ...] = ()
    failed: bool = False


class Curve(NamedTuple):
    """One line of the loss plot, in percent of its box (0, 0: top left)."""

    name: str
    points: str
    last: float


class Losses(NamedTuple):
    """The loss plot: its lines and the ends of its axes."""

    curves: tuple[Curve, ...]
    top: float
    bottom: float
    steps: int


def write_page(results_dir: Path, run_dir: Path) -> Path:
    """Draw the report of a results folder and return the page's path.

    Args:
        results_dir: Where `report.json` is and `report.html` goes.
        run_dir: The training run; its loss curve is drawn if it has one.

    Raises:
        DatasetError: There is no report.
    """
    page = results_dir / PAGE
    page.write_text(render(read_report(results_dir), losses(run_dir / METRICS)), encoding="utf-8")
    return page


def render(report: Report, curve: Losses | None) -> str:
    """Return the page."""
    loader = jinja2.PackageLoader("distill.report", "")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "percent": percent,
        "number": number,
        "bubbles": bubbles,
        "words": words,
    }
    headline, _, numbers = report.verdict.partition(": ")
    codes = _codes(report)
    return environment.get_template("page.html.j2").render(
        report=report,
        headline=headline.rstrip(".") + ".",
        numbers=numbers,
        names=[name for name in MODELS if name in report.models],
        rows=SHARES,
        explained=EXPLAINED,
        codes=codes,
        most=max((m.failures.get(c, 0) for m in report.models.values() for c in codes), default=1),
        losses=curve,
        config=json.dumps(report.config, indent=2),
    )


def percent(value: float | None, digits: int = 0) -> str:
    """Return 0.874 as `87%`; a dash where nothing was counted."""
    return "\u2013" if value is None else f"{100 * value:.{digits}f}%"


def number(value: float, digits: int = 0) -> str:
    """Return 0.874 as `87`, for the ends of an interval."""
    return f"{100 * value:.{digits}f}"


def words(name: str) -> str:
    """Return `missing_parameter` as `missing parameter`."""
    return name.replace("_", " ")


def bubbles(transcript: Transcript) -> list[Bubble]:
    """Return a transcript's messages as they are drawn."""
    drawn = []
    for message in transcript.messages:
        match message:
            case UserMessage():
                drawn.append(Bubble("user", message.content))
            case AssistantMessage():
                calls = tuple((call.name, _arguments(call)) for call in message.tool_calls)
                drawn.append(Bubble("model", message.content or "", calls))
            case ToolMessage():
                drawn.append(Bubble("tool", message.content, failed=message.is_error))
    return drawn


def losses(path: Path) -> Losses | None:
    """Return the loss curves of a run; None when it recorded none."""
    if not path.is_file():
        return None
    rows = [row for _, row in read_rows(path)]
    series = {
        name: [(int(row["step"]), float(row[key])) for row in rows if key in row]
        for name, key in (("training", "loss"), ("validation", "eval_loss"))
    }
    values = [loss for points in series.values() for _, loss in points]
    if len(values) < 2:
        return None
    steps = max(step for points in series.values() for step, _ in points)
    top = max(values)
    curves = tuple(
        Curve(name, _polyline(points, steps, top), points[-1][1])
        for name, points in series.items()
        if points
    )
    return Losses(curves, top=top, bottom=0.0, steps=steps)


def _polyline(points: Sequence[tuple[int, float]], steps: int, top: float) -> str:
    return " ".join(f"{100 * x / steps:.2f},{100 * (1 - y / top):.2f}" for x, y in points)


def _arguments(call: ToolCall) -> str:
    try:
        given = call.parsed()
    except ValueError:
        return call.arguments
    return ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in given.items()
    )


def _codes(report: Report) -> list[str]:
    """Return every failure code, the student's most frequent first."""

    def weight(code: str) -> tuple[int, ...]:
        order = ("student", "base", "teacher")
        models = (report.models.get(name) for name in order)
        return tuple(-model.failures.get(code, 0) if model else 0 for model in models)

    codes = {code for model in report.models.values() for code in model.failures}
    return sorted(codes, key=lambda code: (*weight(code), code))
