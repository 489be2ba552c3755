"""One stored trace, judged by itself, as the few lines that the rest of the filter needs.

This is the part that takes time and that no trace shares with another, so large stores are screened
by several processes. The order of what comes out is the order of what went in.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from multiprocessing import get_context
from typing import NamedTuple

from distill.dataset import example_to_row, pair_to_row
from distill.filter.agreement import signature
from distill.filter.cases import case_of
from distill.filter.examples import to_example
from distill.filter.pairs import Author, WrongAnswer, pair_of, wrong_answer
from distill.filter.reviews import judge_reviewed
from distill.filter.sieve import Judgement, Sieve
from distill.filter.subject import Rules, Subject
from distill.similarity import (
    call_mark,
    conversation_sketch,
    fingerprint,
    request_sketch,
    request_words,
)
from distill.traces import Trace
from distill.traces.reviews import Review
from distill.types import AssistantMessage, Example, Json, Task, Tool, Verdict

BATCH = 200
"""Traces a process takes at a time."""
ALONE = 2000
"""Up to so many traces one process is as fast as several."""


class Line(NamedTuple):
    """A JSON object of a data set file, without its tools where they are the whole set's."""

    before: str
    tools: str | None
    after: str

    def text(self, whole: str) -> str:
        """Return the line; `whole` is `tools_text` of the tool set."""
        return f'{self.before}"tools": {self.tools or whole}{self.after}'


class Mistake(NamedTuple):
    """What a dropped trace, or an attempt of the student, answered wrongly."""

    answer: WrongAnswer
    """Without its pair."""
    pair: Line | None
    """Of pairs.jsonl: with the expected calls as the right answer, where there is one."""


class Body(NamedTuple):
    """What of a kept trace is written; only looked at again when it is."""

    row: Line
    """Of train.jsonl or validation.jsonl."""
    pair: Line | None
    """Of pairs.jsonl."""
    pair_kind: str | None
    pair_by: Author
    case: tuple[Task, Task] | None
    """The task, and it with the trace's calls as expectations, where it has none of its own."""


@dataclass(frozen=True)
class Row:
    """A trace that passed the checks, as it is compared with others."""

    fingerprint: str
    sketch: bytes
    """`conversation_sketch` of the trace."""
    request: str
    """`request_words` of its first user turn."""
    request_sketch: bytes
    tools: tuple[str, ...]
    """Tools whose calls are learnt."""
    calls: tuple[str, ...]
    """Marks of the learnt calls."""
    context_turns: int
    """Assistant turns with weight 0."""
    cut: bool
    """Whether later user turns were cut off."""


@dataclass(frozen=True)
class Screened:
    """What became of one trace, as far as it can be told alone."""

    key: str
    task: Task | None
    """Its task where the config's tasks do not hold it."""
    task_id: str
    kind: str
    family: str
    expects: bool
    """Whether its task says what is right."""
    toolset_hash: str
    teacher: str
    terms: str | None
    signature: str | None
    """What the teacher did (`agreement.signature`)."""
    verdicts: tuple[Verdict, ...]
    """The faults; all of them, and what is well, where every check was to give its verdict."""
    row: Row | None
    """None: dropped, by the first verdict that is not ok."""
    packed: bytes
    """`Body` of a row, pickled: between processes it travels as it is."""
    reject: dict[str, Json] | None
    """The ledger line of a dropped trace."""
    mistake: Mistake | None
    review: Review | None
    """What a person decided about it."""
    sound: bool
    """Whether the checks keep it as it was collected."""

    @property
    def body(self) -> Body:
        """What is written of a kept trace."""
        body = pickle.loads(self.packed)
        assert isinstance(body, Body)
        return body


class Screen:
    """Judges stored traces one by one."""

    def __init__(
        self,
        rules: Rules,
        tasks: Sequence[Task],
        reviews: Mapping[str, Review],
        *,
        fully: bool = False,
    ) -> None:
        self._sieve = Sieve(rules)
        self._tasks = {task.id: task for task in tasks}
        self._reviews = reviews
        self._fully = fully

    def __call__(self, text: str) -> Screened:
        """Judge one trace, as the store keeps it."""
        stored = Trace.model_validate_json(text)
        review = self._reviews.get(stored.key)
        reviewed = judge_reviewed(self._sieve, stored, review, fully=self._fully)
        judgement = reviewed.judgement
        trace, failure = judgement.subject.trace, judgement.failure
        whole = judgement.whole.trace.task
        example = None if failure else to_example(judgement)
        return Screened(
            key=trace.key,
            task=None if self._tasks.get(whole.id) == whole else whole,
            task_id=trace.task.id,
            kind=str(trace.task.kind),
            family=trace.task.family,
            expects=whole.expects,
            toolset_hash=trace.toolset_hash,
            teacher=f"{trace.teacher.model} ({trace.teacher.provider})",
            terms=trace.teacher.terms,
            signature=signature(reviewed.collected),
            verdicts=judgement.verdicts if self._fully else _faults(judgement),
            row=_row(judgement, example) if example else None,
            packed=pickle.dumps(_body(judgement, example)) if example else b"",
            reject=judgement.reject_row(failure) if failure else None,
            mistake=_mistake(judgement),
            review=review,
            sound=reviewed.sound,
        )


