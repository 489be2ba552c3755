"""The report of an evaluation: every metric, the paired comparisons, one sentence of verdict."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata

import distill
from distill.dataset import read_info
from distill.errors import DatasetError
from distill.evaluate.candidates import file_hash
from distill.evaluate.metrics import Scored, by_kind, by_tool, measure, score
from distill.evaluate.runner import Evaluation
from distill.evaluate.stats import mcnemar, paired_difference
from distill.matching.callsets import describe
from distill.results import (
    Breakdowns,
    Comparison,
    ModelReport,
    Report,
    Share,
    Transcript,
    WorkedExample,
)
from distill.student.manifest import ADAPTER
from distill.types import AssistantMessage, SystemMessage, Task, UserTurn, digest

LOST, WON = 8, 4
"""Worked examples: cases the student fails, and cases only the student gets right."""

SIGNIFICANT = 0.05

PACKAGES = ("openai", "torch", "transformers", "peft", "vllm")


def summarise(evaluation: Evaluation) -> Report:
    """Judge every answer and return the report."""
    scored = {
        candidate.name: _score(evaluation, candidate.name) for candidate in evaluation.candidates
    }
    toolset = evaluation.loaded.toolset
    models = {
        candidate.name: measure(
            candidate.label, candidate.identity, scored[candidate.name], toolset
        )
        for candidate in evaluation.candidates
        if scored[candidate.name]
    }
    against_base = compare(scored.get("student", ()), scored.get("base", ()))
    config = evaluation.config
    asked = [candidate.name for candidate in evaluation.candidates if candidate.model is not None]
    complete = not any(name in evaluation.gaps for name in asked)
    weights = config.run_dir / ADAPTER / "adapter_model.safetensors"
    return Report(
        name=config.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        complete=complete,
        gaps=evaluation.gaps,
        verdict=verdict(models, against_base, len(evaluation.cases), complete=complete),
        cases=len(evaluation.cases),
        cases_hash=digest([case.model_dump(mode="json") for case in evaluation.cases]),
        toolset=toolset.name,
        toolset_hash=toolset.hash,
        dataset_hash=_dataset_hash(evaluation),
        adapter_hash=file_hash(weights) if weights.is_file() else None,
        models=models,
        student_vs_base=against_base,
        student_vs_teacher=compare(scored.get("student", ()), scored.get("teacher", ())),
        breakdowns=Breakdowns(
            by_kind=_by_part({name: by_kind(rows) for name, rows in scored.items()}),
            by_tool=_by_part({name: by_tool(rows) for name, rows in scored.items()}),
        ),
        examples=_examples(evaluation.cases, scored),
        config=config.model_dump(mode="json"),
        versions=_versions(),
    )


def compare(first: Sequence[Scored], second: Sequence[Scored]) -> Comparison | None:
    """Compare two models on the cases both answered; None when there are none."""
    right = {one.task.id: one.ok for one in second}
    pairs = [(one.ok, right[one.task.id]) for one in first if one.task.id in right]
    if not pairs:
        return None
    both, neither = pairs.count((True, True)), pairs.count((False, False))
    wins, losses = pairs.count((True, False)), pairs.count((False, True))
    low, high = paired_difference(both, wins, losses, neither)
    return Comparison(
        difference=(wins - losses) / len(pairs),
        low=low,
        high=high,
        p_value=mcnemar(wins, losses),
        wins=wins,
        losses=losses,
        n=len(pairs),
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
    numbers = (
        f"{student} against {base} of {versus.n} cases right, "
        f"{100 * versus.difference:+.1f} points (95% interval "
        f"{100 * versus.low:+.1f} to {100 * versus.high:+.1f}, p {_p_value(versus.p_value)})"
    )
    provisional = "" if complete else "Incomplete, so provisional. "
    if versus.p_value >= SIGNIFICANT:
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


def _score(evaluation: Evaluation, name: str) -> list[Scored]:
    candidate = next(one for one in evaluation.candidates if one.name == name)
    answers = ((case, evaluation.answer(candidate, case)) for case in evaluation.cases)
    toolset = evaluation.loaded.toolset
    return [score(case, answer, toolset) for case, answer in answers if answer is not None]


def _by_part(models: Mapping[str, Mapping[str, Share]]) -> dict[str, dict[str, Share]]:
    parts = sorted({part for shares in models.values() for part in shares})
    return {
        part: {name: shares[part] for name, shares in models.items() if part in shares}
        for part in parts
    }


def _examples(
    cases: Sequence[Task], scored: Mapping[str, Sequence[Scored]]
) -> tuple[WorkedExample, ...]:
    """Choose failures of the student, of as many kinds as there are, then what it learnt."""
    rows = {name: {one.task.id: one for one in ones} for name, ones in scored.items()}
    student, base = rows.get("student", {}), rows.get("base", {})
    lost = _varied([one for one in student.values() if not one.ok])[:LOST]
    won = _varied(
        [one for key, one in base.items() if not one.ok and key in student and student[key].ok]
    )
    chosen = [one.task.id for one in (*lost, *won[:WON])]
    by_id = {case.id: case for case in cases}
    return tuple(
        WorkedExample(
            case=key,
            kind=by_id[key].kind,
            expected=tuple(expected(turn) for turn in by_id[key].turns),
            transcripts={
                name: _transcript(ones[key]) for name, ones in rows.items() if key in ones
            },
        )
        for key in chosen
    )


def _varied(failed: Sequence[Scored]) -> list[Scored]:
    """Order failures so that each (code, kind) comes once before any comes twice."""
    seen: dict[tuple[str, str], int] = {}
    ranks = []
    for one in failed:
        label = (one.code, str(one.task.kind))
        ranks.append(seen.setdefault(label, 0))
        seen[label] += 1
    order = sorted(range(len(failed)), key=lambda n: (ranks[n], n))
    return [failed[n] for n in order]


def expected(turn: UserTurn) -> str:
    """Say what a right answer to one user turn is."""
    asked = turn.expectation
    assert asked is not None
    if asked.action == "call":
        return ", ".join(describe(call) for call in asked.calls)
    words = {"ask": "ask back", "abstain": "say that no tool fits", "answer": "answer in words"}
    mentions = " and ".join(" or ".join(map(repr, group)) for group in asked.mentions)
    return words[asked.action] + (f", mentioning {mentions}" if mentions else "")


def _transcript(one: Scored) -> Transcript:
    spoken = tuple(
        message.model_copy(update={"provider_state": None})
        if isinstance(message, AssistantMessage)
        else message
        for message in one.answer.trace.messages
        if not isinstance(message, SystemMessage)
    )
    return Transcript(ok=one.ok, code=one.code, detail=one.detail, messages=spoken)


def _dataset_hash(evaluation: Evaluation) -> str | None:
    try:
        return read_info(evaluation.config.dataset_dir).hash
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
