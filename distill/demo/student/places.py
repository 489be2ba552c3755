"""Dialogues that take place in one of the worlds of `worlds`.

A dialogue offers most tools of a world, sometimes with tools of another one. Each user turn is one
of the world's requests, two of them in one sentence, or a follow-up to the last call: another
value, more or less of it, or the opposite. Tools fail now and then as in `scenes`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import wording
from .phrases import (
    ABSTAIN,
    AGAIN,
    ALSO,
    ASK_FIRST,
    CHANGES,
    FAILURES,
    HICCUPS,
    LESS,
    MORE,
    NO_TOOL,
    OPENERS,
    REPLIES,
    REPORTED,
    UNDO,
)
from .scenes import foreign, small_talk
from .sentences import filled
from .stage import Talk
from .wording import Value
from .worlds import (
    Call,
    Drawn,
    Group,
    Kind,
    Tool,
    World,
    arguments_of,
    drawn_for,
    kinds_of,
    result_of,
    schema_of,
    worlds,
)

TURNS = (1,) * 10 + (2,) * 6 + (3,) * 3


@dataclass
class Place:
    """One world as a dialogue offers it."""

    world: World
    kinds: dict[str, Kind]
    offered: tuple[Tool, ...]
    also: tuple[tuple[Tool, dict[str, Kind]], ...]
    """Tools of another world."""
    style: int
    by_sort: dict[str, list[Group]] = field(default_factory=dict)

    def schemas(self, rng: random.Random) -> list[dict[str, Any]]:
        """Return all tools in the OpenAI shape, shuffled."""
        made = [schema_of(tool, self.kinds, self.style) for tool in self.offered]
        made += [schema_of(tool, kinds, self.style) for tool, kinds in self.also]
        rng.shuffle(made)
        return made


def place(rng: random.Random) -> Place:
    """Draw a world and its tools for one dialogue."""
    world, other = rng.sample(worlds(), 2)
    names = list(world.tools)
    kept = rng.sample(names, max(2, len(names) - rng.choice((0, 0, 0, 1, 1, 2, 3))))
    offered = tuple(world.tools[name] for name in names if name in kept)
    more = min(rng.choice((0, 0, 0, 1, 2, 4)), len(other.tools), 12 - len(offered))
    strange = [t for t in other.tools.values() if t.name not in names]
    also = tuple(rng.sample(strange, min(len(strange), more)))
    kinds = kinds_of(other, rng)
    made = Place(
        world, kinds_of(world, rng), offered, tuple((t, kinds) for t in also), rng.randrange(3)
    )
    # A wish for a tool of this world that is not offered finds none, unless a stranger might do.
    for group in world.groups:
        sort = group.sort
        if not group.tools <= set(kept):
            sort = "lost" if sort == "call" and len(group.tools) == 1 and not also else ""
        made.by_sort.setdefault(sort, []).append(group)
    return made


SORTS = {"call": 60, "pair": 22, "ask": 26, "none": 16, "lost": 8, "foreign": 3, "chat": 5}


def talk(stage: Talk, place: Place) -> list[dict[str, Any]]:
    """Write a dialogue's turns and return its messages."""
    rng = stage.rng
    last: tuple[Group, Drawn] | None = None
    for _ in range(rng.choice(TURNS)):
        if last and rng.random() < 0.45 and (now := _follow_up(stage, place, *last)):
            last = now
            continue
        last = None
        sort = rng.choices(list(SORTS), weights=list(SORTS.values()))[0]
        found = place.by_sort.get("call" if sort == "pair" else sort)
        if sort == "foreign":
            foreign(stage)
        elif not found:
            small_talk(stage, place.world.role, [tool.about for tool in place.offered])
        elif sort == "call":
            last = _single(stage, place, rng.choice(found))
        elif sort == "pair":
            last = _pair(stage, place, found)
        elif sort == "ask":
            last = _ask(stage, place, rng.choice(found))
        else:
            _no_call(stage, rng.choice(found), place)
    return stage.messages


# --- turns ------------------------------------------------------------------------------------


def _single(stage: Talk, place: Place, group: Group) -> tuple[Group, Drawn] | None:
    rng = stage.rng
    drawn = drawn_for(group, place.world, place.kinds, rng, stage.world)
    stage.say("user", _polite(rng, _said(stage, place, group, drawn)))
    return _carry_out(stage, place, group, drawn)


def _carry_out(stage: Talk, place: Place, group: Group, drawn: Drawn) -> tuple[Group, Drawn] | None:
    """Make the calls of a request step by step; None when something went wrong."""
    rng = stage.rng
    result: dict[str, Any] = {}
    reports: list[str] = []
    for step in group.steps:
        made = [(place.world.tools[c.tool], _arguments(place, c, drawn, result)) for c in step]
        if len(step) == 1 and rng.random() < 0.07 and not _tried(stage, made[0]):
            return None
        results, reports = _run(stage, place, made)
        result = results[0]
    stage.say("assistant", " ".join(reports))
    return (group, drawn) if len(group.steps) == 1 and len(group.steps[0]) == 1 else None


