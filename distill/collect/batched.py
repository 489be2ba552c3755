"""The teacher of one episode in a run with batches: what is stored first, then waves.

An episode that was begun by an earlier run is played from its start again; as long as it asks what
it asked then, the stored answers are given, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from distill.collect.waves import Waves, Wish
from distill.teachers import Teacher
from distill.traces import Asked
from distill.types import Message, Tool, ToolMessage, Turn


class BatchedTeacher(Teacher):
    """The teacher of one episode: what an earlier run was answered first, then waves.

    Args:
        teacher: What it is.
        waves: Where wishes go.
        key: The episode.
        order: Its place in the run.
        asked: Its calls in the store, the longest conversation last.
    """

    def __init__(
        self, teacher: Teacher, waves: Waves, key: str, order: int, asked: Sequence[Asked]
    ) -> None:
        self.waves = waves
        self.key = key
        self.order = order
        self._asked = asked
        self.provider, self.model = teacher.provider, teacher.model
        self.terms, self.settings = teacher.terms, teacher.settings

    @property
    def recorded(self) -> list[ToolMessage]:
        """What the tools gave in the calls that were made before the last stored turn."""
        last = self._asked[-1].messages if self._asked else ()
        return [message for message in last if isinstance(message, ToolMessage)]

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Return the next turn.

        Raises:
            BudgetReachedError: It may not be sent.
            TeacherError: The call failed.
        """
        same = [asked for asked in self._asked if asked.messages == tuple(messages)]
        answered = next((asked.answer for asked in same if asked.answer is not None), None)
        if answered is not None:
            return answered
        wish = Wish(self.order, self.key, messages, tools)
        return await self.waves.ask(wish, same[0] if same else None)
