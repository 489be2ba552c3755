"""The semantic check: a judge reads what all other checks have kept, if it is worth its price.

First it is calibrated on errors planted in the user's own verified traces (`planting`); when it
does not find enough of them, or faults too much that is right, its opinion is not asked for. What
it finds wrong is dropped at stage `judge`, with its reason. All opinions are kept in the store, so
that the same filter run again asks nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

from distill.calibration import Calibration, JudgeReport, KindCount
from distill.config import Config, JudgeConfig
from distill.dataset import example_from_row
from distill.filter.assembly import DROPPED, Assembly, Decision
from distill.filter.planting import Nursery, Planted
from distill.filter.reviews import judge_reviewed
from distill.filter.screening import Screened, tools_text
from distill.filter.sieve import Sieve
from distill.filter.subject import Rules, Subject
from distill.judge import Exhibit, Judge, JudgeEstimate, Opinion, estimate, size_of
from distill.toolsets import LoadedToolSet
from distill.traces import TraceStore
from distill.traces.reviews import ReviewStore
from distill.types import Verdict, digest

STAGE = "judge"
RIGHT = Verdict(ok=True, stage=STAGE, code="right", detail="The judge finds nothing wrong.")
BATCH = 500
"""Traces judged at a time."""
SOURCES = 3
"""Verified traces read for every planted error: not all have a place for one."""


@dataclass(frozen=True)
class _Bench:
    """Where judging happens."""

    config: Config
    loaded: LoadedToolSet
    assembly: Assembly
    decisions: Sequence[Decision]
    store: TraceStore

    @property
    def settings(self) -> JudgeConfig:
        assert self.config.filter.judge is not None
        return self.config.filter.judge

    @cached_property
    def tools(self) -> str:
        """The tool set, as data set files hold it."""
        return tools_text(self.loaded.toolset.tools)

    def kept(self) -> Iterator[tuple[int, Screened]]:
        """Yield (index, trace) of what there is to judge: what a person has decided stays so."""
        every = self.settings.scope == "all"
        pairs = zip(self.assembly.screened(bodies=True), self.decisions, strict=True)
        for number, (one, decision) in enumerate(pairs):
            if decision.fate != DROPPED and one.review is None and (every or not one.expects):
                yield number, one

    def planted(self) -> list[Planted]:
        """Plant the errors of the calibration; which ones depends on the traces alone."""
        pairs = zip(self.assembly.screened(), self.decisions, strict=True)
        # What a task's expectation has confirmed is known to be right; the rest only seems so.
        keys = [
            (not one.expects, digest([one.key, STAGE]), one.key)
            for one, decision in pairs
            if decision.fate != DROPPED
        ]
        wanted = self.settings.calibration
        chosen = [key for *_, key in sorted(keys)[: SOURCES * wanted]]
        return Nursery(list(self._subjects(chosen))).planted(wanted)

    def _subjects(self, keys: Iterable[str]) -> Iterator[Subject]:
        sieve = Sieve(Rules.of(self.config, self.loaded, self.store.toolsets()))
        reviews = ReviewStore(self.store)
        decided = reviews.decisions()
        for key in keys:
            reviewed = judge_reviewed(sieve, reviews.trace(key), decided.get(key))
            yield reviewed.judgement.subject


def judged(
    config: Config,
    loaded: LoadedToolSet,
    assembly: Assembly,
    decisions: Sequence[Decision],
    *,
    asking: bool,
) -> tuple[list[Decision], JudgeReport | None]:
    """Let the config's judge, if there is one, decide about what was kept.

    Args:
        config: The config.
        loaded: Its tool set.
        assembly: What was screened.
        decisions: What was decided, in order.
        asking: Whether the judge may be asked; without, what it said before is all there is.

    Returns:
        The decisions, and what the judge did; None: there is none, or it was never calibrated.

    Raises:
        ConfigError: The judge has no known price, or no key.
        JudgingStopped: The budget is reached.
        TeacherError: The judge cannot be used.
        StoreError: The store cannot be written.
    """
    settings = config.filter.judge
    if settings is None:
        return list(decisions), None
    with TraceStore.open(config.store_url) as store:
        bench = _Bench(config, loaded, assembly, decisions, store)
        judge = Judge(config, store, asking=asking)
        calibration = _calibrated(judge, bench.planted(), settings)
        if calibration is None:
            return list(decisions), None
        name = f"{settings.model} ({settings.provider})"
        report = JudgeReport(model=name, scope=settings.scope, calibration=calibration)
        if not calibration.passed:
            return list(decisions), report
        return _applied(judge, bench, report)


def judging_estimate(
    config: Config, loaded: LoadedToolSet, assembly: Assembly, decisions: Sequence[Decision]
) -> tuple[JudgeEstimate, JudgeEstimate]:
    """Return what the calibration and the judging that are not done yet would take.

    Raises:
        StoreError: The store cannot be read.
    """
    with TraceStore.open(config.store_url) as store:
        bench = _Bench(config, loaded, assembly, decisions, store)
        judge = Judge(config, store, asking=False)
        pairs = [one for plant in bench.planted() for one in (plant.right, plant.wrong)]
        planted = [size_of(one) for one in judge.unknown(pairs)]
        kept = [
            size_of(one)
            for batch in _batches(bench.kept())
            for one in judge.unknown([_exhibit(trace, bench.tools) for _, trace in batch])
        ]
        return estimate(bench.settings, planted), estimate(bench.settings, kept)


def _calibrated(
    judge: Judge, planted: Sequence[Planted], settings: JudgeConfig
) -> Calibration | None:
    """Calibrate a judge; None: it never was, and may not be asked."""
    exhibits = [one for plant in planted for one in (plant.right, plant.wrong)]
    if not judge.asking and judge.unknown(exhibits):
        return None
    found = judge.judge(exhibits)
    rights, wrongs = found[::2], found[1::2]
    kinds: dict[str, KindCount] = {}
    for plant, opinion in zip(planted, wrongs, strict=True):
        before = kinds.get(plant.kind, KindCount(planted=0, found=0))
        hit = before.found + _faults(opinion)
        kinds[plant.kind] = KindCount(planted=before.planted + 1, found=hit)
    return Calibration(
        kinds=dict(sorted(kinds.items())),
        right=len(rights),
        faulted=sum(map(_faults, rights)),
        unreadable=sum(opinion is None for opinion in found),
        min_precision=settings.min_precision,
        min_recall=settings.min_recall,
    )


def _faults(opinion: Opinion | None) -> bool:
    return opinion is not None and opinion.fault is not None


def _applied(
    judge: Judge, bench: _Bench, report: JudgeReport
) -> tuple[list[Decision], JudgeReport]:
    decisions = list(bench.decisions)
    judged = wrong = unreadable = 0
    for batch in _batches(bench.kept()):
        opinions = judge.judge([_exhibit(one, bench.tools) for _, one in batch])
        for (number, _), opinion in zip(batch, opinions, strict=True):
            if opinion is None:
                unreadable += 1
                continue
            judged += 1
            verdict = _verdict(opinion)
            wrong += not verdict.ok
            decision = decisions[number]
            decisions[number] = replace(
                decision,
                verdicts=(*decision.verdicts, verdict),
                fate=decision.fate if verdict.ok else DROPPED,
            )
    update = {"judged": judged, "wrong": wrong, "unreadable": unreadable}
    return decisions, report.model_copy(update=update)


def _verdict(opinion: Opinion) -> Verdict:
    if opinion.fault is None:
        return RIGHT
    code, reason = opinion.fault
    return Verdict(ok=False, stage=STAGE, code=code, detail=reason)


def _exhibit(one: Screened, tools: str) -> Exhibit:
    example = example_from_row(json.loads(one.body.row.text(tools)))
    return Exhibit(one.key, example.messages, example.tools)


def _batches(
    kept: Iterable[tuple[int, Screened]],
) -> Iterator[list[tuple[int, Screened]]]:
    items = iter(kept)
    while batch := list(islice(items, BATCH)):
        yield batch
