"""Training rows of kinds, and of tools, that there are too many of: left out, with a reason.

Which ones depends on their keys alone, so the same rows stay while more traces are collected. Rows
of validation and test are never touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from distill.config import FilterConfig
from distill.filter.assembly import DROPPED, Decision
from distill.filter.split import TRAIN
from distill.types import Verdict, digest

STAGE = "mix"


def balanced(decisions: Sequence[Decision], settings: FilterConfig) -> list[Decision]:
    """Thin the kinds `filter.mix` has too many of, then the tools `filter.tool_rows` has."""
    by_kind = list(decisions)
    if settings.mix:
        by_kind = _without(by_kind, _kinds_in_excess(by_kind, settings))
    if settings.tool_rows is None:
        return by_kind
    return _without(by_kind, _tools_in_excess(by_kind, settings.tool_rows))


def quotas(available: Mapping[str, int], wanted: Mapping[str, float]) -> dict[str, int]:
    """Return how many rows of each kind make the wanted mix.

    The largest total is chosen at which no kind has to have more rows than there are, but at least
    half of all rows; at that total a kind in excess is thinned, and a scarce one is what it is.

    Args:
        available: Kind -> rows.
        wanted: Kind -> share; kinds left out share the rest as they are.
    """
    rest = {kind: count for kind, count in available.items() if kind not in wanted}
    left, others = 1 - sum(wanted.values()), sum(rest.values())
    shares = {kind: share for kind, share in wanted.items() if share > 0 and kind in available}
    if others and left > 0:
        shares |= {kind: left * count / others for kind, count in rest.items()}
    everything = sum(available.values())
    total = min((available[kind] / share for kind, share in shares.items()), default=everything)
    total = max(total, everything / 2)
    return {
        kind: min(count, round(total * shares.get(kind, 0))) for kind, count in available.items()
    }


def _kinds_in_excess(decisions: Iterable[Decision], settings: FilterConfig) -> dict[str, Verdict]:
    trained = _trained(decisions, "mix")
    available = Counter(one.kind for one in trained)
    wanted = quotas(available, {str(kind): share for kind, share in settings.mix.items()})
    taken: Counter[str] = Counter()
    excess: dict[str, Verdict] = {}
    for one in trained:
        taken[one.kind] += 1
        if taken[one.kind] > wanted[one.kind]:
            excess[one.key] = _verdict("in_excess", f"more {one.kind} rows than filter.mix wants")
    return excess


def _tools_in_excess(decisions: Iterable[Decision], most: int) -> dict[str, Verdict]:
    """Return the rows all of whose tools have enough; one that also teaches a rarer tool stays."""
    taken: Counter[str] = Counter()
    excess: dict[str, Verdict] = {}
    for one in _trained(decisions, "tools"):
        if one.tools and all(taken[tool] >= most for tool in one.tools):
            names = ", ".join(one.tools)
            excess[one.key] = _verdict("tool_in_excess", f"{most} other rows call {names}")
        else:
            taken.update(one.tools)
    return excess


def _trained(decisions: Iterable[Decision], purpose: str) -> list[Decision]:
    """Return the training rows in an order that only their keys decide."""
    found = (one for one in decisions if one.fate == TRAIN)
    return sorted(found, key=lambda one: digest([one.key, purpose]))


def _verdict(code: str, detail: str) -> Verdict:
    return Verdict(ok=False, stage=STAGE, code=code, detail=detail)


def _without(decisions: Iterable[Decision], excess: Mapping[str, Verdict]) -> list[Decision]:
    return [
        replace(one, fate=DROPPED, verdicts=(*one.verdicts, excess[one.key]))
        if one.key in excess
        else one
        for one in decisions
    ]
