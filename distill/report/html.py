"""Draws `report.json` as a page: the template says how it looks, this module what it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jinja2

from distill.matching import Code
from distill.report.curve import Learning, learning
from distill.report.plots import LABELS, Plot, confusion, latencies, losses, paying_off
from distill.results import (
    DECISIONS,
    MODELS,
    PAGE,
    SHARES,
    Report,
    Transcript,
    WorkedExample,
    read_report,
)
from distill.types import AssistantMessage, ToolCall, ToolMessage, UserMessage

METRICS = "metrics.jsonl"
CONTENTS = "<!-- contents -->"
"""Where the links to the sections go."""

SIDE_BY_SIDE = ("base", "student", "teacher")
"""Whose conversations are shown; more columns cannot be read."""

BETTER_SMALL = frozenset(
    {
        "over_call",
        "under_call",
        "hallucinated_tool",
        "hallucinated_argument",
        "parse_failure",
        "truncation",
    }
)
"""Shares of `SHARES` that count faults."""

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


def write_page(results_dir: Path, run_dir: Path) -> Path:
    """Draw the report of a results folder and return the page's path.

    Args:
        results_dir: Where `report.json` is and `report.html` goes.
        run_dir: The training run; its loss and learning curves are drawn if it has them.

    Raises:
        DatasetError: There is no report, or the learning curve is malformed.
    """
    page = results_dir / PAGE
    drawn = render(read_report(results_dir), losses(run_dir / METRICS), learning(run_dir))
    page.write_text(drawn, encoding="utf-8")
    return page


def render(report: Report, curve: Plot | None, learnt: Learning | None = None) -> str:
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
        "points": points,
        "p_value": p_value,
        "short_p": short_p,
        "dollars": dollars,
        "opening": opening,
    }
    teacher = report.models.get("teacher")
    headline, _, numbers = report.verdict.partition(": ")
    codes = _codes(report)
    page = environment.get_template("page.html.j2").render(
        report=report,
        headline=headline.rstrip(".") + ".",
        numbers=numbers,
        names=[name for name in MODELS if name in report.models],
        talkers=[name for name in SIDE_BY_SIDE if name in report.models] or list(report.models),
        decisions=DECISIONS,
        rows=SHARES,
        small=BETTER_SMALL,
        ceiling=teacher.agreement if teacher else None,
        explained=EXPLAINED,
        codes=codes,
        most=max((m.failures.get(c, 0) for m in report.models.values() for c in codes), default=1),
        losses=curve,
        learning=learnt,
        latencies=latencies(report),
        paying_off=paying_off(report),
        confusion=confusion(report),
        labels=LABELS,
        config=json.dumps(report.config, indent=2),
    )
    return page.replace(CONTENTS, _contents(page))


def _contents(page: str) -> str:
    """Return links to the sections that a page has."""
    found = re.findall(r'<section id="([^"]+)">\s*<h2>(.*?)</h2>', page)
    return "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in found)


def percent(value: float | None, digits: int = 0) -> str:
    """Return 0.874 as `87%`; a dash where nothing was counted."""
    return "\u2013" if value is None else f"{100 * value:.{digits}f}%"


def number(value: float, digits: int = 0) -> str:
    """Return 0.874 as `87`, for the ends of an interval."""
    return f"{100 * value:.{digits}f}"


def points(share: float) -> str:
    """Return 0.286 as `+28.6`."""
    return f"{100 * share:+.1f}".replace("-", "\u2212")


def p_value(p: float) -> str:
    """Return a p-value as it stands after the letter."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def short_p(p: float) -> str:
    """Return a p-value as it stands in a column of them."""
    return p_value(p).removeprefix("= ")


def dollars(value: float | None) -> str:
    """Return an amount with as many digits as it needs; a dash where it is not known."""
    if value is None:
        return "\u2013"
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.2g}"


def opening(example: WorkedExample) -> str:
    """Return what the user says first."""
    transcript = next(iter(example.transcripts.values()))
    return next((m.content for m in transcript.messages if m.role == "user"), example.case)


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
        order = ("student", "base", "prompted", "constrained", "teacher")
        models = (report.models.get(name) for name in order)
        return tuple(-model.failures.get(code, 0) if model else 0 for model in models)

    codes = {code for model in report.models.values() for code in model.failures}
    return sorted(codes, key=lambda code: (*weight(code), code))
