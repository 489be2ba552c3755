"""Conversations and requests that say the same: exactly, or nearly.

Exact: the messages are equal once call ids, which every provider makes up afresh, are replaced by
their position, and argument strings by what they say. Nearly: the sets of three-word runs overlap
(Jaccard), estimated by MinHash and found through locality-sensitive hashing, so that looking one up
takes the same time in a large set as in a small one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache

import numpy as np
from datasketch import MinHash, MinHashLSH

from distill.types import (
    AssistantMessage,
    Json,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
    canonical_json,
    digest,
)

PERMUTATIONS, SCHEME = 64, "affine32"
RUN = 3
"""Words in a run."""
FEW_WORDS = 8
"""Requests this short are only ever compared exactly."""

_WORDS = re.compile(r"[^\W_]+")


class Nearby:
    """Finds what is nearly equal to something seen before.

    Sketches are cut into bands; what shares a band with another is compared with it. All there is
    to remember of one thing is its sketch and a number in the table of each band.
    """

    def __init__(self, similarity: float) -> None:
        self.similarity = similarity
        # Looked up more loosely than wanted, so that hardly anything is missed, then compared.
        layout = MinHashLSH(threshold=max(similarity - 0.2, 0.1), num_perm=PERMUTATIONS)
        self._bands = [slice(4 * start, 4 * end) for start, end in layout.hashranges]
        self._tables: list[dict[int, int | list[int]]] = [{} for _ in self._bands]
        self._names: list[str] = []
        self._sketches = np.empty((256, PERMUTATIONS), dtype=np.uint32)

    def add(self, name: str, sketch: bytes) -> None:
        """Remember something."""
        number = len(self._names)
        if number == len(self._sketches):
            self._sketches = np.resize(self._sketches, (2 * number, PERMUTATIONS))
        self._sketches[number] = np.frombuffer(sketch, dtype=np.uint32)
        self._names.append(name)
        for table, mark in zip(self._tables, self._marks(sketch), strict=True):
            there = table.setdefault(mark, number)
            if isinstance(there, list):
                there.append(number)
            elif there != number:
                table[mark] = [there, number]

    def find(self, sketch: bytes) -> str | None:
        """Return the first name that is at least as similar as wanted, or None."""
        numbers: set[int] = set()
        for table, mark in zip(self._tables, self._marks(sketch), strict=True):
            there = table.get(mark, ())
            numbers.update((there,) if isinstance(there, int) else there)
        if not numbers:
            return None
        found = np.fromiter(numbers, dtype=np.int64, count=len(numbers))
        values = np.frombuffer(sketch, dtype=np.uint32)
        shares = (self._sketches[found] == values).mean(axis=1)
        return min((self._names[n] for n in found[shares >= self.similarity]), default=None)

    def _marks(self, sketch: bytes) -> Iterator[int]:
        return (hash(sketch[band]) for band in self._bands)


def sketch_of(texts: Iterable[str]) -> bytes:
    """Return the MinHash of the three-word runs of some texts."""
    words = [word for text in texts for word in _WORDS.findall(text.casefold())]
    runs = {" ".join(words[n : n + RUN]).encode() for n in range(max(1, len(words) - RUN + 1))}
    minhash = _minhash()
    minhash.clear()
    minhash.update_batch(runs)
    return bytes(minhash.hashvalues.astype(np.uint32).tobytes())


@lru_cache(maxsize=1024)
def request_sketch(text: str) -> bytes:
    """Return `sketch_of` what a user asked first; samples of a task ask the same."""
    return sketch_of([text])


def conversation_sketch(messages: Sequence[Message]) -> bytes:
    """Return the sketch of what user and assistant said and called."""
    texts = []
    for message in messages:
        if isinstance(message, UserMessage | AssistantMessage):
            texts.append(message.content or "")
        if isinstance(message, AssistantMessage):
            texts += [f"{call.name} {call.arguments}" for call in message.tool_calls]
    return sketch_of(texts)


def request_words(text: str) -> str:
    """Return a request as it is compared exactly: its words, case-folded."""
    return " ".join(_WORDS.findall(text.casefold()))


def fingerprint(messages: Sequence[Message]) -> str:
    """Hash messages, call ids replaced by position and arguments by their parsed value."""
    rows: list[Json] = []
    ids: list[str] = []
    for message in messages:
        row: list[Json] = [message.role, message.content]
        if isinstance(message, AssistantMessage):
            ids = [call.id for call in message.tool_calls]
            row += [[call.name, _value(call)] for call in message.tool_calls]
        elif isinstance(message, ToolMessage):
            known = message.tool_call_id in ids
            row += [ids.index(message.tool_call_id) if known else None, message.is_error]
        rows.append(row)
    return digest(rows)


def call_mark(name: str, arguments: Json) -> str:
    """Return the identity of a call's name and arguments."""
    return digest([name, canonical_json(arguments)])


def _value(call: ToolCall) -> Json:
    try:
        return call.parsed()
    except ValueError:
        return call.arguments


@cache
def _minhash() -> MinHash:
    """Return the sketch that all are made in: its permutations take longest to make."""
    return MinHash(num_perm=PERMUTATIONS, scheme=SCHEME)
