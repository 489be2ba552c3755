"""`distill eval`: compare base, student and teacher on held-out cases and on suites."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distill.cli.options import ConfigArgument, SetOption

if TYPE_CHECKING:
    from rich.console import Console

    from distill.evaluate.runner import Evaluation, Progress
    from distill.evaluate.suites.base import SuiteRun
    from distill.results import Report


def _list_suites(wanted: bool) -> None:
    if wanted:
        from rich.console import Console

        from distill.cli.scoreboard import suites_table

        Console(highlight=False).print(suites_table())
        raise typer.Exit


EndpointOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Endpoint that serves base and student already (http://host:port/v1); started and "
        "stopped here when left out.",
        show_default=False,
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="At most this many cases, and questions of each part of a suite, as eval.limit.",
        show_default=False,
    ),
]
OnlyOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODELS",
        help="Of base,prompted,constrained,student,teacher only these.",
        show_default=False,
    ),
]
SuiteOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[:PART]",
        help="Run this suite too (cases alone: the held-out cases); may be repeated.",
        show_default=False,
    ),
]
SuitesOption = Annotated[
    bool,
    typer.Option(
        "--suites",
        help="List the suites and what they need.",
        callback=_list_suites,
        is_eager=True,
    ),
]
GateOption = Annotated[
    bool, typer.Option("--gate", help="Exit with 1 when a threshold of eval.gate fails.")
]
WidthOption = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        max=200,
        metavar="POINTS",
        help="Ask about more and more cases until the 95% interval of student minus base is so "
        "narrow, in percentage points.",
        show_default=False,
    ),
]


def eval_(
    config: ConfigArgument,
    set_: SetOption = None,
    endpoint: EndpointOption = None,
    limit: LimitOption = None,
    only: OnlyOption = None,
    suite: SuiteOption = None,
    gate: GateOption = False,
    until_width: WidthOption = None,
    suites: SuitesOption = False,
) -> None:
    """Compare base, student and teacher on held-out cases.

    Every case is a live episode against the real tools. Answers are kept as they come, so running
    it again goes on where it stopped and asks nothing twice. Exit code 1 if cases are left without
    an answer.
    """
    from rich.console import Console

    from distill.config import load_config
    from distill.errors import ConfigError
    from distill.evaluate.runner import prepare
    from distill.evaluate.suites.registry import chosen, prepared
    from distill.evaluate.summary import summarise
    from distill.evaluate.trackers import track
    from distill.report import write_page, write_text
    from distill.results import write_report
    from distill.trackers import check_trackers

    settings = load_config(config, [*(set_ or ()), *([f"eval.limit={limit}"] if limit else ())])
    console = Console(highlight=False)
    check_trackers("eval.track", settings.eval.track)
    wanted = chosen(suite or ())
    evaluation = prepare(settings, endpoint, only.split(",") if only else ())
    parts = evaluation.by_server()
    if len(parts) > 1 and until_width is not None:
        raise ConfigError(
            "--until-width asks base and student in turns, but a model tuned whole and its base "
            "are served one after the other; leave it out"
        )
    asked = [prepared(wanted, part) for part in parts]
    try:
        for part, runs in zip(parts, asked, strict=True):
            _ask(part, runs, endpoint, until_width, console)
    except KeyboardInterrupt:
        console.print("Stopped; what was answered is kept. Run it again to go on.")
        raise typer.Exit(130) from None
    runs = _together(asked, prepared(wanted, evaluation) if len(parts) > 1 else asked[0])
    report = summarise(evaluation, [run.report() for run in runs])
    folder = settings.results_dir
    written = [write_report(folder, report), write_text(folder, report)]
    written.append(write_page(folder, settings.run_dir))
    track(report, written, settings.eval.track)
    _finish(report, written, console, gate=gate)


def _together(parts: list[list[SuiteRun]], whole: list[SuiteRun]) -> list[SuiteRun]:
    """Return the suites of all models, with what their parts could not have answered."""
    for part in parts:
        for run, of_part in zip(whole, part, strict=True):
            run.gaps |= of_part.gaps
    return whole


def _ask(
    evaluation: Evaluation,
    runs: list[SuiteRun],
    url: str | None,
    width: float | None,
    console: Console,
) -> None:
    """Ask what is owed, on a server of our own unless there is one."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from distill.cli.serve import endpoint, stoppable
    from distill.serve.deployment import deployment

    config = evaluation.config
    with ExitStack() as stack:
        look = stack.enter_context(stoppable())
        needed = evaluation.needs_endpoint or any(run.needs_endpoint for run in runs)
        if needed and url is None:
            base = config.base_model
            deployed = deployment(config.run_dir, base, config.serve, bare=evaluation.bare)
            stack.enter_context(endpoint(deployed, config.dataset_dir, console, look))
            url = deployed.url
        columns = (
            TextColumn("{task.description:8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        progress = stack.enter_context(Progress(*columns, console=console))
        bars = {}

        def tell(name: str, answered: int, cases: int) -> None:
            look()
            if name not in bars:
                bars[name] = progress.add_task(name)
            progress.update(bars[name], completed=answered, total=cases)

        asyncio.run(_ask_all(evaluation, runs, url, width, tell))


async def _ask_all(
    evaluation: Evaluation,
    runs: list[SuiteRun],
    url: str | None,
    width: float | None,
    tell: Progress,
) -> None:
    if width is None:
        await evaluation.ask(url, tell)
    else:
        await evaluation.ask_until(width / 100, url, tell)
    for run in runs:
        await run.ask(url, tell)


def _finish(report: Report, written: list[Path], console: Console, *, gate: bool) -> None:
    """Print the results and leave with 1 when the run is incomplete or the gate stays shut."""
    from distill.cli.scoreboard import gate_table, show

    show(report, console)
    if gate:
        console.print()
        console.print(gate_table(report))
    console.print()
    for path in written:
        console.print(str(path), soft_wrap=True)
    shut = gate and not all(check.ok for check in report.gate)
    if shut or not report.complete:
        raise typer.Exit(1)
