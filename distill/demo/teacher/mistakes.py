"""How models go wrong: one function a kind, each turning a right plan into a wrong one.

A function returns None where its kind does not apply (an ignored error needs an error). Which task
goes wrong, at which user turn and how, depends on the seed and the task alone, so a run can be
repeated. A call that is refused by the tool is corrected afterwards in about half of the cases, as
models do; one that the tool accepts goes unnoticed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeAlias

from distill.demo.teacher import phrases
from distill.demo.teacher.guesses import Known, guess_arguments, known_arguments
from distill.demo.teacher.plan import Plan, PlannedCall, Scene, written
from distill.types import Json, Task, Tool, canonical_json

CORRECTED = 0.5
"""Share of refused mistaken calls that are followed by the right one."""

_COMMON = {"the", "and", "for", "you", "are", "what", "with", "this", "that", "one", "thi"}

INVENTED = {"confirm": True, "priority": "high", "notes": "as asked", "verbose": False}


class Kind(Protocol):
    """One kind of mistake: turns a right plan into a wrong one, or says that it does not apply."""

    __name__: str

    def __call__(self, plan: Plan, scene: Scene, /) -> Plan | None: ...  # noqa: D102


class Mistake(NamedTuple):
    """Where a task goes wrong, and the plan it leads to."""

    name: str
    turn: int
    plan: Plan


# --- kinds that change one call ---------------------------------------------------------------


def wrong_tool(plan: Plan, scene: Scene) -> Plan | None:
    """Call the tool of the set that resembles the right one most."""
    if not plan.calls or len(scene.toolset.tools) < 2:
        return None
    call = scene.rng.choice(plan.calls)
    other = near_miss(call, scene)
    known = Known(scene.turn.content, json.loads(call.arguments))
    arguments = guess_arguments(other, known, scene.rng)
    return _swap(plan, scene, call, PlannedCall(other.name, written(arguments)))


def missing_argument(plan: Plan, scene: Scene) -> Plan | None:
    """Leave an argument out, a required one where there is one."""
    return _edit(plan, scene, _without_one)


def extra_argument(plan: Plan, scene: Scene) -> Plan | None:
    """Add an argument the tool does not have."""
    return _edit(plan, scene, _with_invented)


def mistyped_argument(plan: Plan, scene: Scene) -> Plan | None:
    """Give a value in the wrong JSON type."""
    return _edit(plan, scene, _mistyped)


def wrong_value(plan: Plan, scene: Scene) -> Plan | None:
    """Give a value of the right type that is not what the user said."""
    return _edit(plan, scene, _misheard)


def malformed_json(plan: Plan, scene: Scene) -> Plan | None:
    """Emit arguments that are not JSON: cut off, single-quoted, or with a trailing comma."""
    if not plan.calls:
        return None
    call = scene.rng.choice(plan.calls)
    if call.arguments == "{}":
        return None
    broken = scene.rng.choice(
        (call.arguments[:-1], call.arguments.replace('"', "'"), call.arguments[:-1] + ",}")
    )
    return _swap(plan, scene, call, PlannedCall(call.name, broken))


# --- kinds that change which calls are made ---------------------------------------------------


def called_instead_of_asking(plan: Plan, scene: Scene) -> Plan | None:
    """Guess the missing parameter and call."""
    return _uncalled_for(scene) if _action(scene) == "ask" else None


def called_without_fitting_tool(plan: Plan, scene: Scene) -> Plan | None:
    """Call whatever tool sounds closest, though none fits or plain words would do."""
    return _uncalled_for(scene) if _action(scene) in ("abstain", "answer") else None


def needless_refusal(plan: Plan, scene: Scene) -> Plan | None:
    """Refuse, though a tool fits or a question would do."""
    if _action(scene) not in ("call", "ask"):
        return None
    return Plan(text=phrases.refusal(scene.rng))


def needless_question(plan: Plan, scene: Scene) -> Plan | None:
    """Ask back, though everything is known."""
    if _action(scene) != "call":
        return None
    return Plan(text=phrases.needless_question(scene.rng))


def stopped_early(plan: Plan, scene: Scene) -> Plan | None:
    """Leave out the last call."""
    if len(plan.calls) < 2:
        return None
    last = plan.rounds[-1][:-1]
    return replace(plan, rounds=(*plan.rounds[:-1], last) if last else plan.rounds[:-1])


def ignored_error(plan: Plan, scene: Scene) -> Plan | None:
    """Claim success after a call failed."""
    failing = {fault.tool for fault in scene.task.faults}
    if not failing.intersection(call.name for call in plan.calls):
        return None
    return replace(plan, text=phrases.claimed_success(scene.rng), retries=0, ignores_errors=True)


def split_parallel(plan: Plan, scene: Scene) -> Plan | None:
    """Make independent calls one after the other: slower, not wrong."""
    if not any(len(calls) > 1 for calls in plan.rounds):
        return None
    return replace(plan, rounds=tuple((call,) for call in plan.calls))


def duplicated_call(plan: Plan, scene: Scene) -> Plan | None:
    """Make one call twice."""
    if not plan.calls:
        return None
    at = scene.rng.randrange(len(plan.rounds))
    doubled = (*plan.rounds[at], scene.rng.choice(plan.rounds[at]))
    return replace(plan, rounds=(*plan.rounds[:at], doubled, *plan.rounds[at + 1 :]))


WEIGHTS: dict[Kind, float] = {
    wrong_tool: 2,
    missing_argument: 1.5,
    extra_argument: 1,
    mistyped_argument: 1.5,
    wrong_value: 2,
    malformed_json: 1,
    called_instead_of_asking: 6,
    called_without_fitting_tool: 6,
    needless_refusal: 1,
    needless_question: 1,
    stopped_early: 4,
    ignored_error: 12,
    split_parallel: 1,
    duplicated_call: 1,
}
"""How often a kind is tried first; kinds that rarely apply weigh more, to be seen at all."""


def mistake_of(task: Task, plans: Sequence[tuple[Plan, Scene]], rng: random.Random) -> Mistake:
    """Return the mistake `task` suffers from; `plans` holds one (plan, scene) per user turn.

    Raises:
        LookupError: No kind applies at any turn (every turn is without an expectation).
    """
    for kind in _by_weight(rng):
        turns = list(enumerate(plans))
        rng.shuffle(turns)
        for index, (plan, scene) in turns:
            if (wrong := kind(plan, scene)) is not None and wrong != plan:
                return Mistake(kind.__name__, index, replace(wrong, mistaken=True))
    raise LookupError(task.id)


def near_miss(call: PlannedCall, scene: Scene) -> Tool:
    """Return one of the two other tools that could take most of the call's arguments."""
    known = Known("", json.loads(call.arguments))
    words = _tool_words(scene.tool(call.name))

    def nearness(other: Tool) -> tuple[int, float]:
        taken = len(known_arguments(other, known))
        return taken, _likeness(words, _tool_words(other))

    others = [other for other in scene.toolset.tools if other.name != call.name]
    return scene.rng.choice(sorted(others, key=nearness, reverse=True)[:2])


