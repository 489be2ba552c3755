"""The model behind simulated tools: asked from the thread of the tools, answering on the loop.

Tools are executed on a thread of their own; the model's connections belong to the event loop of the
run. So a question is handed over to the loop, and the thread waits. An endpoint that fails is no
failure of the tool: the episode ends as it does when the teacher's endpoint fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future

from distill.episode.reference import reference
from distill.teachers import Teacher, TeacherError
from distill.toolsets import UnansweredError
from distill.traces import SimulatorRecord
from distill.types import Message, StopReason, Turn


class ToolSimulator:
    """The model of one episode; made on the event loop it answers on."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self._loop = asyncio.get_running_loop()
        self._turns: list[Turn] = []
        self._waiting: Future[Turn] | None = None

    def ask(self, messages: Sequence[Message]) -> str | None:
        """Ask and wait; never on the event loop itself.

        Raises:
            UnansweredError: The call failed.
        """
        answer = self.teacher.complete(tuple(messages), ())
        self._waiting = asyncio.run_coroutine_threadsafe(answer, self._loop)
        try:
            turn = self._waiting.result()
        except TeacherError as error:
            raise UnansweredError(error) from error
        self._turns.append(turn)
        whole = turn.stop is StopReason.END and not turn.message.tool_calls
        return turn.message.content if whole else None

    def close(self) -> None:
        """Take back a question that is still open."""
        if self._waiting is not None:
            self._waiting.cancel()

    def record(self) -> SimulatorRecord:
        """Return what the trace keeps of it."""
        costs = [turn.cost_usd for turn in self._turns]
        return SimulatorRecord(
            teacher=reference(self.teacher, self._turns[-1].model if self._turns else ""),
            calls=len(self._turns),
            cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
        )
