"""One task while it is made: a sentence frame, the values of its slots, the calls, the answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

from distill.toolsets import load_module
from distill.toolsets.generation import Script, phrase

values = load_module(Path(__file__).with_name("values.py"))
TEXTS, PLACES = values.TEXTS, values.PLACES
ANSWERS = {name: lines.splitlines() for name, lines in TEXTS["answers"].items()}


class Request:
    """Slots drawn so far, answers owed, sentences left.

    Calls of the tool `flaky` fail once, those of `failing` always.
    """

    def __init__(self, script: Script, frames: list[str]) -> None:
        self.script, self.rng = script, script.rng
        self.house: dict[str, Any] = {"seed": self.rng.randrange(1000)}
        self.script.setup(**self.house)
        self.flaky: str | None = None
        self.failing: str | None = None
        self._frames = self.rng.choice(frames).split(" // ")
        self._words: dict[str, str] = {}
        self._values: dict[str, list[Any]] = {}
        self._answers: list[str] = []
        self._mentions: list[tuple[str, ...]] = []

    def arrange(self, **house: Any) -> None:
        """Begin with a house that is not as usual."""
        self.script.setup(**self.house | house)

    def draw(self, slot: str) -> Any:
        """Draw a value not drawn before; the second one fills the slot's name with a 2."""
        earlier = self._values.setdefault(slot, [])
        value, words = values.DRAWS[slot](self.rng)
        while value in earlier:
            value, words = values.DRAWS[slot](self.rng)
        self.fill(slot, value, words)
        return value

    def fill(self, slot: str, value: Any, words: str) -> None:
        """Give a slot a value drawn elsewhere."""
        earlier = self._values.setdefault(slot, [])
        earlier.append(value)
        name = slot if len(earlier) == 1 else f"{slot}{len(earlier)}"
        self._words[name] = words
        if isinstance(value, int | float):
            self._words[f"{name}_n"] = values.said(self.rng, value)

    def place(self, places: list[tuple[str, str]] = PLACES) -> tuple[str, str]:
        """Draw a device together with the room it is in."""
        taken = self._values.get("device", [])
        kind, room = self.rng.choice([p for p in places if p[0] not in taken])
        self.fill("device", kind, kind)
        self.fill("room", room, self.rng.choice(values.SYNONYMS.get(room, (room,))))
        return kind, room

    def call(self, name: str, *, step: int = 0, **arguments: Any) -> Any:
        """Expect and execute a call, failing first or for good where this task says so."""
        if name == self.failing:
            error = self.script.failing(name, step=step, **arguments)
            self._answers = [phrase(self.rng, ANSWERS["failed"], error=error)]
            return None
        if name == self.flaky:
            self.script.failing(name, step=step, **arguments)
            step += 1
        return self.script.call(name, step=step, **arguments)

    def grant(self, *parts: Callable[[Request], Any]) -> None:
        """Add several wishes, in the order in which the sentence speaks of them."""
        said = []
        for part in parts:
            words, calls, answers = {*self._words}, self.script.expected, len(self._answers)
            part(self)
            place = min((self._place(slot) for slot in self._words if slot not in words), default=0)
            own = range(calls, self.script.expected)
            said.append((place, own, self._answers[answers:]))
        said.sort(key=itemgetter(0))
        self.script.reorder([number for _, calls, _ in said for number in calls])
        self._answers = [answer for _, _, answers in said for answer in answers]

    def _place(self, slot: str) -> int:
        """Return where a slot stands in the next sentence; far behind when it does not."""
        found = re.search(rf"\{{{slot}(_n)?\}}", self._frames[0])
        return found.start() if found else len(self._frames[0])

    def answer(self, key: str, **values: object) -> None:
        """Add a sentence to the answer; a failure said already stands alone."""
        if self.failing is None:
            self._answers.append(phrase(self.rng, ANSWERS[key], **values))

    def says(self, *mentions: tuple[str, ...]) -> None:
        """End a turn of calls."""
        self.script.says(self._sentence(), " ".join(self._answers), mentions)
        self._answers = []

    def asks(self, *missing: str) -> None:
        """End a turn that is answered with a question for what is missing."""
        questions = [TEXTS["questions"][what] for what in missing]
        answer = " ".join(phrase(self.rng, q["ask"].splitlines()) for q in questions)
        self.script.asks(self._sentence(), answer, [q["words"] for q in questions])

    def refused(self, idea: str) -> None:
        """End a turn that no tool fits."""
        answer = phrase(self.rng, ANSWERS["cannot"], thing=TEXTS["cannot"][idea])
        self.script.abstains(self._sentence(), answer)

    def talk(self, idea: str) -> None:
        """End a turn of plain talk."""
        answer = self.rng.choice(TEXTS["talk"][idea].splitlines())
        self.script.chats(self._sentence(), answer)

    def _sentence(self) -> str:
        frame = self._frames.pop(0)
        for slot in re.findall(r"\{(\w+)\}", frame):
            if slot not in self._words:
                self.draw(slot.removesuffix("_n"))
        text = phrase(self.rng, frame, **self._words)
        if self.rng.random() < 0.15 and not text.startswith("I "):
            text = text[0].lower() + text[1:]
        return text + "." if text[-1] not in "?." and self.rng.random() < 0.4 else text