def nearest(said: str, scene: Scene) -> Tool:
    """Return one of the two tools that share most words with what was said."""
    words = _words(said)

    def nearness(tool: Tool) -> tuple[int, float]:
        offered = _tool_words(tool)
        return len(words & offered), _likeness(words, offered)

    first, *others = sorted(scene.toolset.tools, key=nearness, reverse=True)
    return others[0] if others and scene.rng.random() < 0.3 else first


# --- parts ------------------------------------------------------------------------------------

Edit: TypeAlias = Callable[[dict[str, Json], Tool, random.Random], dict[str, Json] | None]


def _edit(plan: Plan, scene: Scene, edit: Edit) -> Plan | None:
    """Apply `edit` to the arguments of the first call, in random order, where it is possible."""
    for call in scene.rng.sample(plan.calls, len(plan.calls)):
        changed = edit(json.loads(call.arguments), scene.tool(call.name), scene.rng)
        if changed is not None:
            return _swap(plan, scene, call, PlannedCall(call.name, written(changed)))
    return None


def _swap(plan: Plan, scene: Scene, call: PlannedCall, wrong: PlannedCall) -> Plan:
    right = call if scene.rng.random() < CORRECTED else None
    wrong = replace(wrong, right=right)
    rounds = tuple(tuple(wrong if c is call else c for c in calls) for calls in plan.rounds)
    return replace(plan, rounds=rounds)


