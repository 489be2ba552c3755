"""What becomes of each screened trace, now that all of them are known.

Agreement, contamination, duplicates, the split and the mix need more than one trace; reviews are
heeded here, too (see `reviews`). All is decided in two passes over a file of what screening left
(the traces themselves are not read again), so that memory does not grow by the size of a trace
with every one.
"""

from __future__ import annotations

import pickle
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from distill.audit import Found
from distill.config import FilterConfig
from distill.filter.agreement import Agreement
from distill.filter.contamination import Suites
from distill.filter.reviews import STAGE as REVIEW
from distill.filter.reviews import verdict_of
from distill.filter.screening import Mistake, Row, Screened
from distill.filter.split import TEST, TRAIN, VALIDATION, split_families
from distill.similarity import Nearby
from distill.traces.reviews import Decision as Ruling
from distill.types import Task, Verdict, digest

DROPPED = "dropped"
TOGETHER = 200
"""Traces pickled as one object: names of fields, tools and kinds are then written once."""
UNIQUE = Verdict(ok=True, stage="duplicates", code="unique", detail="No earlier trace equals it.")
"""One for all traces: there are as many decisions in memory."""


@dataclass(frozen=True)
class Decision:
    """What becomes of one trace."""

    key: str
    kind: str
    fate: str
    """train, validation, test or dropped."""
    verdicts: tuple[Verdict, ...]
    """Of the stages that compare traces."""
    share: float | None
    """Share of the task's samples that did the same, where that decides."""
    tools: tuple[str, ...] = ()
    """Tools whose calls its row teaches."""
    vouched: bool = False
    """Whether a person has found it right, or mended it: it weighs in full."""

    @property
    def disputed(self) -> bool:
        """Whether other samples of the task did otherwise."""
        return self.share is not None and self.share < 1

    @property
    def failure(self) -> Verdict | None:
        """Why a trace that passed its checks is dropped all the same."""
        return next((verdict for verdict in self.verdicts if not verdict.ok), None)


@dataclass
class Survey:
    """What all traces together say."""

    count: int = 0
    others: dict[str, Task] = field(default_factory=dict)
    """Tasks of traces that the config does not have, by digest."""
    hashes: set[str] = field(default_factory=set)
    """Tool sets of the traces."""
    teachers: set[str] = field(default_factory=set)
    """Of the traces that passed."""
    terms: set[str] = field(default_factory=set)
    mistakes: dict[str, list[Mistake]] = field(default_factory=lambda: defaultdict(list))
    """Task id -> wrong answers to it."""
    families: dict[str, str] = field(default_factory=dict)
    """Task id -> family, of tasks with wrong answers."""
    rejected: Counter[str] = field(default_factory=Counter)
    """`stage/code` -> traces that failed a check."""
    first_reject: str = ""

    def add(self, one: Screened) -> None:
        """Take in one trace."""
        self.count += 1
        self.hashes.add(one.toolset_hash)
        if one.task is not None:
            self.others.setdefault(digest(one.task.model_dump(mode="json")), one.task)
        if one.mistake is not None:
            self.mistakes[one.task_id].append(one.mistake)
            self.families[one.task_id] = one.family
        if one.reject is not None:
            self.rejected[f"{one.reject['stage']}/{one.reject['code']}"] += 1
            self.first_reject = self.first_reject or one.key
            return
        self.teachers.add(one.teacher)
        if one.terms:
            self.terms.add(one.terms)


