"""The rows of a data set before they are files, and how many there are of each kind and tool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from distill.filter.split import TEST, TRAIN, VALIDATION
from distill.types import AssistantMessage, Example, Json, Task


@dataclass(frozen=True)
class Content:
    """The rows of a data set."""

    train: list[Example]
    validation: list[Example]
    cases: list[Task]
    rejects: list[dict[str, Json]]
    """`Judgement.reject_row` of every dropped trace."""

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each file."""
        return {
            "train": len(self.train),
            "validation": len(self.validation),
            "cases": len(self.cases),
            "rejects": len(self.rejects),
        }

    @property
    def kinds(self) -> dict[str, dict[str, int]]:
        """Split -> kind of task -> rows."""
        return {
            TRAIN: _count(example.meta["kind"] for example in self.train),
            VALIDATION: _count(example.meta["kind"] for example in self.validation),
            TEST: _count(str(task.kind) for task in self.cases),
        }

    @property
    def tools(self) -> dict[str, dict[str, int]]:
        """Split -> tool -> rows that call it (a row counts once for each of its tools)."""
        return {
            TRAIN: _count(name for example in self.train for name in _called(example)),
            VALIDATION: _count(name for example in self.validation for name in _called(example)),
            TEST: _count(name for task in self.cases for name in task.tools),
        }

    @property
    def rejected(self) -> dict[str, int]:
        """`stage/code` -> dropped traces, the most frequent first."""
        counts = _count(f"{row['stage']}/{row['code']}" for row in self.rejects)
        return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _called(example: Example) -> set[str]:
    spoken = [m for m in example.messages if isinstance(m, AssistantMessage)]
    learnt = [m for m, weight in zip(spoken, example.weights, strict=True) if weight]
    return {call.name for message in learnt for call in message.tool_calls}
