"""`distill collect`: let the teacher work on the tasks, with the real tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from distill.cli.options import ConfigArgument, SetOption

if TYPE_CHECKING:
    from rich.console import Console

    from distill.collect import Estimate, Plan, Status
    from distill.config import Config
    from distill.traces import Money


def collect(
    config: ConfigArgument,
    set_: SetOption = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Only the first so many episodes.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print what the run would take; ask nothing but to count tokens."
        ),
    ] = False,
) -> None:
    """Let the teacher work on the tasks; store every trace.

    Its tool calls are really executed.

    Run it again to resume: finished episodes are skipped, failed ones are tried again. Ctrl-C
    lets the episodes in flight end and exits with code 130; a second one drops them.
    """
    import asyncio

    from rich.console import Console

    from distill.collect import Status, make_plan
    from distill.config import load_config

    settings = load_config(config, set_)
    plan = make_plan(settings, limit)
    status, console = Status(), Console()
    if dry_run:
        _estimate(console, settings, plan)
        return
    try:
        asyncio.run(_run(settings, plan, status, console))
    finally:
        if status.total:
            _report(console, status)
    if status.interrupted:
        console.print("Interrupted; run the same command again to resume.")
        raise typer.Exit(130)
    console.print(f"\nNext: [bold]distill filter {config}[/bold]", highlight=False, soft_wrap=True)


async def _run(settings: Config, plan: Plan, status: Status, console: Console) -> None:
    from distill.collect import Display, collect

    async with Display(status, console):
        await collect(settings, plan, status)


def _report(console: Console, status: Status) -> None:
    rows: list[tuple[str, str]] = []
    if status.before:
        rows.append(("already done", f"{status.before:,}"))
    for outcome, count in status.outcomes.most_common():
        rows.append((outcome.replace("_", " "), f"{count:,}"))
    if status.owed:
        rows.append(("given up, owed", f"{status.owed:,}"))
    if status.cut_short:
        rows.append(("cut short, owed", f"{status.cut_short:,}"))
    if status.unstored:
        rows.append(("not stored, owed", f"{status.unstored:,}"))
    if status.left:
        rows.append(("left undone", f"{status.left:,}"))
    if status.pending:
        rows.append(("batches", status.pending_text()))
    usage = status.usage
    kinds = [f"{usage.cached_tokens:,} cached"] if usage.cached_tokens else []
    kinds += [f"{usage.cache_write_tokens:,} written"] if usage.cache_write_tokens else []
    cache = f" ({', '.join(kinds)})" if kinds else ""
    rows.append(("tokens", f"{usage.input_tokens:,} in{cache}, {usage.output_tokens:,} out"))
    rows.append(("cost", f"{status.cost_text()} for {status.calls:,} calls"))
    if status.budget_usd is not None:
        rows.append(("budget", f"${status.money.spent_usd:.4g} of ${status.budget_usd:g} spent"))
    if status.money.unknown_calls:
        rows.append(("not known", _unknown(status.money)))
    rows.append(("store", status.store))
    for name, value in rows:
        console.print(f"{name:<18}{value}", highlight=False, markup=False, soft_wrap=True)
    if status.last_error and status.finished:
        line = f"last failure: {status.last_error}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _estimate(console: Console, settings: Config, plan: Plan) -> None:
    import asyncio

    from distill.collect import Counted, count_requests, estimate

    guess = estimate(settings, plan)
    if guess.measured:
        print_estimate(console, guess, f"measured on {guess.measured:,} finished episodes")
        _judging(console, settings, plan)
        return
    counted = asyncio.run(count_requests(settings.teacher, plan))
    source = "from the tasks; collect a few with --limit, then it is measured"
    if isinstance(counted, Counted):
        guess = estimate(settings, plan, counted)
        print_estimate(console, guess, f"{source}; requests as the provider counts them")
    else:
        print_estimate(console, guess, f"{source}; requests by their bytes: {counted}")
    _judging(console, settings, plan)


def _judging(console: Console, settings: Config, plan: Plan) -> None:
    """Print what the judge will take of the same budget, in another command."""
    from distill.judge import most_judging

    if settings.filter.judge is None:
        return
    tasks = list({episode.task.id: episode.task for episode in plan.episodes}.values())
    found = most_judging(
        settings.filter.judge, tasks, plan.loaded.toolset, settings.collect.samples
    )
    cost = f"${found.usd.low:.4g} to ${found.usd.high:.4g}" if found.usd else "at an unknown price"
    words = f"at most {found.calls:,} calls more, {cost}, when `distill filter` runs"
    console.print(f"{'judge':<18}{words}", highlight=False, markup=False, soft_wrap=True)


def print_estimate(console: Console, guess: Estimate, source: str) -> None:
    """Print what a run would take, and what that is based on."""
    low, high = guess.low, guess.high
    known = low.usd is not None and high.usd is not None
    time = "unknown; set teacher.limits, or collect a few with --limit"
    if guess.times:
        shortest, longest = guess.times
        time = f"{_duration(shortest.seconds)} to {_duration(longest.seconds)}"
        time += f", at {longest.because}"
    rows = [
        ("episodes owed", f"{guess.episodes:,}"),
        ("calls", f"{low.calls:,.0f} to {high.calls:,.0f}"),
        ("fresh input", _range(low.fresh, high.fresh)),
        ("cached input", _range(low.cached, high.cached)),
        ("written to cache", _range(low.written, high.written)),
        ("output", _range(low.output, high.output)),
        ("cost", f"${low.usd:.4g} to ${high.usd:.4g}" if known else "unknown; set teacher.price"),
        ("time", time),
        ("estimate", source),
    ]
    for name, value in rows:
        console.print(f"{name:<18}{value}", highlight=False, markup=False, soft_wrap=True)


def _range(one: float, other: float) -> str:
    return f"{min(one, other):,.0f} to {max(one, other):,.0f} tokens"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min" if minutes else f"{seconds:.0f} s"
    return f"{minutes / 60:.1f} h"


def _unknown(money: Money) -> str:
    calls = f"{money.unknown_calls:,} calls cut off before their answer"
    return f"{calls}: at most ${money.unknown_usd:.4g}, held" if money.unknown_usd else calls
