"""`distill rehearse`: let the student try the tasks it was trained on, for preference pairs."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from distill.cli.eval import EndpointOption
from distill.cli.options import ConfigArgument, SetOption

if TYPE_CHECKING:
    from rich.console import Console

    from distill.evaluate.rehearsal import Rehearsal


def rehearse(
    config: ConfigArgument,
    set_: SetOption = None,
    endpoint: EndpointOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many tasks.", show_default=False)
    ] = None,
) -> None:
    """Let the student try the tasks it was trained on.

    Its wrong answers become the rejected side of preference pairs when `distill filter` is run
    again; held-out tasks are never asked. Answers are kept beside the traces as they come, so
    running it again goes on where it stopped. Exit code 1 if tasks are left without an answer.
    """
    from rich.console import Console

    from distill.config import load_config
    from distill.evaluate.rehearsal import Rehearsal
    from distill.traces import TraceStore

    settings, console = load_config(config, set_), Console(highlight=False, soft_wrap=True)
    with TraceStore.open(settings.store_url) as store:
        rehearsal = Rehearsal(settings, store, endpoint, limit)
        try:
            _ask(rehearsal, endpoint, console)
        except KeyboardInterrupt:
            console.print("Stopped; what was answered is kept. Run it again to go on.")
            raise typer.Exit(130) from None
    console.print(
        f"{len(rehearsal.tasks) - rehearsal.owed} of {len(rehearsal.tasks)} training tasks "
        f"answered; {rehearsal.wrong} wrong answers are new"
    )
    if rehearsal.owed:
        console.print(f"{rehearsal.owed} are without an answer: {rehearsal.gap}")
        raise typer.Exit(1)
    console.print(f"Next: [bold]distill filter {config}[/bold] makes pairs of them")


def _ask(rehearsal: Rehearsal, url: str | None, console: Console) -> None:
    """Ask what is owed, on a server of our own unless there is one."""
    from rich.progress import Progress

    from distill.cli.serve import endpoint, stoppable
    from distill.serve.deployment import deployment

    if not rehearsal.owed:
        return
    settings = rehearsal.config
    with ExitStack() as stack:
        look = stack.enter_context(stoppable())
        if url is None:
            deployed = deployment(settings.run_dir, settings.base_model, settings.serve)
            stack.enter_context(endpoint(deployed, settings.dataset_dir, console, look))
            url = deployed.url
        progress = stack.enter_context(Progress(console=console))
        bar = progress.add_task("student", total=len(rehearsal.tasks))

        def tell(done: int, total: int) -> None:
            look()
            progress.update(bar, completed=done)

        asyncio.run(rehearsal.ask(url, tell))
