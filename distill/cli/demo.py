"""`distill demo`: the whole chain on the embedded teacher and student."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.cli.options import SetOption

DEFAULT = Path("configs/demo.yaml")


def demo(
    config: Annotated[
        Path, typer.Argument(metavar="[CONFIG]", help="A config for the embedded teacher.")
    ] = DEFAULT,
    keep_serving: Annotated[
        bool, typer.Option("--keep-serving", help="Leave the endpoint up until Ctrl-C.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="First remove what an earlier run has left.")
    ] = False,
    set_: SetOption = None,
) -> None:
    """Run the whole chain with no key and no GPU.

    Starts the embedded teacher, then runs check, collect, filter, train, serve and eval, printing
    each command before it runs. Stop with Ctrl-C; the same command continues.
    """
    import signal

    from rich.console import Console

    from distill.demo.run import Demo

    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal ends the children, too
        signal.signal(number, signal.default_int_handler)
    console = Console()
    try:
        Demo(config, list(set_ or ()), console).run(fresh=fresh, keep_serving=keep_serving)
    except KeyboardInterrupt:
        console.print("\nStopped. Run the same command to continue.")
        raise typer.Exit(130) from None
