"""`distill serve`: put students behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.cli.options import SetOption

if TYPE_CHECKING:
    from rich.console import Console

    from distill.config import ServeConfig
    from distill.serve.deployment import Deployment
    from distill.serve.launch import Running

TargetArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="TARGET...",
        help="A config, or the folder of a training run; several runs on one base share a server.",
        show_default=False,
    ),
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", help="Port to listen on; serve.port when left out.", show_default=False),
]
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host", help="Address to listen on; serve.host when left out.", show_default=False
    ),
]
ReplicasOption = Annotated[
    int | None,
    typer.Option(
        "--replicas", min=1, help="Copies of the model, as serve.replicas.", show_default=False
    ),
]
QuantizeOption = Annotated[
    str | None,
    typer.Option("--quantize", metavar="fp8", help="As serve.quantize.", show_default=False),
]
VllmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--vllm-arg",
        metavar="ARG",
        help="A further `vllm serve` argument, as --vllm-arg=--max-num-seqs=64; may be repeated.",
        show_default=False,
    ),
]
MergedOption = Annotated[
    bool, typer.Option("--merged", help="Serve the run's merged model instead of its adapter.")
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Start, check, say what was found, and leave.")
]
PrintOption = Annotated[
    bool, typer.Option("--print", help="Show vLLM's command line and start nothing.")
]
WriteOption = Annotated[
    Path | None,
    typer.Option(
        "--write",
        metavar="FILE",
        help="Start nothing; write a systemd unit (.service) or a Compose file (.yaml) that does.",
        show_default=False,
    ),
]


def serve(
    targets: TargetArgument,
    set_: SetOption = None,
    host: HostOption = None,
    port: PortOption = None,
    replicas: ReplicasOption = None,
    quantize: QuantizeOption = None,
    vllm_arg: VllmOption = None,
    merged: MergedOption = False,
    check: CheckOption = False,
    print_: PrintOption = False,
    write: WriteOption = None,
) -> None:
    """Serve the student with vLLM until Ctrl-C.

    The endpoint speaks OpenAI's API and lists two models, base and student; the students of
    several runs go by the names of their configs. It is announced once base, template, parser and
    adapter are proven to be those of training. A gateway in front of vLLM asks for the key, lets
    nothing but OpenAI's routes through, and holds every call against its tool's schema. Logs go to
    serve.log (vLLM) and gateway.log (unfit answers) in the run's folder.
    """
    from rich.console import Console

    from distill.serve.recipes import shown_command, write_recipe

    console = Console(soft_wrap=True, highlight=False)
    options = {"host": host, "port": port, "replicas": replicas, "quantize": quantize}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    given |= {"vllm_args": vllm_arg} if vllm_arg else {}
    deployed, dataset_dir = _resolve(targets, set_, given, merged)
    if print_:
        console.print(shown_command(deployed), markup=False)
    elif write:
        write_recipe(write, deployed, targets, _repeated(set_, given, merged))
        console.print(f"Written: {write}", markup=False)
    else:
        _run(deployed, dataset_dir, console, check=check)


def _run(deployed: Deployment, dataset_dir: Path | None, console: Console, *, check: bool) -> None:
    from distill.serve.samples import curl_line, sample_examples

    key_env, student = deployed.settings.api_key_env, deployed.students[0]
    try:
        with (
            stoppable(signal.SIGINT) as look,
            endpoint(deployed, dataset_dir, console, look) as running,
        ):
            if check:
                for finding in running.findings:
                    console.print(f"[green]ok[/]  {finding}")
                return
            names = " and ".join(f"[b]{name}[/]" for name in deployed.names)
            console.print(f"Serving {names} at [b]{deployed.url}[/]")
            console.print(f"Log: {running.server.log}\n")
            example = sample_examples(dataset_dir)[0]
            console.print(curl_line(deployed.url, example, student, key_env), markup=False)
            console.print("\nCtrl-C stops it.")
            running.server.join(look)
    except KeyboardInterrupt:
        console.print("Stopped.")


@contextmanager
def endpoint(
    deployed: Deployment, dataset_dir: Path | None, console: Console, look: Callable[[], None]
) -> Iterator[Running]:
    """Start a deployment behind a spinner, and stop it after the block.

    Args:
        deployed: What to serve.
        dataset_dir: Holds conversations to check it with.
        console: Shows the spinner.
        look: Of `stoppable`.
    """
    from distill.serve.launch import launched
    from distill.serve.samples import sample_examples

    examples = sample_examples(dataset_dir)
    with ExitStack() as stack:
        with console.status("vLLM: starting") as status:

            def show(doing: str) -> None:
                look()
                status.update(f"vLLM: {doing}")

            running = stack.enter_context(launched(deployed, examples, show))
        yield running


@contextmanager
def stoppable(*more: signal.Signals) -> Iterator[Callable[[], None]]:
    """Treat SIGTERM and a closed terminal like Ctrl-C within the block.

    Yields what raises KeyboardInterrupt if one of them has come. Whoever waits calls it, because
    Python prints and drops what a signal raises while some `__del__` or callback of C runs.

    Args:
        more: Other signals to treat so.
    """
    asked = False

    def interrupt(*_: Any) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    def look() -> None:
        if asked:
            raise KeyboardInterrupt

    ends = [signal.SIGTERM, signal.SIGHUP, *more]
    heard = [n for n in ends if signal.getsignal(n) is not signal.SIG_IGN]  # nohup ignores one
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield look
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _resolve(
    targets: list[Path], overrides: list[str] | None, changes: dict[str, Any], merged: bool
) -> tuple[Deployment, Path | None]:
    """Return what to serve, and the data set to check it with when a target names one."""
    from distill.config import load_config
    from distill.errors import ConfigError
    from distill.serve.deployment import deployment

    for path in targets:
        if not path.exists():
            raise ConfigError(f"{str(path)!r} is neither a config nor the folder of a run")
    configs = [None if path.is_dir() else load_config(path, overrides) for path in targets]
    runs = [
        config.run_dir if config else path.resolve()
        for config, path in zip(configs, targets, strict=True)
    ]
    first = configs[0]
    if first is None:
        if overrides:
            raise ConfigError(
                f"--set changes a config, but {str(targets[0])!r} is a run; use --port and the "
                "other options"
            )
        deployed = deployment(runs, None, None, merged=merged)
        return replace(deployed, settings=_changed(deployed.settings, changes)), None
    settings = first.serve
    if settings.store and "://" not in settings.store:
        changes = changes | {"store": str(first.path(settings.store))}
    deployed = deployment(
        runs, first.base_model, _changed(settings, changes), teacher=first.teacher, merged=merged
    )
    return deployed, first.dataset_dir


def _changed(settings: ServeConfig, changes: dict[str, Any]) -> ServeConfig:
    """Return the settings with options of the command line in their place."""
    from pydantic import ValidationError

    from distill.config import ServeConfig
    from distill.errors import ConfigError

    try:
        return ServeConfig.model_validate(settings.model_dump() | changes)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]).replace("_", "-").replace("vllm-args", "vllm-arg")
        raise ConfigError(f"--{name}: {first['msg']}, got {first['input']!r}") from None


def _repeated(set_: list[str] | None, changes: dict[str, Any], merged: bool) -> list[str]:
    """Return the options of this command line, to be written into a recipe."""
    words = [f"--set={override}" for override in set_ or ()]
    for name, value in changes.items():
        values = value if name == "vllm_args" else [value]
        option = "--vllm-arg" if name == "vllm_args" else f"--{name}"
        words += [f"{option}={one}" for one in values]
    return [*words, *(["--merged"] if merged else [])]
