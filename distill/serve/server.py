"""The vLLM process: started in a group of its own, watched through its log, stopped as a whole.

vLLM is three processes (endpoint, engine, worker) behind a guard, which ends them when distill is
gone. They share one process group, so that nothing outlives `stop`, however it died; and Ctrl-C
reaches us alone, so that we end it in order.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import httpx2

from distill.errors import ServeError
from distill.serve.address import Address

GUARD = Path(__file__).with_name("guard.py")

LOOK_S = 0.5
"""Between two looks at whether to go on waiting for its end."""
READY_TIMEOUT_S = 1800.0
"""Longest start: a large base may have to be downloaded first."""

PHASES = (
    ("non-default args", "reading the model's config"),
    ("Initializing a V1 LLM engine", "starting the engine"),
    ("Starting to load model", "loading the base"),
    ("Loading weights took", "preparing the cache"),
    ("init engine", "loading the adapter"),
    ("Available routes", "opening the port"),
)
"""Text in vLLM's log -> what it is doing from there on."""

CAUSE = re.compile(r"(?:^|\s)(?:[\w.]+\.)?(\w*(?:Error|Exception): .+)")
"""A line of a log that ends a traceback, after whatever vLLM put before it."""
CONSEQUENCE = ("Engine core initialization failed", "WorkerProc initialization failed")
"""Errors that only say that another one came before."""


class Server:
    """One vLLM server; a context manager that starts it and always stops it."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], address: Address, log: Path
    ) -> None:
        self.command = list(command)
        self.environment = environment
        self.address = address
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the guard, which is also the id of the whole group."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start vLLM, its output in the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(GUARD), str(os.getpid()), *self.command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(
        self,
        names: Sequence[str],
        progress: Callable[[str], None] = lambda phase: None,
        timeout_s: float = READY_TIMEOUT_S,
    ) -> None:
        """Return once the endpoint lists all of `names`.

        Args:
            names: Models that must be listed.
            progress: Told what vLLM is doing, again and again.
            timeout_s: Longest start.

        Raises:
            ServeError: It died, did not become ready, or does not list a model.
        """
        deadline = time.monotonic() + timeout_s
        with self.address.client(timeout_s=2) as client:
            while not self.address.listens() or (listed := _models(client)) is None:
                self.check()
                if time.monotonic() > deadline:
                    raise ServeError(f"vLLM was not ready after {timeout_s:g} s; see {self.log}")
                progress(phase(self.log))
                time.sleep(0.2)
        missing = [name for name in names if name not in listed]
        if missing:
            raise ServeError(
                f"vLLM lists {listed}, but not {missing[0]!r}: it refused the adapter; "
                f"see {self.log}"
            )

    def check(self) -> None:
        """Raise if the process has ended.

        Raises:
            ServeError: It has; the message quotes why.
        """
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise ServeError(f"vLLM ended with code {code}: {cause(self.log)} (log: {self.log})")

    def join(self, look: Callable[[], None] = lambda: None) -> None:
        """Wait until the process ends by itself, and raise then.

        Args:
            look: Called again and again; may raise to end the waiting.

        Raises:
            ServeError: It ended.
        """
        assert self._process is not None
        while self._process.poll() is None:
            look()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_S)
        self.check()

    def stop(self, grace_s: float = 20.0) -> None:
        """End the whole process group: asked first, then forced."""
        if self._process is None:
            return
        try:
            if self._process.poll() is None:
                self._process.terminate()
                self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _end_group(self._process)
            self._process = None
            if self._file is not None:
                self._file.close()


def phase(log: Path) -> str:
    """Return what vLLM is doing, from its log so far."""
    text = log.read_text(encoding="utf-8", errors="replace")
    reached = [doing for mark, doing in PHASES if mark in text]
    return reached[-1] if reached else "importing vLLM"


def cause(log: Path) -> str:
    """Return the line of a log that says best why vLLM ended."""
    text = log.read_text(encoding="utf-8", errors="replace")
    # pydantic puts what is wrong on the line after the error's name
    text = re.sub(r"(ValidationError): .*\n\s+", r"\1: ", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [found.group(1) for line in lines if (found := CAUSE.search(line))]
    telling = [error for error in errors if not any(word in error for word in CONSEQUENCE)]
    usage = [line for line in lines if "error: " in line]
    return (telling or errors or usage or lines or ["it wrote nothing"])[-1][:300]


def _models(client: httpx2.Client) -> list[str] | None:
    """Return the ids that vLLM lists; None while it does not answer."""
    try:
        answer = client.get("/v1/models")
        answer.raise_for_status()
        return [model["id"] for model in answer.json()["data"]]
    except (httpx2.HTTPError, ValueError, KeyError):
        return None


def _end_group(leader: subprocess.Popen[bytes], patience_s: float = 5.0) -> None:
    """Kill what is left of a process group, and wait until it is gone."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            os.killpg(leader.pid, signal.SIGKILL)
        except ProcessLookupError:
            break
        leader.poll()  # a dead leader counts as a member until it is reaped
        time.sleep(0.02)
    leader.wait()
