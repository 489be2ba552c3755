"""Tasks of the order desk, with what a right answer does.

What happens in a task is in writers.py; how users and the desk put it is in wording.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distill.toolsets import load_module, load_toolset
from distill.toolsets.generation import SHARES, write_tasks
from distill.toolsets.scenes import read_ideas
from distill.types import Task

HERE = Path(__file__).parent
writers = load_module(HERE / "writers.py")
IDEAS = read_ideas(HERE / "wording.yaml", writers.Scene, vars(writers))


def generate(seed: int, count: int) -> Iterator[Task]:
    """Yield `count` tasks; the same seed gives the same tasks."""
    return write_tasks(load_toolset(HERE), IDEAS, SHARES, seed, count)
