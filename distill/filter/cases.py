"""Evaluation cases: held-out tasks, each user turn with an expectation.

A task that carries its expectations is a case whether or not the teacher solved it; leaving out
what the teacher failed would flatter everyone. A task without becomes one through a trace that
passed the checks: its calls are the expected calls, one step for each message that made any. Where
a user was simulated, the case has the words that it said then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from distill.filter.sources import FREE_WORDS
from distill.filter.subject import Subject
from distill.matching import MadeCall, asks, made_calls
from distill.types import (
    AssistantMessage,
    Expectation,
    ExpectedCall,
    Kind,
    Message,
    Task,
    Tool,
    UserTurn,
)


def cases(held_out: Iterable[Task], verified: Mapping[str, tuple[Task, Task]]) -> Iterator[Task]:
    """Yield the held-out tasks that can be judged.

    Args:
        held_out: Tasks of the test split.
        verified: Task id -> the task of a trace that passed the checks, and `case_of` it.
    """
    for task in held_out:
        if task.expects:
            yield task
        elif task.id in verified and _asked(verified[task.id][0], task) == task:
            yield verified[task.id][1]


def _asked(done: Task, asked: Task) -> Task:
    """Return the task of a trace as it was asked: without what a simulated user went on to say."""
    if asked.user is None:
        return done
    return done.model_copy(update={"turns": done.turns[: len(asked.turns)]})


def case_of(subject: Subject) -> Task:
    """Return the task of a verified trace with the trace's calls as its expectations."""
    task = subject.trace.task
    turns = tuple(
        turn if turn.expectation else _expecting(turn, subject, window)
        for turn, window in zip(task.turns, subject.windows, strict=True)
    )
    return task.model_copy(update={"turns": turns, "user": None})


def _expecting(turn: UserTurn, subject: Subject, window: range) -> UserTurn:
    made = made_calls(subject.messages, window.start, window.stop, subject.toolset)
    calls = tuple(_expected(one, subject) for one in made if not one.retried)
    answer = subject.messages[window.stop - 1].content or ""
    expectation = Expectation(
        action="call" if calls else _action(subject.trace.task.kind, answer),
        calls=calls,
        answer=answer,
    )
    return turn.model_copy(update={"expectation": expectation})


def _action(kind: Kind, answer: str) -> Literal["ask", "abstain", "answer"]:
    """Return what an answer without calls was."""
    if kind is Kind.MISSING and asks(answer):
        return "ask"
    return "abstain" if kind is Kind.NO_TOOL else "answer"


def _expected(made: MadeCall, subject: Subject) -> ExpectedCall:
    tool = subject.toolset.get(made.call.name)
    arguments = made.arguments or {}
    said = _text(subject.messages[: made.message])
    free = [name for name in arguments if tool and _is_free(arguments[name], name, tool, said)]
    return ExpectedCall(
        name=made.call.name, arguments=arguments, free=tuple(free), step=made.message
    )


def _is_free(value: object, name: str, tool: Tool, said: str) -> bool:
    schema = tool.parameters.get("properties", {}).get(name, {})
    if not isinstance(value, str) or schema.keys() & {"enum", "const", "format", "pattern"}:
        return False
    return len(value.split()) >= FREE_WORDS and " ".join(value.casefold().split()) not in said


def _text(messages: Iterable[Message]) -> str:
    said = [m.content or "" for m in messages if not isinstance(m, AssistantMessage)]
    return " ".join(" ".join(said).casefold().split())
