"""The configuration of one distillation: a YAML file that every command takes.

Paths are relative to the workspace, the folder that holds `configs/` (or the config's own folder
when it does not lie in one). Most are never written: the store, the data set, the run and the
results are named after the config.

    name: shop
    toolset: tools/retail
    teacher: {provider: openai_chat, model: Qwen/Qwen3-32B, base_url: http://127.0.0.1:8000/v1}
    student: {base: Qwen/Qwen2.5-7B-Instruct}

An unknown key, a missing one or a bad value is refused by name, file and line. The attribute
docstrings below are the reference of every key (`docs/config.md` is generated from them).
"""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from distill.errors import ConfigError
from distill.types import Kind


class Section(BaseModel):
    """Base of every section: immutable, unknown keys refused, described by its docstrings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Prices(Section):
    """Dollars per million tokens, where the bundled table has none or you pay another price."""

    input: float = Field(ge=0)
    """Fresh input tokens."""
    output: float = Field(ge=0)
    """Output tokens, reasoning included."""
    cached: float | None = Field(default=None, ge=0)
    """Input tokens read from the provider's cache; the price of `input` when left out."""
    cache_write: float | None = Field(default=None, ge=0)
    """Input tokens written to the cache; the price of `input` when left out."""


class VariantsConfig(Section):
    """Tasks derived from the tool set's own, each a share of their number, on top of them."""

    tool_removed: float = Field(default=0, ge=0, le=1)
    """The tools a right answer calls are not offered: say that no tool fits."""
    value_hidden: float = Field(default=0, ge=0, le=1)
    """A required value is taken out of the request: ask for it."""
    near_miss: float = Field(default=0, ge=0, le=1)
    """A tool that sounds like the needed one is offered too."""
    shuffled: float = Field(default=0, ge=0, le=1)
    """The tools come in another order."""
    fails_once: float = Field(default=0, ge=0, le=1)
    """The needed tool fails once: call it again."""
    fails_always: float = Field(default=0, ge=0, le=1)
    """The needed tool fails every time: report it."""
    out_of_scope: float = Field(default=0, ge=0, le=1)
    """Another request, which no tool is for."""


class GenerateConfig(Section):
    """How the teacher writes tasks (`distill tasks generate`)."""

    count: int = Field(default=200, ge=1)
    """How many tasks are asked for; with a higher number later, what was written is kept."""
    seed: int = 0
    """Seed of what is asked for."""
    kinds: dict[Kind, float] = {}
    """Kind -> share of the tasks; a usual mix when left out."""
    personas: tuple[str, ...] = ()
    """Who asks; a list of its own when left out."""
    setups: tuple[dict[str, Any], ...] = Field(default=({},), min_length=1)
    """Keywords of the tool set's `Environment` that tasks start from, taken in turn."""
    batch: int = Field(default=5, ge=1, le=50)
    """Tasks written in one request."""
    max_tokens: int = Field(default=6000, ge=256)
    """Most output tokens of one answer, in place of `teacher.max_tokens`."""
    near_duplicates: float = Field(default=0.7, gt=0, le=1)
    """Similarity (Jaccard, of three-word runs) from which a request is a near-duplicate."""
    execute: bool | None = None
    """Let the teacher try the tools while it writes, and refuse tasks whose calls fail. Left out:
    only where tools are written in Python, so that no API or server is called."""
    budget_usd: float | None = Field(default=None, gt=0)
    """Spend limit of writing tasks; apart from `collect.budget_usd`."""

    @model_validator(mode="after")
    def _shares_are_positive(self) -> GenerateConfig:
        shares = self.kinds.values()
        if shares and (min(shares) < 0 or not any(shares)):
            raise ValueError("the shares of kinds must not be negative, nor all zero")
        return self


class TasksConfig(Section):
    """Which tasks are collected."""

    path: str | None = None
    """A tasks.jsonl or a tasks.py with `generate(seed, count)`; the tool set's own when left
    out."""
    count: int = Field(default=1000, ge=1)
    """How many tasks a generator makes, or at most how many are read from a file."""
    seed: int = 0
    """Seed of the generator."""
    variants: VariantsConfig = VariantsConfig()
    """Tasks derived from these."""
    generate: GenerateConfig = GenerateConfig()
    """How the teacher writes tasks."""


