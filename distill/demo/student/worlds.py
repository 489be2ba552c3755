"""Small worlds: tools, values and requests that belong together, written by hand.

Random tools teach copying and form, but their requests say little that a person would. A world is
one file in `tables/worlds/`: a dozen tools around one place of work with sentences for what people
want there, mostly said by its cause ("the choir cannot read the notes"). A dialogue offers some of
its tools, now and then beside those of another world; a request whose tool is not offered becomes
one that no tool fits.

    role: the pump house of a mine            # who the assistant works for
    values:
      shaft: {north: north shaft / the old shaft, deep: deep shaft}   # JSON value: ways to say it
      step: 0..5                              # whole numbers
      dose: 5..900 grams                      # numbers with a unit of `wording.UNITS`
      shafts: some shaft                      # several of them
      zone: places                            # other places in every dialogue
      hour: clock                             # or a name of `KINDS`
    tools:
      run_pump:
        about: "Run a pump: water, flood."
        takes: {shaft: shaft, step: step, delay~: minutes, wet=true: flag}
        tells: "step: 0 off, 5 full"
        asks: "shaft: Which shaft? / In which one?; step: How strong?"
        says: The pump in {shaft} runs at {step}.
    requests:
      run_pump shaft step=0: |                # a call: given values, then fixed ones
        The {shaft} is dry by now
      read_level shaft=a > run_pump shaft=b step=@metres: |    # a call that needs a result
        As many steps in {b} as there are metres of water in {a}
      run_pump shaft step + ring_bell: |      # calls side by side
        {shaft} at {step}, and warn them all
      ask run_pump ?step: |                   # everything required but the step is said
        Do something about the water in {shaft}
      none mend a rope: |                     # no tool fits
        The rope is torn
      chat You are welcome. / Any time.: |
        Thanks, that was quick
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import lexicon, makers, wording
from .makers import World as Day
from .wording import Value

FOLDER = Path(__file__).with_name("tables") / "worlds"

Draw = Callable[[random.Random, Day], Value]
Drawn = dict[str, Value]
"""Variable of a request -> its value."""


@dataclass(frozen=True)
class Kind:
    """Values of one parameter: their JSON Schema and how to draw one."""

    schema: dict[str, Any]
    draw: Draw


@dataclass(frozen=True)
class Taken:
    """One parameter of a tool."""

    kind: str
    about: str
    questions: tuple[str, ...]
    required: bool
    default: Any = None
    """What the schema gives as default; None: no default."""


@dataclass(frozen=True)
class Tool:
    """One tool of a world."""

    name: str
    about: str
    takes: dict[str, Taken]
    gives: dict[str, str]
    """Field of the result -> kind; empty for tools that only do something."""
    says: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A call that a request leads to: parameter -> variable, or a fixed value, or a field."""

    tool: str
    variables: dict[str, str]
    fixed: dict[str, Any]
    fields: dict[str, str]
    """Parameter -> field of the result of the step before."""


@dataclass(frozen=True)
class Group:
    """Sentences that mean the same."""

    steps: tuple[tuple[Call, ...], ...]
    """Calls side by side, one step after the other; empty when nothing is called."""
    missing: str
    """Parameter of the only call that is not said; empty: none."""
    sort: str
    """"call", "ask", "none" or "chat"."""
    answers: tuple[str, ...]
    sentences: tuple[str, ...]

    @property
    def tools(self) -> set[str]:
        """The tools it needs."""
        return {call.tool for step in self.steps for call in step}


@dataclass(frozen=True)
class World:
    """One file."""

    role: str
    kinds: dict[str, Any]
    tools: dict[str, Tool]
    groups: tuple[Group, ...]


@functools.cache
def worlds() -> tuple[World, ...]:
    """Read every world."""
    return tuple(_world(yaml.safe_load(path.read_text("utf-8"))) for path in _files())


def _files() -> list[Path]:
    return sorted(FOLDER.glob("*.yaml"))


# --- reading ----------------------------------------------------------------------------------


