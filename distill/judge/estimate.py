"""What judging would cost, before anything is asked, as a range.

The requests are known to the byte, so the range is that of a tokenizer's bytes per token, of the
length of the answers and of the cache: at the low end the rubric and the tools, which open every
request, are read from it. A judge that reasons at length can need more output than the high end
has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distill.config import JudgeConfig
from distill.judge.rubric import Exhibit
from distill.teachers import cost_usd
from distill.teachers.estimate import most_output_tokens, request_bytes
from distill.types import Message, SystemMessage, Task, ToolSet, Usage, UserMessage

_BYTES_PER_TOKEN = (4.5, 2.5)
_ANSWER_TOKENS = (40, 400)
_ANSWER_BYTES = 600
"""Calls, results and words that answer a user turn, before there are any."""


@dataclass(frozen=True)
class Range:
    """The lowest and the highest."""

    low: float
    high: float


@dataclass(frozen=True)
class JudgeEstimate:
    """What asking a judge takes."""

    calls: int
    input_tokens: Range
    output_tokens: Range
    usd: Range | None
    """None: the price is unknown."""


@dataclass(frozen=True)
class Size:
    """The bytes of a request."""

    shared: int
    """Of its opening, which others have, too."""
    own: int


def size_of(exhibit: Exhibit) -> Size:
    """Return the size of one request."""
    opening, conversation = exhibit.prompt
    return Size(request_bytes((opening,), ()), request_bytes((conversation,), ()))


def size_of_task(task: Task, toolset: ToolSet) -> Size:
    """Return about the size of the request on a trace of a task that nobody has answered yet."""
    said: list[Message] = [SystemMessage(content=toolset.system or "")]
    said += [UserMessage(content=turn.content) for turn in task.turns]
    size = size_of(Exhibit("", said, toolset.offered(task).tools))
    return Size(size.shared, size.own + _ANSWER_BYTES * len(task.turns))


def most_judging(
    settings: JudgeConfig, tasks: Sequence[Task], toolset: ToolSet, samples: int
) -> JudgeEstimate:
    """Return what judging takes when the checks keep every trace: calibration and all of them.

    Args:
        settings: The judge.
        tasks: What is collected.
        toolset: With these tools.
        samples: So many traces of each task.
    """
    read = [task for task in tasks if settings.scope == "all" or not task.expects]
    sizes = [size_of_task(task, toolset) for task in read] * samples
    planted = [size_of_task(task, toolset) for task in tasks[: settings.calibration]] * 2
    return estimate(settings, [*planted, *sizes])


def estimate(settings: JudgeConfig, sizes: Iterable[Size]) -> JudgeEstimate:
    """Return what requests of these sizes take."""
    known = list(sizes)
    shared, own = sum(size.shared for size in known), sum(size.own for size in known)
    most = most_output_tokens(settings)
    ends = []
    for high, (per_token, answer) in enumerate(zip(_BYTES_PER_TOKEN, _ANSWER_TOKENS, strict=True)):
        ends.append(
            Usage(
                input_tokens=round((shared + own) / per_token),
                cached_tokens=0 if high else round(shared / per_token),
                output_tokens=len(known) * min(answer, most),
            )
        )
    usd = [cost_usd(settings.model, usage, settings.price) for usage in ends]
    return JudgeEstimate(
        calls=len(known),
        input_tokens=Range(ends[0].input_tokens, ends[1].input_tokens),
        output_tokens=Range(ends[0].output_tokens, ends[1].output_tokens),
        usd=None if None in usd else Range(usd[0] or 0.0, usd[1] or 0.0),
    )
