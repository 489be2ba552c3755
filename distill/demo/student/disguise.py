"""Dialogues over one tool list, under names that say nothing.

The dialogues of `dialogues` name their tools after what they do, so a model can guess a name
instead of reading it. Here the names of tools and parameters are replaced by random ones
(descriptions stay), and many requests are made of one tool list: what tells tools apart is then
their text.
"""

from __future__ import annotations

import datetime
import json
import random
from typing import Any

from . import lexicon, wording
from .dialogues import system_prompt
from .makers import World
from .scenes import play
from .stage import Stage
from .toolbox import toolbox

Script = dict[str, Any]
"""`messages` and `tools` in the OpenAI shape, as `dialogues.dialogue` returns it."""


def requests(seed: int | str, count: int) -> list[Script]:
    """Write `count` dialogues of one user turn each over one tool list.

    The same seed gives the same dialogues. Three of four lists have disguised names.
    """
    rng = random.Random(seed)
    today = datetime.date(2021, 1, 1) + datetime.timedelta(rng.randrange(365 * 14))
    world = World(today)
    box = toolbox(rng, world)
    tools = box.schemas()
    system = {"role": "system", "content": system_prompt(rng, box, today)}
    scripts = []
    for _ in range(count):
        stage = Stage(rng, world, box, [system])
        play(stage, 0)
        scripts.append({"messages": stage.messages, "tools": tools})
    return scripts if rng.random() < 0.25 else disguised(rng, scripts)


def disguised(rng: random.Random, scripts: list[Script]) -> list[Script]:
    """Replace the names of the tools, and in most lists of the parameters too."""
    tools = scripts[0]["tools"]
    names = _fresh(rng, [tool["function"]["name"] for tool in tools])
    found = dict.fromkeys(key for t in tools for key in _keys(t["function"]["parameters"]))
    keys = _fresh(rng, list(found)) if rng.random() < 0.8 else {}
    renamed = [_tool(tool, names, keys) for tool in tools]
    return [
        {"messages": [_message(m, names, keys) for m in script["messages"]], "tools": renamed}
        for script in scripts
    ]


def _fresh(rng: random.Random, old: list[str]) -> dict[str, str]:
    """Return a new name for each old one: invented words, or two words that do not belong."""
    style = rng.random()
    new: dict[str, str] = {}
    while len(new) < len(old):
        words = [rng.choice(lexicon.words(lexicon.EVERYDAY)) for _ in range(2)]
        if style < 0.5:
            words = [lexicon.invented(rng).lower()]
        elif style < 0.75:
            words[0] = lexicon.invented(rng).lower()
        name = "_".join(words)
        if name not in new.values():
            new[old[len(new)]] = name
    return new


def _keys(schema: Any) -> list[str]:
    """Return the property names of a schema, nested ones too, in order."""
    if isinstance(schema, list):
        return [key for part in schema for key in _keys(part)]
    if not isinstance(schema, dict):
        return []
    inner = [key for part in schema.values() for key in _keys(part)]
    return [*schema.get("properties", {}), *inner]


def _tool(tool: Any, names: dict[str, str], keys: dict[str, str]) -> Any:
    function = tool["function"]
    parameters = _schema(function["parameters"], keys)
    return tool | {
        "function": function | {"name": names[function["name"]], "parameters": parameters}
    }


def _schema(schema: Any, keys: dict[str, str]) -> Any:
    if isinstance(schema, list):
        return [_schema(part, keys) for part in schema]
    if not isinstance(schema, dict):
        return schema
    new = {name: _schema(part, keys) for name, part in schema.items()}
    if "properties" in new:
        new["properties"] = {keys.get(name, name): p for name, p in new["properties"].items()}
        new["required"] = [keys.get(name, name) for name in new.get("required", ())]
    return new


def _message(message: Any, names: dict[str, str], keys: dict[str, str]) -> Any:
    if message["role"] == "tool":
        content = _value(json.loads(message["content"]), keys)
        return message | {"content": wording.json_text(content)}
    if "tool_calls" not in message:
        return message
    calls = []
    for call in message["tool_calls"]:
        function = call["function"]
        arguments = _value(function["arguments"], keys)
        renamed = {"name": names[function["name"]], "arguments": arguments}
        calls.append(call | {"function": renamed})
    return message | {"tool_calls": calls}


def _value(value: Any, keys: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_value(part, keys) for part in value]
    if isinstance(value, dict):
        return {keys.get(key, key): _value(part, keys) for key, part in value.items()}
    return value