class LimitsConfig(Section):
    """The rate limits of your account, per minute, where you know them."""

    requests: float | None = Field(default=None, gt=0)
    """Calls; on average no more are started. Left out, the limit is found by being refused."""
    input_tokens: float | None = Field(default=None, gt=0)
    """Input tokens, those read from a cache not counted; only estimates the time."""
    output_tokens: float | None = Field(default=None, gt=0)
    """Output tokens; only estimates the time."""


class TeacherConfig(Section):
    """The model that demonstrates, behind an API."""

    provider: Literal["anthropic", "openai", "openai_chat"]
    """anthropic: Messages; openai: Responses; openai_chat: any server that speaks Chat
    Completions."""
    model: str
    """Model name as the provider spells it."""
    base_url: str | None = None
    """Endpoint; the provider's own when left out. Required for openai_chat."""
    api_key_env: str | None = None
    """Environment variable that holds the key (never the key itself)."""
    terms: str | None = None
    """Why you may train on this model's outputs, in your words. Required for hosted providers;
    stored on every trace and in the cards."""
    max_tokens: int = Field(default=2048, ge=16)
    """Most output tokens of one turn."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature, where the model takes one."""
    timeout_s: float = Field(default=120, gt=0)
    """Seconds before one request is given up and retried."""
    extra: dict[str, Any] = {}
    """Further request fields, passed as they are (reasoning effort, thinking, provider routing)."""
    price: Prices | None = None
    """Overrides the bundled price table."""
    limits: LimitsConfig = LimitsConfig()
    """Rate limits of your account."""


class JudgeConfig(TeacherConfig):
    """A model that reads what the other checks have kept, if it finds the errors planted for it.

    Its calls are in the store's ledger and under `collect.budget_usd`.
    """

    scope: Literal["all", "unexpected"] = "all"
    """What it reads: all kept traces, or those whose task does not say what is right."""
    calibration: int = Field(default=100, ge=20)
    """Errors planted to find out what it is worth, each beside the right answer."""
    min_precision: float = Field(default=0.8, ge=0, le=1)
    """Least precision on planted errors, by the lower end of its 95% interval; below it the judge
    is not used."""
    min_recall: float = Field(default=0.5, ge=0, le=1)
    """Least recall on them, in the same way."""
    concurrency: int = Field(default=16, ge=1)
    """Most calls in flight."""


class CollectConfig(Section):
    """How episodes are run and stored."""

    store: str | None = None
    """Trace store: a path, or an SQLAlchemy URL; traces/<name>.db when left out."""
    samples: int = Field(default=1, ge=1)
    """Episodes per task."""
    concurrency: int = Field(default=16, ge=1)
    """Most episodes in flight."""
    max_steps: int = Field(default=12, ge=1)
    """Most assistant turns of one episode; one that needs more ends as turn_limit."""
    tool_timeout_s: float = Field(default=30, gt=0)
    """Seconds before a tool call is reported to the model as timed out."""
    user: TeacherConfig | None = None
    """The model that plays the simulated user of tasks that have one: settings as of a teacher,
    with a price of its own, on the same budget."""
    simulator: TeacherConfig | None = None
    """The model behind the tools of a simulated tool set, likewise."""
    budget_usd: float | None = Field(default=None, gt=0)
    """Spend limit of this store, all runs and processes together: the worst case of a call is
    put aside before it is sent, and no call is sent that could pass the limit."""
    batch: bool = False
    """Send calls through the provider's batch API, at half the price and with answers within a
    day: one batch holds the next turn of every open episode."""
    batch_size: int = Field(default=1000, ge=1)
    """With batch: most episodes open at once, in place of concurrency."""


class SplitConfig(Section):
    """Shares of the three splits."""

    train: float = Field(default=0.8, gt=0, lt=1)
    """Share of the tasks trained on; families stay whole."""
    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share for validation loss."""
    test: float = Field(default=0.1, gt=0, lt=1)
    """Share held out for `distill eval`."""
    seed: int = 0
    """Seed of the assignment of families."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitConfig:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("train + validation + test must be 1")
        return self


class RenamesConfig(Section):
    """What was renamed in the tool set since traces were collected."""

    tools: dict[str, str] = {}
    """Old name of a tool -> its name now."""
    parameters: dict[str, dict[str, str]] = {}
    """Tool (its name now) -> old name of a parameter -> its name now."""


