"""Evaluation results on disk: what `eval` writes, and what the HTML report is drawn from.

    eval/results/<name>/
      answers.jsonl    one answered case a line, appended as it finishes (see evaluate/answers.py)
      report.json      `Report`
      report.html      the same for people

A `Share` is a proportion with its 95% interval. Its `value` is null where nothing was counted:
no share of nothing is ever shown as 0 or 100%.

    {"models": {"student": {"call_accuracy":
                            {"value": 0.912, "low": 0.87, "high": 0.94, "n": 240}}},
     "student_vs_base": {"difference": 0.55, "low": 0.48, "high": 0.61, "p_value": 1e-30,
                         "wins": 133, "losses": 1, "n": 240}}
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from distill.errors import DatasetError
from distill.types import Frozen, Json, Kind, Message

ANSWERS, REPORT, PAGE = "answers.jsonl", "report.json", "report.html"

MODELS = ("base", "student", "teacher")
"""Compared models, in the order they are shown."""


class Share(Frozen):
    """A proportion with its 95% interval."""

    value: float | None
    """None: nothing was counted."""
    low: float
    high: float
    n: int


SHARES = (
    ("Call accuracy", "call_accuracy", "every turn and the end state of the case right"),
    ("Turn accuracy", "turn_accuracy", "user turns answered rightly"),
    ("Right tool", "tool_accuracy", "expected calls whose tool was called"),
    ("Right arguments", "argument_accuracy", "of those, arguments as expected"),
    ("Schema validity", "schema_validity", "calls their tool's schema accepts"),
    ("Parallel sets", "parallel_exact", "turns with several calls at once, all right, none extra"),
    ("Asks back", "ask_accuracy", "a parameter was missing, and it asked for it"),
    ("End state", "end_state", "something had to change, and exactly that did"),
    ("Hallucinated tool", "hallucinated_tool", "calls of a tool that does not exist"),
    ("Parse failure", "parse_failure", "turns with a call that could not be parsed"),
    ("Truncation", "truncation", "cases cut off by the token limit"),
)
"""The shares of a `ModelReport` in the order they are shown: heading, field, what it counts."""


class Abstention(Frozen):
    """How well a model knows when not to call; counted in user turns.

    A turn counts as abstained when the model answered in words and tried no call.
    """

    precision: Share
    """Of the turns it abstained in, those where no call was due."""
    recall: Share
    """Of the turns where no call was due, those it abstained in."""
    f1: float | None


class Latency(Frozen):
    """Seconds one request took, as the client saw it."""

    p50: float | None
    p95: float | None


class Tokens(Frozen):
    """Mean tokens of one case, all its requests together."""

    input: float
    output: float


class ModelReport(Frozen):
    """What was measured of one model."""

    label: str
    """What was asked, as a person would call it."""
    identity: str
    """Digest of what decides its answers."""
    answered: int
    """Cases it answered; the others failed on the way, and are never scored."""
    call_accuracy: Share
    """Cases with every user turn and the end state right."""
    turn_accuracy: Share
    """User turns that are right."""
    tool_accuracy: Share
    """Expected calls whose tool was called."""
    argument_accuracy: Share
    """Calls of an expected tool whose arguments are right."""
    schema_validity: Share
    """Calls that their tool's JSON Schema accepts."""
    hallucinated_tool: Share
    """Calls of a tool that does not exist."""
    parse_failure: Share
    """User turns with a call that could not be parsed."""
    truncation: Share
    """Cases cut off by the token limit."""
    abstention: Abstention
    ask_accuracy: Share
    """Turns that lacked a parameter and were answered with the right question."""
    parallel_exact: Share
    """Turns with several calls at once in which all of them are right and none is extra."""
    end_state: Share
    """Cases with something to change in which exactly that was changed."""
    latency_s: Latency
    tokens: Tokens
    cost_usd: float | None
    """Dollars for all its answers; None: the price is unknown."""
    failures: dict[str, int]
    """Failure code -> cases, the most frequent first."""


class Comparison(Frozen):
    """Two models on the same cases."""

    difference: float
    """Call accuracy of the first minus that of the second."""
    low: float
    high: float
    p_value: float
    """Exact McNemar test, two-sided."""
    wins: int
    """Cases only the first got right."""
    losses: int
    """Cases only the second got right."""
    n: int


class Breakdowns(Frozen):
    """Call accuracy in parts: part -> model -> share."""

    by_kind: dict[str, dict[str, Share]]
    """Cases, by what they exercise."""
    by_tool: dict[str, dict[str, Share]]
    """Expected calls, by tool."""


class Transcript(Frozen):
    """What one model did in one case."""

    ok: bool
    code: str
    detail: str
    messages: tuple[Message, ...]
    """Without the system message."""


class WorkedExample(Frozen):
    """One case with the conversations of every model side by side."""

    case: str
    kind: Kind
    expected: tuple[str, ...]
    """What was right, one line per user turn."""
    transcripts: dict[str, Transcript]


class Report(Frozen):
    """The result of one evaluation."""

    version: int = 1
    name: str
    created_at: str
    complete: bool
    """Whether every model answered every case it was asked; a gate must refuse a report that is
    not."""
    gaps: dict[str, str]
    """Model -> why cases of it are missing."""
    verdict: str
    cases: int
    cases_hash: str
    toolset: str
    toolset_hash: str
    dataset_hash: str | None
    adapter_hash: str | None
    models: dict[str, ModelReport]
    student_vs_base: Comparison | None
    student_vs_teacher: Comparison | None
    breakdowns: Breakdowns
    examples: tuple[WorkedExample, ...]
    config: dict[str, Json]
    versions: dict[str, str]


def read_report(folder: Path) -> Report:
    """Read `report.json` of a results folder.

    Raises:
        DatasetError: There is none, or it is malformed.
    """
    path = folder / REPORT
    try:
        return Report.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"no {REPORT} in {str(folder)!r}; run `distill eval CONFIG`") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DatasetError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; run `distill eval CONFIG`"
        ) from None


def write_report(folder: Path, report: Report) -> Path:
    """Write `report.json` in one step and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
    return path
