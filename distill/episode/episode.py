"""The episode: a task played against a teacher, with its tool calls executed for real.

The user's turns come one after the other; within one, the model answers, its calls are executed
in order, the results go back, until it answers without calls. What the model does wrong (unknown
tools, malformed arguments) comes back to it as an error result and is part of the record. Where the
task has a simulated user and a model plays it, that one speaks next (see `user`); without a model
only the task's own turns are played.

The episode keeps no store and decides nothing about money or retries. It is used to collect
traces from a teacher and to evaluate a served model: both are a `Teacher` to it.
"""

from __future__ import annotations

import asyncio
import platform
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import NamedTuple

import distill
from distill.episode.reference import reference
from distill.episode.simulator import ToolSimulator
from distill.episode.user import UserPlayer
from distill.errors import DistillError
from distill.teachers import Failure, Teacher, TeacherError
from distill.toolsets import LoadedToolSet, ToolRunner, UnansweredError
from distill.traces import Trace, TurnRecord, UserEnd
from distill.types import (
    Json,
    Message,
    Outcome,
    StopReason,
    SystemMessage,
    Task,
    Tool,
    ToolCall,
    ToolMessage,
    Turn,
    UserMessage,
    UserTurn,
)

_SDK = {"anthropic": "anthropic", "openai": "openai", "openai_chat": "openai"}


async def run_episode(
    task: Task,
    loaded: LoadedToolSet,
    teacher: Teacher,
    *,
    key: str,
    sample: int = 0,
    config_digest: str = "",
    max_steps: int,
    tool_timeout_s: float,
    user: Teacher | None = None,
    simulator: Teacher | None = None,
    recorded: Sequence[ToolMessage] = (),
) -> Trace:
    """Play one task to its end and return the whole record.

    Args:
        task: What the user says, turn by turn, and how the tools are set up.
        loaded: The tool set, with its implementation.
        teacher: The model; paced already when it should be.
        key: Identity of the episode, copied to the trace.
        sample: Which of several episodes of the same task.
        config_digest: Copied to the trace.
        max_steps: Most assistant turns.
        tool_timeout_s: Seconds before a tool call is reported to the model as timed out.
        user: The model that plays the task's simulated user, paced as well.
        simulator: The model behind simulated tools, paced as well; None: only calls that were
            recorded are answered.
        recorded: What the first calls gave when this episode was begun before. They are executed
            again, so that the tools come to the same state; the model sees what it saw then.

    Raises:
        TeacherError: The endpoint failed in a way that is not this episode's fault (key, quota,
            throttling or network after all attempts): the episode is owed, not finished.
    """
    player = UserPlayer(user, task.user) if user is not None and task.user is not None else None
    tools = loaded.toolset.offered(task).tools
    play = _Play(teacher, tools, max_steps, player, recorded)
    if loaded.toolset.system:
        play.messages.append(SystemMessage(content=loaded.toolset.system))
    behind = ToolSimulator(simulator) if simulator and loaded.simulation else None
    started = _now()
    end = await _played(play, task, loaded, tool_timeout_s, behind)
    return Trace(
        key=key,
        task=play.spoken(task),
        toolset_name=loaded.toolset.name,
        toolset_hash=loaded.toolset.hash,
        teacher=reference(teacher, play.turns[-1].model if play.turns else ""),
        config_digest=config_digest,
        sample=sample,
        outcome=end.outcome,
        error=end.error,
        messages=tuple(play.messages),
        turns=tuple(play.turns),
        user=player.record(play.ended, play.said) if player else None,
        simulator=behind.record() if behind else None,
        changes=end.changes,
        started_at=started,
        finished_at=_now(),
        versions=_versions(teacher.provider),
    )


class _End(NamedTuple):
    """How an episode ended, and what it did to its environment."""

    outcome: Outcome
    error: str | None
    changes: dict[str, Json] | None


