"""What a data set shares with what students are measured on.

Suites are the case files under the workspace's `eval/` and, when it is installed, BFCL's. A row
that asks what a suite asks is dropped: it would flatter the student. Shared argument tuples and
tool signatures are counted, not dropped: two sets about one house share them rightly.

Not held against: the data set's own held-out cases. Splitting by family keeps those apart, and
`leaks` counts where it did not.
"""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from distill.similarity import FEW_WORDS, Nearby, call_mark, request_words, sketch_of
from distill.types import Json, Task, Tool, Verdict

STAGE = "contamination"
SIMILARITY = 0.8
"""Requests that share so much are one request."""


@dataclass
class Suite:
    """What one evaluation suite holds."""

    name: str
    requests: set[str] = field(default_factory=set)
    """Words of what its cases ask first."""
    calls: set[str] = field(default_factory=set)
    """Marks of expected calls with at least two arguments."""
    tools: set[str] = field(default_factory=set)
    """Marks of names and parameters of its tools."""
    _near: Nearby = field(default_factory=lambda: Nearby(SIMILARITY))

    def add_task(self, task: Task) -> None:
        """Take in one case."""
        self.add_request(task.turns[0].content)
        for turn in task.turns:
            for call in turn.expectation.calls if turn.expectation else ():
                self.add_call(call.name, call.arguments)

    def add_request(self, text: str) -> None:
        """Take in what a case asks first."""
        words = request_words(text)
        if words and words not in self.requests:
            self.requests.add(words)
            if words.count(" ") >= FEW_WORDS:
                self._near.add(words, sketch_of([text]))

    def add_call(self, name: str, arguments: dict[str, Json]) -> None:
        """Take in an expected call."""
        if len(arguments) > 1:
            self.calls.add(call_mark(name, arguments))

    def find(self, request: str, sketch: bytes) -> str | None:
        """Return the words of the case that asks this, or None."""
        if request in self.requests:
            return request
        return self._near.find(sketch) if request.count(" ") >= FEW_WORDS else None


APART = Verdict(ok=True, stage=STAGE, code="apart", detail="No suite asks this.")


@dataclass
class Suites:
    """The suites a data set is held against."""

    suites: list[Suite]
    shared: Counter[str] = field(default_factory=Counter)
    """`suite: what` -> rows or tools that share it."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the suites."""
        return tuple(suite.name for suite in self.suites)

    def verdict(self, request: str, sketch: bytes) -> Verdict:
        """Judge a row by what it asks first.

        Args:
            request: `request_words` of it.
            sketch: `sketch_of` it.
        """
        for suite in self.suites:
            if found := suite.find(request, sketch):
                detail = f"{suite.name} asks {found[:80]!r}"
                return Verdict(ok=False, stage=STAGE, code="shared_request", detail=detail)
        return APART

    def count_calls(self, marks: Iterable[str]) -> None:
        """Count a row under every suite that expects one of its calls."""
        made = set(marks)
        found = (suite.name for suite in self.suites if made & suite.calls)
        self.shared.update(f"{name}: argument tuples" for name in found)

    def count_tools(self, tools: Iterable[Tool]) -> None:
        """Count the tools that a suite offers too."""
        marks = {tool_mark(tool.name, tool.parameters) for tool in tools}
        for suite in self.suites:
            if same := marks & suite.tools:
                self.shared[f"{suite.name}: tool signatures"] = len(same)


def suites(folder: Path, cases: Path | None, own: Path) -> Suites:
    """Read the suites of a workspace, and BFCL when it is installed.

    Args:
        folder: The workspace's `eval/`.
        cases: The config's own cases file, where it names one.
        own: The folder of the data set, whose cases are no suite.
    """
    files = {path.resolve() for path in folder.rglob("*.jsonl") if "results" not in path.parts}
    files |= {cases.resolve()} if cases and cases.is_file() else set()
    found = [_suite(path) for path in sorted(files) if own.resolve() not in path.parents]
    bfcl = _bfcl_data()
    return Suites([suite for suite in found if suite.requests] + ([_bfcl(bfcl)] if bfcl else []))


def leaks(held_out: Sequence[Task], trained: Iterable[tuple[str, bytes]]) -> int:
    """Return how many held-out cases open with what, to a word or two, a training row asks.

    Args:
        held_out: The cases.
        trained: `request_words` and sketch of each training row.
    """
    near, exact = Nearby(SIMILARITY), set[str]()
    for words, sketch in trained:
        if words not in exact and words.count(" ") >= FEW_WORDS:
            near.add(words, sketch)
        exact.add(words)
    openings = (task.turns[0].content for task in held_out)
    return sum(
        request_words(text) in exact
        or (
            request_words(text).count(" ") >= FEW_WORDS and near.find(sketch_of([text])) is not None
        )
        for text in openings
    )


def tool_mark(name: str, parameters: dict[str, Any]) -> str:
    """Return the identity of a tool's signature: its name and its parameters' names."""
    return call_mark(name, sorted(parameters.get("properties", {})))


def _suite(path: Path) -> Suite:
    suite = Suite(path.parent.name if path.name == "cases.jsonl" else path.stem)
    for row in _rows(path):
        try:
            suite.add_task(Task.model_validate(row))
        except ValueError:
            continue  # not a case
    return suite


def _bfcl_data() -> Path | None:
    """Return BFCL's data folder without importing it: the import makes folders of its own."""
    spec = importlib.util.find_spec("bfcl_eval")
    locations = spec.submodule_search_locations if spec else None
    data = Path(next(iter(locations))) / "data" if locations else None
    return data if data and data.is_dir() else None


@cache
def _bfcl(data: Path) -> Suite:
    suite = Suite("bfcl")
    for path in sorted(data.glob("BFCL_*.json")):
        for row in _rows(path):
            turns = row.get("question") or [[]]
            texts = [m["content"] for m in turns[0] if m.get("role") == "user"]
            for text in texts[:1]:
                suite.add_request(text)
            for function in row.get("function", ()):
                suite.tools.add(tool_mark(function["name"], function["parameters"]))
    for path in sorted((data / "possible_answer").glob("BFCL_*.json")):
        for row in _rows(path):
            for call in row["ground_truth"]:
                if isinstance(call, dict):
                    _add_answer(suite, call)
    return suite


def _add_answer(suite: Suite, call: dict[str, Any]) -> None:
    """Take in a BFCL answer: per parameter its allowed values, "" for one that may be left out."""
    for name, parameters in call.items():
        if isinstance(parameters, dict):
            first = {key: allowed[0] for key, allowed in parameters.items() if allowed}
            suite.add_call(name, {key: value for key, value in first.items() if value != ""})


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSONL file, up to a line that is none."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                return
            if isinstance(row, dict):
                yield row
