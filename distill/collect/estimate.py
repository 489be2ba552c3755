"""What a run would take, before anything is asked: calls, tokens, money and time, as a range.

Two sources. Once the store has finished episodes, what these took is the measure, and the range
says how sure it is. Before that, the tasks are read: an expected call needs a turn that makes it,
and every user turn a last answer. The low end has parallel calls in one turn, short answers and a
prompt that is read from the cache; the high end has every call in a turn of its own, an error made
good in each user turn, long answers, and no cache. How large a request is, the provider has counted
(`counting`) or its bytes must tell.

The time is the longest of what the known limits impose: calls and tokens a minute, and, once
measured, how long a call takes with so many in flight.

Nothing is sent. A figure of the second kind can be far off for a teacher that reasons at length.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

from distill.collect.counting import Counted
from distill.collect.plan import Episode, Plan
from distill.config import Config, TeacherConfig
from distill.episode.user import user_prompt
from distill.errors import StoreError
from distill.teachers import cost_usd
from distill.teachers.estimate import most_output_tokens, request_bytes
from distill.traces import LedgerLine, TraceStore
from distill.types import SimulatedUser, SystemMessage, Task, Usage, UserMessage, UserTurn

ENOUGH = 10
"""From so many finished episodes on, they are the measure."""
CACHED_FROM = 1024
"""Tokens from which vendors keep a prefix in their caches, some from fewer, some from more."""
_BYTES_PER_TOKEN = (4.5, 2.5)
_ANSWER_TOKENS = (30, 400)
_RESULT_TOKENS = (20, 400)
SPOKEN = 2
"""Messages of a simulated user at the low end."""


@dataclass(frozen=True)
class Load:
    """What some episodes take together."""

    calls: float = 0.0
    fresh: float = 0.0
    """Input tokens that a cache neither gives nor takes."""
    cached: float = 0.0
    """Input tokens read from a cache."""
    written: float = 0.0
    """Input tokens written to a cache."""
    output: float = 0.0
    seconds: float = 0.0
    """Of all calls, one after the other; 0: not known."""
    usd: float | None = 0.0
    """None: the price is unknown."""

    def __add__(self, other: Load) -> Load:
        """Add field by field; an unknown price stays unknown."""
        mine, theirs = vars(self), vars(other)
        unknown = self.usd is None or other.usd is None
        sums = {name: mine[name] + theirs[name] for name in mine if name != "usd"}
        return Load(**sums, usd=None if unknown else (self.usd or 0.0) + (other.usd or 0.0))


@dataclass(frozen=True)
class Time:
    """How long a load takes at least, and because of what."""

    seconds: float
    because: str


@dataclass(frozen=True)
class Estimate:
    """The range of what the owed episodes take."""

    episodes: int
    """Owed."""
    low: Load
    high: Load
    measured: int
    """Finished episodes it is based on; 0: the tasks alone."""
    times: tuple[Time, Time] | None
    """Of the low and the high end; None: no limit is known."""


@dataclass(frozen=True)
class _End:
    """One end of the range: what a model is taken to do, and how large that is."""

    high: bool
    prefix: float
    """Tokens of the tools and the system prompt."""
    bytes_per_token: float
    answer: float
    """Tokens of one assistant turn."""
    result: float
    """Tokens of one tool result."""

    @property
    def cached(self) -> float:
        """Tokens that every call but the first reads from a cache."""
        return 0.0 if self.high or self.prefix < CACHED_FROM else self.prefix


Guess: TypeAlias = Callable[[Config, Plan, Sequence[Episode], bool], Load]
"""What owed episodes take, by their tasks alone: the low end, or the high one."""


def estimate(
    config: Config, plan: Plan, counted: Counted | None = None, guess: Guess | None = None
) -> Estimate:
    """Estimate what is left of a plan; a store that cannot be opened counts as an empty one.

    Args:
        config: The distillation.
        plan: Its episodes.
        counted: What the provider counts in its requests; None: bytes are counted instead.
        guess: What stands in for a measure where the tasks do not say what their answers are.
    """
    done, calls = _stored(config, plan)
    owed = [episode for episode in plan.episodes if episode.key not in done]
    finished = _loads(calls, done)
    if len(finished) >= ENOUGH:
        low, high = _measured(finished, len(owed))
    else:
        finished = []
        if guess is not None:
            low, high = (guess(config, plan, owed, high) for high in (False, True))
        else:
            ends = [_end(config, plan, counted, high) for high in (False, True)]
            low, high = (_from_tasks(config, owed, end) for end in ends)
    return Estimate(len(owed), low, high, len(finished), _times(config, low, high))


def _stored(config: Config, plan: Plan) -> tuple[set[str], list[LedgerLine]]:
    try:
        store = TraceStore.open(config.store_url)
    except StoreError:
        return set(), []
    with store:
        return store.done(episode.key for episode in plan.episodes), list(store.ledger())


def _loads(calls: Iterable[LedgerLine], done: set[str]) -> list[Load]:
    by_key: dict[str, Load] = {}
    for line in calls:
        if line.key not in done or line.status != "settled" or line.judging:
            continue
        usage = line.usage
        load = Load(
            calls=1,
            fresh=usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens,
            cached=usage.cached_tokens,
            written=usage.cache_write_tokens,
            output=usage.output_tokens,
            seconds=line.latency_s,
            usd=line.cost_usd,
        )
        by_key[line.key] = by_key.get(line.key, Load()) + load
    return list(by_key.values())


def _measured(finished: Sequence[Load], owed: int) -> tuple[Load, Load]:
    """Scale the mean, plus and minus two standard errors of the sum of `owed` episodes."""

    def end(values: Sequence[float], sign: int) -> float:
        spread = statistics.stdev(values) * math.sqrt(owed * (1 + owed / len(values)))
        return max(0.0, statistics.fmean(values) * owed + sign * 2 * spread)

    def load(sign: int) -> Load:
        ends: dict[str, float | None] = {}
        for name in (field.name for field in fields(Load)):
            values = [getattr(load, name) for load in finished]
            ends[name] = None if None in values else end(values, sign)
        return Load(**ends)  # type: ignore[arg-type]

    return load(-1), load(+1)


# --- from the tasks ---------------------------------------------------------------------------


def _end(config: Config, plan: Plan, counted: Counted | None, high: bool) -> _End:
    toolset = plan.loaded.toolset
    system = (SystemMessage(content=toolset.system),) if toolset.system else ()
    by_bytes = _BYTES_PER_TOKEN[high]
    return _End(
        high=high,
        prefix=counted.prefix if counted else request_bytes(system, toolset.tools) / by_bytes,
        bytes_per_token=counted.bytes_per_token if counted else by_bytes,
        answer=min(_ANSWER_TOKENS[high], most_output_tokens(config.teacher)),
        result=_RESULT_TOKENS[high],
    )


def _from_tasks(config: Config, owed: Sequence[Episode], end: _End) -> Load:
    total = sum((_episode(config, episode.task, end) for episode in owed), Load())
    if owed and end.cached:
        # The first call does not read the prefix but writes it.
        total += _tokens(config, cached=-end.cached, written=end.cached)
    return total


def _episode(config: Config, task: Task, end: _End) -> Load:
    total, others, history = Load(), Load(), 0.0
    behind, user = config.collect.simulator, config.collect.user
    for turn in (*task.turns, *_simulated(task, end)):
        said = request_bytes((UserMessage(content=turn.content),), ())
        history += said / end.bytes_per_token
        if user and task.user and turn.content == "":
            others += _other_calls(1, user, _role(task.user, end) + history, end)
        calls = turn.expectation.calls if turn.expectation else ()
        steps = len(calls) + 2 if end.high else len({call.step for call in calls}) + 1
        if behind:
            made = len(calls) + end.high
            others += _other_calls(made, behind, end.prefix + history, end)
        for _ in range(min(steps, config.collect.max_steps - round(total.calls))):
            fresh = end.prefix - end.cached + history
            total += _tokens(config, 1, fresh, end.cached, output=end.answer)
            history += end.answer + end.result
    if user and task.user and not end.high and task.user.max_turns > SPOKEN:
        # It says that its goal is reached.
        others += _other_calls(1, user, _role(task.user, end) + history, end)
    return total + others


def _simulated(task: Task, end: _End) -> list[UserTurn]:
    """Return turns without words for what a simulated user may say."""
    most = task.user.max_turns if task.user else 0
    return [UserTurn(content="")] * (most if end.high else min(SPOKEN, most))


def _role(user: SimulatedUser, end: _End) -> float:
    """Return the tokens of what a simulated user is told of itself."""
    return len(user_prompt(user).encode()) / end.bytes_per_token


def _other_calls(count: int, model: TeacherConfig, tokens: float, end: _End) -> Load:
    """Return what calls take of a model that has another part in the episode.

    At the high end each is made twice: what it may not say, it is asked for once more.
    """
    count, answer = count * (1 + end.high), min(end.answer, most_output_tokens(model))
    usage = Usage(input_tokens=round(tokens), output_tokens=round(answer))
    usd = cost_usd(model.model, usage, model.price)
    whole = None if usd is None else count * usd
    return Load(calls=count, fresh=count * tokens, output=count * answer, usd=whole)


def _tokens(
    config: Config,
    calls: float = 0.0,
    fresh: float = 0.0,
    cached: float = 0.0,
    written: float = 0.0,
    output: float = 0.0,
) -> Load:
    usage = Usage(
        input_tokens=round(fresh + cached + written),
        cached_tokens=round(cached),
        cache_write_tokens=round(written),
        output_tokens=round(output),
    )
    price, batch = config.teacher.price, config.collect.batch
    usd = cost_usd(config.teacher.model, usage, price, batch=batch)
    return Load(calls, fresh, cached, written, output, usd=usd)


# --- time -------------------------------------------------------------------------------------


def _times(config: Config, low: Load, high: Load) -> tuple[Time, Time] | None:
    if config.collect.batch:
        return None  # a batch takes what it takes, up to a day
    shortest, longest = _time(config, low), _time(config, high)
    return None if shortest is None or longest is None else (shortest, longest)


def _time(config: Config, load: Load) -> Time | None:
    """Return the slowest of what is known to take time."""
    limits, in_flight = config.teacher.limits, config.collect.concurrency
    rates = (
        (load.calls, limits.requests, "calls a minute"),
        (load.fresh + load.written, limits.input_tokens, "input tokens a minute"),
        (load.output, limits.output_tokens, "output tokens a minute"),
        (load.seconds / 60.0, in_flight if load.seconds else None, "calls in flight"),
    )
    times = [
        Time(60.0 * amount / rate, f"{rate:,.0f} {words}") for amount, rate, words in rates if rate
    ]
    return max(times, key=lambda time: time.seconds, default=None)
