"""What tasks are asked for: kinds by their shares, tools and values evenly, all of it seeded.

Every order takes the kind that is furthest behind its share, the tool that is used least, and of
that tool what has been covered least. Nothing is drawn that a coverage report would show later, so
a longer list begins with the shorter one: a higher count only adds orders.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from distill.collect.authoring.points import Point, points_of
from distill.types import Frozen, Json, Kind, Tool, ToolSet

PERSONAS = (
    "someone in a hurry, on a telephone",
    "a patient person who explains why",
    "a colleague who knows the system well",
    "a newcomer who does not know the right words",
    "someone who is annoyed because it went wrong before",
    "a manager who delegates in one line",
    "an older person who writes full sentences",
    "a student who writes as one speaks",
    "someone who writes English as a second language",
    "a careful person who repeats what matters",
)
STYLES = (
    "one short imperative sentence",
    "a polite question",
    "two sentences, the reason first",
    "chatty, with a detail that does not matter",
    "terse, no verb where none is needed",
    "lower case, one harmless typing error",
    "indirect: a wish or an observation rather than a command",
    "formal",
)
MOST_POINTS = 2
"""Most values that one order prescribes for a tool."""


class Order(Frozen):
    """One task to be written."""

    id: str
    kind: Kind
    tools: tuple[str, ...] = ()
    """Tools that a right answer calls; for a missing parameter, the tool that lacks it."""
    points: tuple[Point, ...] = ()
    """What the calls show."""
    lacks: str | None = None
    """The required parameter that the request leaves out."""
    near: str | None = None
    """The tool that the request sounds like, and that is not the one to call."""
    fault: str | None = None
    """once, always: how often the tool fails."""
    turns: int = 1
    """Things the user says."""
    persona: str = ""
    style: str = ""
    setup: dict[str, Json] = {}
    """Keywords of the environment the task starts from."""


def draw_orders(
    toolset: ToolSet,
    shares: Mapping[Kind, float],
    count: int,
    seed: int,
    personas: Sequence[str] = PERSONAS,
) -> list[Order]:
    """Return `count` orders.

    Args:
        toolset: The tool set.
        shares: Kind -> its share; kinds the tool set allows no task of are left out.
        count: How many.
        seed: Seed of what is not a matter of coverage: who asks, how, which of equals.
        personas: Who may ask.
    """
    desk = _Desk(toolset, seed, personas)
    possible = {kind: share for kind, share in shares.items() if share > 0 and desk.allows(kind)}
    total = sum(possible.values())
    made: Counter[Kind] = Counter()
    orders = []
    for number in range(count):
        kind = max(possible, key=lambda k: possible[k] / total * (number + 1) - made[k])
        made[kind] += 1
        orders.append(desk.draw(kind, number, made[kind]))
    return orders


class _Desk:
    """Keeps count of what has been ordered."""

    def __init__(self, toolset: ToolSet, seed: int, personas: Sequence[str]) -> None:
        self.tools = {tool.name: tool for tool in toolset.tools}
        self.points = points_of(toolset)
        self.lacking = {
            name: tuple(tool.parameters.get("required", ())) for name, tool in self.tools.items()
        }
        self.seed, self.personas = seed, personas
        self.used: Counter[str] = Counter()
        self.shown: Counter[str] = Counter()

    def allows(self, kind: Kind) -> bool:
        if kind is Kind.CHOOSE:
            return len(self.tools) > 1
        return kind is not Kind.MISSING or any(self.lacking.values())

    def draw(self, kind: Kind, number: int, nth: int) -> Order:
        rng = random.Random(f"{self.seed}/{number}")
        persona, style = rng.choice(self.personas), rng.choice(STYLES)
        order = Order(id=f"g{number:05}", kind=kind, persona=persona, style=style)
        match kind:
            case Kind.CHAT:
                return order
            case Kind.NO_TOOL:
                return order.model_copy(update={"near": rng.choice(list(self.tools))})
            case Kind.MISSING:
                return order.model_copy(update=self._missing(rng))
        names = [self._tool(rng) for _ in range(2 if kind is Kind.PARALLEL else 1)]
        more: dict[str, object] = {"tools": tuple(names), "points": self._points(names, rng)}
        if kind is Kind.CHOOSE:
            more["near"] = self._sounding_like(names[0])
        elif kind is Kind.TOOL_FAILED:
            more["fault"] = "once" if nth % 2 else "always"
        elif kind is Kind.MULTI_TURN:
            more["turns"] = 2 + nth % 2
        return order.model_copy(update=more)

    def _tool(self, rng: random.Random, among: Sequence[str] = ()) -> str:
        names = list(among or self.tools)
        chosen = min(names, key=lambda name: (self.used[name], rng.random()))
        self.used[chosen] += 1
        return chosen

    def _points(self, names: Sequence[str], rng: random.Random) -> tuple[Point, ...]:
        chosen: list[Point] = []
        for name in dict.fromkeys(names):
            mine = [point for point in self.points if point.tool == name]
            mine.sort(key=lambda point: (self._times(point), rng.random()))
            one_each = {point.parameter: point for point in reversed(mine)}
            wanted = [point for point in mine if one_each[point.parameter] == point]
            chosen += wanted[:MOST_POINTS]
        for point in chosen:
            self.shown[str(point)] += 1
        return tuple(chosen)

    def _times(self, point: Point) -> int:
        return self.shown[str(point)]

    def _missing(self, rng: random.Random) -> dict[str, object]:
        name = self._tool(rng, [name for name, required in self.lacking.items() if required])
        lacks = min(
            self.lacking[name], key=lambda one: (self.shown[f"{name} lacks {one}"], rng.random())
        )
        self.shown[f"{name} lacks {lacks}"] += 1
        return {"tools": (name,), "lacks": lacks}

    def _sounding_like(self, name: str) -> str:
        """Return the other tool whose name, parameters and description share most words."""
        mine = _words(self.tools[name])
        others = [one for one in self.tools if one != name]
        return max(others, key=lambda one: len(mine & _words(self.tools[one])))


def _words(tool: Tool) -> set[str]:
    text = f"{tool.name.replace('_', ' ')} {tool.description}"
    return {*text.casefold().split(), *tool.parameters.get("properties", {})}
