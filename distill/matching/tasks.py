"""A whole conversation against its task: every user turn, and the state it left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill.matching.codes import Code
from distill.matching.turns import TurnMatch, match_turn
from distill.matching.values import ABSENT, difference
from distill.types import Frozen, Json, Message, Task, ToolSet, UserMessage, Verdict

STAGE = "expectation"
"""Stage of every verdict given here."""


class TaskMatch(Frozen):
    """How a conversation compares with what its task expects."""

    turns: tuple[TurnMatch, ...]
    """One per user turn of the task."""
    end_state: Verdict | None
    """None: the task expects none, or nothing was executed."""
    verdict: Verdict
    """The first failure, or ok."""

    @property
    def ok(self) -> bool:
        """Whether everything is right."""
        return self.verdict.ok


def match_task(
    task: Task,
    messages: Sequence[Message],
    toolset: ToolSet,
    changes: Mapping[str, Json] | None,
) -> TaskMatch:
    """Judge a conversation.

    Args:
        task: What was asked, turn by turn, with its expectations. A turn without one only has to
            be answered, with valid calls.
        messages: The conversation, tool results included.
        toolset: The tools that were offered; their schemas type the comparison.
        changes: What the calls changed (`ToolRunner.changes`), compared with `task.end_state`;
            None when nothing was executed, which leaves the end state unjudged.
    """
    turns = tuple(
        match_turn(turn.expectation, messages, start, end, toolset)
        for turn, (start, end) in zip(task.turns, _windows(messages, len(task.turns)), strict=True)
    )
    end_state = None
    if task.end_state is not None and changes is not None:
        end_state = match_end_state(task.end_state, changes)
    return TaskMatch(turns=turns, end_state=end_state, verdict=_verdict(turns, end_state))


def match_end_state(expected: Mapping[str, Json], changes: Mapping[str, Json]) -> Verdict:
    """Compare the changes of an environment with the expected ones, no more and no fewer."""
    for pointer in sorted({*expected, *changes}):
        actual, right = changes.get(pointer, ABSENT), expected.get(pointer, ABSENT)
        if found := difference(actual, right, {}, pointer):
            return Verdict(ok=False, stage=STAGE, code=Code.WRONG_END_STATE, detail=found)
    return Verdict(ok=True, stage=STAGE, code=Code.OK, detail="the expected end state")


def _windows(messages: Sequence[Message], turns: int) -> list[tuple[int, int]]:
    """Return the message range that follows each user message; empty ones for turns not reached."""
    starts = [n + 1 for n, message in enumerate(messages) if isinstance(message, UserMessage)]
    ends = [start - 1 for start in starts[1:]] + [len(messages)]
    reached = list(zip(starts, ends, strict=True))[:turns]
    return reached + [(len(messages), len(messages))] * (turns - len(reached))


def _verdict(turns: Sequence[TurnMatch], end_state: Verdict | None) -> Verdict:
    for number, turn in enumerate(turns, 1):
        if not turn.ok:
            where = f"turn {number}: " if len(turns) > 1 else ""
            return Verdict(
                ok=False, stage=STAGE, code=turn.code, detail=where + turn.detail, turn=_last(turn)
            )
    if end_state is not None and not end_state.ok:
        return end_state
    return Verdict(ok=True, stage=STAGE, code=Code.OK, detail="as expected")


def _last(turn: TurnMatch) -> int:
    """Return the message a finding is about: that of the call behind it, else the answer."""
    about = (call.message for call in turn.calls if call.code is turn.code)
    return next(about, max(turn.start, turn.end - 1))
