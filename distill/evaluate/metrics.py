"""What is counted of one model's answers: the numerators and denominators of every metric.

A case counts as right when its episode ran to its end, every user turn is right and the end state
is the expected one. Cut-off and refused episodes are failures with codes of their own, never
abstentions. What an endpoint failed to answer never gets here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

from distill.evaluate.answers import Answer
from distill.evaluate.stats import clustered_wilson, quantile
from distill.matching import CallMatch, Code, TaskMatch, TurnMatch, asks, match_task
from distill.results import Abstention, Latency, ModelReport, Score, Share, Tokens
from distill.types import AssistantMessage, Expectation, Message, Outcome, Task, ToolSet

STOPPED = {
    Outcome.TRUNCATED: "cut off by the token limit (eval.max_tokens)",
    Outcome.REFUSED: "the model refused",
    Outcome.ERROR: "the endpoint refused the conversation",
}
"""Outcomes that are failures whatever was said before; their value is the failure's code."""


class ScoredTurn(NamedTuple):
    """One user turn with what was expected and what the matching found."""

    asked: Expectation
    match: TurnMatch
    last: Message | None
    """The message that ended it; None: it was never reached."""
    cut: bool
    """Whether the episode was stopped in it: such a turn is never right."""

    @property
    def ok(self) -> bool:
        """Whether it is right."""
        return self.match.ok and not self.cut

    @property
    def abstained(self) -> bool:
        """Whether it was answered in words alone: no call made, tried or cut off."""
        spoke = isinstance(self.last, AssistantMessage) and bool((self.last.content or "").strip())
        tried = bool(self.match.calls) or self.match.code is Code.UNPARSED_CALL
        return spoke and not tried and not self.cut

    @property
    def unparsed(self) -> bool:
        """Whether a call of it could not be parsed."""
        malformed = any(call.code is Code.MALFORMED_ARGUMENTS for call in self.match.calls)
        return malformed or self.match.code is Code.UNPARSED_CALL

    @property
    def parallel(self) -> bool:
        """Whether some step of the right answer holds several calls."""
        return any(count > 1 for count in Counter(c.step for c in self.asked.calls).values())

    @property
    def made(self) -> list[CallMatch]:
        """Its calls, failed attempts that were made again left out."""
        return [call for call in self.match.calls if not call.retried]

    @property
    def decision(self) -> str | None:
        """What it decided to do: call, ask or abstain; None: cut off or not to be read."""
        if self.made:
            return "call"
        if not self.abstained or not isinstance(self.last, AssistantMessage):
            return None
        return "ask" if asks(self.last.content or "") else "abstain"

    @property
    def exact(self) -> bool:
        """Whether its calls are the expected ones, no more and no fewer."""
        return not self.match.missing and all(call.ok for call in self.match.calls)

    @property
    def tool_hits(self) -> list[bool]:
        """One flag per expected call: was its tool called."""
        hits = sum(call.name_ok for call in self.made)
        return [n < hits for n in range(len(self.asked.calls))]


class Scored(NamedTuple):
    """One case with one model's answer and what the matching found."""

    task: Task
    answer: Answer
    match: TaskMatch

    @property
    def ok(self) -> bool:
        """Whether the case is right."""
        return self.code == Code.OK

    @property
    def code(self) -> str:
        """Why it is not, or `ok`."""
        outcome = self.answer.trace.outcome
        return str(outcome) if outcome in STOPPED else self.match.verdict.code

    @property
    def detail(self) -> str:
        """The same in words."""
        outcome = self.answer.trace.outcome
        return STOPPED.get(outcome) or self.match.verdict.detail

    @property
    def turns(self) -> Iterator[ScoredTurn]:
        """User turns with what was expected of them."""
        messages = self.answer.trace.messages
        stopped = self.answer.trace.outcome in STOPPED
        for asked, match in zip(self.task.turns, self.match.turns, strict=True):
            if asked.expectation is not None:
                last = messages[match.end - 1] if match.end > match.start else None
                cut = stopped and match.end == len(messages)
                yield ScoredTurn(asked.expectation, match, last, cut)


