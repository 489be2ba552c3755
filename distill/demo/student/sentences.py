"""What a user says to get something done: requests, hints, telegrams, questions."""

from __future__ import annotations

import random

from .actions import Deed
from .lexicon import article, plural
from .phrases import (
    COMPACT,
    CUE_HINTS,
    CUE_QUESTIONS,
    CUE_REQUESTS,
    DEED_FRAMES,
    DENIED,
    GLOSSED,
    HINT_FRAMES,
    NEGATED,
    OPENERS,
    RESULTS,
    SEARCHES,
    SHORT,
    THANKS,
)
from .slots import Slot
from .stage import Stage, Values
from .toolbox import IDENTITY, RandomTool
from .wording import Value


def request(
    stage: Stage, tool: RandomTool, values: Values, *, plain: bool = False, about: str = ""
) -> str:
    """Say what the user wants from `tool` with these values."""
    rng = stage.rng
    opener = "" if plain else rng.choice(OPENERS)
    closer = rng.choice(THANKS) if rng.random() < 0.15 and not plain else ""
    if tool.cues and rng.random() < 0.35:
        return opener + sentence(compact(rng, tool, values, about), rng.choice((".", "", "!")))
    if tool.reading:
        return opener + sentence(question_of(rng, tool, values), "?") + closer
    if tool.deed and rng.random() < 0.12:
        return opener + telegram(rng, tool, values, about)
    if tool.deed and rng.random() < 0.28:
        return opener + _hinted(rng, tool, values, about) + closer
    if tool.deed and rng.random() < 0.2:
        return opener + _wished(rng, tool, values, about) + closer
    inside, alone = _divided(rng, tool, values)
    core = request_core(rng, tool, inside, about)
    frames = DEED_FRAMES if tool.deed else ("{d}", "please {d}", "can you {d}?", "could you {d}?")
    return opener + framed(rng, frames, core) + _alone(rng, tool, alone) + closer


def _divided(rng: random.Random, tool: RandomTool, values: Values) -> tuple[Values, Values]:
    """Divide values into those inside the request and those said in their own sentences."""
    inside = {k: v for k, v in values.items() if rng.random() < 0.8 or turned(tool, k)}
    return inside, {k: v for k, v in values.items() if k not in inside}


def request_core(rng: random.Random, tool: RandomTool, values: Values, about: str = "") -> str:
    """Say the request without frame: "scrub the kiln called Bertha on Friday"."""
    identity = {k: v for k, v in values.items() if _slot(tool, k).kind in IDENTITY}
    rest = {k: v for k, v in values.items() if k not in identity}
    if not tool.deed:
        many = rng.choice([plural(word) for word in tool.noun.said])
        return rng.choice(SEARCHES).replace("{n}", many) + inline(rng, tool, values)
    scope = f" {tool.scope}" if tool.scope else ""
    said = _glossed(rng, tool, values, named_thing(rng, tool, identity) + about)
    if not said and (said := cued(rng, tool, CUE_REQUESTS, identity)):
        said += about
    if not said:
        requests = meant(tool, values).requests
        said = rng.choice(requests).replace("{n}", named_thing(rng, tool, identity) + about)
    return (said + scope + inline(rng, tool, rest)).replace(",,", ",")


def _hinted(rng: random.Random, tool: RandomTool, values: Values, about: str) -> str:
    assert tool.deed is not None
    identity = {k: v for k, v in values.items() if _slot(tool, k).kind in IDENTITY}
    rest = {k: v for k, v in values.items() if k not in identity}
    hint = cued(rng, tool, CUE_HINTS, identity)
    if hint:
        hint += about
    else:
        hint = rng.choice(meant(tool, values).hints)
        hint = hint.replace("{n}", named_thing(rng, tool, identity) + about)
    end = "?" if hint.startswith(("could", "does", "what", "is")) else "."
    frame = rng.choice(HINT_FRAMES)
    inside, alone = _divided(rng, tool, rest)
    scope = f" {tool.scope}" if tool.scope else ""
    if inside or scope:
        follow = rng.choice(("Please see to it", "Take care of that", "Could you handle it"))
        frame = "{h} " + follow + scope + inline(rng, tool, inside) + "."
    return frame.format(h=sentence(hint, end)) + _alone(rng, tool, alone)