def mistakes(attempts: Iterable[str], rules: Rules) -> Iterator[tuple[Task, Mistake]]:
    """Yield what a student answered wrongly at its training tasks.

    Args:
        attempts: Traces as `AttemptStore` keeps them.
        rules: What they are held against.

    Raises:
        ValidationError: A text is not a trace this version can read.
    """
    sieve = Sieve(rules)
    for text in attempts:
        judgement = sieve.judge(Trace.model_validate_json(text))
        if (found := _mistake(judgement, by="student")) is not None:
            yield judgement.whole.trace.task, found


def screen(
    texts: Iterable[str],
    rules: Rules,
    tasks: Sequence[Task],
    reviews: Mapping[str, Review],
    *,
    fully: bool = False,
) -> Iterator[Screened]:
    """Judge stored traces, in their order.

    Args:
        texts: Traces as the store keeps them.
        rules: What they are held against.
        tasks: The config's tasks.
        reviews: What people decided about traces, by key.
        fully: Let every check give its verdict.

    Raises:
        ValidationError: A text is not a trace this version can read.
    """
    texts = iter(texts)
    first = list(islice(texts, ALONE + 1))
    processes = _processors()
    # A tool set's code was loaded by path and cannot be sent to another process.
    if len(first) <= ALONE or processes == 1 or rules.replay is not None:
        yield from map(Screen(rules, tasks, reviews, fully=fully), chain(first, texts))
        return
    with (
        _handed_over((rules, tasks, reviews, fully)) as path,
        ProcessPoolExecutor(processes, get_context("spawn"), _start, (path,)) as pool,
    ):
        waiting: deque[Future[list[Screened]]] = deque()
        try:
            for batch in _batches(chain(first, texts)):
                waiting.append(pool.submit(_screen_batch, batch))
                if len(waiting) > 2 * processes:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(texts, BATCH)):
        yield batch


_screens: list[Screen] = []
"""The one of this process."""


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _handed_over(settings: tuple[object, ...]) -> Iterator[str]:
    """Give a file with what every process needs: sent by a pipe, each would wait for the last."""
    with tempfile.NamedTemporaryFile(prefix="distill-screen-") as file:
        pickle.dump(settings, file)
        file.flush()
        yield file.name


def _start(path: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    with open(path, "rb") as file:
        rules, tasks, reviews, fully = pickle.load(file)
    gc.freeze()  # what is there by now stays, and need not be looked through for garbage
    _screens.append(Screen(rules, tasks, reviews, fully=fully))


def _screen_batch(batch: Sequence[str]) -> list[Screened]:
    return [_screens[0](text) for text in batch]


def tools_text(tools: Sequence[Tool]) -> str:
    """Return tools as they stand in a data set file."""
    return json.dumps([tool.as_function() for tool in tools], ensure_ascii=False)


def _faults(judgement: Judgement) -> tuple[Verdict, ...]:
    return tuple(verdict for verdict in judgement.verdicts if not verdict.ok)


def _row(judgement: Judgement, example: Example) -> Row:
    subject = judgement.subject
    opening = subject.trace.task.turns[0].content
    learnt = list(_learnt_calls(subject))
    return Row(
        fingerprint=fingerprint(subject.messages),
        sketch=conversation_sketch(subject.messages),
        request=request_words(opening),
        request_sketch=request_sketch(opening),
        tools=tuple(sorted({name for name, _ in learnt})),
        calls=tuple(call_mark(name, arguments) for name, arguments in learnt),
        context_turns=sum(weight == 0 for weight in example.weights),
        cut=judgement.cut is not None,
    )


def _body(judgement: Judgement, example: Example) -> Body:
    subject = judgement.subject
    pair = pair_of(subject)
    tools = _own_tools(subject)
    return Body(
        row=_line(example_to_row(example), tools),
        pair=_line(pair_to_row(pair), tools) if pair else None,
        pair_kind=pair.kind if pair else None,
        pair_by=pair.by if pair else "rule",
        case=_case(judgement),
    )


def _line(row: Mapping[str, Json], tools: str | None) -> Line:
    """Cut a line's tools, which are most of it and nearly always the same, out of it."""
    members = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" if k != "tools" else ""
               for k, v in row.items()]  # fmt: skip
    at = members.index("")
    before = "".join(f"{member}, " for member in members[:at])
    after = "".join(f", {member}" for member in members[at + 1 :])
    return Line("{" + before, tools, after + "}")


def _case(judgement: Judgement) -> tuple[Task, Task] | None:
    task = judgement.subject.trace.task
    return None if judgement.cut or task.expects else (task, case_of(judgement.subject))


def _learnt_calls(subject: Subject) -> Iterator[tuple[str, dict[str, Json]]]:
    for index, message in enumerate(subject.messages):
        if isinstance(message, AssistantMessage) and index not in subject.context:
            yield from ((call.name, call.parsed()) for call in message.tool_calls)


def _mistake(judgement: Judgement, by: Author = "teacher") -> Mistake | None:
    first = next((verdict for verdict in judgement.verdicts if not verdict.ok), None)
    found = wrong_answer(judgement.whole, first, by) if first else None
    if found is None:
        return None
    pair = _line(pair_to_row(found.pair), _own_tools(judgement.whole)) if found.pair else None
    return Mistake(replace(found, pair=None), pair)


def _own_tools(subject: Subject) -> str | None:
    """Return the tools of a task that is offered others than the set's; None: it shares those."""
    if subject.toolset is subject.rules.toolset:
        return None
    return tools_text(subject.toolset.tools)
