"""`distill filter`: turn traces into a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distill.cli.options import ConfigArgument, SetOption

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from distill.calibration import JudgeReport
    from distill.dataset import DatasetInfo
    from distill.filter import Change, Explanation, Report
    from distill.judge import JudgeEstimate


def filter_(
    config: ConfigArgument,
    set_: SetOption = None,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Write nothing; show every verdict on one trace (its key, or its task's id).",
            show_default=False,
        ),
    ] = None,
    reverify: Annotated[
        bool,
        typer.Option(
            "--reverify",
            help="Write nothing; judge the stored traces again and show what the data set on disk "
            "has otherwise.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Ask and write nothing; print what the judge would cost."),
    ] = False,
) -> None:
    """Turn traces into a data set.

    Keeps the traces in which every call is valid and, where the task says what is right, calls,
    words and end state are as expected; elsewhere, arguments have to come from somewhere. Splits
    them by family of task, and writes train.jsonl, validation.jsonl, pairs.jsonl, the held-out
    cases.jsonl, a card, and a line for every dropped trace that says why. No model is asked unless
    filter.judge names one (what it said is kept, and is not asked for again), no tool is run unless
    filter.replay says so: it can be repeated at no cost.
    """
    from distill.config import load_config
    from distill.filter import build_dataset, estimate_judging
    from distill.filter import explain as explain_trace
    from distill.filter import reverify as judge_again

    loaded = load_config(config, set_)
    if explain:
        for explanation in explain_trace(loaded, explain):
            _show_explanation(explanation)
    elif reverify:
        _show_changes(judge_again(loaded), config)
    elif dry_run:
        _show_estimate(estimate_judging(loaded))
    else:
        try:
            report = build_dataset(loaded)
        except KeyboardInterrupt:
            typer.echo("Interrupted; nothing was written. What the judge has said is kept.")
            raise typer.Exit(130) from None
        _show_report(report, loaded.dataset_dir, config)


def _show_report(report: Report, folder: Path, config: Path) -> None:
    from rich.console import Console
    from rich.markup import escape

    console, info = Console(), report.info
    console.print(
        f"{info.traces} traces read, {report.kept} kept, {info.counts['rejects']} dropped"
    )
    if info.rejected:
        console.print(_dropped(info))
    console.print(_splits(info))
    if report.context_turns:
        console.print(
            f"{report.context_turns} turns are context only (refused calls that were then made "
            "right, answers of others)"
        )
    if info.cut:
        console.print(f"{info.cut} conversations are cut before the user turn that went wrong")
    console.print(f"{sum(info.pairs.values())} preference pairs")
    if info.judge:
        _show_judge(info.judge, console)
    if info.audit:
        console.print(f"Audit: {info.audit.in_words()}", highlight=False, soft_wrap=True)
    for warning in report.warnings:
        console.print(f"[yellow]warning[/] {warning}")
    console.print(f"\nData set: {escape(str(folder))}", soft_wrap=True)
    name, review = escape(str(config)), ""
    if info.audit and not info.audit.reviewed:
        review = f"[bold]distill review {name}[/bold] or "
    console.print(f"Next: {review}[bold]distill train {name}[/bold]", soft_wrap=True)


def _show_judge(judge: JudgeReport, console: Console) -> None:
    console.print(f"Judge {judge.model}: {judge.calibration.in_words()}", soft_wrap=True)
    for name, figure in judge.calibration.rows:
        console.print(f"  {name:<40}{figure}", highlight=False, soft_wrap=True)
    if judge.calibration.passed:
        console.print(
            f"  {judge.judged} traces judged, {judge.wrong} of them found wrong and dropped, "
            f"{judge.unreadable} kept without an answer that could be read",
            soft_wrap=True,
        )


def _show_estimate(found: tuple[JudgeEstimate, JudgeEstimate] | None) -> None:
    if found is None:
        typer.echo("There is no judge (filter.judge): filtering asks no model and costs nothing.")
        return
    for what, one in zip(("calibration", "judging"), found, strict=True):
        tokens_in, tokens_out, usd = one.input_tokens, one.output_tokens, one.usd
        cost = f"${usd.low:.4g} to ${usd.high:.4g}" if usd else "unknown; set filter.judge.price"
        typer.echo(
            f"{what:<12}{one.calls:>8,} calls   {tokens_in.low:,} to {tokens_in.high:,} tokens in, "
            f"{tokens_out.low:,} to {tokens_out.high:,} out   {cost}"
        )
    typer.echo("What was judged before is not counted: it is not asked for again.")


def _dropped(info: DatasetInfo) -> Table:
    from rich.table import Table

    table = Table("dropped at", "because", "traces", box=None, header_style="dim", pad_edge=False)
    table.columns[2].justify = "right"
    for code, count in info.rejected.items():
        table.add_row(*code.split("/", 1), str(count))
    return table


def _splits(info: DatasetInfo) -> Table:
    from rich.table import Table

    table = Table("kind", box=None, header_style="dim", pad_edge=False)
    for split in info.kinds:
        table.add_column("held-out cases" if split == "test" else split, justify="right")
    for kind in sorted(set().union(*info.kinds.values())):
        table.add_row(kind, *(str(kinds.get(kind, 0)) for kinds in info.kinds.values()))
    totals = [str(sum(kinds.values())) for kinds in info.kinds.values()]
    table.add_row("all", *totals, style="bold")
    return table


def _show_explanation(explanation: Explanation) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console, one = Console(), explanation
    console.print(f"[bold]{one.key}[/] task {one.task}, {one.kind}, {one.family}")
    table = Table("", "stage", "finding", "message", "evidence", box=None, header_style="dim")
    for verdict in one.verdicts:
        mark = "[green]ok[/]" if verdict.ok else "[red]fault[/]"
        turn = "" if verdict.turn is None else str(verdict.turn)
        table.add_row(mark, verdict.stage, verdict.code, turn, escape(verdict.detail))
    console.print(table)
    kept = "the user turns before the fault are kept" if one.cut else "kept"
    console.print("dropped\n" if one.fate == "dropped" else f"{kept}, {one.fate} split\n")


def _show_changes(changes: list[Change], config: Path) -> None:
    from collections import Counter

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not changes:
        console.print("Every trace is judged as before.")
        return
    table = Table("before", "now", "traces", "one of them", box=None, header_style="dim")
    example = {(one.before, one.now): one.key for one in reversed(changes)}
    for (before, now), count in Counter((one.before, one.now) for one in changes).most_common():
        table.add_row(before, now, str(count), example[before, now])
    console.print(table)
    console.print(
        f"\nNext: [bold]distill filter {escape(str(config))}[/bold] writes it", soft_wrap=True
    )
