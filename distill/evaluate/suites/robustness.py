"""Robustness: the user's own cases again, with what should not matter changed.

    renamed tools        names that say nothing; the descriptions stay
    renamed parameters   the same for parameters
    shuffled tools       another order
    extra tools          six more that no case needs
    noise                fillers, typing errors in small words, no punctuation at the end
    paraphrase           the teacher's other words, when it is asked live (see `paraphrase`)

A student that has learnt names or positions instead of descriptions loses here: every part is
compared with the same cases unchanged. Only what is served is asked; the teacher's answers under
disguise would cost money and say nothing about the student.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from distill.errors import ConfigError
from distill.evaluate.candidates import Candidate
from distill.evaluate.comparison import compare
from distill.evaluate.metrics import Scored
from distill.evaluate.runner import Evaluation, Progress
from distill.evaluate.stats import holm
from distill.evaluate.suites.base import Suite, SuiteRun
from distill.evaluate.suites.disguise import CHANGES, Disguise
from distill.evaluate.suites.paraphrase import Paraphrases
from distill.evaluate.suites.questions import Judged, suite_report
from distill.evaluate.verdict import SIGNIFICANT
from distill.results import SUITES, Comparison, SuiteReport
from distill.types import Task, Verdict, digest

UNCHANGED = "unchanged"
PARAPHRASE = "paraphrase"
REMEDIES = {
    "renamed tools": "filter.augment.mask_names",
    "renamed parameters": "filter.augment.mask_names",
    "shuffled tools": "filter.augment.shuffle_tools",
    "extra tools": "filter.augment.distractors",
}
"""Part -> the setting that puts such changes into the training data."""
ANSWERED = f"{SUITES}/robustness.jsonl"


class Robustness(Suite):
    """The held-out cases under changes that should not matter."""

    name = "robustness"
    summary = "your cases with renamed, shuffled and extra tools, noisy and other wording"
    needs = "nothing; paraphrase: a teacher that is asked (eval.teacher: live, or name the part)"

    def run(self, evaluation: Evaluation, parts: Sequence[str]) -> SuiteRun:
        """Prepare one evaluation for each change."""
        every = (*CHANGES, PARAPHRASE)
        if unknown := next((part for part in parts if part not in every), None):
            known = ", ".join(every)
            raise ConfigError(f"--suite robustness:{unknown}: no such part; it has {known}")
        live = evaluation.config.eval.teacher == "live"
        wanted = parts or (every if live else CHANGES)
        return _Run(evaluation, [part for part in every if part in wanted])


class _Run:
    """The cases once for each change."""

    def __init__(self, evaluation: Evaluation, changes: Sequence[str]) -> None:
        self.plain = evaluation
        self.changed = {
            change: _disguised(evaluation, change) for change in changes if change != PARAPHRASE
        }
        self.paraphrases = Paraphrases(evaluation.config) if PARAPHRASE in changes else None
        self.gaps: dict[str, str] = {}

    @property
    def needs_endpoint(self) -> bool:
        if self.paraphrases and self.paraphrases.owed(self.plain.cases):
            return True
        return any(one.needs_endpoint for one in self._parts().values())

    def _parts(self) -> dict[str, Evaluation]:
        """Return the cases of every part with who answers them."""
        parts = {UNCHANGED: self.plain, **self.changed}
        if self.paraphrases:
            cases, _ = self.paraphrases.reworded(self.plain.cases)
            parts[PARAPHRASE] = _served(self.plain, cases)
        return parts

    async def ask(self, endpoint: str | None, progress: Progress) -> None:
        if self.paraphrases and self.paraphrases.owed(self.plain.cases):
            await self.paraphrases.ask(self.plain.cases, progress)
            if owed := len(self.paraphrases.owed(self.plain.cases)):
                self.gaps["teacher"] = f"{owed} texts not reworded: {self.paraphrases.reason}"
        for part, evaluation in self._parts().items():
            await evaluation.ask(
                endpoint, progress if part == UNCHANGED else _named(part, progress)
            )
            self.gaps |= {
                name: f"{part}: {why}"
                for name, why in evaluation.gaps.items()
                if name in {one.name for one in _asked(evaluation)}
            }

    def report(self) -> SuiteReport:
        scored: dict[str, dict[str, list[Scored]]] = {}
        for part, evaluation in self._parts().items():
            for candidate in _asked(evaluation):
                scored.setdefault(candidate.name, {})[part] = evaluation.scored(candidate)
        judged = {
            name: [_judged(part, one) for part, ones in parts.items() for one in ones]
            for name, parts in scored.items()
        }
        made = suite_report("robustness", self.plain.loaded.toolset.hash, judged, self.gaps, {})
        changes = _changes(scored)
        notes = (*self._left_out(), *_remedies(changes))
        return made.model_copy(update={"changes": changes, "notes": notes})

    def _left_out(self) -> tuple[str, ...]:
        if not self.paraphrases:
            return ()
        cases, left = self.paraphrases.reworded(self.plain.cases)
        why = "".join(f"; {count} {reason}" for reason, count in left.most_common())
        return (f"Paraphrase: {len(cases)} of {len(self.plain.cases)} cases{why}.",)


def _disguised(evaluation: Evaluation, change: str) -> Evaluation:
    tools = evaluation.loaded.toolset.tools
    models: list[Candidate] = [
        replace(
            one,
            identity=digest([one.identity, change]),
            disguise=partial(Disguise, change=change, tools=tools),
            trials=1,
        )
        for one in _asked(evaluation)
    ]
    return Evaluation(evaluation.config, evaluation.loaded, evaluation.cases, models, ANSWERED)


def _served(evaluation: Evaluation, cases: Sequence[Task]) -> Evaluation:
    """Return other cases for those who are asked."""
    models = [replace(one, trials=1) for one in _asked(evaluation)]
    return Evaluation(evaluation.config, evaluation.loaded, cases, models, ANSWERED)


def _asked(evaluation: Evaluation) -> list[Candidate]:
    return [one for one in evaluation.candidates if one.served]


def _changes(
    scored: Mapping[str, Mapping[str, Sequence[Scored]]],
) -> dict[str, dict[str, Comparison]]:
    """Compare every part of every model with its answers to the same cases unchanged."""
    made = {
        (part, name): comparison
        for name, parts in scored.items()
        for part, ones in parts.items()
        if part != UNCHANGED and (comparison := compare(ones, parts[UNCHANGED]))
    }
    adjusted = holm({f"{part}/{name}": one.p for (part, name), one in made.items()})
    found: dict[str, dict[str, Comparison]] = {}
    for (part, name), one in made.items():
        p = {"p_value": adjusted[f"{part}/{name}"], "cluster_p": None}
        found.setdefault(part, {})[name] = one.model_copy(update=p)
    return found


def _remedies(changes: Mapping[str, Mapping[str, Comparison]]) -> list[str]:
    """Return what training can do about the changes that surely cost the student something."""
    lost = [
        part
        for part, models in changes.items()
        if (one := models.get("student")) and one.difference < 0 and one.p < SIGNIFICANT
    ]
    keys = dict.fromkeys(REMEDIES[part] for part in lost if part in REMEDIES)
    return [f"{' and '.join(keys)} would train the student on such changes."] if keys else []


def _named(change: str, progress: Progress) -> Progress:
    return lambda name, answered, cases: progress(f"{change} {name}", answered, cases)


def _judged(part: str, one: Scored) -> Judged:
    finding = Verdict(ok=one.ok, stage="robustness", code=one.code, detail=one.detail)
    return Judged(f"{part}/{one.task.id}", part, one.task.family, finding)
