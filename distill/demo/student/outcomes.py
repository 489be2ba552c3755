"""What tools give back, and how the assistant reports it."""

from __future__ import annotations

import random
from typing import Any

from . import lexicon, makers, slots, wording
from .lexicon import plural
from .phrases import NO_HITS
from .sentences import filled, meant, named_thing, spaced
from .stage import Stage, Values, arguments
from .toolbox import IDENTITY, RandomTool
from .wording import Value


def outcome(stage: Stage, tool: RandomTool, values: Values) -> tuple[Any, str]:
    """Return what a tool gives back and how that is reported."""
    if tool.reading:
        return _told(stage, tool, values)
    if tool.deed:
        return _done(stage, tool, values)
    with_holder = stage.rng.random() < 0.3
    records = [
        record_of(stage, tool, values, with_holder)
        for _ in range(stage.rng.choice((0, 1, 2, 2, 3)))
    ]
    listing = listed(stage.rng, records)
    many = plural(tool.noun.name)
    if not records:
        return listing, stage.rng.choice(NO_HITS).format(n=many)
    keys = [key for key in records[0] if key != "code"]
    said = [f"{r['code']} ({', '.join(str(r[k]) for k in keys)})" for r in records]
    found = wording.joined(said)
    count = wording.spelled(len(records))
    if len(records) == 1:
        return listing, f"There is one {tool.noun.name}: {found}."
    return listing, stage.rng.choice((
        f"I found {count} {many}: {found}.", f"There are {count}: {found}.",
        f"These {many} fit: {found}.",
    ))  # fmt: skip


def _told(stage: Stage, tool: RandomTool, values: Values) -> tuple[Any, str]:
    rng, reading = stage.rng, tool.reading
    assert reading is not None
    if reading.kind == "number":
        amount: int | float = rng.randint(reading.low, reading.high)
        if rng.random() < 0.25:
            amount = round(amount + rng.random(), 1)
        told = Value(amount, "", f"{amount} {reading.unit}")
        forms: list[Any] = [
            {reading.stem: amount, "unit": reading.unit}, {reading.stem: amount},
            {"value": amount, "unit": reading.unit}, amount,
        ]  # fmt: skip
    else:
        told = makers.fact(rng, reading.kind, stage.world)
        forms = [{reading.stem: told.json}, {reading.stem: told.json}, told.json]
    result = rng.choice(forms)
    if isinstance(result, dict) and rng.random() < 0.4:
        result = arguments(tool, values) | result
    thing = named_thing(rng, tool, values)
    answer = rng.choice(reading.answers)
    if reading.kind == "state":
        answer = reading.answers[not told.json]
    answer = answer.replace("{v}", told.echo)
    answer = answer.replace("{N}", thing[0].upper() + thing[1:]).replace("{n}", thing)
    return result, answer[0].upper() + answer[1:] + "."


def _done(stage: Stage, tool: RandomTool, values: Values) -> tuple[Any, str]:
    rng = stage.rng
    assert tool.deed is not None
    thing = named_thing(rng, tool, values)
    report = rng.choice(meant(tool, values).reports)
    report = report.replace("{N}", thing[0].upper() + thing[1:]).replace("{n}", thing)
    named = [
        s for s in tool.slots if s.key in values and s.kind not in ("flag", "toggle", *IDENTITY)
    ]
    echoed = rng.sample(named, min(len(named), rng.choice((0, 1, 1, 2))))
    details = [filled(s.inline[0], Value(None, values[s.key].echo, "")) for s in echoed]
    details = [d.replace("the the", "the") for d in details]
    result = dict(rng.choice(({"ok": True}, {"state": "done"}, {"outcome": "accepted"}, {})))
    if rng.random() < 0.5:
        result |= arguments(tool, values)
    if rng.random() < 0.35 or not result:
        key, value, said = _receipt(stage)
        result[key] = value
        return result, f"{report}{spaced(details)}; {said}."
    return result, rng.choice(("", "", "", "Done. ", "All set: ", "Sure. ")) + (
        f"{report}{spaced(details)}."
    )


def _receipt(stage: Stage) -> tuple[str, Any, str]:
    """Draw something a deed gives back that the answer should pass on."""
    rng = stage.rng
    kind = rng.randrange(5)
    if kind == 0:
        code = slots.slot(rng, "code", lexicon.Noun("slip", ("slip",))).draw(rng, stage.world).json
        return "slip_code", code, f"the slip is {code}"
    if kind == 1:
        cost = rng.randint(2, 900)
        return "charged_crowns", cost, f"it costs {cost} crowns"
    if kind == 2:
        ready = wording.day(rng, stage.world.today)
        return "ready_day", ready.json, f"it will be ready on {ready.echo}"
    if kind == 3:
        who = lexicon.person(rng)
        return "done_by", who, f"{who} takes care of it"
    left = rng.randint(0, 60)
    return "still_left", left, f"there are {left} left"


def record_of(
    stage: Stage,
    search: RandomTool,
    filters: Values,
    with_holder: bool,
    use: RandomTool | None = None,
) -> dict[str, Any]:
    """Draw one record that a search finds, sometimes with the state that `use` would change."""
    rng = stage.rng
    make = slots.slot(rng, "code", search.noun)
    record = {"code": make.draw(rng, stage.world).json}
    plain = [s for s in search.slots if s.kind not in ("limit", "flag")]
    for s in plain[:2]:
        kept = filters.get(s.key)
        record[s.key] = kept.json if kept else s.draw(rng, stage.world).json
    for s in use.slots if use else ():
        if s.kind == "toggle" and rng.random() < 0.7:
            record[s.key] = rng.choice(s.schema.get("enum", [True, False]))
    if len(record) == 1 or with_holder:
        record["holder"] = lexicon.person(rng)
    return record


def listed(rng: random.Random, records: list[dict[str, Any]]) -> Any:
    """Return records in one of the forms searches give."""
    return rng.choice((records, {"hits": records}, {"found": len(records), "rows": records}))