def _world(text: dict[str, Any]) -> World:
    tools = {name: _tool(name, row) for name, row in text["tools"].items()}
    kinds = {*text["values"], *KINDS}
    groups = tuple(_group(key, lines, tools, kinds) for key, lines in text["requests"].items())
    for group in groups:
        for step in group.steps:
            for call in step:
                known = set(tools[call.tool].takes)
                strange = {*call.variables, *call.fixed, *call.fields} - known
                assert not strange, f"{text['role']}: {call.tool} takes no {strange}"
    return World(text["role"], text["values"], tools, groups)


def _tool(name: str, row: dict[str, Any]) -> Tool:
    takes = {}
    tells, asks = _cells(row.get("tells", "")), _cells(row.get("asks", ""))
    for key, kind in row.get("takes", {}).items():
        bare, _, default = key.partition("=")
        plain = bare.removesuffix("~")
        takes[plain] = Taken(
            kind, tells.get(plain, ""), _split(asks.get(plain)),
            plain == key, yaml.safe_load(default) if default else None,
        )  # fmt: skip
    return Tool(name, row["about"], takes, row.get("gives", {}), _split(row["says"]))


def _group(key: str, lines: str, tools: dict[str, Tool], kinds: set[str]) -> Group:
    sentences = tuple(line.strip() for line in lines.splitlines() if line.strip())
    sort, _, rest = key.partition(" ")
    if sort in ("none", "chat"):
        return Group((), "", sort, _split(rest), sentences)
    if sort == "ask":
        (missing,) = re.findall(r" \?(\w+)", rest)
        call = _call(re.sub(r" \?\w+", "", rest), kinds)
        others = [k for k, t in tools[call.tool].takes.items() if t.required and k != missing]
        said = {key: key for key in others if key not in call.fixed}
        call = Call(call.tool, said | call.variables, call.fixed, {})
        return Group(((call,),), missing, sort, (), sentences)
    steps = tuple(
        tuple(_call(call, kinds) for call in step.split(" + ")) for step in key.split(" > ")
    )
    return Group(steps, "", "call", (), sentences)


def _call(text: str, kinds: set[str]) -> Call:
    tool, *parts = re.findall(r"(?:[^\s\[]|\[[^\]]*\])+", text)
    call = Call(tool, {}, {}, {})
    for part in parts:
        key, given, value = part.partition("=")
        if not given:
            call.variables[key] = key
        elif value.startswith("@"):
            call.fields[key] = value[1:]
        elif value in kinds or value in "abcd":
            call.variables[key] = value
        else:
            call.fixed[key] = yaml.safe_load(value)
    return call


def _cells(text: str) -> dict[str, str]:
    """Split "key: text; key: text"."""
    pairs = (part.split(": ", 1) for part in text.split("; ") if part)
    return {key: value for key, value in pairs}


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(" / ")) if text else ()


# --- values -----------------------------------------------------------------------------------

KINDS: dict[str, tuple[dict[str, Any], Draw]] = {
    "clock": ({"type": "string", "format": "time"}, lambda rng, day: wording.clock(rng)),
    "day": ({"type": "string", "format": "date"}, lambda rng, day: wording.day(rng, day.today)),
    "person": ({"type": "string"}, lambda rng, day: makers.same(lexicon.person(rng))),
    "code": ({"type": "string"}, lambda rng, day: makers.same(makers.code(rng))),
    "percent": (
        {"type": "integer", "minimum": 0, "maximum": 100}, lambda rng, day: wording.share(rng),
    ),
    "minutes": (
        {"type": "integer"}, lambda rng, day: wording.quantity(rng, "minutes", 1, 120),
    ),
    "flag": ({"type": "boolean"}, lambda rng, day: Value(rng.random() < 0.5, "", "")),
}  # fmt: skip


def kinds_of(world: World, rng: random.Random) -> dict[str, Kind]:
    """Settle for one dialogue which values the parameters of a world can take."""
    made: dict[str, Kind] = {}
    for name, row in world.kinds.items():
        some = str(row).startswith("some ")
        made[name] = _some(made[str(row)[5:]]) if some else _kind(rng, row)
    return {name: Kind(*row) for name, row in KINDS.items()} | made


