"""Asking the questions of a suite, keeping the answers, counting what is right.

Answers lie beside those of the cases, under keys of the same make: what has not changed is not
asked again. A question the endpoint failed to answer is a gap, never a wrong or a right answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from distill.config import Config
from distill.errors import ConfigError
from distill.evaluate.answers import AnswerFile, SuiteAnswer
from distill.evaluate.asking import Left, ask_all
from distill.evaluate.candidates import Candidate
from distill.evaluate.comparison import Pair, compare_pairs
from distill.evaluate.metrics import clustered_share
from distill.evaluate.runner import Progress
from distill.evaluate.stats import holm
from distill.evaluate.suites.base import Question, QuestionSuite, SilentTurn, cut_off
from distill.results import SUITES, Comparison, Share, Silence, SuiteReport
from distill.teachers import Teacher, create_teacher
from distill.types import Verdict, digest

EXAMPLES = 5
"""Failures of each model that are named in the report."""


class Judged(NamedTuple):
    """One question with the finding about one model's answer."""

    id: str
    part: str
    cluster: str
    verdict: Verdict
    silent: tuple[SilentTurn, ...] = ()


class QuestionRun:
    """The questions of a suite and the models that answer them.

    Attributes:
        gaps: Model -> why questions of it have no answer; filled by `ask`.
        too_long: Model -> questions among them that its context does not hold.
    """

    def __init__(
        self,
        suite: QuestionSuite,
        config: Config,
        models: Sequence[Candidate],
        parts: Sequence[str],
    ) -> None:
        self.suite, self.config = suite, config
        self.models = [one for one in models if one.model is not None]
        every = suite.questions(config)
        known = list(dict.fromkeys(question.part for question in every))
        if unknown := next((part for part in parts if part not in known), None):
            raise ConfigError(
                f"--suite {suite.name}:{unknown}: no such part; it has {', '.join(known)}"
            )
        self.questions = _limited(
            [q for q in every if not parts or q.part in parts], config.eval.limit
        )
        self.gaps: dict[str, str] = {}
        self.too_long: dict[str, int] = {}
        path = config.results_dir / SUITES / f"{suite.name}.jsonl"
        self._file = AnswerFile(path, SuiteAnswer)

    @property
    def needs_endpoint(self) -> bool:
        """Whether the student's endpoint has anything left to answer."""
        return any(model.served and self.owed(model) for model in self.models)

    def owed(self, model: Candidate) -> list[Question]:
        """Return the questions a model has yet to answer."""
        return [q for q in self.questions if self._file.get(_key(q, model)) is None]

    async def ask(self, endpoint: str | None, progress: Progress) -> None:
        """Let every model answer what it owes, one model after the other.

        Raises:
            TeacherError: A key is wrong or an allowance is used up.
        """
        for model in self.models:
            owed = self.owed(model)
            self._tell(model, progress)
            if owed:
                client = model.connect(endpoint, create_teacher)
                try:
                    left = await self._ask(model, owed, client, progress)
                finally:
                    await client.close()
                self.too_long[model.name] = left.too_long
                if missing := self.owed(model):
                    self.gaps[model.name] = (
                        f"{len(missing)} of {len(self.questions)} questions without an answer: "
                        f"{left.reason}"
                    )

    async def _ask(
        self, model: Candidate, owed: Sequence[Question], client: Teacher, progress: Progress
    ) -> Left:
        async def answer(question: Question, paced: Teacher) -> None:
            reply = await question.play(paced)
            self._file.add(
                SuiteAnswer(
                    key=_key(question, model),
                    model=model.name,
                    identity=model.identity,
                    question=question.id,
                    messages=reply.messages,
                    turns=reply.turns,
                )
            )
            self._tell(model, progress)

        return await ask_all(owed, client, self.config.eval.concurrency, answer)

    def report(self) -> SuiteReport:
        """Judge every answer."""
        judged = {model.name: self._judge(model) for model in self.models}
        return suite_report(
            self.suite.name,
            self.suite.version(self.config),
            judged,
            self.gaps,
            headlines=self._headlines(judged),
        )

    def _judge(self, model: Candidate) -> list[Judged]:
        judged = []
        for question in self.questions:
            answer = self._file.get(_key(question, model))
            if answer is None:
                continue
            if cut_off(answer.turns):
                verdict = Verdict(ok=False, stage=self.suite.name, code="truncated")
            else:
                verdict = question.judge(answer.messages)
            silent = question.silent_turns(answer.messages)
            judged.append(Judged(question.id, question.part, question.cluster, verdict, silent))
        return judged

    def _headlines(self, judged: dict[str, list[Judged]]) -> dict[str, float]:
        found = {}
        for name, rows in judged.items():
            parts = {
                part: one.value for part, one in _shares(rows).items() if one.value is not None
            }
            whole = self.config.eval.limit is None and name not in self.gaps
            headline = self.suite.headline(parts) if whole else None
            if headline is not None:
                found[name] = headline
        return found

    def _tell(self, model: Candidate, progress: Progress) -> None:
        every = len(self.questions)
        progress(f"{self.suite.name} {model.name}", every - len(self.owed(model)), every)


