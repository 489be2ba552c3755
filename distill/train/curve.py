"""The loss curve of a run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_SMOOTHING = 0.9


def draw_curve(metrics: Sequence[dict[str, float]], path: Path, title: str) -> None:
    """Draw training loss by step (each and smoothed) and validation loss into a PNG."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps = [row["step"] for row in metrics if "loss" in row]
    losses = [row["loss"] for row in metrics if "loss" in row]
    axes.plot(steps, losses, color="#9ecae1", linewidth=1, label="training, each step")
    axes.plot(steps, _smoothed(losses), color="#08519c", linewidth=2, label="training, smoothed")
    checked = [(row["step"], row["eval_loss"]) for row in metrics if "eval_loss" in row]
    if checked:
        axes.plot(*zip(*checked, strict=True), "o-", color="#d94801", label="validation")
    axes.set(xlabel="optimizer step", ylabel="loss (nats a token)", title=title, yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120)


def _smoothed(values: Sequence[float]) -> list[float]:
    """Return the bias-corrected exponential mean."""
    total, smooth = 0.0, []
    for index, value in enumerate(values, 1):
        total = _SMOOTHING * total + (1 - _SMOOTHING) * value
        smooth.append(float(np.divide(total, 1 - _SMOOTHING**index)))
    return smooth
