"""Dialogues under names and values that say nothing.

The dialogues of `dialogues` name their tools after what they do, so a model can guess a name
instead of reading it. Here the names of tools and parameters are replaced by made-up ones
(descriptions stay): what tells tools apart is then their text. Some words of values and of
descriptions are replaced too, wherever they stand, so that a word is matched and copied whatever it
is.
"""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Callable
from typing import Any

from . import lexicon, wording
from .dialogues import Script
from .scenes import FRAMES

MakeWord = Callable[[random.Random], str]
"""Makes up a word of letters."""

SCHEMA_WORDS = (
    "additionalProperties anyOf arguments array assistant boolean call content date default "
    "description enum error false format function hits integer items maximum minimum name null "
    "number object parameters properties required role rows string system time tool true type "
    "uniqueItems user"
).split()


def disguised(rng: random.Random, scripts: list[Script], word: MakeWord) -> list[Script]:
    """Replace names and some words of values in dialogues over one tool list.

    Args:
        rng: Decides what is replaced and by what.
        scripts: Dialogues that have the same tools.
        word: Makes up a word of letters.

    Returns:
        The dialogues under a new tool list, which they share.
    """
    tools = scripts[0]["tools"]
    names = _fresh(rng, [tool["function"]["name"] for tool in tools], word)
    found = dict.fromkeys(key for t in tools for key in _keys(t["function"]["parameters"]))
    keys = _fresh(rng, list(found), word) if rng.random() < 0.6 else {}
    talks = [[_message(m, names, keys) for m in script["messages"]] for script in scripts]
    shown = _reworded(rng, [[_tool(tool, names, keys) for tool in tools], *talks], word)
    return [{"messages": messages, "tools": shown[0]} for messages in shown[1:]]


def _fresh(rng: random.Random, old: list[str], word: MakeWord) -> dict[str, str]:
    """Return a new name for each old one: made-up words, or two words that do not belong."""
    style = rng.random()
    new: dict[str, str] = {}
    while len(new) < len(old):
        words = [rng.choice(lexicon.words(lexicon.EVERYDAY)) for _ in range(2)]
        if style < 0.4:
            words = [word(rng).lower()]
        elif style < 0.7:
            words[0] = word(rng).lower()
        name = "_".join(words)
        if name not in new.values():
            new[old[len(new)]] = name
    return new


# --- values -----------------------------------------------------------------------------------


def _reworded(rng: random.Random, parts: list[Any], word: MakeWord) -> list[Any]:
    """Replace up to four words of arguments and two of descriptions that somebody said."""
    tools, *talks = parts
    values = sorted({w for talk in talks for w in _copied(talk)} - _stopwords())
    chosen = rng.sample(values, min(len(values), rng.choice((0, 1, 2, 3, 4))))
    said = set().union(*(_said(talk) for talk in talks))
    about = _words(" ".join(tool["function"]["description"] for tool in tools))
    matched = sorted((said & about) - _stopwords() - {*chosen})
    chosen += rng.sample(matched, min(len(matched), rng.choice((0, 0, 1, 2))))
    if not chosen:
        return parts
    new = {old: word(rng) for old in chosen}
    pattern = re.compile(
        rf"(?<![A-Za-z])(?:{'|'.join(chosen)})(?=(?:s|es|ed|ing|er)?(?![A-Za-z]))",
        re.ASCII | re.IGNORECASE,
    )

    def swap(match: re.Match[str]) -> str:
        made = new[match[0].lower()]
        return made[0].upper() + made[1:] if match[0][0].isupper() else made

    return [json.loads(pattern.sub(swap, json.dumps(part))) for part in parts]


def _copied(messages: list[Any]) -> set[str]:
    """Return the words of string arguments that somebody said before, in lower case."""
    values = [
        value
        for message in messages for call in message.get("tool_calls", ())
        for value in call["function"]["arguments"].values() if isinstance(value, str | list)
    ]  # fmt: skip
    return _words(json.dumps(values)) & _said(messages)


def _said(messages: list[Any]) -> set[str]:
    return _words(" ".join(m["content"] for m in messages if m["role"] in ("user", "tool")))


def _words(text: str) -> set[str]:
    return set(re.findall(r"(?<![A-Za-z\\])[a-z]{3,}(?![A-Za-z])", text.lower()))


@functools.cache
def _stopwords() -> set[str]:
    """Words whose meaning is needed: those of sentence frames, schemas and dates."""
    dated = (*lexicon.WEEKDAYS, *lexicon.MONTHS, *SCHEMA_WORDS)
    return _words(" ".join(FRAMES)) | {word.lower() for word in dated}


# --- names ------------------------------------------------------------------------------------


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
