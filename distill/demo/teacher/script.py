"""Where an episode stands and what the teacher says next.

Nothing is remembered between requests: the task is recognised by what the user said, and the
answers so far are matched with the plan of the current user turn, call by call. So a conversation
may be continued by any process, and one that another model began is picked up where it stands.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from distill.demo.teacher import phrases
from distill.demo.teacher.author import SUBMIT, Author
from distill.demo.teacher.backend import is_backend, respond
from distill.demo.teacher.caller import plays_user, speak
from distill.demo.teacher.mistakes import Mistake, mistake_of
from distill.demo.teacher.plan import Plan, PlannedCall, Scene, right_plan
from distill.demo.teacher.rewording import is_rewording, reworded
from distill.types import (
    AssistantMessage,
    Json,
    Message,
    Task,
    ToolCall,
    ToolMessage,
    ToolSet,
    UserMessage,
    digest,
)


@dataclass(eq=False)
class Attempt:
    """How one planned call fared."""

    planned: PlannedCall
    retries: int
    sent: int = 0
    done: bool = False
    result: Json = None
    error: str | None = None

    @property
    def next(self) -> PlannedCall:
        """What would be sent now."""
        return self.planned.right if self.sent and self.planned.right else self.planned

    @property
    def given_up(self) -> bool:
        """Whether it failed too often to be tried again."""
        allowed = 1 + self.retries + (self.planned.right is not None)
        return self.error is not None and self.sent >= allowed

    def record(self, result: ToolMessage) -> None:
        """Note the result of one try."""
        self.sent += 1
        self.error = error_of(result)
        self.done = self.error is None
        self.result = _value(result.content)


class Script:
    """The teacher's mind: the tasks it knows, and how it answers each. Safe to share."""

    def __init__(
        self, toolset: ToolSet, tasks: Sequence[Task], seed: int = 0, error_rate: float = 0.12
    ) -> None:
        """Know `tasks`; make a mistake in `error_rate` (0 to 1) of them."""
        self._toolset = toolset
        self._seed = seed
        self._error_rate = error_rate
        self._plans: dict[str, tuple[list[Plan], Mistake | None]] = {}
        self._by_opening: dict[str, list[Task]] = {}
        self._author = Author(toolset, tasks, seed, error_rate)
        for task in tasks:
            self._by_opening.setdefault(task.turns[0].content.strip(), []).append(task)

    def answer(self, messages: Sequence[Message], offered: frozenset[str]) -> AssistantMessage:
        """Return the next assistant message of a conversation.

        Args:
            messages: The conversation so far.
            offered: Names of the tools the request offers.
        """
        if SUBMIT in offered:
            return self._author.answer(messages)
        if is_backend(messages):
            return respond(messages, self._seed, self._error_rate)
        if plays_user(messages):
            return speak(messages, self._seed, self._error_rate)
        said = [m.content.strip() for m in messages if isinstance(m, UserMessage)]
        if is_rewording(messages):
            return AssistantMessage(content=reworded(messages, self._rng(said, "reworded")))
        task = self.recognise(said)
        if task is None:
            return AssistantMessage(content=phrases.unknown(self._rng(said, "unknown")))
        at = len(said) - 1
        rng = self._rng(task.id, at, len(messages))
        plan = self.plans(task)[0][at]
        if not offered.issuperset(call.name for call in plan.calls):
            return AssistantMessage(content=phrases.refusal(rng))
        attempts = _follow(plan, messages)
        if calls := _due(plan, attempts):
            made = tuple(
                ToolCall(
                    id=f"call_{digest([self._seed, task.id, len(messages), n])}",
                    name=call.name,
                    arguments=call.arguments,
                )
                for n, call in enumerate(calls)
            )
            return AssistantMessage(content=phrases.before_calls(rng), tool_calls=made)
        return AssistantMessage(content=_closing(task, at, plan, attempts, rng))

    def recognise(self, said: Sequence[str]) -> Task | None:
        """Return the task whose user turns begin with `said`, or None."""
        if not said:
            return None
        for task in self._by_opening.get(said[0], ()):
            turns = [turn.content.strip() for turn in task.turns]
            if turns[: len(said)] == list(said):
                return task
        return None

    def mistake(self, task: Task) -> Mistake | None:
        """Return the mistake the teacher makes in `task`, or None."""
        return self.plans(task)[1]

    def plans(self, task: Task) -> tuple[list[Plan], Mistake | None]:
        """Return what the teacher means to do, one plan per user turn, and its mistake."""
        if task.id not in self._plans:
            self._plans[task.id] = self._make_plans(task)
        return self._plans[task.id]

    def _make_plans(self, task: Task) -> tuple[list[Plan], Mistake | None]:
        scenes = [
            Scene(task, turn, self._toolset, self._rng(task.id, "plan", n))
            for n, turn in enumerate(task.turns)
        ]
        plans = [right_plan(scene) for scene in scenes]
        rng = self._rng(task.id, "mistake")
        if rng.random() >= self._error_rate or not task.expects:
            return plans, None
        mistake = mistake_of(task, list(zip(plans, scenes, strict=True)), rng)
        plans[mistake.turn] = mistake.plan
        return plans, mistake

    def _rng(self, *parts: Json) -> random.Random:
        return random.Random(digest([self._seed, *parts]))


