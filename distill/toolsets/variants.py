"""Negatives and disturbances derived from a tool set's own tasks, for the teacher to answer.

    tool_removed    the tools a right answer calls are not offered: say that no tool fits
    value_hidden    a required value is taken out of the request: ask for it
    near_miss       a tool that sounds like the needed one is offered too: take the needed one
    shuffled        the tools come in another order: the answer stays as it was
    fails_once      the needed tool fails once: call it again
    fails_always    the needed tool fails every time: report it
    out_of_scope    another request, which no tool is for: say so

A variant says what is right as its task did, so that the filter judges the teacher's answer, and
belongs to the family of its task, so that no split separates them. Only tasks of one user turn that
expect calls have variants, and none with a simulated user; which of them get one depends on the
seed alone. Nothing is reworded but by leaving words out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from distill.types import (
    Expectation,
    ExpectedCall,
    Fault,
    Json,
    Kind,
    Offer,
    Task,
    Tool,
    ToolSet,
    UserTurn,
    digest,
)

BUSY = (
    "the service is busy, try again",
    "temporarily unavailable, please retry",
    "the connection was reset, try again",
)
DOWN = (
    "the service is down for maintenance",
    "internal error, the problem has been reported",
    "the system does not answer",
)
NEAR_MISSES: Mapping[str, str] = {
    "preview_{}": "Show what a call of {} would do, without doing it.",
    "schedule_{}": "Plan a call of {} for a later date; only when a later date is named.",
    "explain_{}": "Explain in general how {} works; gives no data and changes nothing.",
    "undo_{}": "Take back the last call of {}.",
    "{}_history": "List earlier calls of {} with their dates.",
}
"""Name and description of a tool that is easily taken for another; it takes the same parameters."""
REQUESTS = (
    "Write me a limerick about my uncle's moustache",
    "Which is the tallest mountain on Mars?",
    "Translate 'the early bird catches the worm' into Latin",
    "Draw me a picture of a fox on a bicycle",
    "What is the square root of 7,921?",
    "Recommend a novel for a long train ride",
    "Who won the football world cup in 1974?",
    "Prove that there are infinitely many primes",
    "Compose a short melody in G minor",
    "Diagnose the rash on my elbow",
    "Which shares should I buy this week?",
    "Summarise the plot of Hamlet in two sentences",
    "Fix the bug in my Java program",
    "Tell me what my horoscope says",
    "Write a cover letter for a job as a baker",
    "How do I get red wine out of a carpet?",
    "Find my cousin's telephone number on the internet",
    "Check whether my essay was copied",
    "Explain quantum entanglement to a child",
    "Make a crossword with ten words about the sea",
    "What did my neighbour say about me yesterday?",
    "Give me a recipe for lentil soup",
    "Teach me to whistle with two fingers",
    "Which language has the most vowels?",
    "Post a photo of my cat on my profile",
    "Design a logo for a bicycle shop",
    "Predict the winner of the next election",
    "How old was Mozart when he died?",
    "Rename all the files on my computer",
    "Sing me a lullaby",
)
"""Requests hardly any tool set can serve. Where one can, the teacher's call drops the trace."""


def derive(
    tasks: Sequence[Task], toolset: ToolSet, shares: Mapping[str, float], seed: int
) -> Iterator[Task]:
    """Yield the variants of tasks.

    Args:
        tasks: The tasks.
        toolset: Their tool set.
        shares: Name of a variant -> how many, as a share of the tasks; fewer when fewer tasks allow
            it.
        seed: Seed of the choice.
    """
    usable = [task for task in tasks if _usable(task)]
    for name, share in shares.items():
        wanted = round(share * len(tasks))
        order = sorted(usable, key=lambda task: digest([seed, name, task.id]))
        asked: set[str] = set()
        for task in order:
            if len(asked) == wanted:
                break
            variant = _MAKERS[name](task, toolset, random.Random(f"{seed}/{name}/{task.id}"))
            if variant is not None and variant.turns[0].content not in asked:
                asked.add(variant.turns[0].content)
                yield variant.model_copy(update={"id": f"{task.id}+{name}"})


def _usable(task: Task) -> bool:
    expectation = task.turns[0].expectation
    return (
        len(task.turns) == 1
        and expectation is not None
        and expectation.action == "call"
        and not task.faults
        and task.offer is None
        and task.user is None
    )


def _calls(task: Task) -> tuple[ExpectedCall, ...]:
    expectation = task.turns[0].expectation
    return expectation.calls if expectation else ()


def _names(toolset: ToolSet) -> list[str]:
    return [tool.name for tool in toolset.tools]


def _instead(task: Task, kind: Kind, action: str, text: str | None = None, **update: Json) -> Task:
    """Return a task that is right to be answered without a call, and changes nothing."""
    expectation = Expectation.model_validate({"action": action})
    turn = UserTurn(content=text or task.turns[0].content, expectation=expectation)
    unchanged: dict[str, Json] | None = None if task.end_state is None else {}
    return task.model_copy(
        update={"kind": kind, "turns": (turn,), "end_state": unchanged, **update}
    )


def _tool_removed(task: Task, toolset: ToolSet, rng: random.Random) -> Task | None:
    left = tuple(name for name in _names(toolset) if name not in task.tools)
    if not left:
        return None
    return _instead(task, Kind.NO_TOOL, "abstain", offer=Offer(names=left))


