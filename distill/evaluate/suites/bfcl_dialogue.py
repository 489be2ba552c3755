"""BFCL's multi-turn entries: played live on the official back ends, judged by replaying.

A dialogue is right when after every turn that has gold calls the model has made a call, the state
of every back end is what the gold calls leave, and every result the gold calls bring has come.
Calls beyond them are free, and turns without gold (a tool or a parameter is missing, the model
should ask) are not looked at: those are the leaderboard's rules. What is done in such silent turns
is counted beside the score: a model that guesses loses nothing there.

Calls are looked up by name on the back ends, never evaluated as source, whatever a model writes.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any

from distill.evaluate.suites.base import Question, Reply, SilentTurn, verdict
from distill.evaluate.suites.bfcl_data import BACK_ENDS, PACKAGE
from distill.matching import Code
from distill.matching.bfcl import STAGE, Call, decoded
from distill.teachers import Failure, Teacher, TeacherError
from distill.traces import TurnRecord
from distill.types import (
    AssistantMessage,
    Json,
    Message,
    Tool,
    ToolMessage,
    UserMessage,
    Verdict,
)

STEPS = 20
"""Most calls in a row before the user has to be answered; one more fails the entry."""
OUTGREW = "the conversation outgrew the model's context"
"""What is said of an entry that the endpoint refused to go on with."""


@dataclass(frozen=True)
class Dialogue(Question):
    """A multi-turn entry."""

    id: str
    part: str
    cluster: str
    questions: Sequence[Sequence[Message]]
    """What the user says, turn by turn; nothing where tools are added instead."""
    tools: tuple[Tool, ...]
    added: Mapping[int, tuple[Tool, ...]]
    """Tools that are offered only from a turn on."""
    written: Sequence[Sequence[str]] = field(repr=False)
    """The gold calls of every turn, as Python source."""
    config: Mapping[str, Any] = field(repr=False)
    classes: Sequence[str]

    @property
    def content(self) -> Json:
        """Everything the model sees, and the state it acts on."""
        said = [[m.model_dump(mode="json") for m in turn] for turn in self.questions]
        tools = [tool.as_function() for tool in self.tools]
        return [self.id, said, tools, dict(self.config)]

    @property
    def gold(self) -> list[list[Call]]:
        """The gold calls of every turn, with named arguments."""
        names = _parameters(tuple(self.classes))
        return [[_read(call, names) for call in turn] for turn in self.written]

    async def play(self, model: Teacher) -> Reply:
        """Play all turns; the calls run on the official back ends."""
        return await _Play(self, model).run()

    def judge(self, messages: Sequence[Message]) -> Verdict:
        """Replay the model's calls beside the gold ones."""
        steps = _steps(messages)
        if len(steps) < len(self.questions):
            endless = len(_spoken(messages[:-1])[-1]) > STEPS
            why = "called without end" if endless else OUTGREW
            return verdict(STAGE, Code.INCOMPLETE, why)
        return judge_turns(self, steps)

    def silent_turns(self, messages: Sequence[Message]) -> tuple[SilentTurn, ...]:
        """Replay the model's calls and look at the turns without gold."""
        backend = Backend(self)
        found = []
        for made, right in zip(_steps(messages), self.written, strict=False):
            before = None if right else copy.deepcopy(backend)
            for call in chain.from_iterable(made):
                backend.run(call)
            if before is not None:
                found.append(SilentTurn(bool(made), before.difference(backend) is not None))
        return tuple(found)


def judge_turns(entry: Dialogue, steps: Sequence[Sequence[Sequence[Call]]]) -> Verdict:
    """Judge the calls of a dialogue by the state they leave and the results they bring.

    Args:
        entry: The dialogue.
        steps: For each turn the calls of each of its messages that made any.
    """
    model, gold = Backend(entry), Backend(entry)
    results: Counter[str] = Counter()
    for number, (made, right) in enumerate(zip(steps, entry.gold, strict=True), 1):
        results.update(model.run(call) for step in made for call in step)
        wanted = Counter(gold.run(call) for call in right)
        if not right:
            continue  # a turn that cannot be served yet: what is done in it is not looked at
        where = f"turn {number}: "
        if not made:
            return verdict(STAGE, Code.MISSING_CALL, where + "no call was made")
        if difference := gold.difference(model):
            return verdict(STAGE, Code.WRONG_END_STATE, where + difference)
        if missing := wanted - results:
            first = next(iter(missing))[:80]
            return verdict(STAGE, Code.MISSING_CALL, f"{where}nothing returned {first!r}")
    return verdict(STAGE, Code.OK, "every turn leaves the gold state")


