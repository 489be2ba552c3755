"""One evaluation: the cases, who answers them, what is owed, and the asking.

Every answer is on disk before the next is asked for, so a rerun goes on where this one stopped.
Failures of an endpoint are retried by the pacing; a case that still has no answer is left out and
named as a gap, never scored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import NamedTuple

from distill.config import Config
from distill.dataset import read_cases
from distill.episode import run_episode
from distill.errors import DatasetError, StoreError
from distill.evaluate.answers import Answer, AnswerFile, answer_key
from distill.evaluate.asking import Unanswered, ask_all
from distill.evaluate.candidates import Candidate, candidates
from distill.evaluate.comparison import compare
from distill.evaluate.metrics import Scored, clustered_share, score
from distill.results import ANSWERS
from distill.teachers import Teacher, create_teacher
from distill.toolsets import LoadedToolSet, load_toolset
from distill.traces import Trace, TraceStore
from distill.types import Json, Outcome, Task, ToolSet, digest

Progress = Callable[[str, int, int], None]
"""Told (model, answers there are, answers in all)."""


class Owed(NamedTuple):
    """An answer that is still to be given."""

    case: Task
    trial: int


def prepare(config: Config, endpoint: str | None = None, only: Collection[str] = ()) -> Evaluation:
    """Read everything an evaluation needs, before anything is started or asked.

    Args:
        config: The distillation.
        endpoint: An endpoint that somebody else started; None: it will be started for this.
        only: Which columns; empty: all that the config asks for.

    Raises:
        ConfigError: `only` names something else.
        StudentError: There is no trained student.
        DatasetError: There are no cases, or they do not fit the tool set.
    """
    loaded = load_toolset(config.toolset_dir)
    cases = select_cases(config.cases_path, loaded.toolset, config.eval.limit)
    asked = candidates(config, endpoint, only)
    return Evaluation(config, loaded, cases, asked)


def select_cases(path: Path, toolset: ToolSet, limit: int | None) -> list[Task]:
    """Return the cases to answer.

    A limit takes the same cases every time, spread over the file, and a larger one contains them.

    Raises:
        DatasetError: There are none, or one cannot be judged.
    """
    return spread(read_expected(path, toolset), limit)


def read_expected(path: Path, toolset: ToolSet) -> list[Task]:
    """Read cases, every turn of which says what a right answer is.

    Raises:
        DatasetError: There are none, or one cannot be judged.
    """
    cases = read_cases(path)
    if not cases:
        raise DatasetError(f"{path}: no cases; collect more tasks, or raise filter.split.test")
    for number, case in enumerate(cases, 1):
        if not case.expects:
            raise DatasetError(
                f"{path}:{number}: case {case.id!r} has a turn without an expectation, so no "
                "answer to it can be judged; add one or remove the case"
            )
        offered = toolset.offered(case)
        unknown = next((name for name in case.tools if offered.get(name) is None), None)
        if unknown is not None:
            raise DatasetError(
                f"{path}:{number}: case {case.id!r} expects a call of {unknown!r}, which tool set "
                f"{toolset.name!r} does not have; run `distill filter CONFIG` again"
            )
    ids = [case.id for case in cases]
    if len(set(ids)) < len(ids):
        twice = next(name for n, name in enumerate(ids) if name in ids[:n])
        raise DatasetError(f"{path}: case {twice!r} stands here twice; give one another id")
    return cases


def spread(cases: Sequence[Task], limit: int | None) -> list[Task]:
    """Return `limit` cases in their order, spread over all of them; more contain fewer."""
    chosen = set(sorted((case.id for case in cases), key=digest)[:limit])
    return [case for case in cases if case.id in chosen]


def widths_to_try(cases: int) -> list[int]:
    """Return the numbers of cases after which the width of the interval is looked at."""
    sizes = [50]
    while sizes[-1] < cases:
        sizes.append(sizes[-1] + max(25, sizes[-1] // 4))
    return [*(size for size in sizes if size < cases), cases]


class Evaluation:
    """Cases, candidates and the answers there are so far.

    Attributes:
        gaps: Candidate -> why cases of it have no answer; filled by `ask`.
    """

    def __init__(
        self,
        config: Config,
        loaded: LoadedToolSet,
        cases: Sequence[Task],
        candidates: Sequence[Candidate],
        file: str = ANSWERS,
    ) -> None:
        self.config = config
        self.loaded = loaded
        self.cases = cases
        self.candidates = candidates
        self.gaps: dict[str, str] = {}
        self._file = AnswerFile(config.results_dir / file, Answer)
        self._episode: dict[str, Json] = {
            "toolset": loaded.toolset.hash,
            "max_steps": config.collect.max_steps,
            "tool_timeout_s": config.collect.tool_timeout_s,
        }
        self._keys: dict[tuple[str, str, int], str] = {}

    def _key(self, candidate: Candidate, case: Task, trial: int) -> str:
        name = (candidate.name, case.id, trial)
        if name not in self._keys:
            self._keys[name] = answer_key(case, candidate.identity, self._episode, trial)
        return self._keys[name]

    def answer(self, candidate: Candidate, case: Task, trial: int = 0) -> Answer | None:
        """Return what a candidate answered to a case, if it has."""
        return self._file.get(self._key(candidate, case, trial))

    def scored(self, candidate: Candidate, trial: int = 0) -> list[Scored]:
        """Return the judged answers of a candidate."""
        answers = ((case, self.answer(candidate, case, trial)) for case in self.cases)
        toolset = self.loaded.toolset
        return [score(case, answer, toolset) for case, answer in answers if answer is not None]

    def owed(self, candidate: Candidate) -> list[Owed]:
        """Return what a candidate has yet to answer."""
        return [
            Owed(case, trial)
            for trial in range(candidate.trials)
            for case in self.cases
            if self.answer(candidate, case, trial) is None
        ]

    def by_server(self) -> list[Evaluation]:
        """Return the parts to be asked one after the other, each of a server of its own.

        That is one, unless all weights were tuned: base and student are two models then. Parts
        share answers and gaps with the whole.
        """
        base = [one for one in self.candidates if one.bare]
        others = [one for one in self.candidates if not one.bare]
        return [self._of(base), self._of(others)] if base and others else [self]

    def _of(self, candidates: Sequence[Candidate]) -> Evaluation:
        part = copy(self)
        part.candidates = candidates
        return part

    @property
    def bare(self) -> bool:
        """Whether it is asked of the base without the student."""
        return any(candidate.bare for candidate in self.candidates)

    @property
    def needs_endpoint(self) -> bool:
        """Whether the student's endpoint has anything left to answer."""
        return any(candidate.served and self.owed(candidate) for candidate in self.candidates)

    async def ask_until(self, width: float, endpoint: str | None, progress: Progress) -> None:
        """Ask about more and more of the cases until the interval is narrow enough.

        The interval is that of student minus base where both are asked, else the widest of those
        asked. Which cases come first does not depend on any answer.

        Args:
            width: Of the 95% interval, 0 to 1.
            endpoint: Where base and student are served.
            progress: Told about every answer.

        Raises:
            TeacherError: A key is wrong or an allowance is used up.
        """
        every = self.cases
        for size in widths_to_try(len(every)):
            self.cases = spread(every, size)
            await self.ask(endpoint, progress)
            if self.gaps or self._width() <= width:
                return

    def _width(self) -> float:
        by_name = {candidate.name: self.scored(candidate) for candidate in self.candidates}
        versus = compare(by_name.get("student", ()), by_name.get("base", ()))
        if versus is not None:
            low, high = versus.interval
            return high - low
        shares = [
            clustered_share((one.task.family, one.ok) for one in rows) for rows in by_name.values()
        ]
        return max(one.high - one.low for one in shares)

    async def ask(self, endpoint: str | None, progress: Progress) -> None:
        """Let every candidate answer what it owes, one candidate after the other.

        Base and student are not mixed: a request for the base in one batch with the adapter's
        pays for the adapter.

        Raises:
            TeacherError: A key is wrong or an allowance is used up.
        """
        for candidate in self.candidates:
            self._tell(candidate, progress)
            if candidate.model is None:
                self._take_stored(candidate)
                self._tell(candidate, progress)
            elif self.owed(candidate):
                model = candidate.connect(endpoint, create_teacher)
                try:
                    await self._ask(candidate, model, progress)
                finally:
                    await model.close()

    async def _ask(self, candidate: Candidate, model: Teacher, progress: Progress) -> None:
        async def answer(owed: Owed, paced: Teacher) -> None:
            trace = await run_episode(
                owed.case,
                self.loaded,
                paced,
                key=self._key(candidate, owed.case, owed.trial),
                sample=owed.trial,
                max_steps=self.config.collect.max_steps,
                tool_timeout_s=self.config.collect.tool_timeout_s,
            )
            if not counts(trace):
                raise Unanswered(trace.error or "the endpoint refused the first request")
            self._keep(candidate, owed.case, trace, owed.trial)
            self._tell(candidate, progress)

        owed = self.owed(candidate)
        left = await ask_all(owed, model, self.config.eval.concurrency, answer)
        self._note_gap(candidate, left.reason)

    def _keep(self, candidate: Candidate, case: Task, trace: Trace, trial: int = 0) -> None:
        key = self._key(candidate, case, trial)
        self._file.add(
            Answer(key=key, model=candidate.name, identity=candidate.identity, trace=trace)
        )

    def _take_stored(self, candidate: Candidate) -> None:
        owed = {(one.case.id, one.trial): one.case for one in self.owed(candidate)}
        reason = "not collected"
        try:
            for trace in _stored(self.config.store_url) if owed else ():
                case = owed.get((trace.task.id, trace.sample))
                same = trace.toolset_hash == self.loaded.toolset.hash
                if case == trace.task and same and counts(trace):
                    self._keep(candidate, trace.task, trace, trace.sample)
        except StoreError as error:
            reason = str(error)
        self._note_gap(candidate, reason)

    def _tell(self, candidate: Candidate, progress: Progress) -> None:
        every = len(self.cases) * candidate.trials
        progress(candidate.name, every - len(self.owed(candidate)), every)

    def _note_gap(self, candidate: Candidate, reason: str) -> None:
        if owed := self.owed(candidate):
            trials = f" in {candidate.trials} trials" if candidate.trials > 1 else ""
            self.gaps[candidate.name] = (
                f"{len(owed)} of {len(self.cases) * candidate.trials} cases without an answer"
                f"{trials}: {reason}"
            )


def counts(trace: Trace) -> bool:
    """Whether an episode is the model's doing.

    A conversation that the endpoint refuses after the model has spoken is (it wrote itself out of
    the context, say); one refused at the first request is not.
    """
    return trace.outcome is not Outcome.ERROR or bool(trace.turns)


def _stored(url: str) -> Iterator[Trace]:
    with TraceStore.open(url) as store:
        yield from store.traces()
