"""Is a draft the task that was ordered, and does what it expects really execute?

A draft becomes a task when it has the shape of its kind, its calls are valid under the schemas and
show what was ordered, its wording gives no tool away, and its calls, executed in order on a fresh
environment, succeed. What they changed becomes the task's end state. Anything else is a refusal
with a reason; the model is told the detail and may hand the draft in again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

from pydantic import ValidationError

from distill.collect.authoring.drafts import Draft, DraftTurn
from distill.collect.authoring.orders import Order
from distill.errors import TaskError
from distill.toolsets import LoadedToolSet
from distill.toolsets.tasks import check_task
from distill.toolsets.variants import BUSY, DOWN
from distill.types import (
    Expectation,
    ExpectedCall,
    Fault,
    Frozen,
    Json,
    Kind,
    Task,
    ToolCall,
    UserTurn,
    digest,
)


class Reason(StrEnum):
    """Why a draft is no task."""

    MALFORMED = "malformed"
    """It has not the form of a draft, or the submission is not JSON."""
    UNKNOWN_ORDER = "unknown_order"
    WRONG_SHAPE = "wrong_shape"
    """Turns, actions or calls are not those of the kind."""
    INVALID_CALL = "invalid_call"
    """A call names no tool, or its arguments violate the schema."""
    NOT_AS_ORDERED = "not_as_ordered"
    """A tool or value that was ordered is not there, or one that was to be left out is."""
    NAMES_TOOL = "names_tool"
    """The user speaks of a tool by its name."""
    FAILS = "fails"
    """A call does not execute."""
    DUPLICATE = "duplicate"
    """Another task says nearly the same."""
    NO_DRAFT = "no_draft"
    """The model was asked and handed nothing in."""


class Refusal(Frozen):
    """Why a draft is refused."""

    order: str
    reason: Reason
    detail: str


ACTIONS: Mapping[Kind, str] = {
    Kind.NO_TOOL: "abstain",
    Kind.MISSING: "ask",
    Kind.CHAT: "answer",
}
"""Kinds that are answered without a call, and how; every other kind calls."""


class Bench:
    """Judges the drafts of some orders. Safe to share between threads.

    Args:
        loaded: The tool set.
        orders: What may be handed in.
        execute: Whether the expected calls are executed.
    """

    def __init__(self, loaded: LoadedToolSet, orders: Mapping[str, Order], execute: bool) -> None:
        self.loaded, self.orders, self.execute = loaded, orders, execute
        self._judged: dict[str, Task | Refusal] = {}

    def judge(self, row: Json) -> Task | Refusal:
        """Judge a draft as the model wrote it; the same one is executed once."""
        named = str(row.get("order", "")) if isinstance(row, dict) else ""
        order = self.orders.get(named)
        try:
            key = digest([row, order is not None and bool(order.points)])
        except ValueError:  # half of a surrogate pair, as "\ud800" gives
            detail = "it holds characters that no text can have"
            return Refusal(order="", reason=Reason.MALFORMED, detail=detail)
        if key not in self._judged:
            self._judged[key] = self._judge(row, named)
        return self._judged[key]

    def _judge(self, row: Json, named: str) -> Task | Refusal:
        try:
            draft = Draft.model_validate(row)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            return Refusal(
                order=named, reason=Reason.MALFORMED, detail=f"{where}: {first['msg']}"[:200]
            )
        order = self.orders.get(draft.order)
        if order is None:
            detail = f"there is no order {draft.order!r:.60}"
            return Refusal(order=draft.order, reason=Reason.UNKNOWN_ORDER, detail=detail)
        for reason, detail in self._faults(order, draft):
            return Refusal(order=order.id, reason=reason, detail=detail[:300])
        task = as_task(order, draft, self.loaded.toolset.name)
        if problem := check_task(self.loaded, task):
            return Refusal(order=order.id, reason=Reason.INVALID_CALL, detail=problem[:300])
        return self._executed(task) if self.execute else task

    def _faults(self, order: Order, draft: Draft) -> Iterator[tuple[Reason, str]]:
        if problem := _shape(order, draft):
            yield Reason.WRONG_SHAPE, problem
        known = {tool.name for tool in self.loaded.toolset.tools}
        for call in _calls(draft):
            if call.name not in known:
                yield Reason.INVALID_CALL, f"there is no tool {call.name!r:.60}"
        if problem := _not_as_ordered(order, draft):
            yield Reason.NOT_AS_ORDERED, problem
        said = " ".join(turn.user for turn in draft.turns)
        if name := named_tool(said, known):
            yield Reason.NAMES_TOOL, f"the user says {name!r}; users do not know names of tools"

    def _executed(self, task: Task) -> Task | Refusal:
        """Execute what the task expects; return it with its end state."""
        runner = self.loaded.runner(task.model_copy(update={"faults": ()}))
        try:
            for call in _in_order(task):
                arguments = json.dumps(call.arguments)
                result = runner.call_sync(ToolCall(id="call", name=call.name, arguments=arguments))
                if result.is_error:
                    detail = f"{call.name}({arguments}) gives {result.content}"
                    return Refusal(order=task.id, reason=Reason.FAILS, detail=detail[:300])
            changes = runner.changes()
        finally:
            runner.close()
        if self.loaded.environment is None:
            return task
        lasting = any(fault.times is None for fault in task.faults)
        return task.model_copy(update={"end_state": {} if lasting else changes})


def as_task(order: Order, draft: Draft, toolset: str) -> Task:
    """Return a draft as a task; its family is its own until others prove to be alike."""
    faults: tuple[Fault, ...] = ()
    if order.fault:
        words = BUSY if order.fault == "once" else DOWN
        message = words[int(order.id[1:]) % len(words)]
        times = 1 if order.fault == "once" else None
        faults = (Fault(tool=order.tools[0], message=message, times=times),)
    return Task(
        id=order.id,
        toolset=toolset,
        kind=order.kind,
        family=f"generated/{order.id}",
        turns=tuple(_turn(turn, order.fault == "always") for turn in draft.turns),
        setup=order.setup,
        faults=faults,
    )


def named_tool(text: str, names: set[str]) -> str | None:
    """Return a tool's name that a text uses, where the name is no word of the language."""
    for name in sorted(names):
        is_word = name.isalpha() and name.islower()
        if not is_word and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE):
            return name
    return None


