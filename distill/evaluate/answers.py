"""Answers on disk: one line per case and model, appended as they finish.

    {"key": "9f1c...", "model": "student", "identity": "5d0c...", "trace": {...}}

The key is a hash of the case, of what decides the model's answers (its weights, template and
parser, or the teacher's settings) and of the settings of the episode. A rerun reuses every line
whose key it would produce again; a line cut short by a crash is owed again.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from distill.traces import Trace
from distill.types import Frozen, Json, Task, digest


class Answer(Frozen):
    """What one model did in one case."""

    key: str
    model: str
    """base, student or teacher."""
    identity: str
    trace: Trace


def answer_key(case: Task, identity: str, settings: Json) -> str:
    """Return the key of the answer that a model gives to a case under some settings."""
    return digest([case.model_dump(mode="json"), identity, settings])


class AnswerFile:
    """The answers of one results folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._answers = {answer.key: answer for answer in _read(path)}

    def get(self, key: str) -> Answer | None:
        """Return the answer with this key, or None."""
        return self._answers.get(key)

    def add(self, answer: Answer) -> None:
        """Keep an answer; it is on disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.is_file() and not _ends_with_newline(self.path)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + answer.model_dump_json() + "\n")
        self._answers[answer.key] = answer


def _read(path: Path) -> list[Answer]:
    if not path.is_file():
        return []
    answers = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            answers.append(Answer.model_validate(json.loads(line)))
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