async def _played(
    play: _Play,
    task: Task,
    loaded: LoadedToolSet,
    tool_timeout_s: float,
    behind: ToolSimulator | None,
) -> _End:
    """Play the task in an environment of its own; a failure of the episode is how it ends."""
    ask = behind.ask if behind else None
    changes: dict[str, Json] | None = None
    try:
        # An environment may take its time to set up; the other episodes need not wait for it.
        runner = await asyncio.to_thread(loaded.runner, task, tool_timeout_s, ask)
        try:
            outcome = await play.run(task, runner)
        finally:
            if behind:
                behind.close()
            changes = runner.changes()
            runner.close()
    except TeacherError as failed:
        if failed.failure is not Failure.BAD_REQUEST:
            raise
        return _End(Outcome.ERROR, str(failed), changes)
    except DistillError as failed:
        return _End(Outcome.ERROR, f"task {task.id!r}: {failed}", changes)
    return _End(outcome, None, changes)


class _Play:
    """The conversation of one episode as it grows."""

    def __init__(
        self,
        teacher: Teacher,
        tools: Sequence[Tool],
        max_steps: int,
        player: UserPlayer | None,
        recorded: Sequence[ToolMessage],
    ) -> None:
        self.teacher = teacher
        self._recorded = deque(recorded)
        self.tools = tools
        self.max_steps = max_steps
        self.player = player
        self.messages: list[Message] = []
        self.turns: list[TurnRecord] = []
        self.said: list[int] = []
        self.ended: UserEnd | None = None

    async def run(self, task: Task, runner: ToolRunner) -> Outcome:
        for user in task.turns:
            self.messages.append(UserMessage(content=user.content))
            outcome = await self._answer(runner)
            if outcome is not Outcome.COMPLETED:
                return outcome
        return await self._go_on(self.player, runner) if self.player else Outcome.COMPLETED

    async def _go_on(self, player: UserPlayer, runner: ToolRunner) -> Outcome:
        """Let the simulated user speak until it is done, fails, or may not any more."""
        for _ in range(player.user.max_turns):
            reply = await player.next(self.messages)
            if reply.text is not None:
                self.said.append(len(self.messages))
                self.messages.append(UserMessage(content=reply.text))
                outcome = await self._answer(runner)
                if outcome is not Outcome.COMPLETED:
                    return outcome
            if reply.end is not None:
                self.ended = reply.end
                done = reply.end in (UserEnd.GOAL, UserEnd.THANKS)
                return Outcome.COMPLETED if done else Outcome.USER_FAILED
        self.ended = UserEnd.MAX_TURNS
        return Outcome.TURN_LIMIT

    def spoken(self, task: Task) -> Task:
        """Return the task with the turns that the simulated user added."""
        more = tuple(UserTurn(content=self.messages[n].content or "") for n in self.said)
        return task.model_copy(update={"turns": task.turns + more})

    async def _answer(self, runner: ToolRunner) -> Outcome:
        """Let the model call and be answered until it has nothing more to call."""
        while len(self.turns) < self.max_steps:
            turn = await self.teacher.complete(tuple(self.messages), self.tools)
            self._record(turn)
            if turn.stop is StopReason.LENGTH:
                return Outcome.TRUNCATED
            if turn.stop is StopReason.REFUSAL:
                return Outcome.REFUSED
            if not turn.message.tool_calls:
                return Outcome.COMPLETED
            for call in turn.message.tool_calls:
                try:
                    self.messages.append(await self._result(runner, call))
                except UnansweredError as failed:
                    raise failed.cause from None
        return Outcome.TURN_LIMIT

    async def _result(self, runner: ToolRunner, call: ToolCall) -> ToolMessage:
        result = await runner.call(call)
        return self._recorded.popleft() if self._recorded else result

    def _record(self, turn: Turn) -> None:
        self.turns.append(TurnRecord.of(turn, len(self.messages)))
        self.messages.append(turn.message)


@cache
def _versions(provider: str) -> dict[str, str]:
    versions = {"distill": distill.__version__, "python": platform.python_version()}
    if provider in _SDK:
        versions[_SDK[provider]] = version(_SDK[provider])
    return versions


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