def score(task: Task, answer: Answer, toolset: ToolSet) -> Scored:
    """Judge one answer."""
    trace = answer.trace
    return Scored(
        task, answer, match_task(task, trace.messages, toolset.offered(task), trace.changes)
    )


def share(flags: Iterable[bool]) -> Share:
    """Return the share of true flags, each independent of the others, with its 95% interval."""
    return clustered_share((str(n), flag) for n, flag in enumerate(flags))


def clustered_share(flags: Iterable[tuple[str, bool]]) -> Share:
    """Return the share of true flags with its 95% interval.

    Args:
        flags: Each with what it shares with others: the family of its case.
    """
    clusters: dict[str, list[bool]] = {}
    for cluster, flag in flags:
        clusters.setdefault(cluster, []).append(flag)
    counts = [(sum(flags), len(flags)) for flags in clusters.values()]
    right, n = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    low, high = clustered_wilson(counts)
    return Share(value=right / n if n else None, low=low, high=high, n=n)


def measure(label: str, identity: str, scored: Sequence[Scored], toolset: ToolSet) -> ModelReport:
    """Return everything that is counted of one model's first answers; what they cost is not.

    Args:
        label: What the model is called for people.
        identity: Digest of what decides its answers.
        scored: Its answered cases.
        toolset: The tool set, of which each case offered all or some.
    """
    turns = [(one.task.family, turn) for one in scored for turn in one.turns]
    calls = [(family, call) for family, turn in turns for call in turn.match.calls]
    named = [(family, call) for family, call in calls if call.name_ok and not call.retried]
    known = [(family, call) for family, call in calls if toolset.get(call.call.name) is not None]
    due = [(family, turn) for family, turn in turns if turn.asked.action == "call"]
    idle = [(family, turn) for family, turn in turns if turn.asked.action != "call"]
    changing = [(one.task.family, one.match.end_state) for one in scored if one.task.end_state]
    alone = [turn for _, turn in turns]
    return ModelReport(
        label=label,
        identity=identity,
        answered=len(scored),
        call_accuracy=clustered_share((one.task.family, one.ok) for one in scored),
        turn_accuracy=clustered_share((f, turn.ok) for f, turn in turns),
        tool_accuracy=clustered_share((f, hit) for f, turn in turns for hit in turn.tool_hits),
        argument_accuracy=clustered_share((f, call.arguments_ok) for f, call in named),
        schema_validity=clustered_share((f, call.schema_ok) for f, call in calls),
        hallucinated_tool=clustered_share(
            (one.task.family, toolset.offered(one.task).get(call.call.name) is None)
            for one in scored
            for turn in one.turns
            for call in turn.match.calls
        ),
        hallucinated_argument=clustered_share((f, _invents(call, toolset)) for f, call in known),
        parse_failure=clustered_share((f, turn.unparsed) for f, turn in turns),
        truncation=clustered_share(
            (one.task.family, one.code == Outcome.TRUNCATED) for one in scored
        ),
        abstention=_abstention(turns),
        over_call=clustered_share((f, bool(turn.made)) for f, turn in idle),
        under_call=clustered_share((f, turn.abstained) for f, turn in due),
        decision_f1=_decision_f1(alone),
        parallel=_parallel([turn for turn in alone if turn.parallel]),
        ask_accuracy=clustered_share((f, t.ok) for f, t in turns if t.asked.action == "ask"),
        parallel_exact=clustered_share((f, turn.exact) for f, turn in turns if turn.parallel),
        end_state=clustered_share((f, state.ok) for f, state in changing if state),
        latency_s=_latency(scored),
        tokens=_tokens(scored),
        requests=sum(len(one.answer.trace.turns) for one in scored),
        cost=None,
        failures=dict(Counter(one.code for one in scored if not one.ok).most_common()),
    )


def by_kind(scored: Sequence[Scored]) -> dict[str, Share]:
    """Return call accuracy by kind of task."""
    kinds = sorted({one.task.kind for one in scored})
    return {
        kind: clustered_share((one.task.family, one.ok) for one in scored if one.task.kind == kind)
        for kind in kinds
    }


