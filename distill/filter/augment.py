"""Changed tool lists in training rows, so that a student reads what is offered.

Masking gives tools and parameters meaningless names, in the list and in the calls alike, so that
only descriptions tell what is what (Hammer, arXiv 2410.04587). Other orders and foreign tools teach
it to look. Served with its own tools, a student trained so is a little slower to learn them: use it
for tool sets that change. The choice depends on a row's key alone.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Mapping, Sequence
from typing import Any

from distill.config import AugmentConfig
from distill.types import AssistantMessage, Example, Message, Tool, ToolCall, ToolMessage, digest


def augmented(example: Example, settings: AugmentConfig, foreign: Sequence[Tool]) -> Example:
    """Return a row with its tools changed as the config wants.

    Args:
        example: The row.
        settings: What to change.
        foreign: Tools of other tool sets, to offer besides.
    """
    rng = random.Random(digest([example.meta["key"], "augment"]))
    if rng.random() < settings.mask_names:
        example = _masked(example, rng)
    tools = list(example.tools)
    names = {tool.name for tool in tools}
    others = [tool for tool in foreign if tool.name not in names]
    tools += rng.sample(others, min(settings.distractors, len(others)))
    if settings.shuffle_tools:
        rng.shuffle(tools)
    return example.model_copy(update={"tools": tuple(tools)})


def _masked(example: Example, rng: random.Random) -> Example:
    names = {tool.name: _name(rng) for tool in example.tools}
    keys = {
        tool.name: {key: _name(rng) for key in tool.parameters.get("properties", {})}
        for tool in example.tools
    }
    return example.model_copy(
        update={
            "tools": tuple(
                _tool(tool, names[tool.name], keys[tool.name]) for tool in example.tools
            ),
            "messages": tuple(_message(m, names, keys) for m in example.messages),
            "meta": {**example.meta, "masked": True},
        }
    )


def _name(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(5, 10)))


def _tool(tool: Tool, name: str, keys: Mapping[str, str]) -> Tool:
    parameters: dict[str, Any] = dict(tool.parameters)
    properties = parameters.get("properties", {})
    parameters["properties"] = {keys[key]: schema for key, schema in properties.items()}
    if "required" in parameters:
        parameters["required"] = [keys.get(key, key) for key in parameters["required"]]
    return Tool(name=name, description=tool.description, parameters=parameters)


def _message(
    message: Message, names: Mapping[str, str], keys: Mapping[str, Mapping[str, str]]
) -> Message:
    if isinstance(message, ToolMessage):
        return message.model_copy(update={"name": names.get(message.name, message.name)})
    if not isinstance(message, AssistantMessage):
        return message
    calls = tuple(
        ToolCall(
            id=call.id,
            name=names[call.name],
            arguments=json.dumps(
                {keys[call.name].get(key, key): value for key, value in call.parsed().items()},
                ensure_ascii=False,
            ),
        )
        for call in message.tool_calls
    )
    return message.model_copy(update={"tool_calls": calls})
