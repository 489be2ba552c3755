"""The data set on disk: what `filter` writes and `train` and `eval` read.

    traces/<name>/
      train.jsonl        one Example a line, in the OpenAI message shape with `tools`
      validation.jsonl   the same
      pairs.jsonl        one `Pair` a line: a right and a wrong answer; optional
      cases.jsonl        one held-out Task a line (whether or not the teacher solved it)
      rejects.jsonl      one line for every dropped trace: key, task, stage, code, evidence
      dataset.json       `DatasetInfo`: hashes, counts, shares
      README.md          the card, for people

One line of `train.jsonl` (assistant turns may carry `weight`, 1 when left out):

    {"messages": [{"role": "system", ...}, {"role": "user", ...}, {"role": "assistant", ...}],
     "tools": [{"type": "function", "function": {...}}],
     "meta": {"task": "home-0017", "kind": "single", "key": "5d0c..."}}

One line of `pairs.jsonl`:

    {"messages": [{"role": "system", ...}, {"role": "user", ...}],
     "tools": [{"type": "function", "function": {...}}],
     "chosen": {"role": "assistant", ...}, "rejected": {"role": "assistant", ...},
     "kind": "wrong_tool", "key": "5d0c...", "by": "teacher"}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError, model_validator

from distill.audit import Audit
from distill.calibration import JudgeReport
from distill.chat import from_chat, to_chat
from distill.errors import DatasetError
from distill.types import AssistantMessage, Example, Frozen, Message, Task, Tool

TRAIN, VALIDATION, CASES, REJECTS = (
    "train.jsonl",
    "validation.jsonl",
    "cases.jsonl",
    "rejects.jsonl",
)
PAIRS, INFO, CARD = "pairs.jsonl", "dataset.json", "README.md"

T = TypeVar("T")


class DatasetInfo(Frozen):
    """What a data set holds and where it came from."""

    name: str
    toolset: str
    toolset_hash: str
    teacher: str
    terms: str | None
    traces: int
    """Traces read."""
    counts: dict[str, int]
    """Rows of train, validation, cases, rejects."""
    kinds: dict[str, dict[str, int]]
    """Split -> kind -> rows."""
    rejected: dict[str, int]
    """`stage/code` -> traces dropped."""
    mix: dict[str, float] = {}
    """Kind -> wanted share of the training rows."""
    cut: int = 0
    """Rows of train and validation whose later user turns were cut off."""
    pairs: dict[str, int] = {}
    """What is wrong with the rejected answer -> preference pairs."""
    pairs_by: dict[str, int] = {}
    """Who gave the rejected answer (`Pair.by`) -> preference pairs."""
    suites: tuple[str, ...] = ()
    """Evaluation suites the rows were compared with."""
    shared: dict[str, int] = {}
    """`suite: what` -> training rows (or tools) that share it."""
    leaks: int = 0
    """Held-out cases that open almost as a training row does."""
    hash: str
    """SHA-256 (16 hex digits) over train.jsonl and validation.jsonl."""
    audit: Audit | None = None
    """What reviewing a sample of it found; None: made before there were reviews."""
    judge: JudgeReport | None = None
    """What a judge found; None: there was none."""


class Pair(Frozen):
    """A right and a wrong answer to the same prompt."""

    messages: tuple[Message, ...]
    """The prompt: everything before the answer."""
    tools: tuple[Tool, ...]
    chosen: AssistantMessage
    rejected: AssistantMessage
    kind: str
    """What is wrong with `rejected`: wrong_tool, wrong_argument, needless_call, ..."""
    key: str
    """Of the trace or row the pair was made from."""
    by: Literal["teacher", "student", "rule"] = "rule"
    """Who gave `rejected`; rule: it was made mechanically."""

    @model_validator(mode="after")
    def _asks_and_differs(self) -> Pair:
        if not self.messages or isinstance(self.messages[-1], AssistantMessage):
            raise ValueError("messages must end before the answer, with a user or tool message")
        chosen, rejected = (
            (answer.content or "", [(call.name, call.arguments) for call in answer.tool_calls])
            for answer in (self.chosen, self.rejected)
        )
        if chosen == rejected:
            raise ValueError("chosen and rejected are the same answer")
        return self


def example_to_row(example: Example) -> dict[str, Any]:
    """Return an example as one JSON object of a data set file."""
    messages, weights = [], iter(example.weights)
    for message in example.messages:
        row = to_chat(message, full=True)
        if isinstance(message, AssistantMessage) and (weight := next(weights)) != 1:
            row["weight"] = weight
        messages.append(row)
    tools = [tool.as_function() for tool in example.tools]
    return {"messages": messages, "tools": tools, "meta": example.meta}


def example_from_row(row: dict[str, Any]) -> Example:
    """Read an example from one JSON object of a data set file.

    Raises:
        ValueError: A field is missing or malformed.
    """
    try:
        return Example(
            messages=tuple(from_chat(m) for m in row["messages"]),
            tools=tuple(Tool(**t["function"]) for t in row.get("tools", ())),
            weights=tuple(
                float(m.get("weight", 1)) for m in row["messages"] if m["role"] == "assistant"
            ),
            meta=row.get("meta", {}),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"missing or malformed field: {error}") from error


def pair_to_row(pair: Pair) -> dict[str, Any]:
    """Return a pair as one JSON object of `pairs.jsonl`."""
    return {
        "messages": [to_chat(message, full=True) for message in pair.messages],
        "tools": [tool.as_function() for tool in pair.tools],
        "chosen": to_chat(pair.chosen),
        "rejected": to_chat(pair.rejected),
        "kind": pair.kind,
        "key": pair.key,
        "by": pair.by,
    }


def pair_from_row(row: dict[str, Any]) -> Pair:
    """Read a pair from one JSON object of `pairs.jsonl`.

    Raises:
        ValueError: A field is missing or malformed.
    """
    try:
        return Pair(
            messages=tuple(from_chat(m) for m in row["messages"]),
            tools=tuple(Tool(**t["function"]) for t in row.get("tools", ())),
            chosen=AssistantMessage.model_validate(from_chat(row["chosen"])),
            rejected=AssistantMessage.model_validate(from_chat(row["rejected"])),
            kind=row["kind"],
            key=row["key"],
            by=row.get("by", "rule"),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"missing or malformed field: {error}") from error


def read_examples(path: Path) -> list[Example]:
    """Read train.jsonl or validation.jsonl.

    Raises:
        DatasetError: The file is missing, or a row is malformed.
    """
    return [_checked(path, n, example_from_row, row) for n, row in read_rows(path)]


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs.jsonl.

    Raises:
        DatasetError: The file is missing, or a row is malformed.
    """
    return [_checked(path, n, pair_from_row, row) for n, row in read_rows(path)]