class AugmentConfig(Section):
    """Changes to the tools that training rows offer, so that a student reads them."""

    mask_names: float = Field(default=0, ge=0, le=1)
    """Share of rows in which tools and parameters bear meaningless names (Hammer)."""
    shuffle_tools: bool = False
    """Offer the tools in another order in every row."""
    distractors: int = Field(default=0, ge=0)
    """Offer so many tools of the workspace's other tool sets besides."""


class FilterConfig(Section):
    """How traces become a data set."""

    output: str | None = None
    """Folder of the data set; traces/<name> when left out."""
    split: SplitConfig = SplitConfig()
    """Shares of train, validation and test."""
    drop_kinds: tuple[Kind, ...] = ()
    """Kinds of task left out of the data set."""
    grounding: bool = True
    """Drop calls with invented arguments, where no expectation says what is right."""
    agreement: float = Field(default=0.6, ge=0, le=1)
    """With several samples of a task without expectations: the least share of them that must make
    the same calls; rows weigh as much as their share."""
    near_duplicates: float | None = Field(default=0.9, gt=0, le=1)
    """Similarity (Jaccard, of three-word runs) from which conversations are near-duplicates; null:
    keep them."""
    secrets: Literal["drop", "mask", "keep"] = "drop"
    """What is done about keys and tokens in a trace."""
    personal: Literal["drop", "mask", "keep"] = "keep"
    """What is done about e-mail addresses, telephone and card numbers."""
    renames: RenamesConfig | None = None
    """Use traces collected before these renames; without it, and where more has changed, traces
    of another tool set are dropped."""
    replay: bool = False
    """Execute every call again and drop traces whose results differ; only for tools without side
    effects outside their environment."""
    judge: JudgeConfig | None = None
    """Let a model judge what the checks cannot: costs money (`distill filter --dry-run`)."""
    mix: dict[Kind, float] = {}
    """Wanted share of kinds among the training rows; other kinds share the rest. Kinds in excess
    are thinned, to half of all rows at most."""
    tool_rows: int | None = Field(default=None, ge=1)
    """Most training rows that call one tool; a row that also calls a rarer one stays. No limit when
    left out."""
    augment: AugmentConfig = AugmentConfig()
    """Changes to the tools that training rows offer."""

    @model_validator(mode="after")
    def _at_most_one(self) -> FilterConfig:
        if any(share < 0 for share in self.mix.values()) or sum(self.mix.values()) > 1 + 1e-6:
            raise ValueError("the shares of mix must not be negative or sum to more than 1")
        return self


class ReviewConfig(Section):
    """How a person audits the data set."""

    sample: int = Field(default=100, ge=1)
    """How many rows are drawn for review, each kind with its share of the data set."""
    seed: int = 0
    """Seed of the draw."""
    limit: float = Field(default=0.05, gt=0, lt=1)
    """Largest acceptable error rate; the audit passes when the 95% interval lies below."""
    disputed: int = Field(default=20, ge=0)
    """So many rows whose samples disagree are reviewed first; they count by their share of the data
    set. 0: such rows are drawn as all others."""


class StudentConfig(Section):
    """The model that learns."""

    base: str = "Qwen/Qwen2.5-7B-Instruct"
    """Base model: a hub id or a folder."""
    revision: str | None = None
    """Commit of the hub model."""
    family: str | None = None
    """Model family (`qwen2.5`, `qwen3`, `llama3.1`, `mistral`); recognised from the base when
    left out."""
    parser: str | None = None
    """vLLM tool parser; the family's when left out."""
    template: str | None = None
    """Chat template file; the base's own when left out."""


class Recipe(NamedTuple):
    """What training does with a data set of a known size."""

    rank: int
    """Of the adapter; 0: there is none."""
    epochs: float
    learning_rate: float
    """At its peak."""
    steps: int

    def in_words(self, method: str) -> str:
        """Say what is done, and by which method."""
        what = f"{method}, rank {self.rank}" if self.rank else "full fine-tuning"
        return (
            f"{what}, {self.epochs:g} epochs in {self.steps} steps, "
            f"learning rate {self.learning_rate:g}"
        )


