"""`distill traces`: import existing data, look at traces, count them, write them out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from distill.cli.options import ConfigArgument, SetOption

if TYPE_CHECKING:
    from rich.console import Console

    from distill.traces import Trace, TraceStore
    from distill.traces.importing import ImportReport
    from distill.traces.summary import Summary

traces = typer.Typer(help="Import, show, count and export traces.", no_args_is_help=True)

StoreArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="STORE", help="A trace store (.db file or URL), or a config.", show_default=False
    ),
]


@traces.command("list")
def list_(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that holds trace stores.")
    ] = Path("traces"),
) -> None:
    """List the trace stores of a workspace."""
    from rich.console import Console
    from rich.table import Table

    from distill.errors import DistillError, StoreError

    found = sorted(folder.glob("*.db"))
    if not found:
        raise StoreError(f"no trace store in {str(folder)!r}; run `distill collect CONFIG`")
    table = Table("store", "done", "owed", "outcomes", "spent", box=None, header_style="dim")
    for path in found:
        try:
            with _open(str(path)) as store:
                counts = store.counts()
                outcomes = ", ".join(f"{n} {o}" for o, n in (counts.outcomes or {}).items())
                owed = str(counts.pending + counts.leased)
                spent = f"${store.money().spent_usd:.4f}"
                table.add_row(path.name, str(counts.done), owed, outcomes, spent)
        except DistillError as error:
            table.add_row(path.name, "", "", f"[red]{error}[/]", "")
    Console().print(table)


@traces.command()
def show(
    store: StoreArgument,
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="A trace's key or a task's id.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many lines.")] = 20,
) -> None:
    """Show the traces of a store, a line each, or one as the conversation it is."""
    from rich.console import Console

    from distill.errors import StoreError

    console = Console(soft_wrap=True, highlight=False)
    with _open(store) as opened:
        shown = 0
        for trace in opened.traces():
            if key is None:
                opening = " ".join(trace.task.turns[0].content.split())
                about = f"{trace.key}  {trace.outcome:<10} {trace.task.kind:<12} {opening:.70}"
                console.print(about, markup=False)
            elif key in (trace.key, trace.task.id):
                _conversation(trace, console)
            else:
                continue
            shown += 1
            if shown == limit:
                break
    if key is not None and not shown:
        raise StoreError(f"no trace {key!r} in {opened.name!r}; `distill traces show` lists them")


def _conversation(trace: Trace, console: Console) -> None:
    about = f"{trace.key}  task {trace.task.id}  {trace.task.kind}  {trace.outcome}"
    console.print(about, style="bold", markup=False)
    console.print(f"{trace.teacher.model} ({trace.teacher.provider})", markup=False)
    if trace.user is not None:
        played = f"user played by {trace.user.teacher.model}, ended: {trace.user.ended or '-'}"
        console.print("; ".join((played, *trace.user.faults)), markup=False)
    if trace.simulator is not None:
        console.print(f"tools simulated by {trace.simulator.teacher.model}", markup=False)
    for message in trace.messages:
        console.print(f"\n{message.role}", style="dim")
        if message.content:
            console.print(message.content, markup=False)
        for call in message.tool_calls if message.role == "assistant" else ():
            console.print(f"-> {call.name}({call.arguments})", markup=False)
    console.print()


@traces.command()
def stats(store: StoreArgument) -> None:
    """Count outcomes, kinds, tools and tokens; say how far samples of one task agree."""
    from rich.console import Console

    from distill.traces.summary import summarise

    console = Console(soft_wrap=True, highlight=False)
    with _open(store) as opened:
        summary = summarise(opened.traces())
        spent = opened.money().spent_usd
    _report_stats(summary, spent, console)


def _report_stats(summary: Summary, spent: float, console: Console) -> None:
    from rich.table import Table

    def listed(counts: dict[str, int]) -> str:
        return ", ".join(f"{n:,} {name}" for name, n in counts.items())

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_row("traces", f"{summary.traces:,}")
    table.add_row("outcomes", listed(dict(summary.outcomes.most_common())))
    table.add_row("kinds", listed(dict(summary.kinds.most_common())))
    table.add_row("teachers", listed(dict(summary.teachers.most_common())))
    table.add_row("terms", listed(dict(summary.terms.most_common())))
    steps = summary.steps.total() and sum(k * n for k, n in summary.steps.items())
    mean = steps / summary.traces if summary.traces else 0
    table.add_row("answers", f"{mean:.1f} a trace, at most {max(summary.steps, default=0)}")
    usage = summary.usage
    table.add_row("tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out")
    table.add_row("spent", f"${spent:.4f}")
    agreed = "-" if summary.agreement is None else f"{100 * summary.agreement:.1f}% of pairs"
    table.add_row("self-agreement", f"{agreed} ({summary.sampled} tasks with several samples)")
    console.print(table)
    tools = Table("tool", "calls", "failed", "traces", box=None, header_style="dim")
    for name, count in sorted(summary.tools.items(), key=lambda item: -item[1].calls):
        tools.add_row(name, f"{count.calls:,}", f"{count.failed:,}", f"{count.traces:,}")
    console.print(tools)


@traces.command()
def export(
    store: StoreArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write.", show_default=False)
    ],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="traces: whole; openai: messages and tools; tasks: what was asked; calls: every "
            "call with its result (a recorded.jsonl).",
        ),
    ] = "openai",
) -> None:
    """Write the traces of a store as JSONL, unfiltered."""
    from rich.console import Console

    from distill.traces.export import export_traces

    with _open(store) as opened:
        lines = export_traces(opened, format_, output)
    Console(soft_wrap=True).print(f"{lines:,} lines: {output}", highlight=False)


@traces.command("import")
def import_(
    format_: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="openai, anthropic, langfuse, langsmith, otel, xlam, toolace, hermes, glaive, "
            "when2call or apigen-mt.",
            show_default=False,
        ),
    ],
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="JSONL, JSON or CSV.", show_default=False),
    ],
    config: ConfigArgument,
    set_: SetOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many rows.", show_default=False)
    ] = None,
) -> None:
    """Import existing data into the store of a config.

    Every row becomes a trace or is counted with the reason why not. When the config's tool set does
    not exist, it is made of the tools the data offers.
    """
    from rich.console import Console

    from distill.config import load_config
    from distill.traces.importing import import_traces

    settings = load_config(config, set_)
    report = import_traces(settings, format_, file, limit=limit)
    console = Console(soft_wrap=True, highlight=False)
    _report_import(report, console)
    console.print(f"\nNext: [bold]distill filter {config}[/bold]")


def _report_import(report: ImportReport, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("rows", "what became of them", box=None, header_style="dim")
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in report.kinds.most_common())
    table.add_row(f"{report.imported:,}", f"imported ({kinds})")
    if report.known:
        table.add_row(f"{report.known:,}", "in the store already")
    for reason, count in report.skipped.most_common():
        first = report.examples[reason]
        table.add_row(f"{count:,}", f"skipped: {escape(reason)} (row {first:,} for one)")
    table.add_row(f"{report.rows:,}", "read")
    console.print(table)
    made = "made" if report.toolset_made else "used"
    console.print(f"tool set {report.toolset} ({made}); {report.own_tools:,} rows keep other tools")
    if report.terms:
        console.print(f"terms: {report.terms}", markup=False)


def _open(store: str) -> TraceStore:
    from distill.config import load_config
    from distill.traces import TraceStore

    if store.endswith((".yaml", ".yml")):
        return TraceStore.open(load_config(store).store_url)
    url = store if "://" in store else f"sqlite:///{Path(store).resolve()}"
    return TraceStore.open(url)
