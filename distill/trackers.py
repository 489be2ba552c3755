"""Experiment trackers that `train.track` and `eval.track` may name: are they installed?

What is logged, and how, is each stage's own. Where a tracker is, and under which key, its own
environment variables say.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from distill.errors import ConfigError


def check_trackers(setting: str, names: Sequence[str]) -> None:
    """Make sure that every tracker is there, before anything is spent.

    Args:
        setting: Where they are named, for the message.
        names: Of their packages.

    Raises:
        ConfigError: One is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(f"{setting}: {name!r} is not installed; run `pip install {name}`")
