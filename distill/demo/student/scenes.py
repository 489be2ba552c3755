"""One user turn each: a request, the calls and results it leads to, and the answer.

Scenes: one call, calls side by side, a search whose result gives the argument of the next call, a
reading that decides about a deed or fills its argument, a failing tool (try again, or report), a
missing parameter (ask, then call), nothing that fits, small talk, and follow-ups that change one
value of the last call. Answers repeat values from results.
"""

from __future__ import annotations

import random
from typing import Any

from . import lexicon, makers, wording
from .actions import deeds, readings
from .lexicon import plural
from .outcomes import listed, outcome, record_of
from .phrases import (
    ABSTAIN,
    AGAIN,
    ALSO,
    ASK_FIRST,
    CHANGES,
    CHATS,
    COMPACT,
    COMPACT_JOINS,
    CONDITIONAL,
    CUE_HINTS,
    CUE_QUESTIONS,
    CUE_REQUESTS,
    DEED_FRAMES,
    DENIED,
    EITHER,
    FAILURES,
    FOREIGN,
    GLOSSED,
    HICCUPS,
    HINT_FRAMES,
    NEGATED,
    NO_HITS,
    OPENERS,
    OTHERWISE,
    REPLIES,
    REPORTED,
    RESULTS,
    SAME_AS,
    SAME_FIGURE,
    SEARCHES,
    SHORT,
    SOME,
    THANKS,
    VIA_FACT,
)  # fmt: skip
from .sentences import (
    compact,
    filled,
    framed,
    inline,
    named_thing,
    question_of,
    request,
    request_core,
    sentence,
    telegram,
    turned,
)  # fmt: skip
from .slots import Slot
from .stage import Stage, Talk, Values, arguments, values_for
from .toolbox import IDENTITY, RandomTool
from .wording import Value

FRAMES = (
    *ABSTAIN, *AGAIN, *ASK_FIRST, *CHANGES, *DEED_FRAMES, *FOREIGN, *HINT_FRAMES, *NO_HITS,
    *OPENERS, *REPORTED, *SEARCHES, *THANKS, *CONDITIONAL, *VIA_FACT, *SAME_FIGURE, *REPLIES,
    *CUE_REQUESTS, *CUE_HINTS, *CUE_QUESTIONS, *RESULTS, *NEGATED, *DENIED, *EITHER, *OTHERWISE,
    *SOME, *COMPACT, *COMPACT_JOINS, *SHORT, *GLOSSED, *SAME_AS,
    *(side for chat in CHATS for side in chat),
)  # fmt: skip

FIGURES = ("count", "points", "kg", "minutes", "days", "cm", "metres")
"""Kinds of parameters that may take the number of a reading (they know no upper bound)."""


def play(stage: Stage, turn: int) -> None:
    """Write one user turn."""
    if turn and stage.last and stage.rng.random() < 0.4 and _follow_up(stage):
        return
    stage.last = None
    scene = stage.rng.choices(list(SCENES), weights=list(SCENES.values()))[0]
    if not scene(stage):
        _single(stage)


# --- scenes: True when the tools at hand allow them -------------------------------------------


def _single(stage: Stage) -> bool:
    tool = stage.rng.choice(stage.box.tools)
    values = values_for(stage, tool)
    stage.say("user", request(stage, tool, values))
    _carry_out(stage, tool, values)
    return True


def _parallel(stage: Stage) -> bool:
    rng = stage.rng
    sort = rng.random()
    plan = _same_tool(stage) if sort < 0.25 else _spread(stage) if sort < 0.5 else _pair(stage)
    if plan is None:
        return False
    calls, text = plan
    stage.say("user", text)
    _side_by_side(stage, calls)
    return True


def _side_by_side(stage: Stage, calls: list[tuple[RandomTool, Values]]) -> None:
    stage.call(*((tool, arguments(tool, values)) for tool, values in calls))
    reports = []
    for position, (tool, values) in enumerate(calls):
        result, report = outcome(stage, tool, values)
        stage.result(result, position)
        reports.append(report)
    stage.say("assistant", " ".join(reports))


Plan = tuple[list[tuple[RandomTool, Values]], str]