def _kind(rng: random.Random, row: Any) -> Kind:
    if isinstance(row, dict):
        return _enum(rng, {key: _split(ways) or (str(key),) for key, ways in row.items()})
    if row == "places":
        found = {p.replace(" ", "_"): (p,) for p in (lexicon.place(rng) for _ in range(5))}
        return _enum(rng, found)
    if row == "weekdays":
        return Kind(*makers.MAKERS["weekdays"](rng, row))
    span, _, unit = str(row).partition(" ")
    if ".." not in span:
        return Kind(*KINDS[row])
    low, high = (int(end) for end in span.split(".."))
    bounds = {"minimum": low, "maximum": high} if high <= 100 else {}
    if unit:
        return Kind({"type": "integer"}, lambda rng, day: wording.quantity(rng, unit, low, high))
    return Kind({"type": "integer"} | bounds, lambda rng, day: wording.number(rng, low, high))


def _enum(rng: random.Random, ways: Mapping[str, tuple[str, ...]]) -> Kind:
    names = list(ways)
    if rng.random() < 0.5:
        rng.shuffle(names)

    def draw(rng: random.Random, day: Day) -> Value:
        name = rng.choice(names)
        return Value(name, rng.choice(ways[name]), ways[name][0])

    return Kind({"type": "string", "enum": names}, draw)


def _some(one: Kind) -> Kind:
    """Several different values of a kind."""
    names = one.schema["enum"]

    def draw(rng: random.Random, day: Day) -> Value:
        if rng.random() < 0.1:
            return Value(list(names), "whole place", "all of it")
        count = rng.choice((1, 1, 1, 2, 2, 3))
        found = {v.json: v for v in (one.draw(rng, day) for _ in range(count))}
        said = wording.joined([v.said for v in found.values()])
        return Value(list(found), said, said)

    items = {"type": "string", "enum": names}
    return Kind({"type": "array", "items": items, "uniqueItems": True}, draw)


def schema_of(tool: Tool, kinds: dict[str, Kind], style: int) -> dict[str, Any]:
    """Return a tool in the OpenAI shape; `style` picks how parameters are described."""
    properties = {}
    for key, taken in tool.takes.items():
        about = taken.about or ("" if style else key.replace("_", " ").capitalize())
        properties[key] = kinds[taken.kind].schema | (
            {"description": f"{about[0].upper()}{about[1:].rstrip('.')}."} if about else {}
        )
        if taken.default is not None:
            properties[key] = properties[key] | {"default": taken.default}
    required = [key for key, taken in tool.takes.items() if taken.required]
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required or style != 1:
        parameters["required"] = required
    if style == 2:
        parameters["additionalProperties"] = False
    function = {"name": tool.name, "description": tool.about, "parameters": parameters}
    return {"type": "function", "function": function}


def drawn_for(
    group: Group, world: World, kinds: dict[str, Kind], rng: random.Random, day: Day
) -> Drawn:
    """Draw the values of a request's variables; two of one kind differ."""
    found: Drawn = {}
    for call in (call for step in group.steps for call in step):
        for key, name in call.variables.items():
            if name in found:
                continue
            kind = kinds[world.tools[call.tool].takes[key].kind]
            taken = [value.json for value in found.values()]
            found[name] = kind.draw(rng, day)
            for _ in range(20):
                if found[name].json not in taken:
                    break
                found[name] = kind.draw(rng, day)
    return found


def arguments_of(call: Call, tool: Tool, drawn: Drawn, result: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call in the order of the tool's parameters, defaults left out."""
    given = {key: drawn[name].json for key, name in call.variables.items() if name in drawn}
    given |= call.fixed | {key: result[field] for key, field in call.fields.items()}
    return {
        key: given[key] for key, taken in tool.takes.items()
        if key in given and given[key] != taken.default
    }  # fmt: skip


def result_of(tool: Tool, kinds: dict[str, Kind], rng: random.Random, day: Day) -> dict[str, Any]:
    """Make up what a tool gives back; only tools that tell something have fields."""
    found = {f: kinds[k] if k in kinds else _kind(rng, k) for f, k in tool.gives.items()}
    return {name: kind.draw(rng, day).json for name, kind in found.items()}


def sentences() -> Iterator[str]:
    """Every sentence of every world."""
    for world in worlds():
        for group in world.groups:
            yield from group.sentences


def names() -> tuple[set[str], set[str]]:
    """Return the names of all tools and of all parameters."""
    tools = [tool for world in worlds() for tool in world.tools.values()]
    return {t.name for t in tools}, {key for t in tools for key in t.takes}