def error_of(result: ToolMessage) -> str | None:
    """Return what went wrong in a call, or None when it succeeded."""
    value = _value(result.content)
    if isinstance(value, dict) and isinstance(value.get("error"), str):
        return str(value["error"])
    return result.content if result.is_error else None


def _follow(plan: Plan, messages: Sequence[Message]) -> list[list[Attempt]]:
    """Return one Attempt per planned call, by round, as far as the history goes."""
    attempts = [[Attempt(call, plan.retries) for call in calls] for calls in plan.rounds]
    for answered in _answered(messages):
        claimed: list[Attempt] = []
        for call, result in answered:
            attempt = _claim(call, attempts, claimed)
            if attempt is not None:
                claimed.append(attempt)
                attempt.record(result)
    return attempts


def _answered(messages: Sequence[Message]) -> Iterator[list[tuple[ToolCall, ToolMessage]]]:
    """Yield the calls with their results, message by message, since the user last spoke."""
    start = max(i for i, message in enumerate(messages) if isinstance(message, UserMessage))
    since = messages[start + 1 :]
    results = {m.tool_call_id: m for m in since if isinstance(m, ToolMessage)}
    for message in since:
        if isinstance(message, AssistantMessage):
            yield [(call, results[call.id]) for call in message.tool_calls if call.id in results]


def _claim(call: ToolCall, attempts: list[list[Attempt]], claimed: list[Attempt]) -> Attempt | None:
    """Return the planned call that `call` was an attempt at: the same one, else the same tool."""
    flat = [a for calls in attempts for a in calls]
    open_ = [a for a in flat if not a.done and not a.given_up and a not in claimed]
    for attempt in open_:
        if attempt.next.name == call.name and _same(attempt.next.arguments, call.arguments):
            return attempt
    return next((a for a in open_ if a.next.name == call.name), None)


def _same(planned: str, made: str) -> bool:
    return planned == made or _value(planned) == _value(made) is not None


def _due(plan: Plan, attempts: list[list[Attempt]]) -> list[PlannedCall]:
    """Return the calls to make now; none when the turn is to be closed with a text.

    A failure that a right plan meets is part of the task: later rounds are what to do about it.
    """
    for calls in attempts:
        if due := [a.next for a in calls if not a.done and not a.given_up]:
            return due
        if plan.mistaken and any(a.given_up for a in calls):
            return []
    return []


def _closing(
    task: Task, at: int, plan: Plan, attempts: list[list[Attempt]], rng: random.Random
) -> str:
    """Return the text that ends the turn."""
    tried = [a for calls in attempts for a in calls if a.sent]
    error = tried[-1].error if tried else None
    expectation = task.turns[at].expectation
    if error is not None and not plan.ignores_errors:
        foreseen = not plan.mistaken or error in {fault.message for fault in task.faults}
        return phrases.failure(expectation if foreseen else None, error, rng)
    if plan.text is not None:
        return plan.text
    assert expectation is not None
    return phrases.success(expectation, [a.result for a in tried if a.done], rng)


def _value(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError:
        return None
