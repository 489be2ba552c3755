"""The report of an evaluation as one HTML file: no network, no scripts, prints well.

Reads `report.json` and the run's `metrics.jsonl` and `curve.json`; computes nothing that is not in
them.
"""

from distill.report.html import write_page
from distill.report.text import write_text

__all__ = ["write_page", "write_text"]
