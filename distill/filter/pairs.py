"""Preference pairs: for one prompt, the verified answer and a wrong one.

Wrong answers come from the student where it was let try the task (`distill rehearse`) and failed
at this very point; else from the teacher: a refused call it then made right, another sample that
failed there, or a failed episode whose task says which calls were right. Everywhere else one is
made mechanically. `Pair.kind` says what is wrong with it, `Pair.by` whose it is.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from distill.dataset import Pair
from distill.filter.checks.privacy import nothing_private
from distill.filter.examples import plain_message
from distill.filter.mistakes import Situation, mistaken
from distill.filter.subject import Subject
from distill.matching import Code, TurnMatch
from distill.similarity import fingerprint
from distill.types import (
    AssistantMessage,
    Example,
    Expectation,
    ExpectedCall,
    Kind,
    Message,
    ToolCall,
    UserMessage,
    Verdict,
    digest,
)

ACTIONS = {Kind.MISSING: "ask", Kind.NO_TOOL: "abstain", Kind.CHAT: "answer"}
"""What is right where no expectation says so."""


Author: TypeAlias = Literal["teacher", "student", "rule"]
"""`Pair.by`."""


@dataclass(frozen=True)
class WrongAnswer:
    """What a teacher or a student answered wrongly, and where."""

    prompt: str
    """Fingerprint of the messages before it."""
    message: AssistantMessage
    kind: str
    by: Author
    pair: Pair | None
    """With the expected calls as the right answer, where they can be written down."""


def pair_of(subject: Subject) -> Pair | None:
    """Return a pair from a kept trace: its own corrected mistake, else a mechanical one."""
    for index in sorted(subject.recovered):
        if pair := _corrected(subject, index):
            return pair
    rng = random.Random(digest([subject.trace.key, "pair"]))
    spoken = list(_learnt(subject))
    for index in rng.sample(spoken, len(spoken)):
        if pair := _mechanical(subject, index, rng):
            return pair
    return None


def wrong_answer(subject: Subject, failure: Verdict, by: Author = "teacher") -> WrongAnswer | None:
    """Return the wrong answer that a trace was dropped for, when everything before was right.

    Args:
        subject: The whole trace.
        failure: Why it was dropped.
        by: Who answered.
    """
    number = next((n for n, w in enumerate(subject.windows) if failure.turn in w), None)
    match = subject.literal_match
    if number is None or number >= len(match.turns) or not _blames(failure):
        return None
    if any(nothing_private(subject)):
        return None  # what is dropped from the rows is not let in by this door
    if not all(turn.ok for turn in match.turns[:number]):
        return None
    turn = match.turns[number]
    index = _first_wrong(subject, turn)
    answer = subject.messages[index] if index is not None else None
    if index is None or not isinstance(answer, AssistantMessage) or not _readable(answer):
        return None
    prompt = subject.messages[:index]
    expectation = subject.trace.task.turns[number].expectation
    pair = None
    if index == turn.start and expectation and (chosen := _expected_answer(expectation, subject)):
        pair = _pair(subject, prompt, chosen, answer, failure.code, by)
    return WrongAnswer(fingerprint(prompt), plain_message(answer), failure.code, by, pair)


_BLAMED = ("schema", "expectation", "grounding")
"""Stages whose findings are about one answer."""
_WRITTEN = (Code.UNKNOWN_TOOL, Code.UNPARSED_CALL)
"""Findings about the format that are, too."""


def _blames(failure: Verdict) -> bool:
    return failure.stage in _BLAMED or failure.code in _WRITTEN


def paired(example: Example, wrong: WrongAnswer) -> Pair | None:
    """Return the pair of a kept row and another sample's wrong answer to the same prompt."""
    spoken = [n for n, m in enumerate(example.messages) if isinstance(m, AssistantMessage)]
    learnt = [n for n, weight in zip(spoken, example.weights, strict=True) if weight]
    for index in learnt:
        chosen = example.messages[index]
        if fingerprint(example.messages[:index]) == wrong.prompt and isinstance(
            chosen, AssistantMessage
        ):
            return _checked(
                messages=example.messages[:index],
                tools=example.tools,
                chosen=chosen,
                rejected=wrong.message,
                kind=wrong.kind,
                key=example.meta["key"],
                by=wrong.by,
            )
    return None