def _pair(stage: Stage) -> Plan | None:
    """Plan two different calls, asked for in one sentence or in two; now and then three."""
    rng = stage.rng
    if len(stage.box.tools) < 3:
        return None
    three = rng.random() < 0.35
    calls = [(tool, values_for(stage, tool)) for tool in rng.sample(stage.box.tools, 2 + three)]
    if three:
        return calls, _three(rng, calls)
    if all(tool.cues for tool, _ in calls) and rng.random() < 0.7:
        said = [compact(rng, tool, values) for tool, values in calls]
        joint = rng.choice(COMPACT_JOINS).format(*said)
        return calls, rng.choice(OPENERS) + sentence(joint, rng.choice((".", "", " please.")))
    style = rng.random()
    if style < 0.35:
        one, two = (request(stage, tool, values, plain=True) for tool, values in calls)
        text = rng.choice(("{} {}", "{} Also: {}", "{} And another thing: {}", "{} Then {}"))
        return calls, text.format(one, two)
    if style < 0.6 and all(tool.deed for tool, _ in calls):
        said = [telegram(rng, tool, values, "").rstrip(".!") for tool, values in calls]
        said[1] = said[1][0].lower() + said[1][1:]
        return calls, rng.choice(ALSO).format(*said) + rng.choice((".", ""))
    said = [
        question_of(rng, tool, values) if tool.reading else request_core(rng, tool, values)
        for tool, values in calls
    ]
    joint = rng.choice(ALSO).format(*said)
    if any(tool.reading for tool, _ in calls):
        return calls, joint[0].upper() + joint[1:] + "?"
    return calls, rng.choice(OPENERS) + framed(rng, DEED_FRAMES, joint)


def _three(rng: random.Random, calls: list[tuple[RandomTool, Values]]) -> str:
    """Ask for three calls in one sentence."""
    short = rng.random() < 0.6
    said = [
        compact(rng, tool, values) if tool.cues and short
        else question_of(rng, tool, values) if tool.reading
        else telegram(rng, tool, values, "").rstrip(".!") if tool.deed and short
        else request_core(rng, tool, values)
        for tool, values in calls
    ]  # fmt: skip
    joint = rng.choice(("{}, {} and {}", "{}, {}, and {}", "{}; {}; {}", "{}, then {}, then {}"))
    end = "?" if any(tool.reading for tool, _ in calls) else rng.choice((".", ""))
    return rng.choice(OPENERS) + sentence(joint.format(*said), end)


def _spread(stage: Stage) -> Plan | None:
    """Plan the same call twice with two parameters changed: "in the barn for Ada, in ... "."""
    rng = stage.rng
    found = [t for t in stage.box.tools if t.deed and len(t.required) > 1]
    if not found:
        return None
    tool = rng.choice(found)
    values, again = values_for(stage, tool), values_for(stage, tool)
    varied = [s.key for s in tool.required if s.kind not in ("flag", "toggle")][:2]
    if len(varied) < 2 or any(values[k].json == again[k].json for k in varied):
        return None
    calls = [(tool, values), (tool, values | {k: again[k] for k in varied})]
    if tool.cues and rng.random() < 0.6 and not tool.opposite:
        each = {k: v for k, v in values.items() if k not in varied}
        parts = [compact(rng, tool, {k: v[k] for k in varied}) for v in (values, again)]
        if rng.random() < 0.6:
            parts[1] = inline(rng, tool, {k: again[k] for k in varied}).lstrip(", ")
        text = rng.choice(COMPACT_JOINS).format(*parts)
        text += f", each {inline(rng, tool, each).lstrip(', ')}" if each else ""
        return calls, rng.choice(OPENERS) + sentence(text, rng.choice((".", "")))
    if rng.random() < 0.35 and len(values) == len(varied):
        short = [" ".join(v[k].said for k in varied) for v in (values, again)]
        return [(tool, values), (tool, values | again)], telegram(
            rng, tool, {varied[0]: Value(None, rng.choice((", ", " and ")).join(short), "")}, ""
        )
    first = request_core(
        rng, tool, {k: v for k, v in values.items() if k in varied or turned(tool, k)}
    )
    second = inline(rng, tool, {k: again[k] for k in varied}).lstrip(", ")
    rest = {k: v for k, v in values.items() if k not in varied and not turned(tool, k)}
    also = f", each {inline(rng, tool, rest).lstrip(', ')}" if rest else ""
    text = rng.choice(("{} and {}{}", "{}, {}{}", "{}, and {}{}")).format(first, second, also)
    return calls, framed(rng, DEED_FRAMES, text)


def _same_tool(stage: Stage) -> Plan | None:
    """Plan the same call for two or three values of one parameter."""
    rng = stage.rng
    singular = [kind for kind in IDENTITY if kind != "spots_list"]
    found = [t for t in stage.box.tools if any(s.kind in singular for s in t.required)]
    if not found:
        return None
    tool = rng.choice(found)
    varied = next(s for s in tool.required if s.kind in singular)
    values = values_for(stage, tool)
    drawn = {str(values[varied.key].json): values[varied.key]}
    for _ in range(rng.choice((1, 1, 2))):
        other = varied.draw(rng, stage.world)
        drawn[str(other.json)] = other
    if len(drawn) < 2:
        return None
    said = wording.joined([v.said for v in drawn.values()])
    text = request(stage, tool, values | {varied.key: Value(None, said, said)}, plain=True)
    return [(tool, values | {varied.key: v}) for v in drawn.values()], text


