"""Child processes that are ended as a whole, and what they and their children hold in memory.

A `Child` leads a process group of its own, so Ctrl-C in the terminal reaches it only through its
owner. One that runs in the background is ready once it has printed its address. Memory is the sum
of resident sizes over the process tree, sampled from `/proc` (shared pages count more than once);
where there is no `/proc` it is unknown.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SAMPLE_S = 0.5
GRACE_S = 30.0
"""How long a child may take to end by itself after SIGTERM."""

SETTLE_S = 0.3
"""For the lines that a server prints after its address."""

PROC = Path("/proc")


class Child:
    """One running command."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], address: str | None = None
    ) -> None:
        """Start `command`; it shares the terminal's output but not its input.

        Args:
            command: Program and arguments.
            environment: Its environment variables.
            address: For a server: what it prints once it is ready. Its output is passed on.
        """
        self.started = time.monotonic()
        self.peak_bytes: int | None = None
        self._tree: dict[int, _Process] = {}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if address else None,
            env=dict(environment),
            process_group=0,
            text=True,
        )
        self._ready = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()
        if address:
            threading.Thread(target=self._pass_on, args=(address,), daemon=True).start()

    @property
    def seconds(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.started

    @property
    def exit_code(self) -> int | None:
        """How it ended, or None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        return self._process.wait()

    def interrupt(self) -> None:
        """Pass Ctrl-C on, and give it time to save its work."""
        self._signal(signal.SIGINT)
        self._ended_within(GRACE_S)

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait until it has printed its address; return whether it did before ending."""
        deadline = self.started + timeout_s
        while self.exit_code is None and time.monotonic() < deadline:
            if self._ready.wait(SAMPLE_S):
                time.sleep(SETTLE_S)
                return True
        return False

    def stop(self) -> None:
        """End it and everything it started: SIGTERM, then SIGKILL."""
        self._sample()
        if self.exit_code is None:
            self._signal(signal.SIGTERM)
            try:
                ended = self._ended_within(GRACE_S)
            except KeyboardInterrupt:
                ended = False  # a second Ctrl-C: no more patience
            if not ended:
                self._signal(signal.SIGKILL)
                self._process.wait()
        alive = processes()
        for pid, process in self._tree.items():
            if pid in alive and alive[pid].started == process.started:
                os.kill(pid, signal.SIGKILL)

    def _ended_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return  # it ended between the look and the signal

    def _watch(self) -> None:
        while self._process.returncode is None:
            self._sample()
            time.sleep(SAMPLE_S)

    def _pass_on(self, address: str) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                sys.stdout.write(line)
                sys.stdout.flush()
                if address in line:
                    self._ready.set()

    def _sample(self) -> None:
        if tree := _tree(self._process.pid):
            self._tree |= tree
            held = sum(process.resident_bytes for process in tree.values())
            self.peak_bytes = max(self.peak_bytes or 0, held)


class _Process(NamedTuple):
    parent: int
    started: int
    """Clock ticks since boot: with the pid, an identity."""
    resident_bytes: int


def processes() -> dict[int, _Process]:
    """Return every process `/proc` shows, by pid; empty where there is no `/proc`."""
    found = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for entry in PROC.glob("[0-9]*"):
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue  # it has ended since it was listed
        fields = text.rpartition(")")[2].split()  # the name before it may hold anything
        state, parent, started, pages = fields[0], fields[1], fields[19], fields[21]
        if state != "Z":
            found[int(entry.name)] = _Process(int(parent), int(started), int(pages) * page)
    return found


def _tree(root: int) -> dict[int, _Process]:
    """Return `root` and its descendants."""
    everything = processes()
    children: dict[int, list[int]] = {}
    for pid, process in everything.items():
        children.setdefault(process.parent, []).append(pid)
    found, open_ = {}, [root]
    while open_:
        pid = open_.pop()
        if pid in everything:
            found[pid] = everything[pid]
            open_ += children.get(pid, ())
    return found
