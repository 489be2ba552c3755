"""Do several samples of one task agree on what is to be done?

What is compared is which calls each user turn led to, their order and wording aside; answers in
words alone are one and the same deed. A sample that failed a check counts: it is a
disagreement like any other. With expectations, agreement is only noted; without, it is the best
there is: what the majority did is taken for right.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import lru_cache

from distill.filter.sources import FREE_WORDS
from distill.filter.subject import Subject
from distill.matching import MadeCall, made_calls
from distill.types import Json, Outcome, Verdict, canonical_json, digest

STAGE = "agreement"


class Agreement:
    """Counts what the samples of each task did."""

    def __init__(self, floor: float) -> None:
        self.floor = floor
        self._did: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, task: str, signature: str | None) -> None:
        """Note what one sample of a task did; None: it did not come to an end."""
        if signature is not None:
            self._did[task][signature] += 1

    def share(self, task: str, signature: str | None) -> float | None:
        """Return the share of the task's samples that did the same; None with one sample."""
        did = self._did.get(task, Counter())
        total = did.total()
        return did[signature or ""] / total if total > 1 else None

    def verdict(self, task: str, signature: str | None) -> Verdict:
        """Judge one sample of a task that does not say what is right."""
        share = self.share(task, signature)
        if share is None:
            return ALONE
        return _verdict(share >= self.floor, f"{share:.0%}", self._did[task].total())


ALONE = Verdict(ok=True, stage=STAGE, code="agreed", detail="One sample: nothing to compare.")


@lru_cache(maxsize=1024)
def _verdict(ok: bool, share: str, samples: int) -> Verdict:
    detail = f"{share} of {samples} samples do the same"
    return Verdict(ok=ok, stage=STAGE, code="agreed" if ok else "minority", detail=detail)


def signature(subject: Subject) -> str | None:
    """Return what the teacher did, so that equal deeds have equal signatures."""
    if subject.trace.outcome is not Outcome.COMPLETED:
        return None
    return digest([_deeds(subject, window) for window in subject.windows])


def _deeds(subject: Subject, window: range) -> Json:
    made = made_calls(subject.messages, window.start, window.stop, subject.toolset)
    succeeded = {one.call.name for one in made if not one.failed}
    counted = [one for one in made if not (one.failed and one.call.name in succeeded)]
    return sorted({canonical_json(_deed(one, subject)) for one in counted if not one.retried})


def _deed(made: MadeCall, subject: Subject) -> Json:
    tool = subject.toolset.get(made.call.name)
    if made.arguments is None or tool is None:
        return [made.call.name, made.call.arguments]
    properties = tool.parameters.get("properties", {})
    kept = {
        name: _gist(value)
        for name, value in made.arguments.items()
        if properties.get(name, {}).get("default", made) != value
    }
    return [made.call.name, kept]


def _gist(value: Json) -> Json:
    """Return a value with free text, which no two samples word alike, left out."""
    if isinstance(value, dict):
        return {key: _gist(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_gist(inner) for inner in value]
    if isinstance(value, str):
        return value.strip().casefold() if len(value.split()) < FREE_WORDS else "..."
    return value
