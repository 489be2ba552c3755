"""Showing a run: a progress bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from distill.collect.status import Status

REFRESH_S = 0.25
LINE_EVERY_S = 5.0


class Display:
    """An async context in which a `Status` is shown, under the name of what runs."""

    def __init__(self, status: Status, console: Console, name: str = "collect") -> None:
        self.status = status
        self.name = name
        self.console = console
        self._announced: str | None = None
        self._shown = ""
        self._bar = Progress(
            TextColumn(name),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._row = self._bar.add_task("", total=None, words="")

    async def __aenter__(self) -> None:
        """Begin to show."""
        if self.console.is_terminal:
            self._bar.start()
        self._task = asyncio.create_task(self._refresh())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Show the last state."""
        self._task.cancel()
        self._show()
        if self.console.is_terminal:
            self._bar.stop()

    async def _refresh(self) -> None:
        pause = REFRESH_S if self.console.is_terminal else LINE_EVERY_S
        while True:
            self._show()
            await asyncio.sleep(pause)

    def _show(self) -> None:
        status = self.status
        if status.notice != self._announced:
            self._announced = status.notice
            self.console.print(
                f"stopping: {status.notice}",
                style="yellow",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
        words = f"{status.failed} failed, {status.in_flight} in flight, cost {status.cost_text()}"
        if status.batches or status.pending:
            words += f", batches: {status.batches} done"
        if status.pending:
            words += f", {status.pending_text()}"
        if self.console.is_terminal:
            self._bar.update(
                self._row, total=status.total or None, completed=status.done, words=words
            )
            return
        line = f"{self.name}: {status.done} of {status.total} done, {words}"
        if status.total and line != self._shown:
            self._shown = line
            self.console.print(line, highlight=False, soft_wrap=True)