def _ask(stage: Stage) -> bool:
    rng = stage.rng
    found = [(t, s) for t in stage.box.tools for s in t.required if s.kind != "flag"]
    if not found:
        return False
    tool = rng.choice(found)[0]
    missing = rng.choice([s for t, s in found if t is tool])
    values = values_for(stage, tool)
    stage.say("user", _lacking(stage, tool, values, missing))
    question = rng.choice(missing.questions)
    if rng.random() < 0.4:
        question = f"{rng.choice(ASK_FIRST)} {question[0].lower()}{question[1:]}"
    stage.say("assistant", question)
    if rng.random() < 0.45:
        value = values[missing.key]
        reply = rng.choice((*missing.alone, *REPLIES))
        stage.say("user", filled(reply, value))
        _carry_out(stage, tool, values)
    return True


def _lacking(stage: Stage, tool: RandomTool, values: Values, missing: Slot) -> str:
    """Ask for a call without saying one of its values, often in words that only hint at it."""
    rng = stage.rng
    given = {k: v for k, v in values.items() if k != missing.key}
    thing = named_thing(rng, tool, given)
    if missing.kind == "toggle":
        return framed(rng, ("{d}",), rng.choice(EITHER).format(n=thing))
    if tool.deed and missing.kind not in IDENTITY and rng.random() < 0.3:
        others = [t for t in stage.box.tools if t is not tool and t.noun == tool.noun]
        if not any(s.key == missing.key for t in others for s in t.slots):
            key = missing.key.replace("_", " ")
            return framed(rng, ("{d}",), rng.choice(OTHERWISE).format(k=key, n=thing))
    vague = f" {rng.choice(missing.vague)}" if missing.vague and rng.random() < 0.5 else ""
    text = request(stage, tool, given, about=vague)
    if missing.kind in IDENTITY and not vague:
        for word in tool.noun.said:
            some = rng.choice(SOME).format(n=word, m=plural(word))
            text = text.replace(f"the {word}", some, 1)
    return text


def _abstain(stage: Stage) -> bool:
    rng = stage.rng
    if rng.random() < 0.25:
        foreign(stage)
    else:
        what = _foreign_deed(stage)
        stage.say("assistant", rng.choice(ABSTAIN).format(x=what))
    return True


def foreign(stage: Talk) -> None:
    """Ask for something that no assistant of a place of work is for."""
    rng = stage.rng
    request = rng.choice(FOREIGN).format(
        p=lexicon.person(rng), w=rng.choice(lexicon.words(lexicon.EVERYDAY)),
        a=rng.choice(lexicon.words(lexicon.ADJECTIVES)), d=rng.randint(2, 90),
    )  # fmt: skip
    stage.say("user", rng.choice(OPENERS[:4]) + request)
    stage.say("assistant", rng.choice(ABSTAIN).format(x="that"))


def _foreign_deed(stage: Stage) -> str:
    """Ask for something near what the tools do that none of them does."""
    rng, tools = stage.rng, stage.box.tools
    if rng.random() < 0.2:
        cues = {cue for tool in tools for cue in tool.cues}
        other = rng.choice([w for w in lexicon.words(lexicon.EVERYDAY) if w not in cues])
        what = rng.choice(CUE_REQUESTS).format(c=other)
        stage.say("user", framed(rng, DEED_FRAMES, f"{what} at the {lexicon.place(rng)}"))
        return what
    noun = rng.choice(tools).noun
    if rng.random() < 0.3:
        noun = rng.choice(rng.choice(lexicon.workplaces()).nouns)
    same = [t for t in tools if t.noun.name == noun.name]
    taken = {t.deed or t.reading for t in same} | {t.opposite for t in same}
    thing = "the " + rng.choice(noun.said)
    place = f" at the {lexicon.place(rng)}" if rng.random() < 0.4 else ""
    if rng.random() < 0.75:
        deed = rng.choice([d for d in deeds() if d not in taken])
        what = rng.choice(deed.requests).replace("{n}", thing)
        stage.say("user", framed(rng, DEED_FRAMES, what + place))
        return what
    reading = rng.choice([r for r in readings() if r not in taken])
    question = rng.choice(reading.questions).replace("{n}", thing + place)
    stage.say("user", rng.choice(OPENERS) + sentence(question, "?"))
    return f"tell the {reading.stem.replace('_', ' ')} of {thing}"


