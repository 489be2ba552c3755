"""`distill record`: store what an agent that already runs and its provider say to each other."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from distill.cli.options import ConfigArgument, SetOption

if TYPE_CHECKING:
    from rich.console import Console

    from distill.config import Config
    from distill.record import Counts, Recorder

PORT = 8100
DRAIN_S = 600
"""How long answers under way may take after the first Ctrl-C."""
LOOK_S = 0.5
SWITCH_S = 0.0005


def record(
    config: ConfigArgument,
    set_: SetOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = PORT,
) -> None:
    """Store what your running agent and its provider say, as traces.

    An endpoint that passes everything on to the provider of the config's teacher: set your
    agent's base_url to it. OpenAI Chat Completions and Responses and Anthropic Messages are
    recorded, streams too. The agent's own key is passed on, unless the variable that
    teacher.api_key_env names is set.

    Ctrl-C ends it once the answers under way have passed; a second one drops them.
    """
    from rich.console import Console

    from distill.config import load_config
    from distill.record import Recorder
    from distill.teachers import refuse_without_terms
    from distill.toolsets import load_toolset
    from distill.traces import TraceStore

    settings, console = load_config(config, set_), Console(highlight=False, soft_wrap=True)
    refuse_without_terms(settings.teacher)
    toolset = load_toolset(settings.toolset_dir).toolset
    with TraceStore.open(settings.store_url, create=True) as store:
        recorder = Recorder(settings, toolset, store)
        try:
            _listen(settings, recorder, host, port, console)
        except KeyboardInterrupt:
            console.print("Stopped.")
        finally:
            recorder.close()
        _report(recorder.counts, store.name, console)
    if recorder.counts.kept:
        console.print(f"\nNext: [bold]distill filter {config}[/bold]")


def _listen(settings: Config, recorder: Recorder, host: str, port: int, console: Console) -> None:
    """Serve until Ctrl-C."""
    from distill.cli.serve import stoppable
    from distill.endpoint import LOOPBACK, bound_socket, listening
    from distill.errors import ServeError
    from distill.record import Upstream, create_app
    from distill.record.upstream import address, own_key

    root, cut = address(settings.teacher)
    spends = own_key(settings.teacher) is not None
    if spends and host not in LOOPBACK:
        raise ServeError(
            f"--host {host!r} can be reached from other machines, and whoever does spends the "
            f"key in {settings.teacher.api_key_env!r}; unset it, so that agents send their own"
        )
    # A thread that computes lets the others in this often: what is told makes nothing wait.
    sys.setswitchinterval(SWITCH_S)
    app = create_app(lambda: Upstream(settings.teacher), recorder, spends=spends)
    # What the provider's headers say is passed back; uvicorn would add its own.
    plain = {"log_level": "critical", "date_header": False, "server_header": False}
    with (
        bound_socket(host, port, "--port PORT") as door,
        stoppable() as look,
        listening(app, door, grace_s=DRAIN_S, **plain),
    ):
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{door.getsockname()[1]}{cut}"
        key = f"of {settings.teacher.api_key_env}" if spends else "the agent's own"
        console.print(f"Recording at [b]{url}[/]: set your agent's base_url to it.")
        console.print(f"Requests go to {root}, with the key {key}. Ctrl-C ends it.\n")
        _watch(recorder.counts, console, look)


def _watch(counts: Counts, console: Console, look: Callable[[], None]) -> None:
    """Show what passes, and say what goes wrong."""
    told = ""
    with console.status("waiting for the first request") as status:
        try:
            while True:
                look()
                if counts.fault != told:
                    told = counts.fault
                    console.print(f"[yellow]warning[/]: {told}")
                if counts.passed:
                    status.update(
                        f"{counts.passed:,} requests, {counts.kept:,} answers kept in "
                        f"{counts.conversations:,} conversations"
                    )
                time.sleep(LOOK_S)
        except KeyboardInterrupt:
            console.print("Waiting for the answers under way; Ctrl-C again drops them.")


def _report(counts: Counts, store: str, console: Console) -> None:
    usage = counts.usage
    unpriced = f", {counts.unpriced:,} without a known price" if counts.unpriced else ""
    rows = [
        ("requests", f"{counts.passed:,}"),
        ("answers kept", f"{counts.kept:,} in {counts.conversations:,} conversations"),
        ("models", ", ".join(f"{name} {n:,}" for name, n in counts.models.most_common())),
        ("tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"),
        ("cost", f"${counts.cost_usd:.4g}{unpriced}"),
        ("not reached", f"{counts.unreached:,}" if counts.unreached else ""),
        *((f"HTTP {status}", f"{n:,}") for status, n in sorted(counts.refused.items())),
        *(("not kept", f"{n:,}: {reason}") for reason, n in counts.skipped.most_common()),
        *(
            ("unknown tool", f"{name} ({n:,} requests)")
            for name, n in counts.unknown_tools.most_common(5)
        ),
        *(
            ("changed tool", f"{name} ({n:,} requests)")
            for name, n in counts.changed_tools.most_common(5)
        ),
        ("last fault", counts.fault),
        ("store", store),
    ]
    for name, value in rows:
        if value:
            console.print(f"{name:<18}{value}", markup=False)
    if counts.unknown_tools or counts.changed_tools:
        console.print(
            "Traces held with other tools than the tool set's bear the hash of those: `distill "
            "filter` drops them, unless filter.renames maps them.",
            markup=False,
        )
