"""The calls of one user turn against all calls expected in it.

Within a step calls may come in any order, in one assistant message or several; calls of a later
step come in a later message, after the results they depend on. An identical repeated call after
an error result is a retry, never an extra call: an expectation may list a call that fails once or
once per attempt, both are met. Any other call beyond the expected ones is extra, reads included.

Calls are paired so that as many as possible match in full and, among the rest, as many as
possible match by name; what is left over on both sides is a wrong tool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from distill.matching.assignment import assign
from distill.matching.calls import CallMatch, MadeCall, argument_difference, fits
from distill.matching.codes import Code
from distill.types import ExpectedCall, Frozen, ToolSet

Edges: TypeAlias = Sequence[Sequence[int]]
"""For each made call, the expected calls it matches in full."""


class CallSetMatch(Frozen):
    """How the calls of one user turn compare with the expected ones."""

    calls: tuple[CallMatch, ...]
    missing: tuple[ExpectedCall, ...]
    """Expected calls that no made call stands for."""
    code: Code
    """The first reason why the calls are not right, or `ok`."""
    detail: str


def match_calls(
    made: Sequence[MadeCall], expected: Sequence[ExpectedCall], toolset: ToolSet
) -> CallSetMatch:
    """Compare the calls of one user turn with the expected ones."""
    edges = [[n for n, e in enumerate(expected) if fits(m, e, toolset)] for m in made]
    full = _assign_attempts_last(made, edges)
    by_name = _pair_by_name(made, expected, full)
    calls = _judge_calls(made, expected, full, by_name, toolset)
    missing = tuple(e for n, e in enumerate(expected) if n not in full)
    code, detail = _first_failure(calls, missing)
    if code is Code.OK and not _in_order(made, expected, edges):
        code, detail = Code.WRONG_ORDER, "a call came before the results of the step it depends on"
    return CallSetMatch(calls=calls, missing=missing, code=code, detail=detail)


def describe(call: ExpectedCall) -> str:
    """Return an expected call as one reads it: `set_light(room='hall')`."""
    given = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
    return f"{call.name}({given})"


def _assign_attempts_last(made: Sequence[MadeCall], edges: Edges) -> list[int | None]:
    """Assign calls to expectations; failed attempts only take what the others leave."""
    order = sorted(range(len(made)), key=lambda n: made[n].retried)
    columns: list[int | None] = [None] * len(made)
    for n, column in zip(order, assign([edges[n] for n in order]), strict=True):
        columns[n] = column
    return columns


def _pair_by_name(
    made: Sequence[MadeCall], expected: Sequence[ExpectedCall], full: Sequence[int | None]
) -> list[int | None]:
    """Pair the calls without a full match with the unmet expectations of the same tool."""
    open_ = [n for n in range(len(expected)) if n not in full]
    pairs: list[int | None] = [None] * len(made)
    for n, one in enumerate(made):
        if full[n] is None and not one.retried:
            pairs[n] = next((c for c in open_ if expected[c].name == one.call.name), None)
            open_ = [c for c in open_ if c != pairs[n]]
    return pairs


def _judge_calls(
    made: Sequence[MadeCall],
    expected: Sequence[ExpectedCall],
    full: Sequence[int | None],
    by_name: Sequence[int | None],
    toolset: ToolSet,
) -> tuple[CallMatch, ...]:
    unmet = iter(n for n in range(len(expected)) if n not in full and n not in by_name)
    matches: dict[int, CallMatch] = {}
    for n, one in enumerate(made):
        if full[n] is not None:
            matches[n] = one.match(Code.OK, "as expected", name_ok=True)
        elif not one.retried:
            instead = by_name[n] if by_name[n] is not None else next(unmet, None)
            wanted = None if instead is None else expected[instead]
            matches[n] = _mismatch(one, wanted, toolset)
    return tuple(
        matches[n] if n in matches else _attempt(n, made, matches) for n in range(len(made))
    )


def _mismatch(made: MadeCall, wanted: ExpectedCall | None, toolset: ToolSet) -> CallMatch:
    """Say why a call is not the one expected in its place."""
    name_ok = wanted is not None and wanted.name == made.call.name
    if made.problem:
        return made.match(*made.problem, name_ok=name_ok)
    if wanted is None:
        return made.match(Code.EXTRA_CALL, f"{made.shown} was not expected", name_ok=False)
    if not name_ok:
        detail = f"{made.shown} instead of {describe(wanted)}"
        return made.match(Code.WRONG_TOOL, detail, name_ok=False)
    tool = toolset.get(made.call.name)
    found = tool and argument_difference(made.arguments or {}, wanted, tool.parameters)
    return made.match(Code.WRONG_ARGUMENTS, f"{made.call.name}: {found}", name_ok=True)


def _attempt(n: int, made: Sequence[MadeCall], matches: dict[int, CallMatch]) -> CallMatch:
    """Judge a failed attempt as the call that repeats it."""
    same = (k for k in range(n + 1, len(made)) if made[k].identity == made[n].identity)
    judged = matches[next(k for k in same if k in matches)]
    return made[n].match(judged.code, judged.detail, name_ok=judged.name_ok)


SEVERITY = (
    Code.MALFORMED_ARGUMENTS,
    Code.UNKNOWN_TOOL,
    Code.SCHEMA_VIOLATION,
    Code.WRONG_ARGUMENTS,
    Code.WRONG_TOOL,
    Code.EXTRA_CALL,
)
"""Which finding names a set with several: what is wrong by itself comes first."""


def _first_failure(calls: Sequence[CallMatch], missing: Sequence[ExpectedCall]) -> tuple[Code, str]:
    wrong = [call for call in calls if not call.ok]
    if wrong:
        worst = min(wrong, key=lambda call: SEVERITY.index(call.code))
        return worst.code, worst.detail
    if missing:
        return Code.MISSING_CALL, f"{describe(missing[0])} was not called"
    return Code.OK, "the expected calls"


def _in_order(made: Sequence[MadeCall], expected: Sequence[ExpectedCall], edges: Edges) -> bool:
    """Whether the messages split into consecutive ranges, one a step, each meeting its step.

    All calls are known to match, so only few splits are possible and trying them is cheap.
    """
    messages = sorted({one.message for one in made})
    steps = sorted({call.step for call in expected})

    def meets(start: int, end: int, step: int) -> bool:
        rows = [n for n, one in enumerate(made) if one.message in messages[start:end]]
        rows.sort(key=lambda n: made[n].retried)
        columns = [n for n, call in enumerate(expected) if call.step == step]
        found = assign([[c for c in edges[n] if c in columns] for n in rows])
        attempts_only = all(made[n].retried for n, c in zip(rows, found, strict=True) if c is None)
        return attempts_only and len(columns) == sum(c is not None for c in found)

    def splits(start: int, depth: int) -> bool:
        if depth == len(steps):
            return start == len(messages)
        return any(
            meets(start, end, steps[depth]) and splits(end, depth + 1)
            for end in range(start + 1, len(messages) + 1)
        )

    return splits(0, 0)