def _search_then(stage: Stage) -> bool:
    """Find the code of a thing, then use it."""
    rng = stage.rng
    pairs = [
        (search, tool, coded)
        for search in stage.box.tools if not search.deed and not search.reading and search.slots
        for tool in stage.box.tools if tool.deed and tool.noun == search.noun
        for coded in tool.required if coded.kind == "code"
    ]  # fmt: skip
    if not pairs:
        return False
    search, tool, coded = rng.choice(pairs)
    filters = values_for(stage, search)
    values = values_for(stage, tool)
    if rng.random() < 0.25:
        return _search_both(stage, search, tool, coded)
    rest = {k: v for k, v in values.items() if k != coded.key}
    shown = inline(rng, search, filters)
    stage.say("user", request(stage, tool, rest, about=shown))
    stage.call((search, arguments(search, filters)))
    records = [
        record_of(stage, search, filters, rng.random() < 0.4, tool)
        for _ in range(rng.choice((0, 1, 1, 1, 1, 1)))
    ]
    stage.result(_hit(rng, records))
    if not records:
        stage.say("assistant", rng.choice(NO_HITS).format(n=plural(search.noun.name)))
        return True
    code = str(records[0]["code"])
    _carry_out(stage, tool, values | {coded.key: Value(code, code, code)})
    return True


def _search_both(stage: Stage, search: RandomTool, tool: RandomTool, coded: Slot) -> bool:
    """Find the codes of two things side by side, then use both."""
    rng = stage.rng
    filters, values = values_for(stage, search), values_for(stage, tool)
    changed = [s for s in search.required if s.kind not in ("flag", "limit")]
    if not changed:
        return False
    other = {changed[0].key: changed[0].draw(rng, stage.world)}
    if other[changed[0].key].json == filters[changed[0].key].json:
        return False
    rest = {k: v for k, v in values.items() if k != coded.key}
    second = inline(rng, search, other).lstrip(", ")
    about = inline(rng, search, filters) + rng.choice((" and the one ", " and also ", ", then "))
    stage.say("user", request(stage, tool, rest, about=about + second))
    looked = [filters, filters | other]
    stage.call(*((search, arguments(search, values)) for values in looked))
    codes = []
    for position, values_ in enumerate(looked):
        record = record_of(stage, search, values_, rng.random() < 0.4, tool)
        stage.result(_hit(rng, [record]), position)
        codes.append(str(record["code"]))
    _side_by_side(stage, [
        (tool, values | {coded.key: Value(code, code, code)}) for code in codes
    ])  # fmt: skip
    return True


def _hit(rng: random.Random, records: list[dict[str, Any]]) -> Any:
    """Return a listing, or the only record by itself."""
    return records[0] if len(records) == 1 and rng.random() < 0.5 else listed(rng, records)


def _reading_then(stage: Stage) -> bool:
    """Let a reading decide whether a deed is done, or fill one of its parameters."""
    rng = stage.rng
    read = [t for t in stage.box.tools if t.reading]
    done = [t for t in stage.box.tools if t.deed]
    if not read or not done:
        return False
    first, then = rng.choice(read), rng.choice(done)
    values, later = values_for(stage, first), values_for(stage, then)
    assert first.reading is not None
    filled = {"place": "spot", "person": "person", "day": "day"}.get(first.reading.kind)
    target = next((s for s in then.required if s.kind == filled), None)
    question = question_of(rng, first, values)
    if first.reading.kind == "number":
        figure = next((s for s in then.required if s.kind in FIGURES), None)
        if figure and rng.random() < 0.5:
            others = {k: v for k, v in later.items() if k != figure.key}
            do = request_core(rng, then, others)
            named = [s.key for s in first.slots if s.kind in IDENTITY]
            also = {k: v for k, v in values.items() if k not in named}
            thing = named_thing(rng, first, values) + inline(rng, first, also)
            frames = SAME_AS if rng.random() < 0.5 else SAME_FIGURE
            key = first.reading.stem.replace("_", " ")
            text = rng.choice(frames).format(q=question, d=do, k=key, n=thing)
            stage.say("user", sentence(text, ""))
            stage.call((first, arguments(first, values)))
            amount = rng.randint(max(1, first.reading.low), first.reading.high)
            stage.result({first.reading.stem: amount, "unit": first.reading.unit})
            _carry_out(stage, then, later | {figure.key: Value(amount, str(amount), str(amount))})
            return True
        return _decide(stage, first, then, values, later, question)
    if target is None:
        return False
    others = {k: v for k, v in later.items() if k != target.key}
    do = request_core(rng, then, others)
    stage.say("user", rng.choice(VIA_FACT).format(q=question, d=do))
    stage.call((first, arguments(first, values)))
    told = makers.fact(rng, first.reading.kind, stage.world)
    stage.result({first.reading.stem: told.json})
    _carry_out(stage, then, later | {target.key: told})
    return True