class Backend:
    """The official back ends of one dialogue, in their initial state."""

    def __init__(self, entry: Dialogue) -> None:
        self.instances = {name: _instance(name, entry) for name in entry.classes}
        self.methods: dict[str, Callable[..., Any]] = {
            name: method
            for instance in self.instances.values()
            for name, method in inspect.getmembers(instance, predicate=inspect.ismethod)
            if not name.startswith("_")
        }

    def run(self, call: Call) -> str:
        """Execute one call and return its result as the model sees it."""
        ((name, arguments),) = call.items()
        try:
            if name not in self.methods:
                raise NameError(f"name {name!r} is not defined")
            result = self.methods[name](**copy.deepcopy(arguments))
        except Exception as error:
            return f"Error during execution: {error}"
        if isinstance(result, dict):
            try:
                return json.dumps(result)
            except TypeError:
                return str(result)
        return result if isinstance(result, str) else str(result)

    def difference(self, other: Backend) -> str | None:
        """Return the first public attribute in which another's state differs, or None."""
        for name, instance in self.instances.items():
            for attribute, value in vars(instance).items():
                if attribute.startswith("_"):
                    continue
                if getattr(other.instances[name], attribute) != value:
                    return f"{name}.{attribute} is not as the gold calls leave it"
        return None


# --- playing ----------------------------------------------------------------------------------


class _Play:
    """One dialogue as it grows."""

    def __init__(self, entry: Dialogue, model: Teacher) -> None:
        self.entry, self.model = entry, model
        self.backend = Backend(entry)
        self.tools = entry.tools
        self.messages: list[Message] = []
        self.records: list[TurnRecord] = []

    async def run(self) -> Reply:
        for number, question in enumerate(self.entry.questions):
            self.tools += self.entry.added.get(number, ())
            self.messages += question or (UserMessage(content=_more_tools()),)
            if not await self._answer():
                break
        return Reply(tuple(self.messages), tuple(self.records))

    async def _answer(self) -> bool:
        """Let the model call until it answers in words; False: it never does."""
        for _ in range(STEPS + 1):
            try:
                turn = await self.model.complete(tuple(self.messages), self.tools)
            except TeacherError as error:
                if error.failure is not Failure.BAD_REQUEST or not self.records:
                    raise
                break  # it wrote itself out of the context
            self.records.append(TurnRecord.of(turn, len(self.messages)))
            self.messages.append(turn.message)
            calls = decoded(turn.message.tool_calls)
            if calls is None:
                return True
            for call, made in zip(turn.message.tool_calls, calls, strict=True):
                result = self.backend.run(made)
                self.messages.append(
                    ToolMessage(tool_call_id=call.id, name=call.name, content=result)
                )
        self.messages.append(UserMessage(content=""))  # marks the entry as given up
        return False


def _steps(messages: Sequence[Message]) -> list[list[list[Call]]]:
    """Return, for each turn that was answered in the end, the calls of its messages with any."""
    return [
        [calls for message in turn if (calls := decoded(message.tool_calls))]
        for turn in _turns(messages)
    ]


def _turns(messages: Sequence[Message]) -> list[list[AssistantMessage]]:
    """Return the answers of each user turn that was answered in the end."""
    if isinstance(messages[-1], UserMessage):  # given up
        return _spoken(messages[:-1])[:-1]
    return _spoken(messages)


def _spoken(messages: Sequence[Message]) -> list[list[AssistantMessage]]:
    """Return what the model said in each user turn; several messages of a user are one turn."""
    turns: list[list[AssistantMessage]] = []
    for n, message in enumerate(messages):
        if isinstance(message, UserMessage):
            if n == 0 or not isinstance(messages[n - 1], UserMessage):
                turns.append([])
        elif isinstance(message, AssistantMessage):
            turns[-1].append(message)
    return turns


# --- the official code ------------------------------------------------------------------------


def _instance(class_name: str, entry: Dialogue) -> Any:
    instance = _class(class_name)()
    if hasattr(instance, "_load_scenario"):  # the calculator has no state
        setup = copy.deepcopy(entry.config.get(class_name, {}))
        instance._load_scenario(setup, long_context="long_context" in entry.part)
    return instance


def _class(name: str) -> Any:
    base = f"{PACKAGE}.eval_checker.multi_turn_eval.func_source_code"
    return getattr(importlib.import_module(f"{base}.{BACK_ENDS[name]}"), name)


@cache
def _parameters(classes: tuple[str, ...]) -> dict[str, list[str]]:
    """Return method -> names of its parameters."""
    return {
        name: list(inspect.signature(method).parameters)[1:]
        for class_name in classes
        for name, method in inspect.getmembers(_class(class_name), predicate=inspect.isfunction)
    }


def _read(source: str, names: Mapping[str, Sequence[str]]) -> Call:
    """Read a gold call written as Python; positional arguments get their names."""
    call = ast.parse(source.strip(), mode="eval").body
    assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    values = [ast.literal_eval(value) for value in call.args]
    given = dict(zip(names[call.func.id], values, strict=False))
    named = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg is not None}
    return {call.func.id: given | named}


def _more_tools() -> str:
    prompts = importlib.import_module(f"{PACKAGE}.constants.default_prompts")
    return str(prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC)
