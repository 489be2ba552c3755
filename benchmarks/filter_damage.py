"""Claim: the filter finds the errors that spoil training data, and little else.

Traces are collected from the shipped tool sets with the embedded teacher's script (no mistakes; the
tools really run). Then each kind of error is planted by itself at a known rate, and what the filter
drops (or cuts off) is compared with what was planted:

    recall      planted errors that were dropped
    precision   of the dropped traces, those with a planted error
    named       of the caught ones, those dropped for the reason that was planted

once with the tasks' expectations and, where errors can be found without, once `blind`: expectations
removed, so that grounding (and agreement of three samples) is all there is. Below it, the five
damage scenarios: what share of the traces is wrong before and after.

    python benchmarks/filter_damage.py [--tasks 400] [--rate 0.2] [--seed 0]

Prints two tables; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill.config import FilterConfig, RenamesConfig
from distill.demo.teacher.script import Script
from distill.episode import run_episode
from distill.filter.assembly import Assembly
from distill.filter.contamination import Suites
from distill.filter.drift import Drift
from distill.filter.mistakes import Situation, wrong_tool
from distill.filter.screening import screen
from distill.filter.sources import leaves
from distill.filter.subject import Rules, Subject
from distill.matching import call_problem
from distill.toolsets import LoadedToolSet, load_tasks, load_toolset
from distill.traces import Trace
from distill.types import (
    AssistantMessage,
    Json,
    Message,
    StopReason,
    Tool,
    ToolCall,
    ToolMessage,
    ToolSet,
    Turn,
)

ROOT = Path(__file__).parents[1]
SETS = ("home", "retail", "travel")
SAMPLES = 3
"""Samples per task where agreement is all there is."""


class ScriptTeacher:
    """The embedded teacher's script, asked without a server between."""

    provider, model, terms = "openai_chat", "demo-script", "Free to train on."
    settings: dict[str, Json] = {}

    def __init__(self, script: Script) -> None:
        self._script = script

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Answer as the script does."""
        answer = self._script.answer(messages, frozenset(tool.name for tool in tools))
        stop = StopReason.TOOL_CALLS if answer.tool_calls else StopReason.END
        return Turn(message=answer, stop=stop)


@dataclass(frozen=True)
class World:
    """One tool set with clean traces."""

    loaded: LoadedToolSet
    traces: list[Trace]

    @property
    def toolset(self) -> ToolSet:
        """The tools."""
        return self.loaded.toolset


def collect(name: str, count: int, seed: int) -> World:
    """Run the script over `count` tasks of a tool set."""
    loaded = load_toolset(ROOT / "tools" / name)
    tasks = load_tasks(loaded, None, count, 7)
    teacher = ScriptTeacher(Script(loaded.toolset, tasks, seed=seed, error_rate=0))

    async def play() -> list[Trace]:
        return [
            await run_episode(
                task, loaded, teacher, key=f"{task.id}/{seed}", sample=seed, max_steps=12,
                tool_timeout_s=30,
            )
            for task in tasks
        ]  # fmt: skip

    return World(loaded, asyncio.run(play()))


# --- planting -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spot:
    """A call of a trace, where an error can be planted."""

    trace: Trace
    message: int
    call: ToolCall
    toolset: ToolSet
    rng: random.Random

    def changed(self, call: ToolCall | None) -> Trace:
        """Return the trace with another call there, or with none."""
        messages = list(self.trace.messages)
        answer = messages[self.message]
        assert isinstance(answer, AssistantMessage)
        calls = tuple(call if one is self.call else one for one in answer.tool_calls)
        kept = tuple(one for one in calls if one is not None)
        messages[self.message] = answer.model_copy(update={"tool_calls": kept})
        for n, message in enumerate(messages[self.message + 1 :], self.message + 1):
            if isinstance(message, ToolMessage) and message.tool_call_id == self.call.id and call:
                messages[n] = message.model_copy(update={"name": call.name})
                break
        return self.trace.model_copy(update={"messages": tuple(messages)})

    def with_arguments(self, arguments: dict[str, Json]) -> Trace:
        """Return the trace with other arguments there."""
        raw = json.dumps(arguments, ensure_ascii=False)
        return self.changed(self.call.model_copy(update={"arguments": raw}))

    @property
    def tool(self) -> Tool:
        """The tool called."""
        tool = self.toolset.get(self.call.name)
        assert tool is not None
        return tool


Plant = Callable[[Spot], Trace | None]


def malformed(spot: Spot) -> Trace | None:
    """Arguments that are not JSON."""
    raw = spot.call.arguments
    broken = spot.rng.choice((raw[:-1], raw[:-1] + ",}", raw.replace('"', "'")))
    return spot.changed(spot.call.model_copy(update={"arguments": broken})) if raw != "{}" else None


def unknown_tool(spot: Spot) -> Trace:
    """A tool that does not exist."""
    name = spot.rng.choice((f"{spot.call.name}_v2", spot.call.name.replace("_", "."), "do_it"))
    return spot.changed(spot.call.model_copy(update={"name": name if "." in name else f"{name}x"}))


def schema_invalid(spot: Spot) -> Trace | None:
    """Arguments the schema refuses: one dropped, one of another type, or one too many."""
    arguments = spot.call.parsed()
    required = [name for name in spot.tool.parameters.get("required", ()) if name in arguments]
    choices: list[dict[str, Json]] = [arguments | {"verbose": True}]
    if required:
        gone = spot.rng.choice(required)
        choices.append({name: value for name, value in arguments.items() if name != gone})
    if arguments:
        name = spot.rng.choice(sorted(arguments))
        choices.append(arguments | {name: {"value": arguments[name]}})
    spoilt = spot.with_arguments(spot.rng.choice(choices))
    return spoilt if _has_problem(spoilt, spot) else None


def unpaired(spot: Spot) -> Trace:
    """A result that is missing, doubled, or of another call."""
    messages = list(spot.trace.messages)
    at = next(
        n
        for n, m in enumerate(messages)
        if n > spot.message and isinstance(m, ToolMessage) and m.tool_call_id == spot.call.id
    )
    match spot.rng.randrange(3):
        case 0:
            del messages[at]
        case 1:
            messages.insert(at, messages[at])
        case _:
            messages[at] = messages[at].model_copy(update={"tool_call_id": "call_lost"})
    return spot.trace.model_copy(update={"messages": tuple(messages)})


def wrong_near_tool(spot: Spot) -> Trace | None:
    """The tool that resembles the right one most, with arguments it accepts."""
    alone = AssistantMessage(tool_calls=(spot.call,))
    said = " ".join(turn.content for turn in spot.trace.task.turns)
    wrong = wrong_tool(Situation(alone, said, None, spot.toolset, spot.rng))
    if wrong is None or call_problem(wrong.tool_calls[0], spot.toolset):
        return None
    return spot.changed(wrong.tool_calls[0])


def ungrounded(spot: Spot) -> Trace | None:
    """A number, word or date that nobody gave, where one was given."""
    return _other_value(spot, choice=False)


def wrong_choice(spot: Spot) -> Trace | None:
    """Another of the values a parameter may take."""
    return _other_value(spot, choice=True)


def missing_call(spot: Spot) -> Trace | None:
    """One of several calls left out, its result too."""
    if len([call for call in spot.trace.calls]) < 2:
        return None
    spoilt = spot.changed(None)
    answer = spoilt.messages[spot.message]
    assert isinstance(answer, AssistantMessage)
    messages = [
        m
        for n, m in enumerate(spoilt.messages)
        if not (isinstance(m, ToolMessage) and m.tool_call_id == spot.call.id)
        and not (n == spot.message and not answer.tool_calls)
    ]
    return spoilt.model_copy(update={"messages": tuple(messages)})


def call_as_text(spot: Spot) -> Trace:
    """A call written out in the closing words."""
    messages = list(spot.trace.messages)
    text = (
        f'<tool_call>{{"name": "{spot.call.name}", "arguments": {spot.call.arguments}}}</tool_call>'
    )
    messages[-1] = AssistantMessage(content=text)
    return spot.trace.model_copy(update={"messages": tuple(messages)})


def ignored_error(spot: Spot) -> Trace | None:
    """A result turned into an error that nobody takes note of."""
    messages = list(spot.trace.messages)
    results = [n for n, m in enumerate(messages) if isinstance(m, ToolMessage)]
    last = results[-1]
    message = messages[last]
    if not isinstance(message, ToolMessage) or message.is_error:
        return None
    content = json.dumps({"error": "E4711 upstream gateway"})
    messages[last] = message.model_copy(update={"content": content, "is_error": True})
    messages[-1] = AssistantMessage(content="All done, it worked.")
    return spot.trace.model_copy(update={"messages": tuple(messages)})


def secret(spot: Spot) -> Trace:
    """A token in a tool result."""
    letters = "".join(spot.rng.choices("abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789", k=36))
    token = spot.rng.choice(
        (f"ghp_{letters}", f"sk-ant-api03-{letters}", f"AKIA{letters[:16].upper()}")
    )
    messages = list(spot.trace.messages)
    at = next(n for n, m in enumerate(messages) if isinstance(m, ToolMessage))
    message = messages[at]
    text = (message.content or "")[:-1] + f', "token": "{token}"}}'
    messages[at] = message.model_copy(update={"content": text})
    return spot.trace.model_copy(update={"messages": tuple(messages)})


KINDS: dict[str, tuple[Plant, set[str]]] = {
    "schema_invalid": (schema_invalid, {"schema_violation"}),
    "unknown_tool": (unknown_tool, {"unknown_tool"}),
    "malformed": (malformed, {"malformed_arguments"}),
    "unpaired": (unpaired, {"unpaired", "role_order"}),
    "wrong_tool": (wrong_near_tool, {"wrong_tool", "missing_call", "extra_call"}),
    "ungrounded": (ungrounded, {"wrong_arguments", "ungrounded"}),
    "wrong_choice": (wrong_choice, {"wrong_arguments"}),
    "missing_call": (missing_call, {"missing_call", "incomplete"}),
    "call_as_text": (call_as_text, {"unparsed_call"}),
    "ignored_error": (ignored_error, {"ignored_error", "missing_mention"}),
    "secret": (secret, {"secret"}),
}
"""Kind -> how it is planted, and the codes that name it."""


def _other_value(spot: Spot, *, choice: bool) -> Trace | None:
    arguments = spot.call.parsed()
    found = [
        (path.split(".", 1)[1], value, schema)
        for path, value, schema in leaves(arguments, spot.tool.parameters, spot.call.name)
        if ("enum" in schema) is choice and value not in (None, True, False)
    ]
    spot.rng.shuffle(found)
    for path, value, schema in found:
        other = _invent(value, schema, spot.rng)
        spoilt = spot.with_arguments(_put(arguments, path, other))
        if other != value and not _has_problem(spoilt, spot) and not _right(spoilt, spot):
            return spoilt
    return None


def _invent(value: Json, schema: Any, rng: random.Random) -> Json:
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if isinstance(value, int):
        low, high = schema.get("minimum", 1), schema.get("maximum", 10 * abs(value) + 99)
        return rng.randint(int(low), int(high))
    if isinstance(value, float):
        return round(value * rng.uniform(1.1, 9) + rng.random(), 2)
    match schema.get("format"):
        case "date":
            return f"2027-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        case "time":
            return f"{rng.randint(0, 23):02}:{rng.randrange(0, 60, 5):02}"
    if "@" in value:
        return f"{rng.choice(('max', 'lea', 'tim'))}.{rng.randint(10, 99)}@mail.example"
    if any(map(str.isdigit, value)):
        return "".join(str(rng.randint(0, 9)) if sign.isdigit() else sign for sign in value)
    return rng.choice(("Quendale", "Brixton Hollow", "Zoltan Meer", "Ostara", "Pellworm"))


def _put(value: Json, path: str, new: Json) -> Json:
    """Return arguments with the leaf at `path` (as `leaves` writes it) replaced."""
    steps = [int(n) if n else key for n, key in re.findall(r"\[(\d+)\]|([^.\[]+)", path)]
    value = copy.deepcopy(value)
    place = value
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = new
    return value


def _has_problem(trace: Trace, spot: Spot) -> bool:
    return any(call_problem(call, spot.toolset) for call in trace.calls)


def _right(trace: Trace, spot: Spot) -> bool:
    return Subject(trace, Rules(spot.toolset)).literal_match.ok


def planted(
    world: World, plant: Plant, rate: float, rng: random.Random
) -> tuple[list[Trace], set[str]]:
    """Plant one error in a share of the traces that have a place for it; return which."""
    traces, spoilt = [], set()
    for trace in world.traces:
        changed = None
        if trace.calls and rng.random() < rate:
            changed = next(filter(None, map(plant, _spots(trace, world.toolset, rng))), None)
        traces.append(changed or trace)
        if changed is not None:
            spoilt.add(trace.key)
    return traces, spoilt


def _spots(trace: Trace, toolset: ToolSet, rng: random.Random) -> Iterator[Spot]:
    results = Subject(trace, Rules(toolset)).results
    calls = [
        (n, call)
        for n, message in enumerate(trace.messages)
        if isinstance(message, AssistantMessage)
        for call in message.tool_calls
        if not results[n, call.id].is_error
    ]
    for n, call in rng.sample(calls, len(calls)):
        yield Spot(trace, n, call, toolset, rng)


def blinded(trace: Trace) -> Trace:
    """Return the trace of a task that does not say what is right."""
    turns = tuple(turn.model_copy(update={"expectation": None}) for turn in trace.task.turns)
    task = trace.task.model_copy(update={"turns": turns, "end_state": None})
    return trace.model_copy(update={"task": task})


# --- judging ------------------------------------------------------------------------------------


def judged(traces: Sequence[Trace], rules: Rules) -> dict[str, str]:
    """Return key -> code for every trace the filter drops or cuts."""
    settings = FilterConfig(near_duplicates=None)
    with Assembly(settings, [], Suites([])) as assembly:
        assembly.take(screen((t.model_dump_json() for t in traces), rules, [], {}))
        decisions = assembly.decide(assembly.split())
        found = {}
        for one, decision in zip(assembly.screened(), decisions, strict=True):
            # Equal samples of one task are duplicates, which is no fault of theirs.
            faults = [v for v in (*one.verdicts, *decision.verdicts) if not v.ok]
            if faults and faults[0].stage != "duplicates":
                found[one.key] = faults[0].code
        return found


@dataclass(frozen=True)
class Count:
    """Errors planted and traces dropped."""

    planted: int = 0
    caught: int = 0
    dropped: int = 0
    named: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(*(a + b for a, b in zip(self.values, other.values, strict=True)))

    @property
    def values(self) -> tuple[int, int, int, int]:
        """The four numbers."""
        return self.planted, self.caught, self.dropped, self.named

    @property
    def summary(self) -> dict[str, Json]:
        """Shares."""
        return {
            "planted": self.planted,
            "precision": _share(self.caught, self.dropped),
            "recall": _share(self.caught, self.planted),
            "named": _share(self.named, self.caught),
        }


def counted(found: dict[str, str], spoilt: set[str], codes: set[str]) -> Count:
    """Compare what was dropped with what was planted."""
    caught = spoilt & found.keys()
    named = sum(found[key] in codes for key in caught)
    return Count(len(spoilt), len(caught), len(found), named)


def by_kind(worlds: Sequence[World], rate: float, seed: int) -> dict[str, Count]:
    """Plant each kind by itself, expectations in place."""
    counts: dict[str, Count] = {}
    for kind, (plant, codes) in KINDS.items():
        for number, world in enumerate(worlds):
            rng = random.Random(f"{seed}/{kind}/{number}")
            traces, spoilt = planted(world, plant, rate, rng)
            found = judged(traces, Rules(world.toolset))
            counts[kind] = counts.get(kind, Count()) + counted(found, spoilt, codes)
    return counts


def blind(samples: Sequence[Sequence[World]], rate: float, seed: int) -> dict[str, Count]:
    """Plant where no expectation helps: grounding alone, then agreement of all samples alone."""
    counts: dict[str, Count] = {}
    for kind in ("ungrounded", "wrong_tool", "wrong_choice"):
        plant = KINDS[kind][0]
        for number, worlds in enumerate(samples):
            rng = random.Random(f"{seed}/blind/{kind}/{number}")
            traces, spoilt = planted(worlds[0], plant, rate, rng)
            rules = Rules(worlds[0].toolset)
            alone = judged([blinded(trace) for trace in traces], rules)
            found = {
                "grounding": alone,
                "agreement": judged(
                    [blinded(t) for t in (*traces, *(t for w in worlds[1:] for t in w.traces))],
                    replace(rules, grounding=False),
                ),
            }
            for how, dropped in found.items():
                count = counted(dropped, spoilt, {"ungrounded", "minority"})
                counts[f"{kind}, {how}"] = counts.get(f"{kind}, {how}", Count()) + count
    return counts


# --- the five damage scenarios ------------------------------------------------------------------


def scenarios(worlds: Sequence[World], seed: int) -> dict[str, dict[str, Json]]:
    """Return what each scenario holds before and after the filter."""
    home, rng = worlds[0], random.Random(f"{seed}/scenarios")
    half, wrong = _half_wrong(home, rng)
    renamed, before, renames = _renamed(home)
    mixed = [trace for world in worlds for trace in world.traces]
    foreign = {trace.key for world in worlds[1:] for trace in world.traces}
    rules = Rules(home.toolset)
    mapped = replace(rules, drift=Drift(home.toolset, [before], renames))
    every = {trace.key for trace in renamed}
    return {
        "clean": _scenario(home.traces, set(), rules),
        "half the calls wrong": _scenario(half, wrong, rules),
        "renamed schema": _scenario(renamed, every, rules),
        "renamed schema, mapped": _scenario(renamed, set(), mapped),
        "five traces": _scenario(home.traces[:5], set(), rules),
        "mixed domain": _scenario(mixed, foreign, rules),
    }


def _half_wrong(world: World, rng: random.Random) -> tuple[list[Trace], set[str]]:
    plants = (wrong_near_tool, ungrounded, wrong_choice, missing_call)

    def any_of(spot: Spot) -> Trace | None:
        return next(filter(None, (plant(spot) for plant in rng.sample(plants, 4))), None)

    calling = World(world.loaded, [trace for trace in world.traces if trace.calls])
    return planted(calling, any_of, 0.5, rng)


def _renamed(world: World) -> tuple[list[Trace], ToolSet, RenamesConfig]:
    """Return the traces as an older tool set had them, that tool set, and the way back."""
    tools = {tool.name: f"{tool.name}_old" for tool in world.toolset.tools}
    keys = {
        tools[tool.name]: {key: f"old_{key}" for key in tool.parameters.get("properties", {})}
        for tool in world.toolset.tools
    }
    forth = RenamesConfig(tools=tools, parameters=keys)
    older = ToolSet(
        name=world.toolset.name,
        system=world.toolset.system,
        tools=tuple(_old_tool(tool, tools, keys) for tool in world.toolset.tools),
    )
    back = RenamesConfig(
        tools={new: old for old, new in tools.items()},
        parameters={name: {new: key for key, new in keys[tools[name]].items()} for name in tools},
    )
    drift = Drift(older, [world.toolset], forth)
    return [drift.migrated(trace) for trace in world.traces], older, back


def _old_tool(tool: Tool, tools: dict[str, str], keys: dict[str, dict[str, str]]) -> Tool:
    name, parameters = tools[tool.name], dict(tool.parameters)
    properties = parameters.get("properties", {})
    parameters["properties"] = {keys[name][key]: schema for key, schema in properties.items()}
    if "required" in parameters:
        parameters["required"] = [keys[name][key] for key in parameters["required"]]
    return Tool(name=name, description=tool.description, parameters=parameters)


def _scenario(traces: Sequence[Trace], wrong: set[str], rules: Rules) -> dict[str, Json]:
    kept = {trace.key for trace in traces} - judged(traces, rules).keys()
    right = len(traces) - len(wrong)
    return {
        "traces": len(traces),
        "wrong_before": _share(len(wrong), len(traces)),
        "kept": len(kept),
        "wrong_after": _share(len(kept & wrong), len(kept)),
        "right_kept": _share(len(kept - wrong), right),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _table(title: str, rows: dict[str, dict[str, Json]]) -> None:
    columns = list(next(iter(rows.values())))
    width = max(len(title), *map(len, rows)) + 2
    print(title.ljust(width) + "".join(column.rjust(14) for column in columns))
    for name, row in rows.items():
        cells = ("-" if row[c] is None else f"{row[c]:.1%}" if isinstance(row[c], float) else row[c]
                 for c in columns)  # fmt: skip
        print(name.ljust(width) + "".join(str(cell).rjust(14) for cell in cells))
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=400, help="tasks of each tool set")
    parser.add_argument("--rate", type=float, default=0.2, help="share of traces with an error")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    samples = [[collect(name, options.tasks, sample) for sample in range(SAMPLES)] for name in SETS]
    worlds = [worlds[0] for worlds in samples]
    kinds = {k: c.summary for k, c in by_kind(worlds, options.rate, options.seed).items()}
    blinds = {k: c.summary for k, c in blind(samples, options.rate, options.seed).items()}
    damage = scenarios(worlds, options.seed)
    _table("planted, with expectations", kinds)
    _table("planted, without", blinds)
    _table("scenario", damage)
    print(json.dumps({"kinds": kinds, "blind": blinds, "scenarios": damage}))


if __name__ == "__main__":
    main()
