"""Evaluation results on disk: what `eval` writes, and what the HTML report is drawn from.

    eval/results/<name>/
      answers.jsonl    one answered case a line, appended as it finishes (see evaluate/answers.py)
      suites/<suite>.jsonl   the same for the questions of other suites
      report.json      `Report`
      report.md        its tables, for a pull request or a terminal
      report.html      everything for people

A `Share` is a proportion with its 95% interval. Its `value` is null where nothing was counted:
no share of nothing is ever shown as 0 or 100%.

    {"models": {"student": {"call_accuracy":
                            {"value": 0.912, "low": 0.87, "high": 0.94, "n": 240}}},
     "student_vs_base": {"difference": 0.55, "low": 0.48, "high": 0.61, "p_value": 1e-30,
                         "wins": 133, "losses": 1, "n": 240}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from distill.errors import DatasetError
from distill.types import Frozen, Json, Kind, Message

ANSWERS, REPORT, PAGE, TEXT = "answers.jsonl", "report.json", "report.html", "report.md"
SUITES = "suites"

MODELS = ("base", "prompted", "constrained", "student", "teacher")
"""Compared models, in the order they are shown. `prompted` is the base with examples in its
prompt, `constrained` the base with its calls held to the schemas: the cheaper answers."""
CHEAPER = ("base", "prompted", "constrained")
"""What would do without fine-tuning."""


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
    ("Over-calling", "over_call", "turns in which no call was due, and one was made"),
    ("Under-calling", "under_call", "turns in which a call was due, and words came"),
    ("Asks back", "ask_accuracy", "a parameter was missing, and it asked for it"),
    ("End state", "end_state", "something had to change, and exactly that did"),
    ("Hallucinated tool", "hallucinated_tool", "calls of a tool that does not exist"),
    ("Hallucinated argument", "hallucinated_argument", "calls with an argument their tool lacks"),
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


class Score(Frozen):
    """Precision, recall and their harmonic mean; None: nothing was counted."""

    precision: float | None
    recall: float | None
    f1: float | None


class Latency(Frozen):
    """Seconds one request took, as the client saw it."""

    p50: float | None
    p95: float | None
    p99: float | None = None
    curve: tuple[float, ...] = ()
    """Every twentieth quantile, the shortest and the longest included."""


class Tokens(Frozen):
    """Mean tokens of one case, all its requests together."""

    input: float
    output: float


class Cost(Frozen):
    """What its answers cost, in dollars."""

    total: float
    per_1000: float
    """A thousand requests."""
    per_solved: float | None
    """One right case; None: there is none."""
    machine: bool
    """Whether this is time of the serving machine (eval.gpu_usd_hour) rather than a bill."""


class PassK(Frozen):
    """The chance that `k` independent trials of a case are all right."""

    k: int
    value: float
    low: float | None
    high: float | None


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
    hallucinated_argument: Share
    """Calls with an argument their tool does not have."""
    parse_failure: Share
    """User turns with a call that could not be parsed."""
    truncation: Share
    """Cases cut off by the token limit."""
    abstention: Abstention
    over_call: Share
    """Turns in which no call was due and one was made."""
    under_call: Share
    """Turns in which a call was due and words came."""
    decision_f1: float | None
    """Macro-F1 of the choice between calling, asking back and saying that no tool fits."""
    parallel: Score
    """Calls of the turns with several at once, as a multiset."""
    ask_accuracy: Share
    """Turns that lacked a parameter and were answered with the right question."""
    parallel_exact: Share
    """Turns with several calls at once in which all of them are right and none is extra."""
    end_state: Share
    """Cases with something to change in which exactly that was changed."""
    latency_s: Latency
    tokens: Tokens
    requests: int
    cost: Cost | None
    """None: the price is unknown."""
    pass_k: tuple[PassK, ...] = ()
    """For k from 2 to the number of trials; empty with one trial."""
    agreement: Share | None = None
    """Pairs of trials of a case that made the same calls and ended the same way."""
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
    clusters: int = 0
    """Families the cases come from."""
    cluster_low: float | None = None
    """The interval when cases of a family stand or fall together; None: every case is its own."""
    cluster_high: float | None = None
    cluster_p: float | None = None
    """Sign-flip test of whole families."""
    detectable: float = 1.0
    """The difference that would be seen in four of five such evaluations."""

    @property
    def interval(self) -> tuple[float, float]:
        """The interval to go by: over families where there are any."""
        if self.cluster_low is None or self.cluster_high is None:
            return self.low, self.high
        return self.cluster_low, self.cluster_high

    @property
    def p(self) -> float:
        """The p-value to go by."""
        return self.p_value if self.cluster_p is None else self.cluster_p


class Gap(Frozen):
    """How much of the way from base to teacher the student has gone."""

    value: float
    low: float
    high: float


class KindTest(Frozen):
    """Student against base on one kind of task."""

    difference: float
    p_value: float
    adjusted: float
    """Holm's, over all kinds."""