def _value_hidden(task: Task, toolset: ToolSet, rng: random.Random) -> Task | None:
    if len(_calls(task)) != 1:
        return None
    (expected,) = _calls(task)
    tool = toolset.get(expected.name)
    required = tool.parameters.get("required", ()) if tool else ()
    text = task.turns[0].content
    for name in rng.sample(sorted(required), len(required)):
        values = (expected.arguments.get(name), *expected.accept.get(name, ()))
        nouns = {*name.lower().split("_"), *expected.name.lower().split("_")}
        if name not in expected.free and (shorter := without_value(text, values, nouns)):
            return _instead(task, Kind.MISSING, "ask", shorter)
    return None


def without_value(text: str, values: Sequence[Json], nouns: Collection[str] = ()) -> str | None:
    """Return a request without a value that stands in it once; None: it cannot be taken out.

    It can where the sentence stays one: after a preposition, which goes too ("dim it to 30, please"
    -> "dim it, please"), or, when it is an identifier, after a noun that says what it is of
    ("cancel order A-17" -> "cancel order").

    Args:
        text: The request.
        values: The value and what else is accepted for it; none of them may be left.
        nouns: Words that say what an identifier is of.
    """
    words = [str(value) for value in values if isinstance(value, str | int | float)]
    found = [match for word in words for match in _occurrences(word, text)]
    if len(found) != 1:
        return None
    before, after = text[: found[0].start()], text[found[0].end() :]
    lead = _LEAD.search(before)
    if lead is None and not (_is_identifier(found[0][0]) and _last_word(before) in nouns):
        return None
    if not _FOLLOWS.match(after):
        return None
    kept = before[: lead.start()] if lead else before
    rest = " ".join(re.sub(r"\s+([.,;!?])", r"\1", f"{kept.rstrip()}{after}").split())
    cut = kept.rstrip().endswith((":", ",", "-"))
    if cut or len(kept.split()) < 2 or _last_word(kept) in _DANGLING:
        return None
    return rest


def _occurrences(word: str, text: str) -> Iterator[re.Match[str]]:
    spelled = re.escape(word).replace("_", "[_ ]")
    return re.finditer(rf"(?<![\w.,:-]){spelled}%?(?![\w:-]|[.,]\d)", text, re.IGNORECASE)


def _is_identifier(word: str) -> bool:
    return bool(re.search(r"\d", word)) and bool(re.search(r"[A-Za-z]", word))


def _last_word(text: str) -> str:
    words = re.findall(r"[\w']+", text)
    return words[-1].lower() if words else ""


_PREPOSITIONS = "to at for in on of from by with about until as named called into under"
_LEAD = re.compile(
    rf"\b(?:{'|'.join(_PREPOSITIONS.split())})\s+(?:(?:the|a|an|my|our)\s+)?$", re.IGNORECASE
)
_FOLLOWS = re.compile(
    rf"\s*(?:$|[.,;!?]|(?:{'|'.join(_PREPOSITIONS.split())}|and|but|please|today|tomorrow)\b)",
    re.IGNORECASE,
)
"""What may follow a value that is taken out: the end of its phrase."""
_DANGLING = frozenset(
    f"{_PREPOSITIONS} the a an my our and or but is are was be been it's he's she's put".split()
)


def _near_miss(task: Task, toolset: ToolSet, rng: random.Random) -> Task | None:
    needed = toolset.get(rng.choice(task.tools))
    pattern = rng.choice(sorted(NEAR_MISSES))
    if needed is None or len(pattern.format(needed.name)) > 64:
        return None
    tool = Tool(
        name=pattern.format(needed.name),
        description=NEAR_MISSES[pattern].format(needed.name),
        parameters=needed.parameters,
    )
    if toolset.get(tool.name):
        return None
    names = _names(toolset)
    names.insert(rng.randint(0, len(names)), tool.name)
    return task.model_copy(
        update={"kind": Kind.CHOOSE, "offer": Offer(names=tuple(names), extra=(tool,))}
    )


def _shuffled(task: Task, toolset: ToolSet, rng: random.Random) -> Task | None:
    names = _names(toolset)
    rng.shuffle(names)
    if names == _names(toolset):
        return None
    return task.model_copy(update={"offer": Offer(names=tuple(names))})


def _fails_once(task: Task, toolset: ToolSet, rng: random.Random) -> Task | None:
    fault = Fault(tool=rng.choice(task.tools), message=rng.choice(BUSY))
    return task.model_copy(update={"kind": Kind.TOOL_FAILED, "faults": (fault,)})


def _fails_always(task: Task, toolset: ToolSet, rng: random.Random) -> Task | None:
    if len(_calls(task)) != 1:
        return None  # which of several calls are still right to make is for the task to say
    fault = Fault(tool=task.tools[0], message=rng.choice(DOWN), times=None)
    expectation = Expectation(action="call", calls=_calls(task))
    turn = task.turns[0].model_copy(update={"expectation": expectation})
    unchanged: dict[str, Json] | None = None if task.end_state is None else {}
    return task.model_copy(
        update={
            "kind": Kind.TOOL_FAILED,
            "faults": (fault,),
            "turns": (turn,),
            "end_state": unchanged,
        }
    )


def _out_of_scope(task: Task, toolset: ToolSet, rng: random.Random) -> Task | None:
    # One family for each request: it shares its words with other tasks that carry it, not with
    # the task it stands in for.
    text = rng.choice(REQUESTS)
    family = f"out_of_scope/{digest(text)}"
    return _instead(task, Kind.NO_TOOL, "abstain", text, family=family)


_MAKERS: Mapping[str, Callable[[Task, ToolSet, random.Random], Task | None]] = {
    "tool_removed": _tool_removed,
    "value_hidden": _value_hidden,
    "near_miss": _near_miss,
    "shuffled": _shuffled,
    "fails_once": _fails_once,
    "fails_always": _fails_always,
    "out_of_scope": _out_of_scope,
}