class TrainConfig(Section):
    """How the student is tuned."""

    output: str | None = None
    """Folder of the run; runs/<name> when left out."""
    method: Literal["lora", "qlora", "full"] = "lora"
    """lora: an adapter on all linear layers; qlora: the same with the base held in 4 bits (nf4),
    for a GPU too small for it; full: every weight, which needs 16 bytes a weight and is served as
    a model of its own."""
    objective: Literal["sft", "dpo", "kto"] = "sft"
    """sft: imitate the teacher's turns; dpo: prefer the right answer of each pair in pairs.jsonl to
    the wrong one; kto: the same answers, each judged alone. The reference of dpo and kto is the
    base: to continue from a tuned student, merge it and set student.base to the merged folder."""
    beta: float = Field(default=0.1, gt=0)
    """How strongly dpo and kto hold the student to the reference."""
    rank: int | None = Field(default=None, ge=1)
    """LoRA rank; by the number of training examples when left out: 16 below 1,000, 32 up to
    10,000, else 64."""
    alpha: float = Field(default=32, gt=0)
    """LoRA alpha."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate; when left out 2e-5 for dpo, kto and full fine-tuning, ten times that for
    an adapter, and fifteen times where it has less than 100 steps."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the training examples; by their number when left out: 4 below 500, 3 up to
    5,000, 2 up to 20,000, else 1."""
    batch_size: int = Field(default=16, ge=1)
    """Examples per optimizer step."""
    warmup_ratio: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps over which the learning rate rises."""
    max_length: int = Field(default=8192, ge=128)
    """Longest example in tokens; longer ones are named, dropped and counted, never cut."""
    row_tokens: int | None = Field(default=None, ge=128)
    """Most distinct tokens in one forward pass; what fits the GPU's memory when left out."""
    shard: bool | None = None
    """Share the base out over the GPUs of `torchrun` (lora); when left out, only where it does not
    fit one of them."""
    evals: int = Field(default=4, ge=0)
    """How often validation is measured and a checkpoint kept; the best one becomes the adapter."""
    eval_turns: int = Field(default=48, ge=0)
    """Validation turns answered greedily each time: the best checkpoint is the one that answers
    most of them as the teacher did; 0: the one with the lowest loss."""
    patience: int | None = Field(default=None, ge=1)
    """Stop when so many validations in a row brought nothing better; never when left out."""
    seed: int = 0
    """Seed of initialisation and of the order of examples."""
    track: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Experiment trackers that get loss, validation and tokens of every step too. TensorBoard's
    files are in the run's folder; where the others are, their own environment variables say
    (WANDB_MODE, WANDB_PROJECT, MLFLOW_TRACKING_URI, ...)."""

    @model_validator(mode="after")
    def _has_a_reference(self) -> Self:
        if self.method == "full" and self.objective != "sft":
            raise ValueError(
                f"objective {self.objective!r} compares with the model without its adapter, which "
                "method 'full' does not have; set method to lora or qlora"
            )
        return self

    def recipe(self, examples: int) -> Recipe:
        """Return rank, epochs and learning rate for a data set of so many training examples."""
        rank = self.rank or (16 if examples < 1000 else 32 if examples <= 10_000 else 64)
        few, many = examples < 500, examples > 20_000
        epochs = self.epochs or (4 if few else 1 if many else 3 if examples <= 5000 else 2)
        steps = math.ceil(epochs * math.ceil(examples / self.batch_size))
        rate = 2e-5
        if self.method != "full" and self.objective == "sft":
            rate = 3e-4 if steps < 100 else 2e-4
        rank = 0 if self.method == "full" else rank
        return Recipe(rank, epochs, self.learning_rate or rate, steps)


class ServeConfig(Section):
    """How vLLM serves the student."""

    host: str = "127.0.0.1"
    """Address to listen on; any but loopback needs `api_key_env`."""
    port: int = Field(default=8000, ge=1, le=65535)
    """Port to listen on."""
    api_key_env: str | None = None
    """Environment variable that holds the key clients must send; nothing is asked for when left
    out."""
    max_model_len: int = Field(default=8192, ge=128)
    """Longest prompt plus answer in tokens; never more than the base has positions."""
    replicas: int = Field(default=1, ge=1)
    """Copies of the model, one GPU each; vLLM spreads the requests over them."""
    quantize: Literal["fp8"] | None = None
    """Quantise the base's linear layers while loading; on GPUs."""
    constrain: bool = False
    """Hold every call to its tool's schema while it is generated, where the parser has a
    grammar."""
    on_invalid: tuple[Literal["retry", "escalate"], ...] = ()
    """What is done about an answer whose call violates its schema, in this order: ask the student
    once more, ask the teacher. Such an answer is marked when nothing helps, or this is left out."""
    keep: bool = True
    """Keep requests that the student failed at, and the teacher's answers to them, as traces."""
    budget_usd: float | None = Field(default=None, gt=0)
    """Most that the teacher's answers in the student's place may cost, counted in the store of
    kept traces as `collect.budget_usd` is; the teacher is not asked where it could be passed."""
    store: str | None = None
    """Trace store of those: a path, or an SQLAlchemy URL; served.db in the run's folder when left
    out."""
    timeout_s: float = Field(default=600, gt=0)
    """Seconds of silence after which vLLM is given up on."""
    vllm_args: tuple[str, ...] = ()
    """Further `vllm serve` arguments, passed as they are."""


