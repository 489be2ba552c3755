"""The one render function: an Example becomes token ids and per-token weights.

Each assistant turn with a weight is one sample:

    prompt       what the server renders for the messages before it: the student's own chat
                 template, the tools, the generation prompt
    completion   what the template writes for the turn, up to and including the end-of-turn token

They are tokenized as one text, so the boundary is the model's own; the prompt's tokens are always
those the server makes. Arguments reach the template as
objects, as vLLM hands them over. Turns without a weight are context of later ones only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.errors import StudentError
from distill.student.families import Family
from distill.types import AssistantMessage, Example, Json, Message, ToolCall, ToolMessage


@dataclass(frozen=True)
class Sample:
    """One token sequence and how much each of its tokens counts as a target."""

    ids: NDArray[np.int32]
    """[T] token ids."""
    weights: NDArray[np.float32]
    """[T] weight of each token as a target; 0 for context. The first is never predicted."""


class Renderer:
    """Renders for one student; remembers the token ids of shared beginnings."""

    def __init__(self, tokenizer: Any, family: Family) -> None:
        """Take a transformers tokenizer that carries the student's chat template."""
        self._tokenizer = tokenizer
        self._family = family
        self._heads: dict[str, list[int] | None] = {}

    def render(self, example: Example) -> list[Sample]:
        """Return one sample per assistant turn with a weight above 0, in order.

        Raises:
            StudentError: The template cannot express the example, or writes a turn in another way
                than it prompts for it.
        """
        if reason := self._family.refuses(example):
            raise StudentError(reason)
        messages = [template_message(m, self._family) for m in example.messages]
        tools = [tool.as_function() for tool in example.tools]
        return [
            self._sample(messages[: turn + 1], tools, weight)
            for turn, weight in weighted_turns(example)
        ]

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Json]]) -> str:
        """Return the text the server renders before the next assistant turn."""
        rows = [template_message(message, self._family) for message in messages]
        return self._text(rows, list(tools), add_generation_prompt=True)

    def _sample(
        self, messages: list[dict[str, Json]], tools: list[dict[str, Json]], weight: float
    ) -> Sample:
        prompt = self._text(messages[:-1], tools, add_generation_prompt=True)
        whole = self._text(messages, tools, add_generation_prompt=False)
        if not whole.startswith(prompt):
            raise StudentError(
                "the chat template writes an assistant turn in another way than it prompts for "
                f"it: {_difference(prompt, whole)}; set student.template"
            )
        end = whole.rfind(self._family.end_of_turn)
        if end < len(prompt):
            raise StudentError(
                f"the chat template does not end an assistant turn with "
                f"{self._family.end_of_turn!r}; set student.family or student.template"
            )
        text = whole[: end + len(self._family.end_of_turn)]
        ids, known = self._ids(text), self._ids(prompt)
        if ids[: len(known)] != known:  # say, a turn that begins with a line break of its own
            ids = known + self._encode(text[len(prompt) :])
        weights = np.zeros(len(ids), np.float32)
        weights[len(known) :] = weight
        return Sample(np.array(ids, np.int32), weights)

    def _text(self, messages: Any, tools: Any, *, add_generation_prompt: bool) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages,
                tools=tools or None,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **self._family.template_kwargs,
            )
        except Exception as error:  # templates raise whatever Jinja lets them
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StudentError(f"the chat template failed: {reason}") from error
        return text

    def _ids(self, text: str) -> list[int]:
        """Tokenize, taking the text up to its first end-of-turn token from memory.

        A special token splits the text for byte-level tokenizers; whether it does for this one is
        tried when a beginning is first seen.
        """
        cut = text.find(self._family.end_of_turn) + len(self._family.end_of_turn)
        head, tail = text[:cut], text[cut:]
        if head not in self._heads:
            whole, ids = self._encode(text), self._encode(head)
            self._heads[head] = ids if ids + self._encode(tail) == whole else None
            return whole
        known = self._heads[head]
        return self._encode(text) if known is None else known + self._encode(tail)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def render(example: Example, tokenizer: Any, family: Family) -> list[Sample]:
    """Render one example; see `Renderer.render`, which is faster for many."""
    return Renderer(tokenizer, family).render(example)


def weighted_turns(example: Example) -> Iterator[tuple[int, float]]:
    """Yield (message index, weight) of the assistant turns that are trained on."""
    weights = iter(example.weights)
    for index, message in enumerate(example.messages):
        if isinstance(message, AssistantMessage) and (weight := next(weights)) > 0:
            yield index, weight


def template_message(message: Message, family: Family) -> dict[str, Json]:
    """Return a message as vLLM hands it to a chat template."""
    row: dict[str, Json] = {"role": message.role, "content": message.content or ""}
    if isinstance(message, AssistantMessage) and message.tool_calls:
        row["tool_calls"] = [_call(call, family) for call in message.tool_calls]
    if isinstance(message, ToolMessage):
        row["tool_call_id"] = _call_id(message.tool_call_id, family)
    return row


def _call(call: ToolCall, family: Family) -> dict[str, Json]:
    try:
        arguments = call.parsed()
    except ValueError:  # in the history of a corrected turn; the server shows it as empty too
        arguments = {}
    function = {"name": call.name, "arguments": arguments}
    return {"id": _call_id(call.id, family), "type": "function", "function": function}


def _call_id(call_id: str, family: Family) -> str:
    if family.call_id_length is None:
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[: family.call_id_length]


def _difference(prompt: str, whole: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), 0)
    return f"{prompt[at : at + 40]!r} became {whole[at : at + 40]!r}"
