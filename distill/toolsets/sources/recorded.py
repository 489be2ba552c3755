r"""Replay: tools without an implementation answer with results that were recorded.

`recorded.jsonl` stands next to `tools.json`; `distill traces export --format calls` writes it from
traces. A call is answered when exactly this call (name and arguments, compared as JSON) was
recorded; a call that was made several times gives its results in the order of the file, then the
last one again. Any other call is an error the model sees. Nothing is made up.

    {"name": "get_order", "arguments": {"order_id": "A-17"}, "content": "{\"total\": 12.5}"}
    {"name": "get_order", "arguments": {"order_id": "A-99"}, "content": "{\"error\": \"unknown\"}",
     "is_error": true}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distill.errors import ToolSetError
from distill.toolsets.environment import ToolError
from distill.toolsets.sources.files import fault
from distill.toolsets.sources.session import Session
from distill.types import Frozen, Json, canonical_json

RECORDED = "recorded.jsonl"


class RecordedCall(Frozen):
    """One call and what it gave."""

    name: str
    arguments: dict[str, Json]
    content: str
    """The result as the model saw it, usually JSON."""
    is_error: bool = False

    @property
    def key(self) -> str:
        """What makes two calls the same."""
        return canonical_json([self.name, self.arguments])


Recordings = dict[str, list[RecordedCall]]


def read_recordings(path: Path) -> Recordings:
    """Read `recorded.jsonl`; a missing file holds none.

    Raises:
        ToolSetError: A line is malformed.
    """
    found: Recordings = {}
    if not path.is_file():
        return found
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                call = RecordedCall.model_validate_json(line)
            except ValidationError as error:
                raise ToolSetError(f"{path}:{number}: {fault(error, 'line')}") from None
            found.setdefault(call.key, []).append(call)
    return found


def write_recordings(path: Path, calls: Iterable[RecordedCall]) -> int:
    """Write calls, each result of a call once; return how many lines."""
    seen: dict[str, RecordedCall] = {}
    for call in calls:
        seen.setdefault(canonical_json(call.model_dump(mode="json")), call)
    path.write_text("".join(c.model_dump_json() + "\n" for c in seen.values()), encoding="utf-8")
    return len(seen)


class Replay(Session):
    """Answers from recordings; every episode starts at the first result of each call."""

    def __init__(self, recordings: Recordings, why: str) -> None:
        self._recordings = recordings
        self._why = why
        self._made: Counter[str] = Counter()

    def call(self, name: str, arguments: dict[str, Json]) -> Json:
        """Return the recorded result.

        Raises:
            ToolError: This call was never recorded, or the recorded result is an error.
        """
        key = canonical_json([name, arguments])
        results = self._recordings.get(key)
        if not results:
            raise ToolError(f"{name} cannot be executed with these arguments: {self._why}")
        result = results[min(self._made[key], len(results) - 1)]
        self._made[key] += 1
        content = parsed(result.content)
        if result.is_error:
            message = content.get("error") if isinstance(content, dict) else None
            raise ToolError(str(message or result.content))
        return content


def parsed(text: str) -> Any:
    """Return what a text says as JSON, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