DECISIONS: Mapping[str, str] = {
    "deploy": "Deploy it",
    "collect_more": "Collect more",
    "retrain": "Train again",
    "do_not_fine_tune": "Do not fine-tune",
    "undecided": "Not decided",
}
"""What is to be done, by `Decision.action`, as people are told."""


class Decision(Frozen):
    """What to do next, and why."""

    action: Literal["deploy", "collect_more", "retrain", "do_not_fine_tune", "undecided"]
    reasons: tuple[str, ...]


class GateCheck(Frozen):
    """One threshold of `eval.gate`."""

    name: str
    limit: str
    value: str
    ok: bool


class BreakEven(Frozen):
    """When the student has paid for itself, in dollars."""

    teacher_usd: float
    """What collecting has cost."""
    training_usd: float
    saving_per_1000: float
    """Teacher minus student, a thousand requests."""
    requests: int | None
    """None: never, the student costs no less."""


class Silence(Frozen):
    """What a model did in turns in which no call could be right yet."""

    called: Share
    """Turns in which it made any call."""
    acted: Share
    """Turns in which its calls changed something."""


class SuiteReport(Frozen):
    """The results of one suite."""

    name: str
    version: str
    parts: dict[str, dict[str, Share]]
    """Part -> model -> right answers."""
    headline: dict[str, float]
    """Model -> the one number the suite is known by, where it has one and all was run."""
    versus_base: dict[str, Comparison]
    """Part -> student against base; `p_value` is adjusted by Holm's method over the parts."""
    gaps: dict[str, str]
    """Model -> why questions of it are missing."""
    examples: dict[str, tuple[str, ...]] = {}
    """Model -> some of its failures in a line each."""
    changes: dict[str, dict[str, Comparison]] = {}
    """Part -> model -> its cases changed against the same cases unchanged; p-values adjusted."""
    notes: tuple[str, ...] = ()
    """What to know about its numbers."""
    silent: dict[str, dict[str, Silence]] = {}
    """Part -> model -> the turns in which it should not have called; not part of the score."""


class Breakdowns(Frozen):
    """Call accuracy in parts: part -> model -> share."""

    by_kind: dict[str, dict[str, Share]]
    """Cases, by what they exercise."""
    by_tool: dict[str, dict[str, Share]]
    """Expected calls, by tool."""
    kind_tests: dict[str, KindTest] = {}
    """Student against base, kind by kind."""
    confusion: dict[str, dict[str, dict[str, int]]] = {}
    """Model -> expected tool -> called tool -> calls; `` stands for none."""


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

    version: int = 3
    name: str
    created_at: str
    complete: bool
    """Whether every model answered every case it was asked; a gate must refuse a report that is
    not."""
    gaps: dict[str, str]
    """Model -> why cases of it are missing."""
    verdict: str
    """One sentence: is the student better than its base?"""
    decision: Decision
    gate: tuple[GateCheck, ...] = ()
    warnings: tuple[str, ...] = ()
    """What looks like a fault of the serving rather than of the model."""
    cases: int
    families: int = 0
    cases_hash: str
    toolset: str
    toolset_hash: str
    dataset_hash: str | None
    weights_hash: str | None
    """Of what training wrote: an adapter, or a whole model."""
    models: dict[str, ModelReport]
    student_vs_base: Comparison | None
    student_vs_teacher: Comparison | None
    comparisons: dict[str, Comparison] = {}
    """`student/prompted`, `prompted/teacher`, ...: the first against the second."""
    gap_closed: Gap | None = None
    break_even: BreakEven | None = None
    suites: tuple[SuiteReport, ...] = ()
    breakdowns: Breakdowns
    examples: tuple[WorkedExample, ...]
    outcomes: dict[str, dict[str, str]] = {}
    """Model -> case -> `ok` or the code of its failure; what `distill compare` pairs."""
    family_of: dict[str, str] = {}
    """Case -> family."""
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
