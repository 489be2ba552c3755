"""What a run would take: calls, tokens by kind, money, time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from collect_world import ScriptedTeacher, call_then_answer, run, workspace

from distill.collect import Counted, count_requests, counting, estimate, make_plan
from distill.config import Config
from distill.errors import ConfigError
from distill.teachers import Failure, Teacher, TeacherError
from distill.types import Message, Tool, Usage

PRICE = {"input": 1_000_000, "output": 10_000_000, "cached": 100_000, "cache_write": 1_250_000}
"""Dollars per million: a fresh token is a dollar."""


def config(folder: Path, count: int = 8, concurrency: int = 4, **teacher: object) -> Config:
    settings = {
        "provider": "openai_chat",
        "model": "fake",
        "base_url": "http://127.0.0.1:9/v1",
        "price": PRICE,
    }
    return workspace(
        folder, count, teacher=settings | teacher, collect={"concurrency": concurrency}
    )


# --- from the tasks ----------------------------------------------------------------------------


def test_an_estimate_from_the_tasks_brackets_what_the_run_then_takes(tmp_path: Path):
    asked = config(tmp_path)
    guess = estimate(asked, make_plan(asked))
    assert (guess.episodes, guess.measured) == (8, 0)
    assert guess.low.calls == 8
    assert guess.high.calls == 16
    assert 0 < guess.low.fresh < guess.high.fresh
    assert 0 < guess.low.usd < guess.high.usd
    assert not (tmp_path / "traces").exists()


def test_an_unknown_price_is_not_estimated_as_nothing(tmp_path: Path):
    unpriced = config(tmp_path, price=None)
    assert estimate(unpriced, make_plan(unpriced)).high.usd is None


def test_batches_cost_half_and_take_nobody_knows_how_long(tmp_path: Path):
    asked = config(tmp_path, limits={"requests": 60})
    batched = asked.model_copy(update={"collect": asked.collect.model_copy(update={"batch": True})})
    batched._workspace = asked.workspace
    full, half = (estimate(one, make_plan(one)) for one in (asked, batched))
    assert half.low.usd == pytest.approx(full.low.usd / 2)
    assert half.high.usd == pytest.approx(full.high.usd / 2)
    assert (full.times is None, half.times) == (False, None)


def test_what_the_provider_counts_replaces_the_guess_at_both_ends(tmp_path: Path):
    asked = config(tmp_path)
    plan = make_plan(asked)
    guess = estimate(asked, plan, Counted(prefix=500, bytes_per_token=1e9))
    assert guess.low.fresh == pytest.approx(8 * 500)
    # Two calls an episode: the second reads the first's answer and its result as well.
    assert guess.high.fresh == pytest.approx(8 * (500 + 500 + 400 + 400))


def test_a_long_prefix_is_written_to_the_cache_once_and_read_ever_after(tmp_path: Path):
    asked = config(tmp_path)
    guess = estimate(asked, make_plan(asked), Counted(prefix=2000, bytes_per_token=1e9))
    low, high = guess.low, guess.high
    assert (low.fresh, low.written, low.cached) == (pytest.approx(0, abs=1), 2000, 7 * 2000)
    assert (high.written, high.cached) == (0, 0)
    assert low.usd == pytest.approx(2000 * 1.25 + 7 * 2000 * 0.1 + low.output * 10)


def test_a_short_prefix_is_not_cached(tmp_path: Path):
    asked = config(tmp_path)
    low = estimate(asked, make_plan(asked), Counted(prefix=1000, bytes_per_token=4)).low
    assert (low.cached, low.written) == (0, 0)


# --- from finished episodes --------------------------------------------------------------------


async def test_once_episodes_are_stored_they_are_the_measure(tmp_path: Path):
    asked = config(tmp_path, 30)
    usage = Usage(input_tokens=100, cached_tokens=60, cache_write_tokens=30, output_tokens=25)

    def answer(messages: Sequence[Message]) -> object:
        fields = {"cost_usd": 0.25, "usage": usage, "latency_s": 6.0}
        return call_then_answer(messages).model_copy(update=fields)

    await run(asked, ScriptedTeacher(answer), limit=12)
    guess = estimate(asked, make_plan(asked), Counted(prefix=9999, bytes_per_token=1))
    assert (guess.episodes, guess.measured) == (18, 12)
    assert guess.low == guess.high
    low = guess.low
    assert (low.calls, low.usd, low.output) == pytest.approx((36, 36 * 0.25, 36 * 25))
    assert (low.fresh, low.cached, low.written) == pytest.approx((360, 36 * 60, 36 * 30))
    shortest, longest = guess.times
    assert shortest == longest
    assert (longest.seconds, longest.because) == (36 * 6 / 4, "4 calls in flight")


# --- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "low", "high", "because"),
    [
        ({"requests": 4}, 120, 240, "4 calls a minute"),
        ({"input_tokens": 1000}, 8 * 500 * 0.06, 8 * 1800 * 0.06, "1,000 input tokens a minute"),
        ({"output_tokens": 80}, 8 * 30 * 0.75, 16 * 400 * 0.75, "80 output tokens a minute"),
        ({"requests": 4, "output_tokens": 80}, 180, 4800, "80 output tokens a minute"),
    ],
)
def test_the_time_is_what_the_slowest_known_limit_imposes(
    tmp_path: Path, limits: dict[str, float], low: float, high: float, because: str
):
    asked = config(tmp_path, limits=limits)
    guess = estimate(asked, make_plan(asked), Counted(prefix=500, bytes_per_token=1e9))
    shortest, longest = guess.times
    assert (shortest.seconds, longest.seconds) == pytest.approx((low, high))
    assert longest.because == because


def test_without_a_known_limit_the_time_is_unknown(tmp_path: Path):
    asked = config(tmp_path)
    assert estimate(asked, make_plan(asked)).times is None


# --- counting ----------------------------------------------------------------------------------


class Counter(Teacher):
    """Counts a token for every two bytes of words, and a thousand for what stands before them."""

    provider, model = "anthropic", "fake"

    def __init__(self, error: Exception | None = None, counts: bool = True) -> None:
        self.error, self.counts = error, counts
        self.asked: list[tuple[Message, ...]] = []

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> object:
        raise AssertionError("an estimate generates nothing")

    async def count_tokens(self, messages: Sequence[Message], tools: Sequence[Tool]) -> int | None:
        self.asked.append(tuple(messages))
        assert [tool.name for tool in tools] == ["set_lamp"]
        if self.error:
            raise self.error
        return 1000 + len(messages[-1].content) // 2 if self.counts else None


async def counted(
    monkeypatch: pytest.MonkeyPatch, folder: Path, teacher: Teacher | Exception
) -> Counted | str:
    def create(_: object) -> Teacher:
        if isinstance(teacher, Exception):
            raise teacher
        return teacher

    monkeypatch.setattr(counting, "create_teacher", create)
    asked = config(folder, 100)
    return await count_requests(asked.teacher, make_plan(asked))


async def test_a_few_requests_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    teacher = Counter()
    found = await counted(monkeypatch, tmp_path, teacher)
    assert isinstance(found, Counted)
    assert found.prefix == 1000
    assert 1.5 < found.bytes_per_token < 2.5
    assert len(teacher.asked) == 1 + counting.SAMPLES
    assert {messages[0].role for messages in teacher.asked} == {"system"}


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        (Counter(counts=False), "has no endpoint that counts"),
        (Counter(error=TeacherError("cannot reach it", Failure.TRANSIENT)), "cannot reach it"),
        (ConfigError("'KEY' is not set"), "'KEY' is not set"),
    ],
)
async def test_why_nothing_was_counted_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, teacher: Teacher | Exception, words: str
):
    why = await counted(monkeypatch, tmp_path, teacher)
    assert isinstance(why, str)
    assert words in why
    assert len(getattr(teacher, "asked", "x")) == 1