def _without_one(
    arguments: dict[str, Json], tool: Tool, rng: random.Random
) -> dict[str, Json] | None:
    required = [name for name in arguments if name in tool.parameters.get("required", ())]
    names = required if required and rng.random() < 0.6 else list(arguments)
    if not names:
        return None
    left_out = rng.choice(names)
    return {name: value for name, value in arguments.items() if name != left_out}


def _with_invented(
    arguments: dict[str, Json], tool: Tool, rng: random.Random
) -> dict[str, Json] | None:
    names = [name for name in INVENTED if name not in tool.parameters.get("properties", {})]
    name = rng.choice(names)
    return arguments | {name: INVENTED[name]}


def _mistyped(arguments: dict[str, Json], tool: Tool, rng: random.Random) -> dict[str, Json] | None:
    names = [name for name, value in arguments.items() if not isinstance(value, str)]
    if not names and not arguments:
        return None
    name = rng.choice(names or list(arguments))
    value = arguments[name]
    if isinstance(value, str):
        wrong: Json = [value]
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        wrong = ", ".join(value)
    else:
        wrong = json.dumps(value)
    return arguments | {name: wrong}


def _misheard(arguments: dict[str, Json], tool: Tool, rng: random.Random) -> dict[str, Json] | None:
    properties = tool.parameters.get("properties", {})
    for name in rng.sample(list(arguments), len(arguments)):
        value, schema = arguments[name], properties.get(name, {})
        others = [v for v in schema.get("enum", ()) if v != value]
        if others:
            return arguments | {name: rng.choice(others)}
        if isinstance(value, bool):
            return arguments | {name: not value}
        if isinstance(value, int | float):
            return arguments | {name: value + rng.choice((-10, -1, 1, 5, 10))}
        if isinstance(value, list) and len(value) > 1:
            return arguments | {name: value[:-1]}
        if isinstance(value, str) and any(c.isdigit() for c in value):
            return arguments | {name: _one_digit_off(value, rng)}
    return None


def _one_digit_off(value: str, rng: random.Random) -> str:
    at = max(i for i, character in enumerate(value) if character.isdigit())
    digit = (int(value[at]) + rng.choice((1, 2, 9))) % 10
    return f"{value[:at]}{digit}{value[at + 1 :]}"


def _uncalled_for(scene: Scene) -> Plan:
    """A call nobody asked for, of a tool that sounds like what the user said."""
    said = scene.turn.content
    tool = nearest(said, scene)
    arguments = guess_arguments(tool, Known(said, {}), scene.rng)
    call = PlannedCall(tool.name, written(arguments))
    return Plan(rounds=((call,),), text=phrases.claimed_success(scene.rng))


def _action(scene: Scene) -> str | None:
    return scene.turn.expectation.action if scene.turn.expectation else None


def _by_weight(rng: random.Random) -> Iterator[Kind]:
    """Yield all kinds, heavier ones likely first (weighted sampling without replacement)."""
    yield from sorted(WEIGHTS, key=lambda kind: rng.random() ** (1 / WEIGHTS[kind]), reverse=True)


def _likeness(some: set[str], others: set[str]) -> float:
    return len(some & others) / max(1, len(some | others))


def _tool_words(tool: Tool) -> set[str]:
    return _words(f"{tool.name} {tool.description} {canonical_json(tool.parameters)}")


def _words(text: str) -> set[str]:
    """Return the words that tell something, without their plural."""
    cleaned = "".join(c if c.isalnum() else " " for c in text.lower())
    return {word.rstrip("s") for word in cleaned.split() if len(word) > 2} - _COMMON