def read_cases(path: Path) -> list[Task]:
    """Read the evaluation cases.

    Raises:
        DatasetError: The file is missing, or a row is malformed.
    """
    return [_checked(path, n, Task.model_validate, row) for n, row in read_rows(path)]


def read_info(folder: Path) -> DatasetInfo:
    """Read `dataset.json` of a data set folder.

    Raises:
        DatasetError: There is no data set in `folder`.
    """
    path = folder / INFO
    try:
        return DatasetInfo.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise DatasetError(
            f"no data set in {str(folder)!r} ({_first_line(error)}); run `distill filter CONFIG`"
        ) from error


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSONL file.

    Raises:
        DatasetError: The file is missing or a line is not a JSON object.
    """
    try:
        # Not splitlines(): it also breaks at U+2028 and its like, which JSON leaves in a string.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {str(path)!r}: {error}; run `distill filter`") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = _checked(path, number, json.loads, line)
            if not isinstance(row, dict):
                raise DatasetError(f"{path}:{number}: not a JSON object: {line[:80]!r}")
            yield number, row


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write a JSONL file in one step (temporary file, then rename); return the number of rows."""
    temporary = path.with_name(path.name + ".part")
    count = 0
    with temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    temporary.replace(path)
    return count


def dataset_hash(folder: Path) -> str:
    """Hash the files training reads."""
    content = hashlib.sha256()
    for name in (TRAIN, VALIDATION):
        with (folder / name).open("rb") as file:
            while part := file.read(2**20):
                content.update(part)
    return content.hexdigest()[:16]


def _checked(path: Path, number: int, read: Callable[[Any], T], value: Any) -> T:
    try:
        return read(value)
    except ValueError as error:
        raise DatasetError(f"{path}:{number}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"[:200]
    return str(error).splitlines()[0]
