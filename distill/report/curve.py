"""The learning curve of a run: what more data brought, if training measured it.

    runs/<name>/curve.json
    {"points": [{"rows": 250, "tokens": 61000, "loss": 0.41,
                 "accuracy": {"value": 0.52, "low": 0.46, "high": 0.58, "n": 251}}, ...]}

Rows double from point to point, so they are drawn evenly on a logarithmic axis. How they were
trained is none of this module's business.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from distill.errors import DatasetError
from distill.results import Share
from distill.types import Frozen

CURVE = "curve.json"
MARGIN = 4.0
"""Percent of the width left free beside the first and the last point."""


class CurvePoint(Frozen):
    """What was measured of a student trained on so many rows."""

    rows: int
    tokens: int
    loss: float
    accuracy: Share | None = None


class Mark(NamedTuple):
    """One point with its place in the plots, in percent of their boxes."""

    point: CurvePoint
    x: float
    loss_y: float


class Learning(NamedTuple):
    """The curve as it is drawn."""

    marks: tuple[Mark, ...]
    top_loss: float

    @property
    def measured(self) -> list[Mark]:
        """The points whose accuracy was measured."""
        return [mark for mark in self.marks if mark.point.accuracy and mark.point.accuracy.n]

    @property
    def accuracies(self) -> str:
        """The line through the accuracies."""
        shares = [(mark.x, mark.point.accuracy) for mark in self.measured]
        return " ".join(f"{x:.2f},{100 - 100 * (s.value or 0):.2f}" for x, s in shares if s)

    @property
    def losses(self) -> str:
        """The line through the losses."""
        return " ".join(f"{mark.x:.2f},{mark.loss_y:.2f}" for mark in self.marks)


def learning(run_dir: Path) -> Learning | None:
    """Return the curve of a run; None when it has none, or a single point.

    Raises:
        DatasetError: The file is malformed.
    """
    path = run_dir / CURVE
    if not path.is_file():
        return None
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["points"]
        points = TypeAdapter(list[CurvePoint]).validate_python(rows)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise DatasetError(
            f"{path}: not a learning curve ({str(error).splitlines()[0]}); remove it, or run "
            "`distill train CONFIG --curve` again"
        ) from None
    points.sort(key=lambda point: point.rows)
    if len(points) < 2 or points[0].rows == points[-1].rows:
        return None
    top = max(point.loss for point in points) or 1.0
    first, last = math.log(points[0].rows), math.log(points[-1].rows)
    wide = (100 - 2 * MARGIN) / (last - first)
    return Learning(
        tuple(
            Mark(p, MARGIN + wide * (math.log(p.rows) - first), 100 - 100 * p.loss / top)
            for p in points
        ),
        top,
    )