def by_tool(scored: Sequence[Scored]) -> dict[str, Share]:
    """Return, for each tool, the share of its expected calls that were made rightly."""
    hits: dict[str, list[tuple[str, bool]]] = {}
    for one in scored:
        for turn in one.turns:
            missing = Counter(call.name for call in turn.match.missing)
            for call in turn.asked.calls:
                missing[call.name] -= 1
                made = missing[call.name] < 0
                hits.setdefault(call.name, []).append((one.task.family, made))
    return {tool: clustered_share(hits[tool]) for tool in sorted(hits)}


NOTHING = ""
"""Stands in the confusion for no call: where none was due, or none was made."""


def confusion(scored: Sequence[Scored]) -> dict[str, dict[str, int]]:
    """Return which tool was called where which was due: expected -> called -> calls.

    A call stands for an expected call of its tool where there is one; what is left over on both
    sides is paired in order.
    """
    counted: dict[str, Counter[str]] = {}
    for one in scored:
        for turn in one.turns:
            due = Counter(call.name for call in turn.asked.calls)
            made = Counter(call.call.name for call in turn.made)
            for name, count in (due & made).items():
                counted.setdefault(name, Counter())[name] += count
            wanted, instead = list((due - made).elements()), list((made - due).elements())
            for n in range(max(len(wanted), len(instead))):
                expected = wanted[n] if n < len(wanted) else NOTHING
                called = instead[n] if n < len(instead) else NOTHING
                counted.setdefault(expected, Counter())[called] += 1
    return {name: dict(counts.most_common()) for name, counts in sorted(counted.items())}


def _invents(call: CallMatch, toolset: ToolSet) -> bool:
    """Whether a call of a known tool has an argument that tool does not have."""
    tool = toolset.get(call.call.name)
    try:
        given = call.call.parsed()
    except ValueError:
        return False
    if tool is None or tool.parameters.get("additionalProperties"):
        return False
    return not given.keys() <= tool.parameters.get("properties", {}).keys()


def _abstention(turns: Sequence[tuple[str, ScoredTurn]]) -> Abstention:
    precision = clustered_share((f, t.asked.action != "call") for f, t in turns if t.abstained)
    recall = clustered_share((f, t.abstained) for f, t in turns if t.asked.action != "call")
    f1 = harmonic(precision.value, recall.value)
    return Abstention(precision=precision, recall=recall, f1=f1)


def _decision_f1(turns: Sequence[ScoredTurn]) -> float | None:
    """Return macro-F1 over calling, asking and abstaining, of those that were ever due."""
    choices = [(t.asked.action, t.decision) for t in turns if t.asked.action != "answer"]
    scores = []
    for choice in sorted({due for due, _ in choices}):
        hits = choices.count((choice, choice))
        made = sum(decided == choice for _, decided in choices)
        due = sum(wanted == choice for wanted, _ in choices)
        scores.append(2 * hits / (made + due))
    return fmean(scores) if scores else None


def _parallel(turns: Sequence[ScoredTurn]) -> Score:
    right = sum(call.ok for turn in turns for call in turn.made)
    made = sum(len(turn.made) for turn in turns)
    due = sum(len(turn.asked.calls) for turn in turns)
    precision = right / made if made else None
    recall = right / due if due else None
    f1 = 2 * right / (made + due) if due else None
    return Score(precision=precision, recall=recall, f1=f1)


def harmonic(precision: float | None, recall: float | None) -> float | None:
    """Return F1; None where either is."""
    if precision is None or recall is None:
        return None
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _latency(scored: Sequence[Scored]) -> Latency:
    seconds = [turn.latency_s for one in scored for turn in one.answer.trace.turns]
    curve = [quantile(seconds, n / 20) for n in range(21)]
    return Latency(
        p50=quantile(seconds, 0.5),
        p95=quantile(seconds, 0.95),
        p99=quantile(seconds, 0.99),
        curve=tuple(value for value in curve if value is not None),
    )


def _tokens(scored: Sequence[Scored]) -> Tokens:
    usages = [one.answer.trace.usage for one in scored]
    cases = max(1, len(usages))
    return Tokens(
        input=sum(usage.input_tokens for usage in usages) / cases,
        output=sum(usage.output_tokens for usage in usages) / cases,
    )
