"""Answers on disk: one line per case and model, appended as they finish.

    {"key": "9f1c...", "model": "student", "identity": "5d0c...", "trace": {...}}

The key is a hash of the case, of what decides the model's answers (its weights, template and
parser, or the teacher's settings) and of the settings of the episode. A rerun reuses every line
whose key it would produce again; a line cut short by a crash is owed again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from distill.traces import Trace, TurnRecord
from distill.types import Frozen, Json, Message, Task, digest


class Keyed(Frozen):
    """Anything a model answered, under the key of what decides it."""

    key: str
    model: str
    """Which candidate: base, student, teacher, ..."""
    identity: str


class Answer(Keyed):
    """What one model did in one case."""

    trace: Trace


class SuiteAnswer(Keyed):
    """What one model did in one question of a suite."""

    question: str
    messages: tuple[Message, ...]
    turns: tuple[TurnRecord, ...]


Row = TypeVar("Row", bound=Keyed)


def answer_key(case: Task, identity: str, settings: Json, trial: int = 0) -> str:
    """Return the key of the answer that a model gives to a case under some settings.

    Args:
        case: What is asked.
        identity: What decides the model's answers.
        settings: What decides the episode.
        trial: Which of several answers to the same case.
    """
    of = [case.model_dump(mode="json"), identity, settings]
    return digest([*of, trial] if trial else of)


class AnswerFile(Generic[Row]):
    """The answers of one file."""

    def __init__(self, path: Path, row: type[Row]) -> None:
        self.path = path
        self._answers = {answer.key: answer for answer in _read(path, row)}

    def get(self, key: str) -> Row | None:
        """Return the answer with this key, or None."""
        return self._answers.get(key)

    def add(self, answer: Row) -> None:
        """Keep an answer; it is on disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.is_file() and not _ends_with_newline(self.path)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + answer.model_dump_json() + "\n")
        self._answers[answer.key] = answer


def _read(path: Path, row: type[Row]) -> list[Row]:
    if not path.is_file():
        return []
    answers = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            answers.append(row.model_validate(json.loads(line)))
        except (ValidationError, ValueError):
            continue  # torn by a crash, or of an older version: owed again
    return answers


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size == 0:
            return True
        file.seek(size - 1)
        return file.read(1) == b"\n"
