"""What a judge is worth, measured on answers of which it is known whether they are right.

For every planted error the right answer to the same prompt is judged, too. So precision and recall
are those of a mixture in which every other answer is wrong; in data with fewer errors the precision
is lower, which is why the share of right answers it faults stands beside them. A judge is used when
the lower ends of both 95% intervals reach what the config asks for, so that luck with a few answers
does not pass for skill. An answer that cannot be read finds nothing.
"""

from __future__ import annotations

from distill.proportion import Interval, wilson
from distill.types import Frozen


class KindCount(Frozen):
    """Errors of one kind."""

    planted: int
    found: int


class Calibration(Frozen):
    """What judging planted errors, and the right answers beside them, came to."""

    kinds: dict[str, KindCount]
    """Kind of error -> how many were planted and found."""
    right: int
    """Right answers judged."""
    faulted: int
    """Those of them that were found wrong."""
    unreadable: int
    """Answers of the judge that could not be read, among all."""
    min_precision: float
    min_recall: float

    @property
    def planted(self) -> int:
        """Errors judged."""
        return sum(kind.planted for kind in self.kinds.values())

    @property
    def found(self) -> int:
        """Those of them that were found wrong."""
        return sum(kind.found for kind in self.kinds.values())

    @property
    def precision(self) -> Interval:
        """95% interval of the share of errors among what was found wrong."""
        return wilson(self.found, self.found + self.faulted)

    @property
    def recall(self) -> Interval:
        """95% interval of the share of errors that were found."""
        return wilson(self.found, self.planted)

    @property
    def alarms(self) -> Interval:
        """95% interval of the share of right answers that were found wrong."""
        return wilson(self.faulted, self.right)

    @property
    def passed(self) -> bool:
        """Whether the judge is good enough to be used."""
        return self.precision.low >= self.min_precision and self.recall.low >= self.min_recall

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What was measured, as (name, figure with its interval)."""
        return [
            ("precision", _share(self.found, self.found + self.faulted, self.precision)),
            ("recall", _share(self.found, self.planted, self.recall)),
            ("right answers faulted", _share(self.faulted, self.right, self.alarms)),
            *((f"recall, {k}", _share(n.found, n.planted)) for k, n in sorted(self.kinds.items())),
            ("unreadable answers", f"{self.unreadable} of {self.planted + self.right}"),
        ]

    def in_words(self) -> str:
        """Return one line that says whether the judge is used, and why."""
        least = f"at least {self.min_precision:.0%} and {self.min_recall:.0%} are asked for"
        found = (
            f"95% intervals of precision {_range(self.precision)} and recall "
            f"{_range(self.recall)} on {self.planted} planted errors; {least}"
        )
        return f"used ({found})" if self.passed else f"not used ({found})"


class JudgeReport(Frozen):
    """What a judge did for a data set."""

    model: str
    scope: str
    calibration: Calibration
    judged: int = 0
    """Traces it gave a verdict on."""
    wrong: int = 0
    """Those of them it found wrong; they are dropped."""
    unreadable: int = 0
    """Traces on which it gave none that could be read; they are kept."""


def _share(part: int, whole: int, interval: Interval | None = None) -> str:
    if not whole:
        return "none to judge"
    text = f"{part / whole:.1%} ({part} of {whole})"
    return f"{text}, 95% interval {_range(interval)}" if interval else text


def _range(interval: Interval) -> str:
    return f"{100 * interval.low:.1f}-{100 * interval.high:.1f}%"
