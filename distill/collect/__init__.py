"""The stage that runs the teacher over the tasks and fills the trace store.

Entry points: `make_plan` (which episodes, under which settings), `collect` (run them), `Display`
(show how it goes), `estimate` (what it would take) with `count_requests`.
"""

from distill.collect.counting import Counted, count_requests
from distill.collect.estimate import Estimate, estimate
from distill.collect.plan import Episode, Plan, make_plan
from distill.collect.progress import Display
from distill.collect.runner import collect
from distill.collect.status import Status

__all__ = [
    "Counted",
    "Display",
    "Episode",
    "Estimate",
    "Plan",
    "Status",
    "collect",
    "count_requests",
    "estimate",
    "make_plan",
]
