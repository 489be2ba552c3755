"""A disguise: what a model sees is changed, and what it calls is changed back.

It stands between model and episode, so that nothing else knows: calls arrive under the names of
the tool set, are executed and judged as ever. A name that the model can only have from training is
put out of use on the way back.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence

from distill.teachers import Teacher
from distill.types import (
    AssistantMessage,
    Json,
    Message,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    Turn,
    UserMessage,
    digest,
)

CHANGES = ("renamed tools", "renamed parameters", "shuffled tools", "extra tools", "noise")
NOT_OFFERED = "not_offered_"
"""Put before a name the model can only have from training: it must not work by accident."""

FILLERS = ("hey, ", "um, ", "ok so ", "hi! ", "quick one: ")
TYPOS = {"the": "teh", "and": "adn", "with": "wiht", "you": "yuo", "please": "plese", "for": "fro"}


def _extra(name: str, description: str, **parameters: str) -> Tool:
    properties = {k: {"type": "string", "description": v} for k, v in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(parameters)}
    return Tool(name=name, description=description, parameters=schema)


EXTRA = (
    _extra("convert_currency", "Convert an amount of money.", amount="How much.", to="Currency."),
    _extra("translate_text", "Translate a text.", text="The text.", language="Into which one."),
    _extra("get_stock_quote", "Get the price of a share.", symbol="Ticker symbol."),
    _extra("find_recipe", "Find a recipe.", ingredient="What is in it."),
    _extra("post_to_forum", "Post a message to a forum.", forum="Which one.", text="The message."),
    _extra("look_up_word", "Look a word up in a dictionary.", word="The word."),
)


class Disguise(Teacher):
    """A model that sees changed tools and messages; its calls come back as if nothing was."""

    def __init__(self, model: Teacher, change: str, tools: Sequence[Tool]) -> None:
        self.inner, self.change = model, change
        self.provider, self.model = model.provider, model.model
        self.terms, self.settings = model.terms, model.settings
        self.names: Mapping[str, str] = {}
        self.keys: Mapping[str, Mapping[str, str]] = {}
        if change == "renamed tools":
            self.names = {tool.name: f"function_{digest(tool.name)[:6]}" for tool in tools}
        if change == "renamed parameters":
            self.keys = {tool.name: _keys(tool) for tool in tools}

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Ask in disguise.

        Raises:
            TeacherError: The call failed.
        """
        seen = [self._message(message) for message in messages]
        turn = await self.inner.complete(seen, self._tools(tools))
        calls = tuple(self._back(call) for call in turn.message.tool_calls)
        return turn.model_copy(
            update={"message": turn.message.model_copy(update={"tool_calls": calls})}
        )

    async def close(self) -> None:
        """Close the model's connections."""
        await self.inner.close()

    def _tools(self, tools: Sequence[Tool]) -> list[Tool]:
        offered = [
            tool.model_copy(
                update={
                    "name": self.names.get(tool.name, tool.name),
                    "parameters": _renamed(tool.parameters, self.keys.get(tool.name, {})),
                }
            )
            for tool in tools
        ]
        if self.change == "extra tools":
            taken = {tool.name for tool in tools}
            offered += [tool for tool in EXTRA if tool.name not in taken]
        if self.change in ("shuffled tools", "extra tools"):
            offered.sort(key=lambda tool: digest(tool.name))
        return offered

    def _message(self, message: Message) -> Message:
        match message:
            case AssistantMessage():
                calls = tuple(self._forth(call) for call in message.tool_calls)
                return message.model_copy(update={"tool_calls": calls})
            case ToolMessage():
                name = self.names.get(message.name, message.name)
                return message.model_copy(update={"name": name})
            case UserMessage() if self.change == "noise":
                return UserMessage(content=noisy(message.content))
            case SystemMessage() if self.names:
                names = "|".join(map(re.escape, self.names))
                said = re.sub(rf"\b({names})\b", lambda m: self.names[m[1]], message.content)
                return SystemMessage(content=said)
        return message

    def _forth(self, call: ToolCall) -> ToolCall:
        keys = self.keys.get(call.name, {})
        return call.model_copy(
            update={
                "name": self.names.get(call.name, call.name),
                "arguments": _with_keys(call.arguments, keys),
            }
        )

    def _back(self, call: ToolCall) -> ToolCall:
        originals = {new: old for old, new in self.names.items()}
        name = originals.get(call.name, call.name)
        if name in self.names and name == call.name:
            name = NOT_OFFERED + name
        keys = self.keys.get(name, {})
        back = {new: old for old, new in keys.items()} | {old: NOT_OFFERED + old for old in keys}
        return call.model_copy(update={"name": name, "arguments": _with_keys(call.arguments, back)})


def noisy(text: str) -> str:
    """Return what a hurried user would have typed; words that carry values stay as they are."""
    rng = random.Random(text)
    words = [TYPOS.get(w, w) if rng.random() < 0.7 else w for w in text.split(" ")]
    said = rng.choice(FILLERS) + " ".join(words)
    return said.rstrip(".!") if said.endswith((".", "!")) else said


def _keys(tool: Tool) -> dict[str, str]:
    names = tool.parameters.get("properties", {})
    return {name: f"p_{digest([tool.name, name])[:5]}" for name in names}


def _renamed(schema: Mapping[str, Json], keys: Mapping[str, str]) -> dict[str, Json]:
    if not keys:
        return dict(schema)
    properties = {keys[name]: value for name, value in schema.get("properties", {}).items()}
    new = {**schema, "properties": properties}
    if "required" in schema:
        new["required"] = [keys.get(name, name) for name in schema["required"]]
    return new


def _with_keys(arguments: str, keys: Mapping[str, str]) -> str:
    if not keys:
        return arguments
    try:
        given = json.loads(arguments)
    except ValueError:
        return arguments
    if not isinstance(given, dict):
        return arguments
    return json.dumps({keys.get(name, name): value for name, value in given.items()})
