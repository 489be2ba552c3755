"""What to do next: deploy, collect more, retrain, or do not fine-tune.

The decision weighs the student against the cheaper answers first (the base as it is, with
examples in its prompt, with constrained decoding), then against the teacher. Each branch names
the figures it rests on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill.config import EvalConfig
from distill.results import (
    CHEAPER,
    Comparison,
    Decision,
    Gap,
    KindTest,
    ModelReport,
    Share,
)

SIGNIFICANT = 0.05
ENOUGH = 0.8
"""Share of the gap that has to be closed before deploying."""
FEW = 100
"""Training examples of a kind below which more of them is the first thing to try."""
BLIND = 0.1
"""A difference that cannot be told from none although it is this large: too few cases."""
SERVING_FAULTS = 0.05
"""Share of turns that do not parse, or of cases cut off, from which training is not the cause."""

NAMES = {
    "base": "the base as it is",
    "prompted": "the base with examples in its prompt",
    "constrained": "the base with constrained decoding",
}


def decide(
    models: Mapping[str, ModelReport],
    compared: Mapping[str, Comparison],
    gap: Gap | None,
    kind_tests: Mapping[str, KindTest],
    weak: Sequence[tuple[str, Share, int]],
    settings: EvalConfig,
    *,
    complete: bool,
) -> Decision:
    """Decide what to do next.

    Args:
        models: What was measured.
        compared: The paired comparisons, as `student/base`.
        gap: How much of the way to the teacher the student has gone.
        kind_tests: Student against base by kind of task.
        weak: The student's kinds of task, weakest first: kind, accuracy, training examples.
        settings: The margin within which the teacher counts as reached.
        complete: Whether every case was answered.
    """
    if not complete:
        return Decision(action="undecided", reasons=("Cases are left without an answer.",))
    if "student" not in models or "student/base" not in compared:
        return Decision(action="undecided", reasons=("Student and base were not both asked.",))
    if cheap := _cheaper_does(models, compared, settings.margin):
        return Decision(action="do_not_fine_tune", reasons=(cheap,))
    best = max((n for n in CHEAPER if n in models), key=lambda name: _value(models[name]))
    versus = compared[f"student/{best}"]
    student = models["student"]
    if versus.p >= SIGNIFICANT:
        return _no_better(best, versus)
    if versus.difference < 0:
        why = f"It is worse than {NAMES[best]} by {-_points(versus.difference):.1f} points."
        return Decision(action="retrain", reasons=(why, *_faults(student)))
    gained = f"It is {_points(versus.difference):.1f} points better than {NAMES[best]}."
    reached = _reaches_teacher(compared, gap, settings.margin)
    amiss = (*_losses(kind_tests), *_faults(student))
    if reached and not amiss:
        return Decision(action="deploy", reasons=(gained, reached))
    reasons = (gained, *([reached] if reached else _short_of(gap)), *amiss)
    if not amiss and (thin := _thin(weak)):
        return Decision(action="collect_more", reasons=(*reasons, thin))
    return Decision(action="retrain", reasons=(*reasons, *_weakest(weak)))


def worse_kinds(kind_tests: Mapping[str, KindTest]) -> list[str]:
    """Return the kinds of task at which the student is surely worse than its base."""
    return [
        kind
        for kind, test in kind_tests.items()
        if test.difference < 0 and test.adjusted < SIGNIFICANT
    ]


def _cheaper_does(
    models: Mapping[str, ModelReport], compared: Mapping[str, Comparison], margin: float
) -> str | None:
    """Say which cheaper answer reaches the teacher, if one does."""
    for name in CHEAPER:
        versus = compared.get(f"{name}/teacher")
        if versus is not None and versus.interval[0] > -margin:
            return (
                f"{NAMES[name].capitalize()} already reaches the teacher: "
                f"{_percent(models[name])} against {_percent(models['teacher'])}, at most "
                f"{_points(max(0.0, -versus.interval[0])):.1f} points below it."
            )
    return None


def _no_better(best: str, versus: Comparison) -> Decision:
    low, high = (_points(end) for end in versus.interval)
    seen = (
        f"It cannot be told from {NAMES[best]}: {_points(versus.difference):+.1f} points, "
        f"95% interval {low:+.1f} to {high:+.1f}."
    )
    if versus.interval[1] > BLIND:
        more = (
            f"With {versus.n} cases a difference below {_points(versus.detectable):.0f} points is "
            "missed more than once in five times: collect more cases before deciding."
        )
        return Decision(action="collect_more", reasons=(seen, more))
    if best == "base":
        return Decision(action="retrain", reasons=(seen, "Training has changed too little."))
    return Decision(action="do_not_fine_tune", reasons=(seen,))


def _reaches_teacher(
    compared: Mapping[str, Comparison], gap: Gap | None, margin: float
) -> str | None:
    versus = compared.get("student/teacher")
    if versus is None:
        return "There is no teacher to compare it with."
    if versus.interval[0] > -margin:
        return f"It reaches the teacher within {_points(margin):.0f} points."
    if gap is not None and gap.low >= ENOUGH:
        return f"It closes {gap.value:.0%} of the gap to the teacher, at least {gap.low:.0%}."
    return None


def _short_of(gap: Gap | None) -> list[str]:
    if gap is None:
        return ["It stays below the teacher."]
    return [
        f"It closes {gap.value:.0%} of the gap to the teacher (95% interval {gap.low:.0%} to "
        f"{gap.high:.0%}); deploying asks for {ENOUGH:.0%} at its lower end."
    ]


def _losses(kind_tests: Mapping[str, KindTest]) -> list[str]:
    worse = [
        f"{kind.replace('_', ' ')} ({_points(kind_tests[kind].difference):+.0f} points)"
        for kind in worse_kinds(kind_tests)
    ]
    return [f"It is worse than its base at {', '.join(worse)}."] if worse else []


def _thin(weak: Sequence[tuple[str, Share, int]]) -> str | None:
    """Name those of the weakest kinds that have few training examples, if any has."""
    thin = [
        f"{kind.replace('_', ' ')} ({rows})"
        for kind, share, rows in weak[:3]
        if rows < FEW and _low(share)
    ]
    return f"Its weakest kinds have few training examples: {', '.join(thin)}." if thin else None


def _faults(student: ModelReport) -> list[str]:
    """Say what points at the template, the parser or a limit rather than at what was learnt."""
    found = []
    if _at_least(student.parse_failure):
        found.append(
            f"{student.parse_failure.value:.0%} of its turns hold a call that does not parse: "
            "check template and parser (`distill serve`) before anything else."
        )
    if _at_least(student.truncation):
        found.append(
            f"{student.truncation.value:.0%} of its cases were cut off: raise eval.max_tokens, or "
            "look for answers that never end."
        )
    return found


def _weakest(weak: Sequence[tuple[str, Share, int]]) -> list[str]:
    named = [
        f"{kind.replace('_', ' ')} ({share.value:.0%} with {rows} training examples)"
        for kind, share, rows in weak[:3]
        if share.value is not None and _low(share)
    ]
    return [f"Weakest: {', '.join(named)}."] if named else []


def weak_kinds(
    student: Mapping[str, Share], training: Mapping[str, int]
) -> list[tuple[str, Share, int]]:
    """Return the kinds of task, weakest first: kind, accuracy, training examples."""
    counted = [(kind, one) for kind, one in student.items() if one.value is not None]
    counted.sort(key=lambda row: (row[1].value, row[0]))
    return [(kind, one, training.get(kind, 0)) for kind, one in counted]


def _at_least(share: Share) -> bool:
    return share.value is not None and share.value >= SERVING_FAULTS


def _low(share: Share) -> bool:
    return share.value is not None and share.value < ENOUGH


def _value(model: ModelReport) -> float:
    return model.call_accuracy.value or 0.0


def _percent(model: ModelReport) -> str:
    return f"{100 * _value(model):.1f}%"


def _points(share: float) -> float:
    return 100 * share