class GateConfig(Section):
    """Thresholds of `distill eval --gate`; what is left out is not checked. Shares are 0 to 1."""

    better_than_base: bool = True
    """The student must be better than its base (exact test, p < 0.05)."""
    no_worse_kind: bool = True
    """No kind of task may have become significantly worse than with the base (Holm)."""
    call_accuracy: float | None = Field(default=None, ge=0, le=1)
    """Least share of right cases."""
    gap_closed: float | None = None
    """Least share of the way from base to teacher."""
    abstention_f1: float | None = Field(default=None, ge=0, le=1)
    """Least F1 of making no call where none is due."""
    hallucinated_tool: float | None = Field(default=None, ge=0, le=1)
    """Largest share of calls of a tool that does not exist."""
    hallucinated_argument: float | None = Field(default=None, ge=0, le=1)
    """Largest share of calls with an argument the tool does not have."""
    parse_failure: float | None = Field(default=None, ge=0, le=1)
    """Largest share of turns with a call that does not parse."""
    truncation: float | None = Field(default=None, ge=0, le=1)
    """Largest share of cases cut off by the token limit."""
    p95_s: float | None = Field(default=None, gt=0)
    """Longest 95th percentile of a request, in seconds."""


class EvalConfig(Section):
    """How base, student and teacher are compared."""

    cases: str | None = None
    """Cases file; the held-out split of the data set (cases.jsonl) when left out."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many cases."""
    concurrency: int = Field(default=16, ge=1)
    """Cases in flight."""
    max_tokens: int = Field(default=512, ge=16)
    """Most output tokens of one turn."""
    teacher: Literal["stored", "live", "none"] = "stored"
    """stored: score the traces collected for these cases (no cost); live: ask again; none: leave
    it out."""
    few_shot: int = Field(default=0, ge=0)
    """Training examples put before each conversation of one more column, the base so prompted."""
    constrained: bool = False
    """One more column: the base with calls held to the tools' schemas by the server's decoder."""
    trials: int = Field(default=1, ge=1)
    """Answers per case and model; more than one measures pass^k and self-agreement."""
    temperature: float = Field(default=0, ge=0, le=2)
    """Sampling temperature of base and student."""
    margin: float = Field(default=0.05, ge=0, lt=1)
    """How far below the teacher still counts as reaching it, in the verdict."""
    gpu_usd_hour: float | None = Field(default=None, gt=0)
    """What an hour of the machine that trains and serves costs; without it no costs of the
    student are shown."""
    files: dict[str, str] = {}
    """Suite -> file or folder, for the suites whose data you bring (`distill eval --suites`)."""
    gate: GateConfig = GateConfig()
    """What `--gate` checks."""
    track: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Experiment trackers that get the results too; where they are, their own environment
    variables say (WANDB_MODE, WANDB_PROJECT, MLFLOW_TRACKING_URI, ...)."""

    @model_validator(mode="after")
    def _trials_differ(self) -> EvalConfig:
        if self.trials > 1 and self.temperature == 0:
            raise ValueError("trials above 1 need a temperature above 0: greedy answers repeat")
        return self


class Config(Section):
    """One distillation."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    """Names the store, the data set, the run and the results."""
    toolset: str
    """Folder of the tool set."""
    tasks: TasksConfig = TasksConfig()
    teacher: TeacherConfig
    collect: CollectConfig = CollectConfig()
    filter: FilterConfig = FilterConfig()
    review: ReviewConfig = ReviewConfig()
    student: StudentConfig = StudentConfig()
    train: TrainConfig = TrainConfig()
    serve: ServeConfig = ServeConfig()
    eval: EvalConfig = EvalConfig()

    _workspace: Path = PrivateAttr(default=Path())
    _source: Path | None = PrivateAttr(default=None)

    @property
    def workspace(self) -> Path:
        """The folder that relative paths start from."""
        return self._workspace

    @property
    def source(self) -> Path | None:
        """The file this was read from."""
        return self._source

    def path(self, value: str) -> Path:
        """Resolve a path written in the config."""
        return (self._workspace / Path(value).expanduser()).resolve()

    @property
    def toolset_dir(self) -> Path:
        """Folder of the tool set."""
        return self.path(self.toolset)

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the trace store."""
        store = self.collect.store or f"traces/{self.name}.db"
        return store if "://" in store else f"sqlite:///{self.path(store)}"

    @property
    def dataset_dir(self) -> Path:
        """Folder of the data set that `filter` writes and `train` reads."""
        return self.path(self.filter.output or f"traces/{self.name}")

    @property
    def run_dir(self) -> Path:
        """Folder of the training run, the adapter in it."""
        return self.path(self.train.output or f"runs/{self.name}")

    @property
    def results_dir(self) -> Path:
        """Folder of the evaluation results."""
        return self.path(f"eval/results/{self.name}")

    @property
    def cases_path(self) -> Path:
        """File of the evaluation cases."""
        return self.path(self.eval.cases) if self.eval.cases else self.dataset_dir / "cases.jsonl"

    @property
    def base_model(self) -> str:
        """The base as a loader takes it: an existing folder's absolute path, else the hub id."""
        folder = self.path(self.student.base)
        return str(folder) if folder.is_dir() else self.student.base


