"""The cheaper answers: the same base with examples in its prompt, or calls held to the schemas.

Examples are training conversations, one kind of task after the other and short ones first, put
between the system message and what the user says. Held-out cases are never among them. Calls are
held to their schemas by the server's decoder, which is told so by marking each tool of a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path

from distill.dataset import read_examples
from distill.errors import ConfigError
from distill.teachers import Teacher
from distill.types import Example, Json, Message, SystemMessage, Tool, Turn


class Prompted(Teacher):
    """A model that sees worked examples before every conversation."""

    def __init__(self, model: Teacher, shots: Sequence[Message]) -> None:
        self.inner, self.shots = model, tuple(shots)
        self.provider, self.model = model.provider, model.model
        self.terms, self.settings = model.terms, model.settings

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Ask with the examples in place.

        Raises:
            TeacherError: The call failed.
        """
        first = 1 if messages and isinstance(messages[0], SystemMessage) else 0
        return await self.inner.complete((*messages[:first], *self.shots, *messages[first:]), tools)

    async def close(self) -> None:
        """Close the model's connections."""
        await self.inner.close()


class Strict(Teacher):
    """A model whose calls the server's decoder holds to the schemas of the tools on offer."""

    def __init__(self, model: Teacher) -> None:
        self.inner = model
        self.provider, self.model = model.provider, model.model
        self.terms, self.settings = model.terms, model.settings

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Ask with every tool marked `strict`.

        Raises:
            TeacherError: The call failed.
        """
        held = [_StrictTool.model_validate(tool.model_dump()) for tool in tools]
        return await self.inner.complete(messages, held)

    async def close(self) -> None:
        """Close the model's connections."""
        await self.inner.close()


class _StrictTool(Tool):
    """A tool as a request shows it whose calls are to be held to its schema."""

    def as_function(self) -> dict[str, Json]:
        shown = super().as_function()
        return shown | {"function": shown["function"] | {"strict": True}}


def choose_shots(train: Path, count: int) -> tuple[Message, ...]:
    """Return the messages of `count` training examples, of as many kinds as there are.

    Raises:
        DatasetError: There is no training data.
        ConfigError: It holds fewer examples.
    """
    examples = read_examples(train)
    if len(examples) < count:
        raise ConfigError(
            f"eval.few_shot: {train} holds {len(examples)} examples, not {count!r}; lower it"
        )
    by_kind: dict[str, list[Example]] = {}
    for example in sorted(examples, key=_size):
        by_kind.setdefault(str(example.meta.get("kind")), []).append(example)
    in_turn = chain.from_iterable(zip_longest(*(by_kind[kind] for kind in sorted(by_kind))))
    chosen = [example for example in in_turn if example is not None][:count]
    said = chain.from_iterable(example.messages for example in chosen)
    return tuple(message for message in said if not isinstance(message, SystemMessage))


def _size(example: Example) -> int:
    return sum(len(message.model_dump_json()) for message in example.messages)
