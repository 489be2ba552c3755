"""Random tools: deeds, readings and searches over the things of a workplace.

A `RandomTool` is one tool with what is needed to talk about it; a `Toolbox` is what one dialogue
offers (2 to 12 of them, often with near-identical neighbours). Dialogues are written in
`dialogues`; here nothing is said yet.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from . import lexicon
from .actions import Deed, Reading, deeds, opposites, readings
from .lexicon import Noun
from .makers import World
from .slots import TERSE, Slot, glossed, shared, slot, toggle

IDENTITY = (
    "code",
    "code",
    "code",
    "named",
    "spot_enum",
    "spot_enum",
    "spot_enum",
    "spot",
    "spots_list",
)
DETAILS = (
    "person person spot spot_enum count kg grams cm mm metres litres crowns minutes minutes hours "
    "days seconds degrees points share share decimal day day day clock clock moment note note "
    "wording wording phone mail words_list people_list codes_list weekdays contact box stretch "
    "parts choice choice choice choice choice choice choice flag flag flag flag maker "
    "count grade grade grade spots_list hours_span"
).split()
FILTERS = "person spot spot_enum choice choice day maker crowns limit".split()
SEARCH_STEMS = ("find", "search", "list", "browse", "query")
SWITCH_STEMS = ("turn", "manage", "govern", "steer", "handle")
READ_STEMS = ("read", "get", "show", "look_up", "fetch")
SCOPES = (
    ("", "", "", "all_", "Applies to every one at once.", "every single one of"),
    ("", "", "", "_draft", "Only prepares it; nothing happens yet.", "as a draft only,"),
    ("_now", "Happens at once.", "right away", "_later", "Happens at a later time.", "later on"),
    ("_once", "For a single time.", "just once", "_series", "For a series.", "as a series"),
)


@dataclass(frozen=True)
class RandomTool:
    """One tool: exactly one of `deed` and `reading` is set, or neither (a search)."""

    name: str
    description: str
    noun: Noun
    slots: tuple[Slot, ...]
    deed: Deed | None = None
    opposite: Deed | None = None
    """What the tool does instead when its toggle says so."""
    reading: Reading | None = None
    scope: str = ""
    """Words that tell the tool from its near-identical twin."""
    cues: tuple[str, ...] = ()
    """Words in the description that users mention instead of saying what to do."""

    def schema(self, style: int) -> dict[str, Any]:
        """Return the tool in the OpenAI shape; `style` picks one of the usual key orders."""
        properties = {s.key: _ordered(s.schema, style) for s in self.slots}
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        required = [s.key for s in self.slots if s.required]
        if required or style == 0:
            parameters["required"] = required
        if style != 1:
            parameters["additionalProperties"] = False
        if style == 3:
            parameters = dict(sorted(parameters.items()))
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": parameters,
        }
        return {"type": "function", "function": function}

    @property
    def required(self) -> tuple[Slot, ...]:
        """The slots that must be given."""
        return tuple(s for s in self.slots if s.required)


@dataclass(frozen=True)
class Toolbox:
    """The tools of one dialogue."""

    workplace: lexicon.Workplace
    tools: tuple[RandomTool, ...]
    style: int

    def schemas(self) -> list[dict[str, Any]]:
        """Return the tools in the OpenAI shape."""
        return [tool.schema(self.style) for tool in self.tools]


def toolbox(rng: random.Random, world: World) -> Toolbox:
    """Draw the tools of one dialogue."""
    workplace = rng.choice(lexicon.workplaces())
    size = rng.choice((2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12))
    nouns = [_noun(rng, workplace) for _ in range(max(1, rng.randint(size // 4, size // 2 + 1)))]
    camel = rng.random() < 0.08
    found: dict[str, RandomTool] = {}
    common = shared(rng, nouns[0]) if rng.random() < 0.6 else ()
    make = Maker(rng, world, _cues(rng), common, terse=rng.random() < 0.3)
    while len(found) < size:
        for tool in make.neighbours(rng.choice(nouns)):
            if not _clashes(tool, found):
                name = _camel(tool.name) if camel else tool.name
                found[name] = RandomTool(**{**tool.__dict__, "name": name})
    tools = list(found.values())[:12]
    rng.shuffle(tools)
    return Toolbox(workplace, tuple(tools), rng.choice((0, 0, 0, 0, 1, 2, 3)))


def _cues(rng: random.Random) -> Iterator[str]:
    known = list(lexicon.words(lexicon.EVERYDAY) + lexicon.words(lexicon.ADJECTIVES))
    rng.shuffle(known)
    return (word if rng.random() < 0.7 else lexicon.invented(rng) for word in known)


def names() -> set[str]:
    """Every name a tool of a known thing can have, without twins and camel case."""
    nouns = [noun for place in lexicon.workplaces() for noun in place.nouns]
    found = {f"{stem}_{noun.stem}" for d in deeds() for stem in d.stems for noun in nouns}
    found |= {f"{stem}_{noun.stem}" for stem in SWITCH_STEMS for noun in nouns}
    found |= {
        f"{verb}_{noun.stem}_{reading.stem}"
        for verb in READ_STEMS for reading in readings() for noun in nouns
    }  # fmt: skip
    return found | {f"{verb}_{_plural_stem(noun)}" for verb in SEARCH_STEMS for noun in nouns}


def _noun(rng: random.Random, workplace: lexicon.Workplace) -> Noun:
    return lexicon.invented_noun(rng) if rng.random() < 0.35 else rng.choice(workplace.nouns)


def _clashes(tool: RandomTool, found: dict[str, RandomTool]) -> bool:
    """Whether a tool of the same purpose is there already (twins differ in scope)."""
    return any(
        t.noun == tool.noun and t.reading == tool.reading and t.scope == tool.scope
        and bool(t.deed) == bool(tool.deed)
        and (not tool.deed or {t.deed, t.opposite} & {tool.deed, tool.opposite} - {None})
        for t in found.values()
    )  # fmt: skip


@dataclass(frozen=True)
class Maker:
    """Draws single tools for one toolbox."""

    rng: random.Random
    world: World
    cues: Iterator[str]
    """Words that no tool of the box has been given yet."""
    common: tuple[Slot, ...]
    """The choice of places that tools share (one place, several), if there is one."""
    terse: bool

    def neighbours(self, noun: Noun) -> list[RandomTool]:
        """Draw a tool, sometimes with its twin or with the search that finds its codes."""
        kind = self.rng.random()
        if kind < 0.2:
            return [self._cued(self._reading(noun))]
        if kind < 0.27:
            return [self._search(noun)]
        if kind < 0.45:
            tool = self._cued(self._switch(noun))
            coded = any(s.kind == "code" and s.required for s in tool.slots)
            return [tool, self._search(noun, small=True)] if coded else [tool]
        tool = self._deed(noun, self.rng.choice(deeds()))
        if kind < 0.65:
            coded = any(s.kind == "code" and s.required for s in tool.slots)
            return [tool, self._search(noun, small=True)] if coded else [self._cued(tool)]
        return _twins(self.rng, tool) if kind < 0.72 else [self._cued(tool)]

    def _cued(self, tool: RandomTool) -> RandomTool:
        """Let some descriptions list what the tool is for."""
        rng = self.rng
        if rng.random() < 0.4:
            return tool
        cues = tuple(itertools.islice(self.cues, rng.choice((2, 3, 3, 4, 5))))
        about = tool.description.rstrip(".")
        listed = ", ".join(cues)
        many = f"{', '.join(cues[:-1])} and {cues[-1]}"
        description = rng.choice((
            f"{about}. For {many}.", f"{about} ({listed}).", f"{about}: {listed}.",
            f"{about}. Covers {many}.", f"{about}; also for {many}.",
        ))  # fmt: skip
        return replace(tool, description=description, cues=cues)

    def _identity(self, noun: Noun, often: float) -> list[Slot]:
        """Draw the slot that says which thing is meant, or none."""
        rng = self.rng
        if rng.random() >= often:
            return []
        if self.common and rng.random() < 0.7:
            return [self.common[rng.random() < 0.25]]
        return [slot(rng, rng.choice(IDENTITY), noun)]

    def _deed(self, noun: Noun, deed: Deed) -> RandomTool:
        rng = self.rng
        number = rng.choice((0, 1, 1, 1, 2, 2, 3, 4))
        made = self._identity(noun, 0.8)
        made += [slot(rng, rng.choice(DETAILS), noun) for _ in range(number)]
        slots = self._kept(made or [slot(rng, "day", noun)])
        thing = self._thing(noun)
        name = f"{rng.choice(deed.stems)}_{noun.stem}"
        return RandomTool(name, deed.purpose.replace("{n}", thing), noun, slots, deed=deed)

    def _switch(self, noun: Noun) -> RandomTool:
        """Draw a tool that does a deed or its opposite."""
        rng = self.rng
        on, off = rng.choice(opposites())
        turned = toggle(rng, rng.choice(on.stems), rng.choice(off.stems))
        if rng.random() < 0.5:
            turned = glossed(rng, turned)
        if rng.random() < 0.25:
            turned = replace(
                turned, required=False, schema=turned.schema | {"default": turned.schema.get(
                    "enum", [True])[0]},
            )  # fmt: skip
        made = [*self._identity(noun, 0.9), turned]
        made += [slot(rng, rng.choice(DETAILS), noun)] if rng.random() < 0.4 else []
        thing = self._thing(noun)
        about = on.purpose.rstrip(".").replace("{n}", thing)
        about = f"{about}, or {off.purpose[0].lower()}{off.purpose[1:]}".replace("{n}", "it")
        name = f"{rng.choice(SWITCH_STEMS)}_{noun.stem}"
        return RandomTool(name, about, noun, self._kept(made), deed=on, opposite=off)

    def _reading(self, noun: Noun) -> RandomTool:
        rng = self.rng
        reading = rng.choice(readings())
        made = self._identity(noun, 0.85)
        if rng.random() < 0.2:
            made.append(slot(rng, rng.choice(("day", "choice", "flag")), noun))
        name = f"{rng.choice(READ_STEMS)}_{noun.stem}_{reading.stem}"
        unit = f" in {reading.unit}" if reading.unit and rng.random() < 0.5 else ""
        about = reading.purpose.replace("{n}", self._thing(noun)) + unit + "."
        return RandomTool(name, about, noun, self._kept(made), reading=reading)

    def _search(self, noun: Noun, small: bool = False) -> RandomTool:
        rng, world = self.rng, self.world
        made = [self.common[0]] if self.common and rng.random() < 0.6 else []
        kinds = rng.sample(FILTERS, rng.choice((0, 1, 1, 2) if small and made else (1, 1, 2, 3)))
        slots = self._kept([*made, *(slot(rng, kind, noun) for kind in kinds)])
        loose = rng.random() < 0.3
        slots = tuple(
            s.optional(rng, world) if s.required and (i > 1 or loose) else s
            for i, s in enumerate(slots)
        )
        many = lexicon.plural(noun.name)
        about = rng.choice(("Find {n} and their codes.", "List {n} that fit.", "Look up {n}."))
        name = f"{rng.choice(SEARCH_STEMS)}_{_plural_stem(noun)}"
        return RandomTool(name, about.replace("{n}", many), noun, slots)

    def _thing(self, noun: Noun) -> str:
        return f"{lexicon.article(noun.name)} {noun.name}" if self.rng.random() < 0.7 else noun.name

    def _kept(self, made: list[Slot]) -> tuple[Slot, ...]:
        """Drop slots that clash, let some be optional, shorten descriptions in terse boxes."""
        rng = self.rng
        found: dict[str, Slot] = {}
        used: set[str] = set()
        for position, new in enumerate(made):
            kind = "spot" if new.kind.startswith("spot") else new.kind
            if (kind in used and kind != "choice") or new.key in found:
                continue
            used.add(kind)
            keep = 0.9 if position == 0 else 0.25 if kind == "flag" else 0.6
            fixed = kind == "toggle" or rng.random() < keep
            found[new.key] = new if fixed else new.optional(rng, self.world)
        slots = sorted(found.values(), key=lambda s: not s.required)
        if not self.terse:
            return tuple(slots)
        plain = ("grade", "toggle")
        return tuple(
            s if s.kind in plain or s.glosses else replace(s, schema=s.schema | {
                "description": rng.choice(TERSE.get(s.kind, ("Which.", "What.")))
            }) for s in slots
        )  # fmt: skip


def _twins(rng: random.Random, tool: RandomTool) -> list[RandomTool]:
    """Make two tools that differ in scope only."""
    end1, about1, said1, end2, about2, said2 = rng.choice(SCOPES)
    second = f"{end2}{tool.name}" if end2.endswith("_") else f"{tool.name}{end2}"
    slots = tool.slots
    if end2 == "all_":
        slots = tuple(s for s in slots if s.kind not in IDENTITY)
    make = tool.__dict__
    about = tool.description
    return [
        RandomTool(**make | {
            "name": tool.name + end1, "description": f"{about} {about1}".strip(), "scope": said1,
        }),
        RandomTool(**make | {
            "name": second, "description": f"{about} {about2}", "scope": said2, "slots": slots,
        }),
    ]  # fmt: skip


def _plural_stem(noun: Noun) -> str:
    return Noun(lexicon.plural(noun.name), ()).stem


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _ordered(schema: dict[str, Any], style: int) -> dict[str, Any]:
    """Order the keys of one parameter: type, sorted rest, description, default (style 0)."""
    if style == 2:
        return {**{"description": schema.get("description", "")}, **schema}
    if style == 3:
        return dict(sorted(schema.items()))
    ends = ("description", "default")
    middle = sorted(key for key in schema if key not in ("type", "properties", *ends))
    keys = [key for key in ("type", "properties", *middle, *ends) if key in schema]
    return {key: schema[key] for key in keys}