def _arguments(place: Place, call: Call, drawn: Drawn, result: dict[str, Any]) -> dict[str, Any]:
    return arguments_of(call, place.world.tools[call.tool], drawn, result)


def _run(
    stage: Talk, place: Place, made: Sequence[tuple[Tool, dict[str, Any]]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Call side by side; return results and what is said of each."""
    rng = stage.rng
    stage.call(*made)
    results, reports = [], []
    for position, (tool, arguments) in enumerate(made):
        told = result_of(tool, place.kinds, rng, stage.world)
        shown = dict(rng.choice(({"ok": True}, {"state": "done"}, {}))) if not told else {}
        shown |= arguments if rng.random() < 0.5 else {}
        shown |= told
        stage.result(shown or {"ok": True}, position)
        results.append(told)
        reports.append(_report(rng, tool, arguments | told))
    return results, reports


def _report(rng: random.Random, tool: Tool, known: dict[str, Any]) -> str:
    defaults = {key: t.default for key, t in tool.takes.items() if t.default is not None}
    values = defaults | known

    def shown(match: re.Match[str]) -> str:
        key, _, either = match[1].partition(":")
        value = values.get(key)
        if either:
            yes, no = either.split("|")
            return yes if value else no
        if isinstance(value, list):
            return wording.joined([str(part).replace("_", " ") for part in value])
        return str(value).replace("_", " ")

    fitting = [t for t in tool.says if set(re.findall(r"{(\w+)", t)) <= set(values)] or ["Done."]
    text = re.sub(r"{([^}]+)}", shown, rng.choice(fitting))
    return rng.choice(("", "", "", "Done. ", "Sure. ")) + text[0].upper() + text[1:]


def _tried(stage: Talk, made: tuple[Tool, dict[str, Any]]) -> bool:
    """Let a call fail; return whether it is worth another try."""
    rng, (tool, _) = stage.rng, made
    stage.call(made)
    passing = rng.random() < 0.6
    noun = rng.choice(("request", "entry", "part", "line"))
    message = rng.choice(HICCUPS if passing else FAILURES).format(
        n=noun, p="somebody", t=tool.name, d=rng.randint(2, 30)
    )
    stage.result({"error": message})
    if passing and rng.random() < 0.8:
        return True
    if passing:
        stage.call(made)
        stage.result({"error": message})
    stage.say("assistant", rng.choice(REPORTED).format(e=message, n=noun))
    return False


def _pair(stage: Talk, place: Place, found: list[Group]) -> tuple[Group, Drawn] | None:
    """Two wishes, in one sentence or two, for calls side by side; else a single one."""
    rng = stage.rng
    short = [g for g in found if len(g.steps) == 1]
    if len(short) < 2:
        return _single(stage, place, rng.choice(found))
    one, two = rng.sample(short, 2)
    if rng.random() < 0.25:
        two = one
    groups = [one, two]
    drawn = [drawn_for(g, place.world, place.kinds, rng, stage.world) for g in groups]
    made = [
        (place.world.tools[c.tool], _arguments(place, c, d, {}))
        for g, d in zip(groups, drawn, strict=True) for c in g.steps[0]
    ]  # fmt: skip
    if any(made[i] == made[j] for i in range(len(made)) for j in range(i)):
        return _single(stage, place, one)
    said = [_said(stage, place, g, d) for g, d in zip(groups, drawn, strict=True)]
    if any("?" in s for s in said) or rng.random() < 0.3:
        text = " ".join(s if s[-1] in "?!." else f"{s}." for s in map(_capital, said))
    else:
        text = _polite(rng, rng.choice(ALSO).format(said[0].rstrip("."), said[1]))
    stage.say("user", text)
    _, reports = _run(stage, place, made)
    stage.say("assistant", " ".join(reports))
    return None


def _ask(stage: Talk, place: Place, group: Group) -> tuple[Group, Drawn] | None:
    rng, ((call,),) = stage.rng, group.steps
    drawn = drawn_for(group, place.world, place.kinds, rng, stage.world)
    stage.say("user", _polite(rng, _said(stage, place, group, drawn)))
    missing = place.world.tools[call.tool].takes[group.missing]
    question = rng.choice(missing.questions)
    if rng.random() < 0.3:
        question = f"{rng.choice(ASK_FIRST)} {question[0].lower()}{question[1:]}"
    stage.say("assistant", question)
    if rng.random() < 0.5 or missing.kind == "flag":
        return None
    value = place.kinds[missing.kind].draw(rng, stage.world)
    stage.say("user", filled(rng.choice(REPLIES), value))
    full = Call(call.tool, call.variables | {group.missing: "_"}, call.fixed, call.fields)
    whole = Group(((full,),), "", "call", (), ())
    return _carry_out(stage, place, whole, drawn | {"_": value})


def _no_call(stage: Talk, group: Group, place: Place) -> None:
    """Answer in words: small talk of this world, or that no tool fits."""
    rng = stage.rng
    drawn = drawn_for(group, place.world, place.kinds, rng, stage.world)
    stage.say("user", _polite(rng, _said(stage, place, group, drawn)))
    if group.sort == "chat":
        stage.say("assistant", rng.choice(group.answers))
    elif group.sort == "none":
        stage.say("assistant", rng.choice((*ABSTAIN, *NO_TOOL)).format(x=group.answers[0]))
    else:
        stage.say("assistant", rng.choice(NO_TOOL))


def _follow_up(stage: Talk, place: Place, group: Group, drawn: Drawn) -> tuple[Group, Drawn] | None:
    """Go on from the last call: its opposite, more or less of a number, or another value."""
    rng, ((call,),) = stage.rng, group.steps
    opposite = [
        other for other in place.by_sort.get("call", ())
        if len(other.steps) == 1 and len(other.steps[0]) == 1 and _opposed(other.steps[0][0], call)
    ]  # fmt: skip
    if opposite and rng.random() < 0.6:
        stage.say("user", rng.choice(UNDO))
        other = rng.choice(opposite)
        turned = Group(other.steps, "", "call", (), ())
        there = other.steps[0][0].variables
        same = {there[key]: drawn[name] for key, name in call.variables.items()}
        return _carry_out(stage, place, turned, same)
    if not call.variables:
        return None
    key, name = rng.choice(list(call.variables.items()))
    kind = place.kinds[place.world.tools[call.tool].takes[key].kind]
    old = drawn[name]
    if isinstance(old.json, int) and not isinstance(old.json, bool) and rng.random() < 0.7:
        return _shifted(stage, place, group, drawn, name, kind)
    value = kind.draw(rng, stage.world)
    if value.json == old.json or not value.said:
        return None
    pattern = rng.choice(CHANGES if isinstance(old.json, int) else (*CHANGES, *AGAIN))
    stage.say("user", _capital(pattern.format(i=value.said, v=value.said, n="one")))
    return _carry_out(stage, place, group, drawn | {name: value})


def _shifted(
    stage: Talk, place: Place, group: Group, drawn: Drawn, name: str, kind: Kind
) -> tuple[Group, Drawn] | None:
    rng, old = stage.rng, drawn[name].json
    by = rng.randint(1, 5) if old < 40 else rng.choice((5, 10, 15, 20))
    up = rng.random() < 0.5
    new = old + by if up else old - by
    if not kind.schema.get("minimum", 1) <= new <= kind.schema.get("maximum", 100_000):
        return None
    said = rng.choice((str(by), wording.spelled(by)))
    stage.say("user", _capital(rng.choice(MORE if up else LESS).format(d=said)))
    return _carry_out(stage, place, group, drawn | {name: Value(new, str(new), str(new))})


def _opposed(one: Call, other: Call) -> bool:
    """Whether two calls are the same but for one fixed yes or no."""
    if one.tool != other.tool or set(one.variables) != set(other.variables) or one.fields:
        return False
    differing = [k for k in {*one.fixed, *other.fixed} if one.fixed.get(k) != other.fixed.get(k)]
    return len(differing) == 1 and isinstance(one.fixed.get(differing[0]), bool)


# --- words ------------------------------------------------------------------------------------


def _said(stage: Talk, place: Place, group: Group, drawn: Drawn) -> str:
    """Say a request; values that no call takes are drawn as they are needed."""
    text = stage.rng.choice(group.sentences)
    for name in re.findall(r"{(\w+)}", text):
        value = drawn.get(name) or place.kinds[name].draw(stage.rng, stage.world)
        text = text.replace(f"{{{name}}}", value.said, 1)
    return re.sub(r"\b(the|The) the\b", r"\1", text)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _polite(rng: random.Random, text: str) -> str:
    """Vary how a sentence begins and ends."""
    if rng.random() < 0.15 and text[-1] not in "?!.":
        text = f"please {text}" if rng.random() < 0.3 else f"{text}, please"
    if rng.random() < 0.8:
        text = _capital(text)
    if text[-1] not in "?!.":
        text += rng.choice(("", ".", ".", "!"))
    return rng.choice(OPENERS) + text if rng.random() < 0.25 else text
