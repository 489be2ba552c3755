"""From stored requests to tasks: which drafts are taken, and why the others are not.

Read in the order of the requests, not of their answers, so that the same store always gives the
same tasks. A near-duplicate is refused here, because only here all tasks are known; wordings that
are alike without being duplicates become one family, which no split separates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from distill.collect.authoring.bench import Bench, Reason, Refusal
from distill.collect.authoring.drafts import SUBMIT
from distill.similarity import FEW_WORDS, Nearby, request_words, sketch_of
from distill.traces import Trace
from distill.types import Json, Task

ALIKE = 0.35
"""Similarity from which two wordings are taken for variations of one idea."""
MOST_EXAMPLES = 3


@dataclass
class Harvest:
    """What has come of the requests so far."""

    bench: Bench
    near_duplicates: float
    tasks: dict[str, Task] = field(default_factory=dict)
    """Order -> its task."""
    refused: Counter[Reason] = field(default_factory=Counter)
    examples: dict[Reason, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._exact: dict[str, str] = {}
        self._near = Nearby(self.near_duplicates)
        self._alike = Nearby(min(ALIKE, self.near_duplicates))

    def take(self, trace: Trace) -> None:
        """Take the drafts of one finished request."""
        verdicts = list(self._verdicts(trace))
        if not verdicts:
            detail = trace.error or f"the episode ended as {trace.outcome}"
            self._refuse(Refusal(order=trace.task.id, reason=Reason.NO_DRAFT, detail=detail))
        for verdict in verdicts:
            if isinstance(verdict, Refusal):
                self._refuse(verdict)
            elif verdict.id not in self.tasks:
                self._accept(verdict)

    def _verdicts(self, trace: Trace) -> Iterator[Task | Refusal]:
        for call in trace.calls:
            if call.name != SUBMIT:
                continue
            try:
                rows: Json = call.parsed().get("tasks")
            except ValueError as error:
                yield Refusal(order="", reason=Reason.MALFORMED, detail=str(error)[:200])
                continue
            if not isinstance(rows, list):
                yield Refusal(order="", reason=Reason.MALFORMED, detail="`tasks` is no list")
                continue
            yield from (self.bench.judge(row) for row in rows)

    def _accept(self, task: Task) -> None:
        said = [turn.content for turn in task.turns]
        words, sketch = request_words(" ".join(said)), sketch_of(said)
        long = len(words.split()) >= FEW_WORDS
        other = self._exact.get(words) or (self._near.find(sketch) if long else None)
        if other is not None:
            detail = f"nearly the same as {other}: {said[0]!r:.120}"
            self._refuse(Refusal(order=task.id, reason=Reason.DUPLICATE, detail=detail))
            return
        alike = self._alike.find(sketch) if long else None
        if alike is not None:
            task = task.model_copy(update={"family": self.tasks[alike].family})
        self._exact[words] = task.id
        if long:
            self._near.add(task.id, sketch)
            self._alike.add(task.id, sketch)
        self.tasks[task.id] = task

    def _refuse(self, refusal: Refusal) -> None:
        self.refused[refusal.reason] += 1
        examples = self.examples.setdefault(refusal.reason, [])
        if len(examples) < MOST_EXAMPLES:
            examples.append(f"{refusal.order or '-'}: {refusal.detail}")


def harvest(
    traces: Mapping[str, Trace], keys: Iterable[str], bench: Bench, near_duplicates: float
) -> Harvest:
    """Take what requests have given, in the order of `keys`; unfinished ones are passed over."""
    found = Harvest(bench, near_duplicates)
    for key in keys:
        if key in traces:
            found.take(traces[key])
    return found
