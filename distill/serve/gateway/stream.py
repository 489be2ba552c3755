"""An answer on its way through as server-sent events.

Words pass at once. From the first piece of a call, or the finish, everything is held back until
the answer has ended and was looked at; a fit answer then leaves exactly as it came. An unfit one is
replaced by the remedy's, unless words have left and the replacement has no call either: words
cannot be taken back. What stays unfit says so in the key `distill` of its last chunk.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple

from distill.serve.gateway.check import find_problem
from distill.serve.gateway.exchange import Ask, Problem
from distill.serve.gateway.upstream import Fault

DONE = "[DONE]"


class _Held(NamedTuple):
    data: str
    """As it came."""
    chunk: dict[str, Any]


class Passage:
    """One streamed answer: what has come, and what of it is held back."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.spoken = False
        """Whether words have left."""
        self.ended = False
        """Whether the answer has come to its end."""
        self._held: list[_Held] = []
        self._messages: dict[int, dict[str, Any]] = {}
        self._decided = False
        """Whether a call or the finish has come."""

    async def words(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield what may leave at once, until the answer has ended.

        Raises:
            Fault: It breaks off, or is no stream of chunks.
        """
        async for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").strip().decode(errors="replace")
            if data == DONE:
                self.ended = True
                return
            if not self.ask.offers_tools:  # there is nothing to look at
                self.spoken = True
                yield _event(data)
                continue
            chunk = _chunk(data)
            try:
                self._take(chunk)
            except (KeyError, TypeError, AttributeError):
                raise Fault("malformed_answer", "vLLM's stream holds an odd chunk") from None
            self._held.append(_Held(data, chunk))
            self._decided = self._decided or _decides(chunk)
            if not self._decided and _says(chunk):
                self.spoken = self.spoken or _says(chunk, "content")
                for held in self._held:
                    yield _event(held.data)
                self._held.clear()
        raise Fault("truncated_stream", "vLLM's stream ended before its answer did")

    def problem(self) -> Problem | None:
        """Return what is wrong with the whole answer, once it has ended."""
        return find_problem(self.ask, self.choices)

    @property
    def choices(self) -> list[dict[str, Any]]:
        """What has come, put together as a completion's choices."""
        return [
            {"index": index, "finish_reason": message["finish"], "message": _whole(message)}
            for index, message in sorted(self._messages.items())
        ]

    def rest(self, problem: Problem | None) -> Iterator[bytes]:
        """Yield what was held back, marked when it is unfit, and the end."""
        for data, chunk in self._held:
            if problem and any(choice.get("finish_reason") for choice in chunk["choices"]):
                yield event({**chunk, "distill": problem._asdict()})
            else:
                yield _event(data)
        yield _event(DONE)

    def replacement(self, body: Mapping[str, Any]) -> Iterator[bytes] | None:
        """Return another answer in place of what was held back; None: it is too late for it."""
        if self.spoken and not body["choices"][0]["message"].get("tool_calls"):
            return None
        return chunks(body, with_words=not self.spoken, with_usage=self._wants_usage)

    @property
    def _wants_usage(self) -> bool:
        return bool((self.ask.body.get("stream_options") or {}).get("include_usage"))

    def _take(self, chunk: Mapping[str, Any]) -> None:
        for choice in chunk["choices"]:
            fresh: dict[str, Any] = {"text": [], "calls": {}, "finish": None}
            message = self._messages.setdefault(choice["index"], fresh)
            delta = choice.get("delta") or {}
            if text := delta.get("content"):
                message["text"].append(text)
            for piece in delta.get("tool_calls") or ():
                call = message["calls"].setdefault(piece["index"], {"id": "", "name": "", "a": []})
                function = piece.get("function") or {}
                call["id"] = piece.get("id") or call["id"]
                call["name"] += function.get("name") or ""
                call["a"].append(function.get("arguments") or "")
            message["finish"] = choice.get("finish_reason") or message["finish"]


def chunks(body: Mapping[str, Any], *, with_words: bool, with_usage: bool) -> Iterator[bytes]:
    """Yield a whole completion as the events of a stream.

    Args:
        body: The completion.
        with_words: Whether its text is sent too.
        with_usage: Whether a last chunk tells the usage.
    """
    head = {name: body[name] for name in ("id", "created", "model") if name in body}
    head |= {"object": "chat.completion.chunk"}
    choice = body["choices"][0]
    delta: dict[str, Any] = {"role": "assistant"}
    if with_words and choice["message"].get("content"):
        delta["content"] = choice["message"]["content"]
    if calls := choice["message"].get("tool_calls"):
        delta["tool_calls"] = [{"index": n} | call for n, call in enumerate(calls)]
    yield event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    end = {"index": 0, "delta": {}, "finish_reason": choice.get("finish_reason")}
    yield event(head | {"choices": [end]})
    if with_usage:
        yield event(head | {"choices": [], "usage": body.get("usage")})
    yield _event(DONE)


def event(value: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    return _event(json.dumps(value, ensure_ascii=False))


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def _chunk(data: str) -> dict[str, Any]:
    try:
        chunk = json.loads(data)
    except ValueError:
        raise Fault("malformed_answer", "vLLM's stream holds a chunk that is not JSON") from None
    if isinstance(chunk, dict) and isinstance(chunk.get("choices"), list):
        return chunk
    error = chunk.get("error") if isinstance(chunk, dict) else None
    why = error.get("message") if isinstance(error, dict) else "vLLM's stream holds no chunk"
    raise Fault("model_failed", str(why)[:200])


def _decides(chunk: Mapping[str, Any]) -> bool:
    return any(
        choice.get("finish_reason") or (choice.get("delta") or {}).get("tool_calls")
        for choice in chunk["choices"]
    )


def _says(chunk: Mapping[str, Any], field: str | None = None) -> bool:
    """Whether a chunk adds to an answer: to one field of it, or to any."""
    deltas = [choice.get("delta") or {} for choice in chunk["choices"]]
    return any(
        value
        for delta in deltas
        for name, value in delta.items()
        if name == (field or name) != "role"
    )


def _whole(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": "".join(call["a"])},
        }
        for _, call in sorted(message["calls"].items())
    ]
    text = "".join(message["text"]) or None
    return {"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {})