# --- reading ----------------------------------------------------------------------------------


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a config file and apply `a.b=value` overrides.

    Raises:
        ConfigError: The file is missing or not YAML, or a key or value is wrong.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "run `distill init DIR` to make a workspace"
        raise ConfigError(f"cannot read config {str(path)!r}: {error}; {hint}") from error
    data, lines = _parse(text, source)
    for override in overrides or []:
        _apply(data, lines, override)
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, data, lines, source)) from None
    folder = source.resolve().parent
    config._workspace = folder.parent if folder.name == "configs" else folder
    config._source = source
    return config


Lines: TypeAlias = dict[tuple[str | int, ...], str]


def _parse(text: str, source: Path) -> tuple[dict[str, Any], Lines]:
    """Return the mapping and, for each key path in it, the `file:line` it stands at."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else str(source)
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ConfigError(f"{where}: not valid YAML: {problem}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: a config is a mapping of keys, this is {data!r}")
    lines: Lines = {}
    _locate(node, (), lines, source)
    return data, lines


def _locate(node: Any, path: tuple[str | int, ...], lines: Lines, source: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, key.value)
            if here in lines:
                raise ConfigError(
                    f"{source}:{key.start_mark.line + 1}: key {key.value!r} stands here twice"
                )
            lines[here] = f"{source}:{key.start_mark.line + 1}"
            _locate(value, here, lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = f"{source}:{value.start_mark.line + 1}"
            _locate(value, (*path, index), lines, source)


def _apply(data: dict[str, Any], lines: Lines, override: str) -> None:
    key, equals, raw = override.partition("=")
    parts = tuple(key.split("."))
    if not equals or not all(parts):
        raise ConfigError(f"--set {override!r}: write it as section.key=value")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML") from error
    target = data
    for depth, part in enumerate(parts[:-1], 1):
        inner = target.get(part)
        if inner is None:
            inner = target[part] = {}
        if not isinstance(inner, dict):
            name = ".".join(parts[:depth])
            raise ConfigError(f"--set {override!r}: {name!r} has no keys below it")
        target = inner
    target[parts[-1]] = value
    lines[parts] = f"--set {override}"


def _explain(error: ValidationError, data: dict[str, Any], lines: Lines, source: Path) -> str:
    """Turn the first validation error into one line: where, what, value, what to do."""
    first = error.errors(include_url=False)[0]
    loc = tuple(first["loc"])
    name = ".".join(str(part) for part in loc) or "config"
    where = next((lines[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in lines), str(source))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(loc[:-1])
        close = difflib.get_close_matches(str(loc[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        return f"{where}: unknown key {name!r}; {hint}{more}"
    if first["type"] == "missing":
        return f"{where}: key {name!r} is missing{more}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {name}: {message}, got {first['input']!r}{more}"


def _known_keys(loc: tuple[str | int, ...]) -> list[str]:
    model: Any = Config
    for part in loc:
        annotation = model.model_fields[str(part)].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return sorted(model.model_fields)
