"""Robustness: the user's own cases again, with what should not matter changed.

    renamed tools        names that say nothing; the descriptions stay
    renamed parameters   the same for parameters
    shuffled tools       another order
    extra tools          six more that no case needs
    noise                fillers, typing errors in small words, no punctuation at the end
    paraphrase           the teacher's other words, when it is asked live (see `paraphrase`)

A student that has learnt names or positions instead of descriptions loses here: every part is
compared with the same cases unchanged. The disguise stands between model and episode: the model
sees changed tools and messages, its calls are changed back before they are executed and judged.
Only what is served is asked; the teacher's answers under disguise would cost money and say nothing
about the student.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from distill.errors import ConfigError
from distill.evaluate.candidates import Candidate
from distill.evaluate.comparison import compare
from distill.evaluate.metrics import Scored
from distill.evaluate.runner import Evaluation, Progress
from distill.evaluate.stats import holm
from distill.evaluate.suites.base import Suite, SuiteRun
from distill.evaluate.suites.paraphrase import Paraphrases
from distill.evaluate.suites.questions import Judged, suite_report
from distill.results import SUITES, Comparison, SuiteReport
from distill.teachers import Teacher
from distill.types import (
    AssistantMessage,
    Json,
    Message,
    SystemMessage,
    Task,
    Tool,
    ToolCall,
    ToolMessage,
    Turn,
    UserMessage,
    Verdict,
    digest,
)

UNCHANGED = "unchanged"
CHANGES = ("renamed tools", "renamed parameters", "shuffled tools", "extra tools", "noise")
PARAPHRASE = "paraphrase"
ANSWERED = f"{SUITES}/robustness.jsonl"
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


class Robustness(Suite):
    """The held-out cases under changes that should not matter."""

    name = "robustness"
    summary = "your cases with renamed, shuffled and extra tools, noisy and other wording"
    needs = "nothing; paraphrase: a teacher that is asked (eval.teacher: live, or name the part)"

    def run(self, evaluation: Evaluation, parts: Sequence[str]) -> SuiteRun:
        """Prepare one evaluation for each change."""
        every = (*CHANGES, PARAPHRASE)
        if unknown := next((part for part in parts if part not in every), None):
            known = ", ".join(every)
            raise ConfigError(f"--suite robustness:{unknown}: no such part; it has {known}")
        live = evaluation.config.eval.teacher == "live"
        wanted = parts or (every if live else CHANGES)
        return _Run(evaluation, [part for part in every if part in wanted])


class _Run:
    """The cases once for each change."""

    def __init__(self, evaluation: Evaluation, changes: Sequence[str]) -> None:
        self.plain = evaluation
        self.changed = {
            change: _disguised(evaluation, change) for change in changes if change != PARAPHRASE
        }
        self.paraphrases = Paraphrases(evaluation.config) if PARAPHRASE in changes else None
        self.gaps: dict[str, str] = {}

    @property
    def needs_endpoint(self) -> bool:
        if self.paraphrases and self.paraphrases.owed(self.plain.cases):
            return True
        return any(one.needs_endpoint for one in self._parts().values())

    def _parts(self) -> dict[str, Evaluation]:
        """Return the cases of every part with who answers them."""
        parts = {UNCHANGED: self.plain, **self.changed}
        if self.paraphrases:
            cases, _ = self.paraphrases.reworded(self.plain.cases)
            parts[PARAPHRASE] = _served(self.plain, cases)
        return parts

    async def ask(self, endpoint: str | None, progress: Progress) -> None:
        if self.paraphrases and self.paraphrases.owed(self.plain.cases):
            await self.paraphrases.ask(self.plain.cases, progress)
            if owed := len(self.paraphrases.owed(self.plain.cases)):
                self.gaps["teacher"] = f"{owed} texts not reworded: {self.paraphrases.reason}"
        for part, evaluation in self._parts().items():
            await evaluation.ask(
                endpoint, progress if part == UNCHANGED else _named(part, progress)
            )
            self.gaps |= {
                name: f"{part}: {why}"
                for name, why in evaluation.gaps.items()
                if name in {one.name for one in _asked(evaluation)}
            }

    def report(self) -> SuiteReport:
        scored: dict[str, dict[str, list[Scored]]] = {}
        for part, evaluation in self._parts().items():
            for candidate in _asked(evaluation):
                scored.setdefault(candidate.name, {})[part] = evaluation.scored(candidate)
        judged = {
            name: [_judged(part, one) for part, ones in parts.items() for one in ones]
            for name, parts in scored.items()
        }
        made = suite_report("robustness", self.plain.loaded.toolset.hash, judged, self.gaps, {})
        return made.model_copy(update={"changes": _changes(scored), "notes": self._notes()})

    def _notes(self) -> tuple[str, ...]:
        if not self.paraphrases:
            return ()
        cases, left = self.paraphrases.reworded(self.plain.cases)
        why = "".join(f"; {count} {reason}" for reason, count in left.most_common())
        return (f"Paraphrase: {len(cases)} of {len(self.plain.cases)} cases{why}.",)


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


def _disguised(evaluation: Evaluation, change: str) -> Evaluation:
    tools = evaluation.loaded.toolset.tools
    models: list[Candidate] = [
        replace(
            one,
            identity=digest([one.identity, change]),
            disguise=partial(Disguise, change=change, tools=tools),
            trials=1,
        )
        for one in _asked(evaluation)
    ]
    return Evaluation(evaluation.config, evaluation.loaded, evaluation.cases, models, ANSWERED)


def _served(evaluation: Evaluation, cases: Sequence[Task]) -> Evaluation:
    """Return other cases for those who are asked."""
    models = [replace(one, trials=1) for one in _asked(evaluation)]
    return Evaluation(evaluation.config, evaluation.loaded, cases, models, ANSWERED)


def _asked(evaluation: Evaluation) -> list[Candidate]:
    return [one for one in evaluation.candidates if one.served]


def _changes(
    scored: Mapping[str, Mapping[str, Sequence[Scored]]],
) -> dict[str, dict[str, Comparison]]:
    """Compare every part of every model with its answers to the same cases unchanged."""
    made = {
        (part, name): comparison
        for name, parts in scored.items()
        for part, ones in parts.items()
        if part != UNCHANGED and (comparison := compare(ones, parts[UNCHANGED]))
    }
    adjusted = holm({f"{part}/{name}": one.p for (part, name), one in made.items()})
    found: dict[str, dict[str, Comparison]] = {}
    for (part, name), one in made.items():
        p = {"p_value": adjusted[f"{part}/{name}"], "cluster_p": None}
        found.setdefault(part, {})[name] = one.model_copy(update=p)
    return found


def _named(change: str, progress: Progress) -> Progress:
    return lambda name, answered, cases: progress(f"{change} {name}", answered, cases)


def _judged(part: str, one: Scored) -> Judged:
    finding = Verdict(ok=one.ok, stage="robustness", code=one.code, detail=one.detail)
    return Judged(f"{part}/{one.task.id}", part, one.task.family, finding)
