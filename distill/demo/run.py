"""The demo: the public commands one after the other, against the embedded teacher.

Everything runs as a child process exactly as a user would type it, and every command is printed
before it runs; nothing here knows how a stage works. The commands resume, so the demo does too.
The embedded teacher and the server of the student run beside them and are ended with the demo.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from distill.config import Config, load_config
from distill.demo.children import Child
from distill.demo.teacher.wire import MODEL
from distill.errors import ConfigError, DistillError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TEACHER_READY_S = 60.0
SERVER_READY_S = 900.0

WHAT = {
    "check": "what can be wrong is found before it costs anything",
    "collect": "the teacher works on the tasks, with the real tools; every trace is stored",
    "filter": "traces become a data set; every dropped row has a reason",
    "train": "LoRA on the teacher's turns",
    "serve": "vLLM behind an OpenAI-compatible endpoint",
    "eval": "base, student and teacher on held-out cases",
}


class Step(NamedTuple):
    """What one command took."""

    name: str
    seconds: float
    child: Child


@dataclass
class Demo:
    """One run of the demo."""

    source: Path
    overrides: list[str]
    console: Console
    steps: list[Step] = field(default_factory=list)
    _running: ExitStack = field(default_factory=ExitStack)

    def run(self, *, fresh: bool = False, keep_serving: bool = False) -> None:
        """Run every stage.

        Args:
            fresh: First remove what an earlier run of this config has left.
            keep_serving: Afterwards leave the endpoint up until Ctrl-C.

        Raises:
            DistillError: The config is not one for the embedded teacher, or a command failed.
            KeyboardInterrupt: The user pressed Ctrl-C. Nothing is left running either way.
        """
        config = load_config(self.source, self.overrides)
        teacher = self._teacher_address(config)
        if fresh:
            self._remove(config)
        with self._running:
            self._introduce()
            self._start_teacher(config, teacher)
            for name in ("check", "collect", "filter", "train"):
                self._run(name)
            endpoint = self._serve(config)
            self._run("eval", "--endpoint", endpoint)
            if keep_serving:
                self._summarise(config)
                self._keep(endpoint)
        if not keep_serving:
            self._summarise(config)

    # --- the parts ----------------------------------------------------------------------------

    def _introduce(self) -> None:
        self.console.print(
            "[bold]distill demo[/]: traces of a teacher become a student that calls the tools, on "
            "this machine.\nThe teacher is a script that comes with distill and errs on purpose; "
            "everything else is real.\nStop with Ctrl-C at any time; the same command continues."
        )

    def _start_teacher(self, config: Config, address: tuple[str, int]) -> None:
        port = _free_port(*address)
        if port != address[1]:
            url = f"http://{address[0]}:{port}{urlsplit(config.teacher.base_url or '').path}"
            self._move("teacher.base_url", address[1], url)
        module = ["distill.demo.teacher", str(self.source), "--port", str(port), *self._set()]
        self._announce("embedded teacher", "in the background", ["python", "-m", *module])
        self._start_server([sys.executable, "-m", *module], port, "teacher", TEACHER_READY_S)

    def _serve(self, config: Config) -> str:
        host, wanted = config.serve.host, config.serve.port
        port = _free_port(host, wanted)
        if port != wanted:
            self._move("serve.port", wanted, str(port))
        child = self._start_server(self._command("serve"), port, "server", SERVER_READY_S)
        self.steps.append(Step("serve", child.seconds, child))
        return f"http://{host}:{port}/v1"

    def _run(self, name: str, *more: str) -> None:
        child = self._start(self._command(name, *more))
        try:
            code = child.wait()
        except KeyboardInterrupt:
            self.console.print(f"\nStopping `distill {name}`; it saves its work first.")
            child.interrupt()
            raise
        if code:
            raise DistillError(
                f"`distill {name}` ended with exit code {code}; mend what it says above and run "
                "the demo again, it continues where it stopped"
            )
        self.steps.append(Step(name, child.seconds, child))

    def _keep(self, endpoint: str) -> None:
        self.console.print(f"\nServing at [bold]{endpoint}[/] until Ctrl-C.")
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            self.console.print("Stopping.")

    # --- children -----------------------------------------------------------------------------

    def _command(self, name: str, *more: str) -> list[str]:
        arguments = [name, str(self.source), *more, *self._set()]
        done, count = list(WHAT).index(name) + 1, len(WHAT)
        self._announce(f"{done}/{count} {name}", WHAT[name], ["distill", *arguments])
        return [sys.executable, "-m", "distill", *arguments]

    def _start(self, command: list[str], address: str | None = None) -> Child:
        child = Child(command, os.environ | {"PYTHONUNBUFFERED": "1"}, address)
        self._running.callback(child.stop)
        return child

    def _start_server(self, command: list[str], port: int, name: str, timeout_s: float) -> Child:
        """Start a child and wait for its address: a server listens before it is proven right."""
        child = self._start(command, f":{port}/v1")
        with self.console.status(f"waiting for the {name}"):
            if child.wait_until_ready(timeout_s):
                return child
        if child.exit_code is None:
            raise DistillError(f"the {name} is not ready on port {port} after {timeout_s:.0f} s")
        raise DistillError(
            f"the {name} ended with exit code {child.exit_code} before it was ready; "
            "mend what it says above and run the demo again"
        )

    def _announce(self, title: str, what: str, command: list[str]) -> None:
        self.console.print(f"\n[bold]{title}[/]: [dim]{what}[/]", highlight=False)
        self.console.print(f"[cyan]$ {shlex.join(command)}[/]\n", highlight=False, soft_wrap=True)

    def _set(self) -> list[str]:
        return [part for override in self.overrides for part in ("--set", override)]

    def _move(self, key: str, taken: int, value: str) -> None:
        self.overrides.append(f"{key}={value}")
        self.console.print(f"\nPort {taken} is taken on this machine; using {key}={value}")

    # --- before and after ---------------------------------------------------------------------

    def _teacher_address(self, config: Config) -> tuple[str, int]:
        url = urlsplit(config.teacher.base_url or "")
        if config.teacher.model != MODEL or url.hostname not in LOOPBACK:
            raise ConfigError(
                f"{self.source}: teacher is {config.teacher.model!r} at "
                f"{config.teacher.base_url!r}, but the demo plays the embedded teacher, "
                f"{MODEL!r} on this machine; run `distill check {self.source}` and the commands "
                "after it one by one"
            )
        return url.hostname, url.port or 80

    def _remove(self, config: Config) -> None:
        for path in _leftovers(config):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            self.console.print(f"[dim]removed {_shown(path)}[/]", highlight=False)

    def _summarise(self, config: Config) -> None:
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column("step")
        table.add_column("seconds", justify="right")
        table.add_column("peak memory", justify="right")
        for step in self.steps:
            table.add_row(step.name, f"{step.seconds:.1f}", _size(step.child.peak_bytes))
        total = sum(step.seconds for step in self.steps)
        table.add_row("[bold]all[/]", f"[bold]{total:.1f}[/]", "")
        self.console.print()
        self.console.print(table)
        self.console.print(
            f"\nreport     [bold]{_shown(config.results_dir / 'report.html')}[/]\n"
            f"serve it   [bold]distill serve {self.source}[/]\n"
            "your own   [bold]distill init my-agent[/]",
            highlight=False,
        )


def _leftovers(config: Config) -> list[Path]:
    """Return what exists of the store, the data set, the run and the results.

    Raises:
        ConfigError: One of them lies outside of the workspace's own output folders.
    """
    store = Path(config.store_url.removeprefix("sqlite:///"))
    paths = [store.with_name(store.name + tail) for tail in ("", "-wal", "-shm")]
    paths += [config.dataset_dir, config.run_dir, config.results_dir]
    outputs = [config.workspace / name for name in ("traces", "runs", "eval/results")]
    for path in paths:
        if not any(folder in path.parents for folder in outputs):
            raise ConfigError(
                f"--fresh removes only what lies in traces/, runs/ and eval/results/ of the "
                f"workspace, not {str(path)!r}; remove that yourself"
            )
    return [path for path in paths if path.exists()]


def _free_port(host: str, wanted: int) -> int:
    """Return `wanted`, or a free port when something listens there."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DistillError(f"no port is free on {host!r}")


def _size(count: int | None) -> str:
    if count is None:
        return "unknown"
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _shown(path: Path) -> str:
    """Return `path` as a user in the current folder would write it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if here in path.parents else str(path)
