"""The data set's card: what a person wants to know before training on it, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from distill.calibration import JudgeReport
from distill.dataset import DatasetInfo
from distill.filter.reviews import audit_section
from distill.filter.split import SPLITS, TRAIN
from distill.types import Kind

NEGATIVES = (Kind.NO_TOOL, Kind.MISSING, Kind.TOOL_FAILED, Kind.CHAT)
"""Kinds without which a student learns to call always."""
FORMAT_ROWS, TOOL_ROWS = 200, 1000
"""Usual minima: examples that teach an output format, and that teach tool calling."""
MIX_TOLERANCE = 0.02
"""A share this much below the wanted one is worth a warning."""


def warnings(info: DatasetInfo, wanted_kinds: Iterable[Kind]) -> list[str]:
    """Return what is worrying about a data set, one sentence each.

    Args:
        info: The data set.
        wanted_kinds: Kinds of the config's tasks that were not dropped on purpose.
    """
    trained, rows = info.kinds[TRAIN], info.counts["train"]
    found = []
    absent = [str(kind) for kind in NEGATIVES if not trained.get(kind)]
    if len(absent) == len(NEGATIVES):
        found.append(
            "There are no negatives at all: a student trained on this calls a tool whatever it is "
            f"asked. Add tasks of the kinds {', '.join(absent)}."
        )
    elif absent:
        found.append(
            f"No training row is of kind {', '.join(absent)}; the student will not know how."
        )
    others = [k for k in wanted_kinds if k not in NEGATIVES and not trained.get(k)]
    if others:
        found.append(f"No trace of kind {', '.join(map(str, others))} survived into training.")
    if rows < FORMAT_ROWS:
        found.append(
            f"{rows} training rows are fewer than the {FORMAT_ROWS} that usually teach even an "
            f"output format; tool calling takes {TOOL_ROWS} or more. Collect more tasks."
        )
    elif rows < TOOL_ROWS:
        found.append(
            f"{rows} training rows are below the {TOOL_ROWS} that tool calling usually takes; "
            "expect gaps, or collect more tasks."
        )
    found += [text for kind in info.mix if (text := _off_mix(info, kind))]
    if info.judge and not info.judge.calibration.passed:
        found.append(f"The judge {info.judge.model} was {info.judge.calibration.in_words()}.")
    if not info.counts["cases"]:
        found.append("No case is held out, so nothing can be measured; add task families.")
    return found


def _off_mix(info: DatasetInfo, kind: str) -> str | None:
    """Return how far a kind is from the wanted mix, and what would bring it there."""
    rows, count, share = info.counts["train"], info.kinds[TRAIN].get(kind, 0), info.mix[kind]
    reached = count / rows
    told = f"{reached:.0%} of the training rows are of kind {kind}, {share:.0%} were wanted"
    if reached < share - MIX_TOLERANCE or (share and not count):
        if share == 1:
            return f"{told}; there are rows of other kinds that filter.mix does not name."
        needed = math.ceil(share / (1 - share) * (rows - count)) - count
        return f"{told}; it takes {needed} rows more: collect more tasks of it."
    if reached > share + MIX_TOLERANCE:
        return (
            f"{told}; kinds are thinned to half of all rows at most: collect more tasks of the "
            "others."
        )
    return None


def card(info: DatasetInfo, tools: Mapping[str, Mapping[str, int]], worries: Sequence[str]) -> str:
    """Return the card as Markdown.

    Args:
        info: The data set.
        tools: Split -> tool -> rows (`Tally.tools`).
        worries: Sentences of `warnings`.
    """
    counts = info.counts
    parts = [
        f"# {info.name}: tool-call traces on `{info.toolset}`",
        f"{counts['train']} training and {counts['validation']} validation conversations with real "
        f"tool results, and {counts['cases']} held-out tasks, made by `distill filter` from "
        f"{info.traces} traces.",
        _table(
            ["", ""],
            [
                ["Teacher", info.teacher],
                ["Terms", info.terms or "not stated"],
                ["Tool set", f"`{info.toolset}`, hash `{info.toolset_hash}`"],
                ["Data set hash", f"`{info.hash}`"],
            ],
        ),
    ]
    if worries:
        parts += ["## Warnings", "\n".join(f"- {worry}" for worry in worries)]
    parts += [
        "## Rows by kind",
        _counted("kind", info.kinds),
        "## Rows by tool",
        "A conversation that calls several tools counts once for each.",
        _counted("tool", tools),
        *_mix(info),
        "## Preference pairs",
        _pairs(info),
        "## Dropped traces",
        _dropped(info.rejected),
        "## Contamination",
        _contamination(info),
        *_judge(info.judge),
        "## Audit",
        audit_section(info.audit),
        "## How rows were chosen",
        CHOICE,
        "## Intended use",
        USE,
    ]
    return "\n\n".join(parts) + "\n"


AUTHORS = {
    "rule": "were made mechanically",
    "student": "are the student's own",
    "teacher": "are the teacher's own",
}
"""`Pair.by` in words."""
CHOICE = """\
A row is an episode that ended by itself, in which every call is valid JSON for an existing tool
and, where the task says what is right, calls, words and end state are as expected; where it does
not, every argument has to come from somewhere. A call the tool refused and the teacher then made
right stays as context with weight 0, and so does what somebody else answered. A conversation that
goes wrong in a later user turn is cut before it. Exact and near duplicates are removed. Families
of tasks are kept together, so that no test task has a sibling in training; held-out tasks that
carry expectations are all there, solved by the teacher or not. `rejects.jsonl` gives stage, code
and evidence for every dropped trace."""

USE = """\
Fine-tuning a small model to call exactly these tools. The rows say nothing about other tools and
are no measure of general ability. The teacher's terms above apply to everything trained on them."""