def _decide(
    stage: Stage, first: RandomTool, then: RandomTool, values: Values, later: Values, question: str
) -> bool:
    rng, reading = stage.rng, first.reading
    assert reading is not None
    limit = rng.randint(reading.low, reading.high)
    above = rng.random() < 0.5
    text = rng.choice(CONDITIONAL).format(
        q=question, d=request_core(rng, then, later), k=f"{limit} {reading.unit}",
        c=rng.choice(("more than", "over", "above") if above else ("less than", "under", "below")),
    )  # fmt: skip
    stage.say("user", text)
    stage.call((first, arguments(first, values)))
    amount = rng.randint(reading.low, reading.high)
    stage.result({reading.stem: amount, "unit": reading.unit})
    if (amount > limit) == above and amount != limit:
        _carry_out(stage, then, later)
    else:
        answer = rng.choice(reading.answers)
        thing = f"the {first.noun.name}"
        told = answer.replace("{v}", f"{amount} {reading.unit}").replace("{n}", thing)
        told = told.replace("{N}", f"The {first.noun.name}")
        stage.say("assistant", f"{told}, so I left it at that.")
    return True


def _failing(stage: Stage) -> bool:
    """Let a tool fail: passing trouble is tried again once, anything else is reported."""
    rng = stage.rng
    tool = rng.choice(stage.box.tools)
    values = values_for(stage, tool)
    stage.say("user", request(stage, tool, values))
    stage.call((tool, arguments(tool, values)))
    passing = rng.random() < 0.6
    message = rng.choice(HICCUPS if passing else FAILURES).format(
        n=tool.noun.name, p=lexicon.person(rng), t=tool.name, d=rng.randint(2, 30)
    )
    stage.result({"error": message})
    if passing and rng.random() < 0.8:
        _carry_out(stage, tool, values)
        return True
    if passing:
        stage.call((tool, arguments(tool, values)))
        stage.result({"error": message})
    stage.say("assistant", rng.choice(REPORTED).format(e=message, n=tool.noun.name))
    return True


def _chat(stage: Stage) -> bool:
    place = stage.box.workplace
    small_talk(stage, place.employer, [t.description for t in stage.box.tools], place.name)
    return True


def small_talk(stage: Talk, employer: str, tools: list[str], name: str = "") -> None:
    """Say something that asks for no tool."""
    rng = stage.rng
    asked, told = rng.choice(CHATS)
    names = wording.joined([about.rstrip(".").lower() for about in tools[:3]])
    stage.say("user", rng.choice(asked.split(" / ")))
    stage.say("assistant", rng.choice(told.split(" / ")).format(
        e=employer, t=names, n=name or employer,
    ))  # fmt: skip


def _follow_up(stage: Stage) -> bool:
    """Repeat the last call with one value changed."""
    assert stage.last is not None
    rng, (tool, values) = stage.rng, stage.last
    plain = ("flag", "toggle")
    changeable = [s for s in tool.slots if s.key in values and s.kind not in plain]
    if not changeable:
        return False
    changed = rng.choice(changeable)
    value = changed.draw(rng, stage.world)
    if value.json == values[changed.key].json:
        return False
    inline = filled(rng.choice(changed.inline), value).lstrip(", ")
    pattern = rng.choice(AGAIN if changed.kind in IDENTITY else CHANGES)
    text = pattern.format(i=inline, v=value.said, n=tool.noun.name)
    stage.say("user", text[0].upper() + text[1:])
    _carry_out(stage, tool, values | {changed.key: value})
    return True


SCENES = {
    _single: 26, _parallel: 40, _ask: 26, _abstain: 18, _search_then: 20, _reading_then: 10,
    _failing: 7, _chat: 4,
}  # fmt: skip


def _carry_out(stage: Stage, tool: RandomTool, values: Values) -> None:
    """Call, result, answer."""
    ordered = {s.key: values[s.key] for s in tool.slots if s.key in values}
    stage.call((tool, arguments(tool, ordered)))
    result, report = outcome(stage, tool, ordered)
    stage.result(result)
    stage.say("assistant", report)
    stage.last = (tool, ordered)