def _learnt(subject: Subject) -> Iterator[int]:
    for index, message in enumerate(subject.messages):
        if isinstance(message, AssistantMessage) and index not in subject.context:
            yield index


def _corrected(subject: Subject, index: int) -> Pair | None:
    """Return the pair of a refused answer and the one that took its place."""
    wrong = subject.messages[index]
    window = next(w for w in subject.windows if index in w)
    later = (subject.messages[n] for n in window if n > index and n not in subject.recovered)
    right = next((m for m in later if isinstance(m, AssistantMessage) and m.tool_calls), None)
    if right is None or not isinstance(wrong, AssistantMessage) or not _readable(wrong):
        return None
    results = (subject.results.get((index, call.id)) for call in wrong.tool_calls)
    if not all(result is not None and result.is_error for result in results):
        return None  # part of it was right, and is not in the later answer
    if len(wrong.tool_calls) != len(right.tool_calls):
        return None
    match = (c for turn in subject.literal_match.turns for c in turn.calls if c.message == index)
    code = next((str(call.code) for call in match if not call.ok), None)
    if code is None:
        return None
    return _pair(subject, subject.messages[:index], right, wrong, code, "teacher")


def _mechanical(subject: Subject, index: int, rng: random.Random) -> Pair | None:
    chosen = subject.messages[index]
    window_number = next(n for n, w in enumerate(subject.windows) if index in w)
    turns = subject.trace.task.turns
    expectation = turns[window_number].expectation if window_number < len(turns) else None
    first = index == subject.windows[window_number].start
    if not isinstance(chosen, AssistantMessage) or not (chosen.tool_calls or first):
        return None  # the closing words after calls
    said = " ".join(m.content for m in subject.messages[:index] if isinstance(m, UserMessage))
    action = expectation.action if expectation else ACTIONS.get(subject.trace.task.kind)
    found = mistaken(Situation(chosen, said, expectation, subject.toolset, rng), action)
    if found is None:
        return None
    kind, wrong = found
    return _pair(subject, subject.messages[:index], chosen, wrong, kind, "rule")


def _first_wrong(subject: Subject, turn: TurnMatch) -> int | None:
    """Return the first answer of a user turn that is not right; None: it cannot be told."""
    wrong = min((call.message for call in turn.calls if not call.ok), default=None)
    if wrong is not None:
        return wrong
    if not turn.calls and turn.end > turn.start:
        return turn.start  # words where calls were due, or the wrong words
    return None


def _expected_answer(expectation: Expectation, subject: Subject) -> AssistantMessage | None:
    """Return the expected calls of the first step, when every argument is laid down."""
    first = min((call.step for call in expectation.calls), default=0)
    calls = [call for call in expectation.calls if call.step == first]
    if not calls or any(call.free for call in calls):
        return None
    return AssistantMessage(tool_calls=tuple(_written(c, n) for n, c in enumerate(calls)))


def _written(call: ExpectedCall, number: int) -> ToolCall:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return ToolCall(id=f"call_{number}", name=call.name, arguments=arguments)


def _readable(answer: AssistantMessage) -> bool:
    """Return whether templates can render the answer: they take arguments as objects."""
    try:
        for call in answer.tool_calls:
            call.parsed()
    except ValueError:
        return False
    return True


def _pair(
    subject: Subject,
    prompt: Sequence[Message],
    chosen: AssistantMessage,
    rejected: AssistantMessage,
    kind: str,
    by: Author,
) -> Pair | None:
    return _checked(
        messages=tuple(plain_message(message) for message in prompt),
        tools=subject.toolset.tools,
        chosen=plain_message(chosen),
        rejected=plain_message(rejected),
        kind=kind,
        key=subject.trace.key,
        by=by,
    )


def _checked(**fields: object) -> Pair | None:
    """Return the pair, or None when its two answers are the same."""
    try:
        return Pair.model_validate(fields)
    except ValueError:
        return None