def _turn(turn: DraftTurn, fails: bool) -> UserTurn:
    calls = tuple(ExpectedCall(**call.model_dump()) for call in turn.calls)
    judged = turn.expect in ("ask", "call") and not fails
    expectation = Expectation(
        action=turn.expect,
        calls=calls,
        mentions=tuple(group for group in turn.mentions if group) if judged else (),
        # What it says of the result would be wrong where the tool fails for good.
        answer=None if fails else turn.answer,
    )
    return UserTurn(content=turn.user.strip(), expectation=expectation)


def _calls(draft: Draft) -> Iterator[ExpectedCall]:
    for turn in draft.turns:
        for call in turn.calls:
            yield ExpectedCall(name=call.name, arguments=call.arguments, step=call.step)


def _in_order(task: Task) -> Iterator[ExpectedCall]:
    for turn in task.turns:
        if turn.expectation:
            yield from sorted(turn.expectation.calls, key=lambda call: call.step)


def _shape(order: Order, draft: Draft) -> str | None:
    """Return what is wrong with turns, actions and number of calls, or None."""
    turns = draft.turns
    if order.kind is Kind.MULTI_TURN:
        if len(turns) < 2:
            return f"{order.turns} turns of the user were ordered"
        if all(turn.expect != "call" for turn in turns):
            return "no turn expects a call"
    elif len(turns) != 1:
        return f"{len(turns)} turns of the user; one was ordered"
    for turn in turns:
        if bool(turn.calls) != (turn.expect == "call"):
            return f"expect {turn.expect!r} with {len(turn.calls)} calls"
    if order.kind is Kind.MULTI_TURN:
        return None
    action = ACTIONS.get(order.kind, "call")
    if turns[0].expect != action:
        return f"a task of kind {order.kind} expects {action!r}, not {turns[0].expect!r}"
    steps = {call.step for call in turns[0].calls}
    count = len(turns[0].calls)
    if order.kind is Kind.PARALLEL and (count < 2 or len(steps) > 1):
        return "two or more calls of one step were ordered"
    if order.kind is Kind.MULTI_STEP and len(steps) < 2:
        return "calls of two or more steps were ordered"
    if order.kind in (Kind.SINGLE, Kind.CHOOSE, Kind.TOOL_FAILED) and count != 1:
        return f"{count} calls; one was ordered"
    return None


def _not_as_ordered(order: Order, draft: Draft) -> str | None:
    if order.kind in ACTIONS:
        return None
    calls = list(_calls(draft))
    names = [call.name for call in calls]
    for name in dict.fromkeys(order.tools):
        if names.count(name) < order.tools.count(name):
            return f"{name} is not called as often as ordered"
    for point in order.points:
        if not any(point.shown_by(call) for call in calls):
            return f"no call has {point}"
    if order.kind is Kind.CHOOSE and order.near in names:
        return f"{order.near} is the tool that is not to be called"
    return None


def fresh_start(loaded: LoadedToolSet, setup: dict[str, Json]) -> None:
    """Open the environment once, so that a wrong setup is told before anything is paid for.

    Raises:
        TaskError: The environment refuses it.
        ToolSetError: What executes the calls is not there.
    """
    turn = UserTurn(content="-")
    task = Task(
        id="setup",
        toolset=loaded.toolset.name,
        kind=Kind.CHAT,
        family="setup",
        turns=(turn,),
        setup=setup,
    )
    if problem := check_task(loaded, task):
        raise TaskError(f"tasks.generate.setups: {problem}")
    loaded.runner(task).close()