def _glossed(rng: random.Random, tool: RandomTool, values: Values, thing: str) -> str:
    """Say which way a tool is to turn by a word of its description; nothing without such words."""
    word = turn_word(rng, tool, values)
    if not word or rng.random() < 0.4:
        return ""
    return rng.choice(GLOSSED).format(n=thing, w=word)


def turn_word(rng: random.Random, tool: RandomTool, values: Values) -> str:
    """Return a word that the tool's description gives for the toggle's value, if it does."""
    for s in tool.slots:
        if s.kind == "toggle" and s.key in values and s.glosses:
            return rng.choice(next(w for v, w in s.glosses if v == values[s.key].json))
    return ""


def compact(rng: random.Random, tool: RandomTool, values: Values, about: str = "") -> str:
    """Say only a cue and the values: "kiln house draught 40 percent"."""
    identity = {k: v for k, v in values.items() if _slot(tool, k).kind in IDENTITY}
    rest = {k: v for k, v in values.items() if k not in identity and not turned(tool, k)}
    turn = turn_word(rng, tool, values)
    if not turn and tool.opposite:
        turn = rng.choice(meant(tool, values).stems).replace("_", " ")
    long = rng.random() < 0.5
    said = [filled(rng.choice(_slot(tool, k).inline), v) if long else v.said
            for k, v in rest.items()]  # fmt: skip
    said = [part.lstrip(", ") for part in (turn, *said, tool.scope) if part]
    place = rng.choice((" and ", ", ")).join(v.said for v in identity.values())
    if not place or any("code" in _slot(tool, k).kind for k in identity):
        place = f"{rng.choice(tool.noun.said)} {place}"
    where = place + about
    text = rng.choice(COMPACT if said else SHORT).format(
        i=where, c=_inflected(rng, rng.choice(tool.cues)), r=" ".join(said)
    )
    return " ".join(text.split())


def _inflected(rng: random.Random, cue: str) -> str:
    if rng.random() < 0.75:
        return cue
    return rng.choice((plural(cue), f"{cue}ing", f"{cue}ed", f"{cue}er"))


def _wished(rng: random.Random, tool: RandomTool, values: Values, about: str) -> str:
    """Say what shall be so, or what shall not: "make sure the kiln called Bertha is running"."""
    assert tool.deed is not None
    identity = {k: v for k, v in values.items() if _slot(tool, k).kind in IDENTITY}
    rest = {k: v for k, v in values.items() if k not in identity}
    thing = named_thing(rng, tool, identity) + about
    deed = meant(tool, values)
    core = rng.choice(deed.reports)
    frames: tuple[str, ...] = RESULTS
    undone = tool.opposite if deed is tool.deed else tool.deed
    if undone and rng.random() < 0.5:
        wish = rng.random() < 0.6
        core = rng.choice(undone.requests if wish else undone.reports)
        frames = NEGATED if wish else DENIED
    core = core.replace("{N}", thing).replace("{n}", thing)
    core = core[0].lower() + core[1:]
    said = rng.choice(frames).format(r=core, d=core)
    return sentence(said + (f" {tool.scope}" if tool.scope else "") + inline(rng, tool, rest), ".")


def telegram(rng: random.Random, tool: RandomTool, values: Values, about: str) -> str:
    """Say only what matters: "Kiln Bertha: scrub, Friday."."""
    assert tool.deed is not None
    stems = meant(tool, values).stems
    said = [f"{rng.choice(tool.noun.said)}{about}", rng.choice(stems).replace("_", " ")]
    said += [tool.scope] if tool.scope else []
    said += [value.said for key, value in values.items() if not turned(tool, key)]
    if rng.random() < 0.3:
        rng.shuffle(said)
    text = rng.choice((", ", ", ", " ")).join(said)
    return text[0].upper() + text[1:] + rng.choice((".", "", "!"))


