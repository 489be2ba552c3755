"""Tasks whose words stand in a YAML file and whose events stand in Python.

A writer is a function of one `Scene`: it draws facts from the scene's world, makes the calls a
right answer makes, and ends each turn. How users and the desk put it stands in the file. An entry
of it is one idea, each of its `families` a way of asking that shares no sentence with the others:

    refund:
      kind: single
      writer: refund_order           # left out: named like the entry
      answers: ["{order} gets {amount} back."]
      mentions: [["{order}"]]        # one word of every group is in a right answer
      families:
        plain: ["[Please |]give {amount} back on {order}, {why}."]

An idea of several turns lists them under `turns`, each with the same families. Which facts there
are, and how values are put, is the tool set's: it derives its own `Scene`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import yaml

from distill.errors import TaskError
from distill.toolsets.generation import Idea, Script
from distill.toolsets.wording import phrase, sentences
from distill.types import Kind

WORLDS = 60
"""How many worlds the tasks of one tool set play in."""


@dataclass(frozen=True)
class Wording:
    """How one turn of one family may be put."""

    frames: list[str]
    answers: list[str]
    mentions: list[list[str]]

    def words(self, rng: Random, slots: Mapping[str, object]) -> dict[str, Any]:
        """Return text, answer and mentions, as the endings of a `Script` turn take them."""
        return {
            "text": sentences(phrase(rng, self.frames, **slots)),
            "answer": sentences(phrase(rng, self.answers, **slots)),
            "mentions": [[word.format(**slots) for word in group] for group in self.mentions],
        }


class Scene:
    """One script, the world it happens in, and the wording of its turns.

    The environment's `seed` says which world that is.
    """

    def __init__(self, script: Script, wordings: list[Wording]) -> None:
        self.rng = script.rng
        self.call, self.failing, self.fault = script.call, script.failing, script.fault
        self._script, self._wordings = script, iter(wordings)
        self.enter_world()

    def enter_world(self) -> None:
        """Move to a world drawn at random; before the first call only."""
        self.seed = self.rng.randint(1, WORLDS)
        self._script.setup(seed=self.seed)

    def facts(self) -> dict[str, Any]:
        """Return slots for requests that are not answered with a call."""
        return {}

    def says(self, **slots: object) -> None:
        """End a turn that wants the calls made since the last one."""
        self._script.says(**self._words(slots))

    def asks(self, **slots: object) -> None:
        """End a turn that wants a question back."""
        self._script.asks(**self._words(slots))

    def abstains(self, **slots: object) -> None:
        """End a turn that no tool fits."""
        self._script.abstains(**self._words(slots))

    def chats(self, **slots: object) -> None:
        """End a turn of plain talk."""
        self._script.chats(**self._words(slots))

    def _words(self, slots: Mapping[str, object]) -> dict[str, Any]:
        return next(self._wordings).words(self.rng, slots)


WITHOUT_CALLS: dict[str, Callable[[Any], None]] = {
    "outside": lambda scene: scene.abstains(**scene.facts()),
    "missing": lambda scene: scene.asks(**scene.facts()),
    "talk": lambda scene: scene.chats(**scene.facts()),
}
"""Writers every tool set has: one turn that is answered without a call."""


def read_ideas(path: Path, scene: type[Scene], writers: Mapping[str, Any]) -> list[Idea]:
    """Return one idea for every family of a wording file.

    Args:
        path: The file.
        scene: What the writers work with.
        writers: Writers by name, such as `vars` of the module that defines them; those of
            `WITHOUT_CALLS` need not be among them.

    Raises:
        TaskError: An entry names a writer that does not exist.
    """
    known = WITHOUT_CALLS | dict(writers)
    found = []
    for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        writer = entry.get("writer", name)
        if writer not in known:
            raise TaskError(
                f"{path}: {name!r} has no writer {writer!r}; define it, or name another"
            )
        parts = entry.get("turns", [entry])
        for family in parts[0]["families"]:
            wordings = [
                Wording(part["families"][family], part["answers"], part.get("mentions", []))
                for part in parts
            ]
            write = partial(_write, known[writer], scene, wordings)
            found.append(Idea(Kind(entry["kind"]), f"{name}/{family}", write))
    return found


def _write(
    writer: Callable[[Any], None], scene: type[Scene], wordings: list[Wording], script: Script
) -> None:
    writer(scene(script, wordings))
