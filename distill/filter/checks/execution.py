"""Did the tools run as the conversation says, and were their errors taken note of?"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator

from distill.errors import DistillError
from distill.filter.checks.base import Finding, check
from distill.filter.subject import Subject
from distill.matching import call_problem
from distill.types import AssistantMessage, Json, ToolMessage, canonical_json

FAILURE_WORDS = re.compile(
    r"\b(?:error|fail\w*|unable|unavailable|unsuccessful|sorry|apolog\w+|unfortunately"
    r"|problem|trouble|issue|cannot|can't|couldn't|could not|didn't|did not|wasn't|was not|not"
    r"|none|nothing (?:was|were|is|has|had|can|could))\b"
)
"""How an answer in English owns up to a failure."""
COMMON_WORDS = frozenset(
    "been done from have must only that them then this were will with your".split()
)
"""Words of four letters that errors and answers share by chance."""
LOOP = 3
"""So many identical calls with identical results are a loop."""


@check("execution")
def errors_answered(subject: Subject) -> Iterator[Finding]:
    """A tool error is recovered from or reported, never passed over."""
    for number, window in enumerate(subject.windows):
        turns = subject.trace.task.turns
        expectation = turns[number].expectation if number < len(turns) else None
        if expectation and expectation.mentions:
            continue  # what must be said is laid down there, in any language
        answer = _last_words(subject, window)
        for index, result in _open_errors(subject, window):
            if not _reports(answer, result.content):
                evidence = f"{result.name}: {result.content[:100]} is not reported: {answer[:60]!r}"
                yield Finding("ignored_error", evidence, index)


def _open_errors(subject: Subject, window: range) -> Iterator[tuple[int, ToolMessage]]:
    """Yield (message of the call, result) for errors with no later success of the same tool."""
    succeeded: set[str] = set()
    for (index, _), result in reversed(subject.results.items()):
        if index in window and not result.is_error:
            succeeded.add(result.name)
        elif index in window and result.name not in succeeded:
            yield index, result


def _last_words(subject: Subject, window: range) -> str:
    said = [subject.messages[i] for i in window]
    texts = [m.content or "" for m in said if isinstance(m, AssistantMessage)]
    return texts[-1] if texts else ""


def _reports(answer: str, error: str) -> bool:
    words = set(re.findall(r"\w{4,}", answer.casefold())) - COMMON_WORDS
    shared = words.intersection(re.findall(r"\w{4,}", error.casefold()))
    return (
        bool(shared) or FAILURE_WORDS.search(answer.casefold().replace("\u2019", "'")) is not None
    )


@check("execution")
def results_belong(subject: Subject) -> Iterator[Finding]:
    """Every result is of the tool that was called."""
    for index, call in subject.calls:
        result = subject.results.get((index, call.id))
        if result is not None and result.name and result.name != call.name:
            yield Finding("foreign_result", f"{call.name} got a result of {result.name}", index)


@check("execution")
def replayed(subject: Subject) -> Iterator[Finding]:
    """Executed again, the calls have the same results and effects (`filter.replay`)."""
    loaded, trace = subject.rules.replay, subject.trace
    if loaded is None:
        return
    try:
        runner = loaded.runner(trace.task)
    except DistillError as error:
        yield Finding("not_replayable", str(error))
        return
    try:
        for index, call in subject.calls:
            then, now = subject.results.get((index, call.id)), runner.call_sync(call)
            if then is not None and _value(then) != _value(now):
                evidence = f"{call.name}: {then.content[:80]} then, {now.content[:80]} now"
                yield Finding("other_result", evidence, index)
                return  # from here on the states differ
        if trace.changes is not None and trace.changes != runner.changes():
            yield Finding("other_effects", "the calls leave another state than was recorded")
    finally:
        runner.close()


def _value(result: ToolMessage) -> Json:
    try:
        return json.loads(result.content)
    except ValueError:
        return result.content


@check("execution")
def no_loop(subject: Subject) -> Iterator[Finding]:
    """No call is made three times with the same result, unless the task expects so many."""
    for window, turn in zip(subject.windows, subject.trace.task.turns, strict=False):
        expected = turn.expectation.calls if turn.expectation else ()
        wanted = Counter(call.name for call in expected)
        made: Counter[str] = Counter()
        for index, call in subject.calls:
            result = subject.results.get((index, call.id))
            if index in window and result is not None:
                same = canonical_json([call.name, call.arguments, result.content])
                made[same] += 1
                if made[same] == max(LOOP, wanted[call.name] + 1):
                    yield Finding("loop", f"{call.name} again and again, to no effect", index)


@check("execution")
def no_repetition(subject: Subject) -> Iterator[Finding]:
    """No call is repeated after it succeeded; judged only where no calls are expected by name."""
    for window, turn in zip(subject.windows, subject.trace.task.turns, strict=False):
        if turn.expectation is None:
            yield from _repetitions(subject, window)


def _repetitions(subject: Subject, window: range) -> Iterator[Finding]:
    previous: str | None = None
    for index, call in subject.calls:
        result = subject.results.get((index, call.id))
        if index not in window or result is None or result.is_error:
            continue
        if call_problem(call, subject.toolset):
            continue  # found by another check
        same = canonical_json([call.name, call.parsed()])
        if same == previous:
            yield Finding("repeated_call", f"{call.name} again with the same arguments", index)
        previous = same
