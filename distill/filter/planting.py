"""Errors planted in verified traces, to find out whether a judge sees them.

Each is one answer made wrong, shown up to that answer, beside the right answer to the same prompt:
what the judge has to see is the error, not that a conversation looks different. The kinds are those
that pass the other checks, because the rest is found without a judge:

    wrong_tool                      the nearest other tool, with arguments it accepts
    wrong_value                     an argument another trace has, or another of its choices
    asked_instead_of_calling        a question for what was said
    called_instead_of_asking, ...   a call where a question, a refusal or plain words are right
    wrong_answer                    closing words with a number nobody returned
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from distill.filter.mistakes import (
    NEEDLESS,
    Situation,
    asked_instead_of_calling,
    is_wrong,
    needless_call,
    with_call,
    wrong_tool,
)
from distill.filter.pairs import ACTIONS
from distill.filter.subject import Subject
from distill.judge import Exhibit
from distill.matching import call_problem
from distill.types import AssistantMessage, Json, ToolMessage, UserMessage, digest

_NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.]*\d)")


@dataclass(frozen=True)
class Planted:
    """An error and the right answer to the same prompt."""

    kind: str
    right: Exhibit
    wrong: Exhibit


@dataclass(frozen=True)
class Spot:
    """An answer of a verified trace that can be made wrong."""

    subject: Subject
    index: int
    """Of the message."""
    situation: Situation
    needless: str | None
    """What a call would be called in the place of these words; None: no error."""
    closing: bool
    """Whether these are words after results."""


class Nursery:
    """Verified traces, and what one lends another to err with."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self._subjects = subjects
        self._values: dict[tuple[str, str], list[Json]] = defaultdict(list)
        self._closings: list[str] = []
        for subject in subjects:
            for _, call in subject.calls:
                for name, value in call.parsed().items():
                    self._values[call.name, name].append(value)
            last = subject.messages[-1]
            if isinstance(last, AssistantMessage) and last.content and subject.results:
                self._closings.append(last.content)

    def planted(self, count: int) -> list[Planted]:
        """Plant at most `count` errors, at most one in a trace, the rarest kind first."""
        kinds: Counter[str] = Counter()
        found: list[Planted] = []
        for subject in self._subjects:
            if len(found) == count:
                break
            rng = random.Random(digest([subject.trace.key, "calibration"]))
            if (made := self._plant(subject, kinds, rng)) is not None:
                found.append(made)
        return found

    def _plant(self, subject: Subject, kinds: Counter[str], rng: random.Random) -> Planted | None:
        spots = list(_spots(subject, rng))
        rng.shuffle(spots)
        for kind in sorted(self._errors, key=lambda kind: kinds[kind]):
            for spot in spots:
                if (made := self._errors[kind](self, spot)) is not None:
                    kinds[kind] += 1
                    return _shown(kind, spot, made)
        return None

    def _tool(self, spot: Spot) -> AssistantMessage | None:
        return (
            _checked("wrong_tool", spot, wrong_tool) if spot.situation.chosen.tool_calls else None
        )

    def _value(self, spot: Spot) -> AssistantMessage | None:
        calls = spot.situation.chosen.tool_calls
        return _checked("wrong_value", spot, self._with_another_value) if calls else None

    def _question(self, spot: Spot) -> AssistantMessage | None:
        calls = spot.situation.chosen.tool_calls
        return asked_instead_of_calling(spot.situation) if calls else None

    def _call(self, spot: Spot) -> AssistantMessage | None:
        return _checked(spot.needless, spot, needless_call) if spot.needless else None

    def _words(self, spot: Spot) -> AssistantMessage | None:
        """Return closing words with another number; else others with a number nobody returned."""
        if not spot.closing:
            return None
        said, rng = spot.situation.chosen.content or "", spot.situation.rng
        results = " ".join(m.content for m in spot.subject.messages if isinstance(m, ToolMessage))
        returned = set(_NUMBER.findall(results))
        numbers = [number for number in _NUMBER.finditer(said) if number[0] in returned]
        if numbers:
            at = rng.choice(numbers)
            other = str(int(at[0]) + rng.randint(2, 9))
            return AssistantMessage(content=said[: at.start()] + other + said[at.end() :])
        others = [text for text in self._closings if set(_NUMBER.findall(text)) - returned]
        return AssistantMessage(content=rng.choice(others)) if others else None

    def _with_another_value(self, situation: Situation) -> AssistantMessage | None:
        call = situation.rng.choice(situation.chosen.tool_calls)
        tool = situation.toolset.get(call.name)
        arguments = call.parsed()
        for name in situation.rng.sample(list(arguments), len(arguments)):
            value = arguments[name]
            schema = tool.parameters.get("properties", {}).get(name, {}) if tool else {}
            choices = schema.get("enum") or self._values[call.name, name]
            others = [one for one in choices if type(one) is type(value) and one != value]
            if others and isinstance(value, str | int | float):
                other = arguments | {name: situation.rng.choice(others)}
                return with_call(situation, call, call.name, other)
        return None

    _errors: dict[str, Callable[[Nursery, Spot], AssistantMessage | None]] = {
        "wrong_tool": _tool,
        "wrong_value": _value,
        "asked_instead_of_calling": _question,
        "needless_call": _call,
        "wrong_answer": _words,
    }


def _spots(subject: Subject, rng: random.Random) -> Iterator[Spot]:
    for number, window in enumerate(subject.windows):
        turn = subject.trace.task.turns[number]
        said = " ".join(
            m.content for m in subject.messages[: window.start] if isinstance(m, UserMessage)
        )
        for index in window:
            chosen = subject.messages[index]
            if not isinstance(chosen, AssistantMessage) or index in subject.recovered:
                continue
            kind = subject.trace.task.kind
            action = turn.expectation.action if turn.expectation else ACTIONS.get(kind)
            first = index == window.start
            yield Spot(
                subject=subject,
                index=index,
                situation=Situation(chosen, said, turn.expectation, subject.toolset, rng),
                needless=None if chosen.tool_calls or not first else NEEDLESS.get(action or ""),
                closing=not chosen.tool_calls and not first,
            )


def _checked(
    kind: str, spot: Spot, make: Callable[[Situation], AssistantMessage | None]
) -> AssistantMessage | None:
    """Return an error that no other check would find, and that is one."""
    made = make(spot.situation)
    if made is None or any(call_problem(c, spot.situation.toolset) for c in made.tool_calls):
        return None
    calls = spot.situation.chosen.tool_calls
    return made if not calls or is_wrong(kind, made, spot.situation) else None


def _shown(kind: str, spot: Spot, made: AssistantMessage) -> Planted:
    before = spot.subject.messages[: spot.index]
    key, tools = spot.subject.trace.key, spot.subject.toolset.tools
    right, wrong = (
        Exhibit(key, tuple(chain(before, (answer,))), tools)
        for answer in (spot.situation.chosen, made)
    )
    return Planted(spot.needless or kind if kind == "needless_call" else kind, right, wrong)
