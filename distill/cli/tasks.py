"""`distill tasks`: let the teacher write tasks, and see what tasks cover."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distill.cli.options import ConfigArgument, SetOption

if TYPE_CHECKING:
    from rich.console import Console

    from distill.collect import Status
    from distill.collect.authoring import Authoring, Coverage, Harvest

tasks = typer.Typer(help="Let the teacher write tasks; see what they cover.", no_args_is_help=True)

MOST_MISSING = 20
HEADINGS = {"multi_step": "steps", "multi_turn": "turns", "tool_failed": "failed"}


@tasks.command()
def generate(
    config: ConfigArgument,
    set_: SetOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Tasks file; tasks.path when it is a .jsonl, else generated.jsonl in the folder "
            "of the tool set.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask nothing; print what the first round would take.")
    ] = False,
) -> None:
    """Let the teacher write tasks for the tool set, and check each one.

    What is asked for (kinds, tools, values, who asks) is drawn from tasks.generate; what is refused
    is asked for again. Run it again to resume: no answer is paid for twice.
    """
    import asyncio

    from rich.console import Console

    from distill.cli.collect import print_estimate
    from distill.collect import Display
    from distill.collect.authoring import prepare, write
    from distill.config import load_config

    job, console = prepare(load_config(config, set_), out), Console()
    if dry_run:
        guess = job.estimate()
        source = f"measured on {guess.measured:,} requests" if guess.measured else "a guess"
        print_estimate(console, guess, source)
        return
    rounds: list[Status] = []

    def watch(status: Status) -> Display:
        rounds.append(status)
        return Display(status, console, f"tasks, round {len(rounds)}")

    try:
        asyncio.run(write(job, watch))
    finally:
        if any(status.total for status in rounds):
            _report(console, job, rounds)
    if any(status.interrupted for status in rounds):
        console.print("Interrupted; run the same command again to resume.")
        raise typer.Exit(130)
    console.print(f"\nNext: {job.next_step(config)}", highlight=False, markup=False, soft_wrap=True)


@tasks.command()
def coverage(config: ConfigArgument, set_: SetOption = None) -> None:
    """Show what the tasks of a config cover of its tool set."""
    from rich.console import Console

    from distill.collect.authoring import cover
    from distill.config import load_config
    from distill.toolsets import configured_tasks, load_toolset

    settings = load_config(config, set_)
    loaded = load_toolset(settings.toolset_dir)
    _print_coverage(Console(), cover(configured_tasks(settings, loaded), loaded.toolset))


def _report(console: Console, job: Authoring, rounds: list[Status]) -> None:
    found = job.harvest()
    _print_coverage(console, job.save(found))
    _print_refused(console, found)
    last = rounds[-1]
    cost = (
        f"${last.money.spent_usd:.4g} in all runs, {sum(s.calls for s in rounds):,} calls in this"
    )
    rows = [("tasks", f"{len(found.tasks):,} of {len(job.orders):,} ordered"), ("cost", cost)]
    if last.money.unknown_calls:
        rows.append(
            ("not known", f"{last.money.unknown_calls:,} calls cut off before their answer")
        )
    rows += [("requests", last.store), ("written", str(job.output))]
    console.print()
    for name, value in rows:
        console.print(f"{name:<18}{value}", highlight=False, markup=False, soft_wrap=True)


def _print_refused(console: Console, found: Harvest) -> None:
    for reason, count in found.refused.most_common():
        example = found.examples[reason][0]
        console.print(
            f"refused           {count:>5} {reason}, as {example}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _print_coverage(console: Console, coverage: Coverage) -> None:
    from rich.table import Table

    from distill.types import Kind

    kinds = [kind for kind in Kind if any(counts[kind] for counts in coverage.tools.values())]
    table = Table("tool", *(HEADINGS.get(k, str(k)) for k in kinds), box=None, header_style="dim")
    for name, counts in coverage.tools.items():
        table.add_row(name, *(str(counts[kind] or "-") for kind in kinds))
    console.print(table)
    counted = ", ".join(f"{count} {kind}" for kind, count in coverage.kinds.most_common())
    console.print(f"\nkinds             {counted}", highlight=False, soft_wrap=True)
    shown = f"{coverage.shown} of {len(coverage.points)} values and optional parameters"
    console.print(f"covered           {shown}", highlight=False)
    if missing := coverage.missing:
        more = f" and {len(missing) - MOST_MISSING} more" if len(missing) > MOST_MISSING else ""
        text = ", ".join(missing[:MOST_MISSING]) + more
        console.print(f"missing           {text}", highlight=False, markup=False, soft_wrap=True)