def question_of(rng: random.Random, tool: RandomTool, values: Values) -> str:
    """Ask for what a reading tells: "how heavy is the kiln called Bertha"."""
    assert tool.reading is not None
    identity = {k: v for k, v in values.items() if _slot(tool, k).kind in IDENTITY}
    rest = {k: v for k, v in values.items() if k not in identity}
    asked = cued(rng, tool, CUE_QUESTIONS, identity) or rng.choice(tool.reading.questions).replace(
        "{n}", named_thing(rng, tool, identity)
    )
    return asked + inline(rng, tool, rest)


def cued(rng: random.Random, tool: RandomTool, frames: tuple[str, ...], values: Values) -> str:
    """Say what the tool is wanted for by one of its cues; nothing now and then, or without cues."""
    if not tool.cues or rng.random() < 0.3:
        return ""
    thing = f" of the {rng.choice(tool.noun.said)}" if rng.random() < 0.3 else ""
    cue = _inflected(rng, rng.choice(tool.cues))
    return rng.choice(frames).format(c=cue) + thing + inline(rng, tool, values)


def named_thing(rng: random.Random, tool: RandomTool, values: Values) -> str:
    """Name the thing with what identifies it: "the kiln called Bertha"."""
    identity = {k: v for k, v in values.items() if _slot(tool, k).kind in IDENTITY}
    many = tool.name.startswith("all_")
    word = rng.choice(tool.noun.said)
    said = plural(word) if many else word
    start = "all " if many and not tool.scope else "the "
    if not identity and tool.deed and rng.random() < 0.2 and not many:
        start = f"{article(word)} "
    return start + said + inline(rng, tool, identity)


def meant(tool: RandomTool, values: Values) -> Deed:
    """Return the deed that is meant, given the toggle among the values."""
    assert tool.deed is not None
    turned = next((s for s in tool.slots if s.kind == "toggle"), None)
    if tool.opposite is None or turned is None or turned.key not in values:
        return tool.deed
    first = turned.schema.get("enum", [True])[0]
    return tool.deed if values[turned.key].json == first else tool.opposite


def turned(tool: RandomTool, key: str) -> bool:
    """Whether a parameter says which of two opposite deeds is meant."""
    return _slot(tool, key).kind == "toggle"


def inline(rng: random.Random, tool: RandomTool, values: Values) -> str:
    """Say values inside a request."""
    said = {k: v for k, v in values.items() if not turned(tool, k)}
    parts = [filled(rng.choice(_slot(tool, k).inline), v) for k, v in said.items()]
    rng.shuffle(parts)
    parts.sort(key=lambda part: part.startswith(","))
    return spaced(parts)


def spaced(parts: list[str]) -> str:
    """Join parts of a sentence; those that begin with a comma follow at once."""
    return "".join(part if part.startswith(",") else f" {part}" for part in parts)


def _alone(rng: random.Random, tool: RandomTool, values: Values) -> str:
    said = [filled(rng.choice(_slot(tool, k).alone), v) for k, v in values.items()]
    rng.shuffle(said)
    return "".join(f" {sentence}" for sentence in said)


def filled(pattern: str, value: Value) -> str:
    """Put a value into a phrase."""
    upper = value.said[:1].upper() + value.said[1:]
    return pattern.replace("{v}", value.said).replace("{V}", upper)


def framed(rng: random.Random, frames: tuple[str, ...], core: str) -> str:
    """Put a request into one of the frames, as a sentence."""
    text = rng.choice(frames).replace("{d}", core)
    text = text[0].upper() + text[1:]
    return text if text.endswith(("?", ".", "!")) else text + "."


def sentence(text: str, end: str) -> str:
    """Make a sentence."""
    return text[0].upper() + text[1:] + end


def _slot(tool: RandomTool, key: str) -> Slot:
    return next(s for s in tool.slots if s.key == key)
