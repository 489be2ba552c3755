"""The judge: a model that reads a conversation and says whether it is right, in a rubric's terms.

    rubric.py     what it is asked, and how its answer is read
    asking.py     asking it: once for each text, under the budget, in the store's ledger
    estimate.py   what that would cost

What is shown to it, and what becomes of its opinions, is up to whoever asks.
"""

from distill.judge.asking import Judge, JudgingStopped
from distill.judge.estimate import (
    JudgeEstimate,
    Range,
    Size,
    estimate,
    most_judging,
    size_of,
    size_of_task,
)
from distill.judge.rubric import CODES, RUBRIC, Exhibit, Opinion, read_opinion

__all__ = [
    "CODES",
    "RUBRIC",
    "Exhibit",
    "Judge",
    "JudgeEstimate",
    "JudgingStopped",
    "Opinion",
    "Range",
    "Size",
    "estimate",
    "most_judging",
    "read_opinion",
    "size_of",
    "size_of_task",
]