def suite_report(
    name: str,
    version: str,
    judged: dict[str, list[Judged]],
    gaps: dict[str, str],
    headlines: dict[str, float],
) -> SuiteReport:
    """Count what is right, part by part, and compare student and base."""
    shares = {model: _shares(rows) for model, rows in judged.items()}
    parts = list(dict.fromkeys(part for one in shares.values() for part in one))
    return SuiteReport(
        name=name,
        version=version,
        parts={
            part: {model: one[part] for model, one in shares.items() if part in one}
            for part in parts
        },
        headline=headlines,
        versus_base=_versus_base(judged, parts),
        gaps=gaps,
        examples={model: _failures(rows) for model, rows in judged.items()},
        silent=_silences(judged, parts),
    )


def _silences(
    judged: dict[str, list[Judged]], parts: Sequence[str]
) -> dict[str, dict[str, Silence]]:
    """Count what was done where no call could be right, in the parts that have such turns."""
    found: dict[str, dict[str, Silence]] = {}
    for part in parts:
        for model, rows in judged.items():
            of_part = [row for row in rows if row.part == part]
            turns = [(row.cluster, turn) for row in of_part for turn in row.silent]
            if turns:
                found.setdefault(part, {})[model] = Silence(
                    called=clustered_share((cluster, turn.called) for cluster, turn in turns),
                    acted=clustered_share((cluster, turn.acted) for cluster, turn in turns),
                )
    return found


def _versus_base(judged: dict[str, list[Judged]], parts: Sequence[str]) -> dict[str, Comparison]:
    """Compare student and base on every part; the p-values are adjusted for their number."""
    base = {row.id: row.verdict.ok for row in judged.get("base", ())}
    made: dict[str, Comparison] = {}
    for part in parts:
        pairs = [
            Pair(row.cluster, row.verdict.ok, base[row.id])
            for row in judged.get("student", ())
            if row.part == part and row.id in base
        ]
        if comparison := compare_pairs(pairs):
            made[part] = comparison
    adjusted = holm({part: comparison.p for part, comparison in made.items()})
    return {
        part: comparison.model_copy(update={"p_value": adjusted[part], "cluster_p": None})
        for part, comparison in made.items()
    }


def _shares(rows: Sequence[Judged]) -> dict[str, Share]:
    parts = dict.fromkeys(row.part for row in rows)
    return {
        p: clustered_share((row.cluster, row.verdict.ok) for row in rows if row.part == p)
        for p in parts
    }


def _failures(rows: Sequence[Judged]) -> tuple[str, ...]:
    wrong = [row for row in rows if not row.verdict.ok][:EXAMPLES]
    return tuple(f"{row.id}: {row.verdict.detail or row.verdict.code}" for row in wrong)


def _limited(questions: Sequence[Question], limit: int | None) -> list[Question]:
    """Return at most `limit` questions of each part, spread over it; more contain fewer."""
    if limit is None:
        return list(questions)
    chosen = set()
    for part in {question.part for question in questions}:
        ids = sorted((q.id for q in questions if q.part == part), key=digest)
        chosen |= {(part, name) for name in ids[:limit]}
    return [q for q in questions if (q.part, q.id) in chosen]


def _key(question: Question, model: Candidate) -> str:
    return digest([question.part, question.content, model.identity])
