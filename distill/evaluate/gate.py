"""Whether a release may pass: the thresholds of `eval.gate`, one by one.

What was not measured fails its threshold, and so does an evaluation with cases left unanswered:
a gate that opens when nothing was looked at is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from distill.config import EvalConfig
from distill.evaluate.verdict import SIGNIFICANT, worse_kinds
from distill.results import Comparison, Gap, GateCheck, KindTest, ModelReport


def check_gate(
    settings: EvalConfig,
    models: Mapping[str, ModelReport],
    versus_base: Comparison | None,
    gap: Gap | None,
    kind_tests: Mapping[str, KindTest],
    *,
    complete: bool,
) -> tuple[GateCheck, ...]:
    """Check every threshold that is set; what was not measured fails its threshold."""
    gate, student = settings.gate, models.get("student")
    checks = [
        GateCheck(name="complete", limit="yes", value="yes" if complete else "no", ok=complete)
    ]
    if gate.better_than_base:
        better = versus_base is not None and versus_base.difference > 0
        sure = better and versus_base is not None and versus_base.p < SIGNIFICANT
        seen = "not measured" if versus_base is None else f"p = {versus_base.p:.2g}"
        checks.append(GateCheck(name="better_than_base", limit="p < 0.05", value=seen, ok=sure))
    if gate.no_worse_kind:
        worse = worse_kinds(kind_tests)
        seen = ", ".join(worse) or "none"
        checks.append(GateCheck(name="no_worse_kind", limit="none", value=seen, ok=not worse))
    least: dict[str, tuple[float | None, float | None]] = {
        "call_accuracy": (gate.call_accuracy, student.call_accuracy.value if student else None),
        "gap_closed": (gate.gap_closed, gap.value if gap else None),
        "abstention_f1": (gate.abstention_f1, student.abstention.f1 if student else None),
    }
    most: dict[str, tuple[float | None, float | None]] = {
        name: (getattr(gate, name), getattr(student, name).value if student else None)
        for name in ("hallucinated_tool", "hallucinated_argument", "parse_failure", "truncation")
    }
    most["p95_s"] = (gate.p95_s, student.latency_s.p95 if student else None)
    checks += _thresholds(least, ">=", lambda value, limit: value >= limit)
    checks += _thresholds(most, "<=", lambda value, limit: value <= limit)
    return tuple(checks)


def _thresholds(
    rows: Mapping[str, tuple[float | None, float | None]],
    sign: str,
    holds: Callable[[float, float], bool],
) -> list[GateCheck]:
    return [
        GateCheck(
            name=name,
            limit=f"{sign} {limit:g}",
            value="not measured" if value is None else f"{value:.3g}",
            ok=value is not None and holds(value, limit),
        )
        for name, (limit, value) in rows.items()
        if limit is not None
    ]