class Assembly:
    """Everything screened, on disk, and what is decided about it. Use as a context manager."""

    def __init__(self, settings: FilterConfig, tasks: Sequence[Task], suites: Suites) -> None:
        self.settings = settings
        self.tasks = tasks
        self.suites = suites
        self.survey = Survey()
        self.agreement = Agreement(settings.agreement)
        self._heads = tempfile.TemporaryFile(prefix="distill-filter-")
        self._bodies = tempfile.TemporaryFile(prefix="distill-filter-")

    def __enter__(self) -> Assembly:
        return self

    def __exit__(self, *_: object) -> None:
        self._heads.close()
        self._bodies.close()

    def take(self, screened: Iterator[Screened]) -> None:
        """Take in what screening says of every trace."""
        while batch := list(islice(screened, TOGETHER)):
            for one in batch:
                self.survey.add(one)
                self.agreement.add(one.task_id, one.signature)
            heads = [replace(one, task=None, mistake=None, packed=b"") for one in batch]
            pickle.dump(heads, self._heads)
            pickle.dump([one.packed for one in batch], self._bodies)

    def take_mistakes(self, mistakes: Iterable[tuple[Task, Mistake]]) -> None:
        """Take in wrong answers of a student; those that come first are preferred in pairs."""
        for task, mistake in mistakes:
            self.survey.mistakes[task.id].append(mistake)
            self.survey.families[task.id] = task.family

    def screened(self, *, bodies: bool = False) -> Iterator[Screened]:
        """Yield everything taken in, in order.

        Args:
            bodies: With what is written of each (`Screened.body`); comparing does without.
        """
        self._heads.seek(0)
        self._bodies.seek(0)
        for _ in range(0, self.survey.count, TOGETHER):
            heads: list[Screened] = pickle.load(self._heads)
            if bodies:
                packed = pickle.load(self._bodies)
                heads = [replace(o, packed=p) for o, p in zip(heads, packed, strict=True)]
            yield from heads

    @property
    def asked(self) -> list[Task]:
        """The config's tasks; where it names none (imported traces), those of the traces."""
        return list(self.tasks) or list({t.id: t for t in self.survey.others.values()}.values())

    def split(self) -> dict[str, str]:
        """Assign the families of the config's tasks and of those only the store holds."""
        shares = self.settings.split
        wanted = {TRAIN: shares.train, VALIDATION: shares.validation, TEST: shares.test}
        return split_families([*self.tasks, *self.survey.others.values()], wanted, shares.seed)

    def decide(self, split_of: Mapping[str, str]) -> list[Decision]:
        """Decide about every trace, in order; kinds and tools are balanced later (`balance`).

        Args:
            split_of: Family -> split.
        """
        comparison = _Comparison(self.settings, self.agreement, self.suites)
        return [comparison.decide(one, split_of[one.family]) for one in self.screened()]

    def found(self, decisions: Iterable[Decision], split_of: Mapping[str, str]) -> list[Found]:
        """Return what reviews found of every row kept for training, but for the reviews.

        Args:
            decisions: What was decided, in order.
            split_of: Family -> split.
        """
        return [
            Found(decision.disputed, one.review.wrong if one.review else None)
            for one, decision in zip(self.screened(), decisions, strict=True)
            if split_of[one.family] != TEST and _is_row(one, decision)
        ]


def _is_row(one: Screened, decision: Decision) -> bool:
    """Return whether a trace is a row of the data set, or would be if nobody had reviewed it."""
    if not one.sound:
        return False
    mended = one.review is not None and one.review.correction is not None
    return mended or decision.failure is None or decision.failure.stage == REVIEW


class _Comparison:
    """Compares each trace with those before."""

    def __init__(self, settings: FilterConfig, agreement: Agreement, suites: Suites) -> None:
        self._agreement = agreement
        self._suites = suites
        self._seen: dict[str, str] = {}
        near = settings.near_duplicates
        self._near = {s: Nearby(near) for s in (TRAIN, VALIDATION, TEST)} if near else {}

    def decide(self, one: Screened, split: str) -> Decision:
        share = None if one.expects else self._agreement.share(one.task_id, one.signature)
        if one.row is None:
            return Decision(one.key, one.kind, DROPPED, (), share)
        verdicts = tuple(self._verdicts(one, one.row, split))
        if all(verdict.ok for verdict in verdicts):
            self._seen[one.row.fingerprint] = one.key
            if split in self._near:
                self._near[split].add(one.key, one.row.sketch)
        if one.review is not None:
            verdicts = (*verdicts, verdict_of(one.review))
        return Decision(
            key=one.key,
            kind=one.kind,
            fate=split if all(verdict.ok for verdict in verdicts) else DROPPED,
            verdicts=verdicts,
            share=share,
            tools=one.row.tools,
            vouched=one.review is not None and one.review.verdict is not Ruling.REJECT,
        )

    def _verdicts(self, one: Screened, row: Row, split: str) -> Iterator[Verdict]:
        if not one.expects:
            yield self._agreement.verdict(one.task_id, one.signature)
        yield self._suites.verdict(row.request, row.request_sketch)
        stage = "duplicates"
        if first := self._seen.get(row.fingerprint):
            detail = f"equals trace {first}"
            yield Verdict(ok=False, stage=stage, code="exact_duplicate", detail=detail)
        elif split in self._near and (first := self._near[split].find(row.sketch)):
            detail = f"says almost what trace {first} says"
            yield Verdict(ok=False, stage=stage, code="near_duplicate", detail=detail)
        else:
            yield UNIQUE