def _counted(name: str, by_split: Mapping[str, Mapping[str, int]]) -> str:
    names = sorted(set().union(*by_split.values()))
    rows = [[key, *(str(by_split[split].get(key, 0)) for split in SPLITS)] for key in names]
    return _table([name, "train", "validation", "test cases"], rows)


def _mix(info: DatasetInfo) -> list[str]:
    """Return wanted against reached shares, where the config wants some."""
    if not info.mix:
        return []
    trained, total = info.kinds[TRAIN], info.counts["train"]
    rows = [
        [kind, f"{share:.0%}", f"{trained.get(kind, 0) / total:.0%}"]
        for kind, share in sorted(info.mix.items())
    ]
    return ["## Mix of the training rows", _table(["kind", "wanted", "reached"], rows)]


def _judge(report: JudgeReport | None) -> list[str]:
    """Return what a judge was worth on planted errors and what it found, where there was one."""
    if report is None:
        return []
    calibration = report.calibration
    told = (
        f"It read {SCOPES[report.scope]}: {report.judged} judged, {report.wrong} of them found "
        f"wrong and dropped, {report.unreadable} kept for want of an answer that could be read."
        if calibration.passed
        else "It judged nothing in this data set."
    )
    return [
        "## Judge",
        f"{report.model}: {calibration.in_words()}. {told}",
        _table(["on planted errors", ""], [list(row) for row in calibration.rows]),
        "Every planted error stands beside the right answer to the same prompt, so every second "
        "answer of the calibration is wrong; where fewer are, precision is lower.",
    ]


SCOPES = {"all": "every kept trace", "unexpected": "kept traces of tasks without expectations"}


def _pairs(info: DatasetInfo) -> str:
    if not info.pairs:
        return "None."
    rows = [[kind, str(count)] for kind, count in info.pairs.items()]
    authors = ", ".join(f"{count} {AUTHORS[by]}" for by, count in info.pairs_by.items())
    told = f"By what is wrong with the rejected answer; of these answers {authors}."
    return f"{told}\n\n" + _table(["kind", "pairs"], rows)


def _contamination(info: DatasetInfo) -> str:
    compared = ", ".join(info.suites) or "none (there are none in eval/, and bfcl-eval is missing)"
    shared = [f"- {what}: {count}" for what, count in info.shared.items()]
    return "\n".join(
        [
            f"Suites compared with: {compared}. Rows that ask what a suite asks are dropped above.",
            f"Held-out cases that open almost as a training row does: {info.leaks}.",
            *(["Shared besides, and kept:", "", *shared] if shared else []),
        ]
    )


def _dropped(rejected: Mapping[str, int]) -> str:
    if not rejected:
        return "None."
    rows = [[code, str(count)] for code, count in rejected.items()]
    return _table(["stage/code", "traces"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in r) + " |" for r in lines
    )
