"""The embedded teacher as an author: it writes tasks when it is offered `submit_tasks`.

Its requests are put together from what the tools say of themselves, its arguments are those of the
tasks it knows, completed with guesses that fit the schemas. So wording is poor, but every answer is
really checked and executed. It errs at the seeded rate: names a tool, breaks a schema, writes the
wrong kind, repeats itself, hands in what is not JSON, or answers without handing in anything. What
is refused it corrects once, as far as it can.

It knows the prompt of `distill tasks generate` by its orders, one JSON object a line.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from distill.demo.teacher.guesses import Known, guess
from distill.types import (
    AssistantMessage,
    Json,
    Message,
    Task,
    Tool,
    ToolCall,
    ToolMessage,
    ToolSet,
    UserMessage,
    digest,
)

SUBMIT = "submit_tasks"
_OPENINGS = (
    "Hello there,",
    "Quick one:",
    "Could you help?",
    "When you have a moment,",
    "Listen,",
    "One more thing for today:",
    "My colleague asked me about this.",
    "I have been putting this off.",
    "Before I leave,",
    "This is for the visitors later.",
)
_ENDINGS = (
    "Thanks!",
    "That would help a lot.",
    "No rush.",
    "It matters to me.",
    "You know how it is.",
    "As always.",
    "",
)
_OUTSIDE = (
    "bake me a cake for {n} guests",
    "tell me who wins the match on day {n}",
    "write {n} lines of poetry about this",
    "repair my bicycle, it has {n} faults",
    "call my aunt and read her {n} jokes",
    "paint the fence in {n} colours",
)
_TALK = (
    "thanks, that was answer number {n} today and all of them helped",
    "good morning, day {n} of the heat and I am still here",
    "you did well the last {n} times, I just wanted to say so",
    "what would you do with {n} free days if you had any?",
)


class Author:
    """Writes tasks for one tool set. Safe to share."""

    def __init__(
        self, toolset: ToolSet, tasks: Sequence[Task], seed: int = 0, error_rate: float = 0.12
    ) -> None:
        """Know the arguments that `tasks` expect; make a mistake in `error_rate` of the drafts."""
        self._tools = {tool.name: tool for tool in toolset.tools}
        self._seed, self._error_rate = seed, error_rate
        self._known: dict[str, list[dict[str, Json]]] = {name: [] for name in self._tools}
        for task in tasks:
            for turn in task.turns:
                for call in turn.expectation.calls if turn.expectation else ():
                    self._known.setdefault(call.name, []).append(call.arguments)

    def answer(self, messages: Sequence[Message]) -> AssistantMessage:
        """Return the next message of a conversation in which tasks are ordered."""
        start = max(i for i, m in enumerate(messages) if isinstance(m, UserMessage))
        prompt = messages[start].content or ""
        since = messages[start + 1 :]
        handed_in = sum(isinstance(message, ToolMessage) for message in since)
        rng = random.Random(digest([self._seed, prompt, handed_in]))
        wanted = list(_orders(prompt))
        if not handed_in:
            if rng.random() < self._error_rate / 4:
                return AssistantMessage(content="I would rather talk about something else.")
            return self._hand_in(wanted, rng, first=True)
        refused = _refused(since[-1])
        again = [order for order in wanted if refused is None or order["order"] in refused]
        if handed_in > 1 or not again:
            return AssistantMessage(content="That is all.")
        return self._hand_in(again, rng, first=False)

    def _hand_in(
        self, orders: Sequence[dict[str, Any]], rng: random.Random, *, first: bool
    ) -> AssistantMessage:
        drafts = [self._draft(order, rng) for order in orders]
        if first:
            for n, draft in enumerate(drafts):
                if rng.random() < self._error_rate:
                    mistake = rng.choice(_MISTAKES)
                    drafts[n] = mistake(draft, drafts[0], rng)
        arguments = json.dumps({"tasks": drafts}, ensure_ascii=False)
        if first and rng.random() < self._error_rate / 4:
            arguments = arguments[: len(arguments) // 2]
        call = ToolCall(id=f"call_{digest([arguments, first])}", name=SUBMIT, arguments=arguments)
        return AssistantMessage(tool_calls=(call,))

    def _draft(self, order: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        turns = [self._turn(order, rng)]
        if order["kind"] == "multi_turn":
            said = f"{rng.choice(_ENDINGS) or 'Fine.'} {_talk(rng)}"
            turns += [{"user": said, "expect": "answer"}] * (order.get("turns", 2) - 1)
        return {"order": order["order"], "turns": turns}

    def _turn(self, order: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        match order["kind"]:
            case "no_tool":
                said = rng.choice(_OUTSIDE).format(n=rng.randint(2, 999))
                return {"user": _framed(said, rng), "expect": "abstain"}
            case "chat":
                return {"user": _framed(_talk(rng), rng), "expect": "answer"}
            case "missing_parameter":
                tool = self._tools[order["tool"]]
                given = self._arguments(tool, [], rng)
                given.pop(order["lacks"], None)
                said = _framed(_request(tool, given), rng)
                words = [[order["lacks"].replace("_", " ")]]
                return {"user": said, "expect": "ask", "mentions": words}
        return self._calls(order, rng)

    def _calls(self, order: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        names = list(order["calls"])
        if order["kind"] == "multi_step" or (order["kind"] == "parallel" and len(names) < 2):
            names.append(rng.choice(list(self._tools)))
        calls, said = [], []
        for number, name in enumerate(names):
            wanted = [one for one in order.get("with", ()) if one["tool"] == name]
            arguments = self._arguments(self._tools[name], wanted, rng)
            step = number if order["kind"] == "multi_step" else 0
            calls.append({"name": name, "arguments": arguments, "step": step})
            said.append(_request(self._tools[name], arguments))
        return {"user": _framed("; then ".join(said), rng), "expect": "call", "calls": calls}

    def _arguments(
        self, tool: Tool, wanted: Sequence[Mapping[str, Json]], rng: random.Random
    ) -> dict[str, Json]:
        """Return what was expected of the tool somewhere, or guesses, and the ordered values."""
        known = self._known[tool.name]
        properties = tool.parameters.get("properties", {})
        nothing = Known("", {})
        arguments = dict(rng.choice(known)) if known else {}
        for name in tool.parameters.get("required", ()):
            arguments.setdefault(name, guess(properties[name], nothing, rng))
        for one in wanted:
            name, value = one["parameter"], one.get("value")
            if "value" not in one:
                held = [given[name] for given in known if name in given]
                value = rng.choice(held) if held else guess(properties[name], nothing, rng)
            elif properties[name].get("type") == "array":
                value = [value]
            arguments[name] = value
        return arguments


def _orders(prompt: str) -> Iterator[dict[str, Any]]:
    for line in prompt.splitlines():
        if line.startswith('{"order"'):
            yield json.loads(line)


def _refused(result: Message) -> set[str] | None:
    """Return the orders a submission did not fill; None when it was not understood at all."""
    try:
        return {row["order"] for row in json.loads(result.content or "")["refused"]}
    except (ValueError, KeyError, TypeError):
        return None


def _request(tool: Tool, arguments: Mapping[str, Json]) -> str:
    """Put a call into words: what the tool says it does, and every value after its name."""
    what = tool.description.split(".")[0]
    what = what[:1].lower() + what[1:]
    values = ", ".join(f"{n.replace('_', ' ')} {_spoken(v)}" for n, v in arguments.items())
    return f"{what} ({values})" if values else what


def _spoken(value: Json) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " and ".join(map(_spoken, value))
    if isinstance(value, dict):
        return " ".join(f"{name} {_spoken(inner)}" for name, inner in value.items())
    return str(value).replace("_", " ")


def _framed(said: str, rng: random.Random) -> str:
    return f"{rng.choice(_OPENINGS)} {said}. {rng.choice(_ENDINGS)}".strip()


def _talk(rng: random.Random) -> str:
    return rng.choice(_TALK).format(n=rng.randint(2, 999))


# --- mistakes: (draft, an earlier draft, rng) -> what is handed in ----------------------------


def _names_the_tool(draft: dict[str, Any], _: dict[str, Any], rng: random.Random) -> Json:
    turn = draft["turns"][0]
    name = turn["calls"][0]["name"] if turn.get("calls") else "submit_tasks"
    return draft | {"turns": [turn | {"user": f"{turn['user']} Use {name} for it."}]}


def _breaks_the_schema(draft: dict[str, Any], _: dict[str, Any], rng: random.Random) -> Json:
    turn = draft["turns"][0]
    calls = [call | {"arguments": {"nothing": None}} for call in turn.get("calls", ())]
    return draft | {"turns": [turn | {"calls": calls}]}


def _wrong_kind(draft: dict[str, Any], _: dict[str, Any], rng: random.Random) -> Json:
    return draft | {"turns": [{"user": draft["turns"][0]["user"], "expect": "answer"}] * 2}


def _repeats(draft: dict[str, Any], other: dict[str, Any], rng: random.Random) -> Json:
    said = other["turns"][0]["user"] if isinstance(other, dict) else "again"
    first, *rest = draft["turns"]
    return draft | {"turns": [first | {"user": said}, *rest]}


def _garbage(draft: dict[str, Any], _: dict[str, Any], rng: random.Random) -> Json:
    return rng.choice([None, "a task", 7, [], {}, {"order": draft["order"], "turns": "later"}])


_MISTAKES: tuple[Callable[[dict[str, Any], dict[str, Any], random.Random], Any], ...] = (
    _names_the_tool,
    _breaks_the_schema,
    _wrong_kind,
    _repeats,
    _garbage,
)
