"""`distill serve`: put a student behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.cli.options import SetOption

if TYPE_CHECKING:
    from rich.console import Console

    from distill.serve.command import Deployment
    from distill.serve.server import Server

TargetArgument = Annotated[
    Path,
    typer.Argument(
        metavar="TARGET", help="A config, or the folder of a training run.", show_default=False
    ),
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", help="Port to listen on; serve.port when left out.", show_default=False),
]


def serve(target: TargetArgument, set_: SetOption = None, port: PortOption = None) -> None:
    """Serve the student with vLLM until Ctrl-C.

    The endpoint speaks OpenAI's API and lists two models, base and student. It is announced once
    the adapter is proven to change the answers. vLLM's output goes to serve.log in the run's
    folder.
    """
    from rich.console import Console

    from distill.serve.launch import curl_line, sample_examples

    console = Console(soft_wrap=True, highlight=False)
    deployed, dataset_dir = _resolve(target, set_, port)
    try:
        with stoppable(), endpoint(deployed, dataset_dir, console) as server:
            console.print(f"Serving [b]base[/] and [b]student[/] at [b]{deployed.url}[/]")
            console.print(f"Log: {server.log}\n")
            console.print(curl_line(deployed.url, sample_examples(dataset_dir)[0]), markup=False)
            console.print("\nCtrl-C stops it.")
            server.join()
    except KeyboardInterrupt:
        console.print("Stopped.")


@contextmanager
def endpoint(deployed: Deployment, dataset_dir: Path | None, console: Console) -> Iterator[Server]:
    """Start a deployment behind a spinner, and stop it after the block."""
    from distill.serve.launch import LOG, launched, sample_examples

    if deployed.exposed:
        console.print(
            f"[yellow]warning:[/] {deployed.settings.host} can be reached from other machines, and "
            "the endpoint asks for no password; put a proxy that does in front, or use 127.0.0.1"
        )
    log = deployed.run_dir / LOG
    examples = sample_examples(dataset_dir)
    with ExitStack() as stack:
        with console.status("vLLM: starting") as status:
            server = stack.enter_context(
                launched(deployed, log, examples, lambda doing: status.update(f"vLLM: {doing}"))
            )
        yield server


@contextmanager
def stoppable() -> Iterator[None]:
    """Treat SIGTERM and a closed terminal like Ctrl-C within the block."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    ends = [signal.SIGTERM, signal.SIGHUP]
    heard = [n for n in ends if signal.getsignal(n) is not signal.SIG_IGN]  # nohup ignores one
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _resolve(
    target: Path, overrides: list[str] | None, port: int | None
) -> tuple[Deployment, Path | None]:
    """Return what to serve, and the data set to check it with when the target names one."""
    from distill.config import load_config
    from distill.errors import ConfigError
    from distill.serve.command import deployment

    if not target.is_dir():
        changes = [*(overrides or ()), *([f"serve.port={port}"] if port else ())]
        config = load_config(target, changes)
        return deployment(config.run_dir, config.base_model, config.serve), config.dataset_dir
    if overrides:
        raise ConfigError(f"--set changes a config, but {str(target)!r} is a run; use --port")
    deployed = deployment(target.resolve(), None, None)
    settings = deployed.settings.model_copy(update={"port": port or deployed.settings.port})
    return replace(deployed, settings=settings), None
