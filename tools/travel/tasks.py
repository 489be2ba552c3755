"""Tasks of the travel desk, with what a right answer does.

What happens in a task is in writers.py; how Jonas and the desk put it is in wording.yaml. An entry
of that file is one idea, each of its `families` a way of asking that shares no sentence with the
others:

    trains:
      kind: single
      writer: search_trains          # left out: named like the entry
      answers: ["The first one leaves at {departs}."]
      mentions: [["{departs}"]]      # one word of every group is in a right answer
      families:
        plain: ["[Find|Show me] trains from {origin} to {destination} {when}."]

An idea of several turns lists them under `turns`, each with the same families.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from distill.errors import TaskError
from distill.toolsets import load_toolset
from distill.toolsets.folder import load_module
from distill.toolsets.generation import Idea, Script, write_tasks
from distill.types import Kind, Task

HERE = Path(__file__).parent
SHARES = {
    Kind.SINGLE: 0.24,
    Kind.CHOOSE: 0.14,
    Kind.PARALLEL: 0.12,
    Kind.MULTI_STEP: 0.12,
    Kind.MULTI_TURN: 0.10,
    Kind.NO_TOOL: 0.09,
    Kind.MISSING: 0.09,
    Kind.TOOL_FAILED: 0.06,
    Kind.CHAT: 0.04,
}
writers = load_module(HERE / "writers.py", TaskError)


def ideas() -> list[Idea]:
    """Return one idea for every family of wording.yaml."""
    text = (HERE / "wording.yaml").read_text(encoding="utf-8")
    found = []
    for name, entry in yaml.safe_load(text).items():
        write = getattr(writers, f"_{entry.get('writer', name)}")
        parts = entry.get("turns", [entry])
        for family in parts[0]["families"]:
            turns = [
                writers.scene.Turn(
                    part["families"][family], part["answers"], part.get("mentions", [])
                )
                for part in parts
            ]
            idea = Idea(Kind(entry["kind"]), f"{name}/{family}", partial(_write, write, turns))
            found.append(idea)
    return found


def generate(seed: int, count: int) -> Iterator[Task]:
    """Yield `count` tasks; the same seed gives the same tasks."""
    return write_tasks(load_toolset(HERE), ideas(), SHARES, seed, count)


def _turn(part: dict[str, Any], family: str) -> Any:
    frames, mentions = part["families"][family], part.get("mentions", [])
    return writers.scene.Turn(frames, part["answers"], mentions)


def _write(write: Callable[[Any], None], turns: list[Any], script: Script) -> None:
    write(writers.scene.Scene(script, turns))
