"""What a run would take, before anything is asked: episodes, calls, tokens, money, as a range.

Two sources. Once the store has finished episodes, what these took is the measure, and the range
says how sure it is. Before that, the tasks are read: an expected call needs a turn that makes it,
and every user turn a last answer. The low end has parallel calls in one turn, short answers and a
prompt that is read from the cache; the high end has every call in a turn of its own, an error made
good in each user turn, long answers, and no cache.

Nothing is sent. A figure of the second kind can be far off for a teacher that reasons at length.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from distill.collect.plan import Episode, Plan
from distill.config import Config, TeacherConfig
from distill.errors import StoreError
from distill.teachers import cost_usd
from distill.teachers.estimate import most_output_tokens, request_bytes
from distill.traces import LedgerLine, TraceStore
from distill.types import SystemMessage, Task, Usage, UserMessage, UserTurn

ENOUGH = 10
"""From so many finished episodes on, they are the measure."""
_BYTES_PER_TOKEN = (4.5, 2.5)
_ANSWER_TOKENS = (30, 400)
_RESULT_TOKENS = (20, 400)


@dataclass(frozen=True)
class Load:
    """What some episodes take together."""

    calls: float = 0.0
    fresh: float = 0.0
    """Input tokens that are not read from a cache."""
    cached: float = 0.0
    output: float = 0.0
    usd: float | None = 0.0
    """None: the price is unknown."""

    def __add__(self, other: Load) -> Load:
        """Add field by field; an unknown price stays unknown."""
        known = self.usd is not None and other.usd is not None
        return Load(
            self.calls + other.calls,
            self.fresh + other.fresh,
            self.cached + other.cached,
            self.output + other.output,
            (self.usd or 0.0) + (other.usd or 0.0) if known else None,
        )


@dataclass(frozen=True)
class Estimate:
    """The range of what the owed episodes take."""

    episodes: int
    """Owed."""
    low: Load
    high: Load
    measured: int
    """Finished episodes it is based on; 0: the tasks alone."""


Guess: TypeAlias = Callable[[Config, Plan, Sequence[Episode], bool], Load]
"""What owed episodes take by their tasks alone: the low end, or the high one."""


def estimate(config: Config, plan: Plan, guess: Guess | None = None) -> Estimate:
    """Estimate what is left of a plan; a store that cannot be opened counts as an empty one.

    Args:
        config: The distillation.
        plan: Its episodes.
        guess: What stands in for a measure before there is one.
    """
    done, calls = _stored(config, plan)
    owed = [episode for episode in plan.episodes if episode.key not in done]
    finished = _loads(calls, done)
    if len(finished) >= ENOUGH:
        low, high = _measured(finished, len(owed))
        return Estimate(len(owed), low, high, len(finished))
    ends = [(guess or _from_tasks)(config, plan, owed, high) for high in (False, True)]
    return Estimate(len(owed), ends[0], ends[1], 0)


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
            1,
            usage.input_tokens - usage.cached_tokens,
            usage.cached_tokens,
            usage.output_tokens,
            line.cost_usd,
        )
        by_key[line.key] = by_key.get(line.key, Load()) + load
    return list(by_key.values())


def _measured(finished: Sequence[Load], owed: int) -> tuple[Load, Load]:
    """Scale the mean, plus and minus two standard errors of the sum of `owed` episodes."""

    def end(values: Sequence[float], sign: int) -> float:
        spread = statistics.stdev(values) * math.sqrt(owed * (1 + owed / len(values)))
        return max(0.0, statistics.fmean(values) * owed + sign * 2 * spread)

    def load(sign: int) -> Load:
        costs = [load.usd for load in finished if load.usd is not None]
        return Load(
            end([load.calls for load in finished], sign),
            end([load.fresh for load in finished], sign),
            end([load.cached for load in finished], sign),
            end([load.output for load in finished], sign),
            end(costs, sign) if len(costs) == len(finished) else None,
        )

    return load(-1), load(+1)


def _from_tasks(config: Config, plan: Plan, owed: Sequence[Episode], high: bool) -> Load:
    toolset = plan.loaded.toolset
    system = (SystemMessage(content=toolset.system),) if toolset.system else ()
    prefix = request_bytes(system, toolset.tools) / _BYTES_PER_TOKEN[high]
    return sum((_episode(config, episode.task, prefix, high) for episode in owed), Load())


def _episode(config: Config, task: Task, prefix: float, high: bool) -> Load:
    answer = min(_ANSWER_TOKENS[high], most_output_tokens(config.teacher))
    total, played, history = Load(), Load(), 0.0
    for turn in (*task.turns, *_simulated(task, high)):
        said = request_bytes((UserMessage(content=turn.content),), ()) / _BYTES_PER_TOKEN[high]
        history += said
        if turn.content == "":
            played += _side_call(config.collect.user, history, high)
        calls = turn.expectation.calls if turn.expectation else ()
        steps = len(calls) + 2 if high else len({call.step for call in calls}) + 1
        if config.collect.simulator:
            behind = _side_call(config.collect.simulator, prefix + history, high)
            played = sum([behind] * (steps - 1), played)
        for _ in range(min(steps, config.collect.max_steps - round(total.calls))):
            cached = 0.0 if high else prefix
            usage = Usage(
                input_tokens=round(prefix + history),
                cached_tokens=round(cached),
                output_tokens=answer,
            )
            cost = cost_usd(config.teacher.model, usage, config.teacher.price)
            total += Load(1, prefix + history - cached, cached, answer, cost)
            history += answer + _RESULT_TOKENS[high]
    return total + played


def _simulated(task: Task, high: bool) -> list[UserTurn]:
    """Return turns without words for what a simulated user may say."""
    most = task.user.max_turns if task.user else 0
    return [UserTurn(content="")] * (most if high else min(2, most))


def _side_call(model: TeacherConfig | None, tokens: float, high: bool) -> Load:
    """Return what a call of a model costs that has another part in the episode."""
    if model is None:
        return Load()
    usage = Usage(input_tokens=round(tokens), output_tokens=_ANSWER_TOKENS[high])
    cost = cost_usd(model.model, usage, model.price)
    return Load(1, tokens, 0, usage.output_tokens, cost)
