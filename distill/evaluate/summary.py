"""The report of an evaluation: every metric, the comparisons, the decision and the gate."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata

import distill
from distill.config import Config
from distill.dataset import DatasetInfo, read_info
from distill.errors import DatasetError, StudentError
from distill.evaluate.candidates import Candidate, weights_hash
from distill.evaluate.comparison import comparisons, gap, kind_tests
from distill.evaluate.costs import break_even, cost
from distill.evaluate.examples import worked_examples
from distill.evaluate.gate import check_gate
from distill.evaluate.metrics import Scored, by_kind, by_tool, confusion, measure
from distill.evaluate.repeats import agreement, passed_k
from distill.evaluate.runner import Evaluation
from distill.evaluate.symptoms import warnings
from distill.evaluate.verdict import SIGNIFICANT, decide, weak_kinds
from distill.results import (
    Breakdowns,
    BreakEven,
    Comparison,
    KindTest,
    ModelReport,
    Report,
    Share,
    SuiteReport,
)
from distill.student.manifest import Manifest, read_manifest, weights_file
from distill.types import digest

PACKAGES = ("openai", "torch", "transformers", "peft", "vllm")


def summarise(evaluation: Evaluation, suites: Sequence[SuiteReport] = ()) -> Report:
    """Judge every answer and return the report.

    Args:
        evaluation: What was asked and answered.
        suites: Results of other suites, to stand in the same report.
    """
    config, toolset = evaluation.config, evaluation.loaded.toolset
    scored = {one.name: evaluation.scored(one) for one in evaluation.candidates}
    models = {
        one.name: _measured(evaluation, one, scored[one.name])
        for one in evaluation.candidates
        if scored[one.name]
    }
    complete = _complete(evaluation, suites)
    compared, closed, kinds = comparisons(scored), gap(scored), kind_tests(scored)
    against_base = compared.get("student/base")
    info, student = _dataset(config), _student(config)
    training = info.kinds.get("train", {}) if info else {}
    weak = weak_kinds(by_kind(scored.get("student", ())), training)
    return Report(
        name=config.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        complete=complete,
        gaps=evaluation.gaps,
        verdict=verdict(models, against_base, len(evaluation.cases), complete=complete),
        decision=decide(models, compared, closed, kinds, weak, config.eval, complete=complete),
        gate=check_gate(config.eval, models, against_base, closed, kinds, complete=complete),
        warnings=warnings(scored),
        cases=len(evaluation.cases),
        families=len({case.family for case in evaluation.cases}),
        cases_hash=digest([case.model_dump(mode="json") for case in evaluation.cases]),
        toolset=toolset.name,
        toolset_hash=toolset.hash,
        dataset_hash=info.hash if info else None,
        weights_hash=_hashed(config, student),
        models=models,
        student_vs_base=against_base,
        student_vs_teacher=compared.get("student/teacher"),
        comparisons=compared,
        gap_closed=closed,
        break_even=_break_even(config, models, student),
        suites=tuple(suites),
        breakdowns=_breakdowns(scored, kinds),
        examples=worked_examples(evaluation.cases, scored),
        outcomes={
            name: {one.task.id: one.code for one in rows} for name, rows in scored.items() if rows
        },
        family_of={case.id: case.family for case in evaluation.cases},
        config=config.model_dump(mode="json"),
        versions=_versions(),
    )


def verdict(
    models: Mapping[str, ModelReport], versus: Comparison | None, cases: int, *, complete: bool
) -> str:
    """Say in one sentence whether the student is better than its base."""
    if versus is None:
        return (
            f"Nothing to compare yet: base and student have no answered case in common of {cases}."
        )
    base, student = (_percent(models[name].call_accuracy) for name in ("base", "student"))
    low, high = versus.interval
    numbers = (
        f"{student} against {base} of {versus.n} cases right, "
        f"{100 * versus.difference:+.1f} points (95% interval "
        f"{100 * low:+.1f} to {100 * high:+.1f}, p {_p_value(versus.p)})"
    )
    provisional = "" if complete else "Incomplete, so provisional. "
    if versus.p >= SIGNIFICANT:
        return (
            f"{provisional}No difference between the student and its base can be told: {numbers}."
        )
    direction = "better" if versus.difference > 0 else "worse"
    teacher = models.get("teacher")
    ceiling = f"; the teacher reaches {_percent(teacher.call_accuracy)}" if teacher else ""
    return f"{provisional}The student is {direction} than its base: {numbers}{ceiling}."


def _percent(share: Share) -> str:
    return "none" if share.value is None else f"{100 * share.value:.1f}%"


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _complete(evaluation: Evaluation, suites: Sequence[SuiteReport]) -> bool:
    """Say whether every model that was asked answered everything."""
    asked = [one.name for one in evaluation.candidates if one.model is not None]
    gaps = any(name in evaluation.gaps for name in asked)
    return not gaps and not any(suite.gaps for suite in suites)


def _measured(evaluation: Evaluation, model: Candidate, scored: Sequence[Scored]) -> ModelReport:
    """Return what is counted of a model: first answers, costs, repeated answers."""
    report = measure(model.label, model.identity, scored, evaluation.loaded.toolset)
    price = evaluation.config.eval.gpu_usd_hour
    paid = cost(scored, price if model.served else None) if price or not model.served else None
    trials = [scored, *(evaluation.scored(model, n) for n in range(1, model.trials))]
    return report.model_copy(
        update={"cost": paid, "pass_k": passed_k(trials), "agreement": agreement(trials)}
    )


def _break_even(
    config: Config, models: Mapping[str, ModelReport], trained: Manifest | None
) -> BreakEven | None:
    student, teacher = models.get("student"), models.get("teacher")
    if student is None or teacher is None or trained is None:
        return None
    return break_even(config, student.cost, teacher.cost, trained.metrics.get("seconds"))


def _hashed(config: Config, trained: Manifest | None) -> str | None:
    if trained is None or not weights_file(config.run_dir, trained.method).is_file():
        return None
    return weights_hash(config, trained)


def _student(config: Config) -> Manifest | None:
    """Return what is known of the trained student; without one only the teacher is measured."""
    try:
        return read_manifest(config.run_dir)
    except StudentError:
        return None


def _breakdowns(scored: Mapping[str, Sequence[Scored]], kinds: dict[str, KindTest]) -> Breakdowns:
    return Breakdowns(
        by_kind=_by_part({name: by_kind(rows) for name, rows in scored.items()}),
        by_tool=_by_part({name: by_tool(rows) for name, rows in scored.items()}),
        kind_tests=kinds,
        confusion={name: confusion(rows) for name, rows in scored.items() if rows},
    )


def _by_part(models: Mapping[str, Mapping[str, Share]]) -> dict[str, dict[str, Share]]:
    parts = sorted({part for shares in models.values() for part in shares})
    return {
        part: {name: shares[part] for name, shares in models.items() if part in shares}
        for part in parts
    }


def _dataset(config: Config) -> DatasetInfo | None:
    try:
        return read_info(config.dataset_dir)
    except DatasetError:
        return None  # the cases came from elsewhere


def _versions() -> dict[str, str]:
    versions = {"distill": distill.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
