"""Rounds of requests: ask, judge, ask again for what was refused; then write the file.

Everything is asked for once; what is not filled then is asked for a second time. Then the values
that were prescribed are waived: what was refused for them is taken, and the rest asked for a third
time. The tasks file is written whole from the store whenever
a run ends, however it ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from distill.collect.authoring.bench import Bench, fresh_start
from distill.collect.authoring.coverage import Coverage, cover
from distill.collect.authoring.harvest import Harvest, harvest
from distill.collect.authoring.orders import PERSONAS, Order, draw_orders
from distill.collect.authoring.requests import MOST_STEPS, requests, with_intake
from distill.collect.estimate import Estimate, Load, estimate
from distill.collect.plan import Episode, Plan, check_money_and_terms, common_settings
from distill.collect.runner import collect
from distill.collect.status import Status
from distill.config import Config, GenerateConfig
from distill.errors import StoreError, TaskError, ToolSetError
from distill.teachers import cost_usd, teacher_identity
from distill.teachers.estimate import request_bytes
from distill.toolsets import LoadedToolSet, load_toolset
from distill.toolsets.generation import SHARES
from distill.traces import TraceStore, episode_key
from distill.types import SystemMessage, Task, Usage, UserMessage

ROUNDS = 3
STRETCH = 4
"""Batches that are brought to their end before the next ones count."""
OUTPUT = "generated.jsonl"
_CALLS = (2, 6)
_TASK_TOKENS = (120, 400)
"""Output tokens of a draft, corrections included."""
_BYTES_PER_TOKEN = (4.5, 2.5)


@dataclass
class Authoring:
    """A list of tasks that is being written."""

    config: Config
    """As the requests see it: a store, a budget and limits of their own."""
    loaded: LoadedToolSet
    orders: Sequence[Order]
    bench: Bench
    author: LoadedToolSet
    """The tool set that the teacher works with."""
    output: Path
    asked: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Key of a request -> the stretch of orders it belongs to, the attempt."""

    @property
    def settings(self) -> GenerateConfig:
        """What the config says of it."""
        return self.config.tasks.generate

    def plan(self, attempt: int) -> Plan:
        """Return the requests for what is still missing; an attempt builds on those before it."""
        if attempt == ROUNDS - 1:
            self._relax()
        filled = self.harvest().tasks if attempt else {}
        wanted = [one for one in self.bench.orders.values() if one.id not in filled]
        episodes = []
        for number, stretch in enumerate(self._stretches()):
            for episode in self._episodes([o for o in wanted if o.id in stretch], attempt):
                self.asked[episode.key] = (number, attempt)
                episodes.append(episode)
        settings = common_settings(self.config, self.author.toolset)
        return Plan(self.author, tuple(episodes), settings)

    def _relax(self) -> None:
        """Prescribe no values any more where none came: some drafts will do as they are."""
        filled = self.harvest().tasks
        self.bench.orders = {
            name: order if name in filled else order.model_copy(update={"points": ()})
            for name, order in self.bench.orders.items()
        }

    def _stretches(self) -> list[set[str]]:
        """Orders that are asked for again together: so a higher count changes none of them."""
        size, ids = STRETCH * self.settings.batch, [order.id for order in self.orders]
        return [set(ids[start : start + size]) for start in range(0, len(ids), size)]

    def _episodes(self, orders: Sequence[Order], attempt: int) -> list[Episode]:
        toolset, setups = self.author.toolset, self.settings.setups
        identity = teacher_identity(self.config.teacher)
        tasks = requests(orders, toolset.name, self.settings.batch, attempt, setups)
        keys = (episode_key(task, toolset.hash, identity, attempt) for task in tasks)
        return [Episode(key, task, attempt) for key, task in zip(keys, tasks, strict=True)]

    def harvest(self) -> Harvest:
        """Return what the requests so far have given."""
        try:
            with TraceStore.open(self.config.store_url) as store:
                traces = {trace.key: trace for trace in store.traces() if trace.key in self.asked}
        except StoreError:  # nothing was asked yet
            traces = {}
        in_order = sorted(self.asked, key=lambda key: self.asked[key])  # keeps that of requests
        return harvest(traces, in_order, self.bench, self.settings.near_duplicates)

    def estimate(self) -> Estimate:
        """Return what the first round takes; nothing is sent."""
        return estimate(self.config, self.plan(0), guess=_guess)

    def next_step(self, config: Path) -> str:
        """Return what to do with the tasks file: nothing, when the config reads it already."""
        path = self.config.tasks.path
        named = self.config.path(path) if path else self.loaded.tasks_path
        if named and named.resolve() == self.output.resolve():
            return f"distill collect {config}"
        return f"set tasks.path to {str(self.output)!r} in {config}, then distill check {config}"

    def save(self, found: Harvest) -> Coverage:
        """Write the tasks, and beside them what they cover and why others were refused."""
        tasks = [found.tasks[order.id] for order in self.orders if order.id in found.tasks]
        coverage = cover(tasks, self.loaded.toolset)
        rows = [t.model_dump(mode="json", exclude_defaults=True) for t in tasks]
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        _replace(self.output, "".join(lines))
        report = {
            "orders": len(self.orders),
            **coverage.as_json(),
            "refused": {str(reason): n for reason, n in sorted(found.refused.items())},
            "refused_examples": {str(reason): list(e) for reason, e in found.examples.items()},
            "teacher": teacher_identity(self.config.teacher),
            "terms": self.config.teacher.terms,
        }
        _replace(report_path(self.output), json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        return coverage


def prepare(config: Config, output: Path | None = None) -> Authoring:
    """Draw the orders of a config and check all that can be wrong before anything is paid for.

    Args:
        config: The distillation.
        output: The tasks file; None: `tasks.path` where it is a .jsonl, else `generated.jsonl` in
            the folder of the tool set.

    Raises:
        ConfigError: Budget without a price, or a hosted teacher without terms.
        ToolSetError: The tool set cannot be loaded, or its calls cannot be executed.
        TaskError: The output is not ours to write, or an environment refuses a setup.
    """
    config = _own(config)
    settings = config.tasks.generate
    check_money_and_terms(config)
    loaded = load_toolset(config.toolset_dir)
    execute = loaded.session is None if settings.execute is None else settings.execute
    if execute and loaded.simulation is not None:
        raise ToolSetError("tasks.generate.execute: simulated tools cannot be tried; leave it out")
    if execute:
        for setup in settings.setups:
            fresh_start(loaded, setup)
    orders = draw_orders(
        loaded.toolset,
        settings.kinds or SHARES,
        settings.count,
        settings.seed,
        settings.personas or PERSONAS,
    )
    setups = settings.setups
    orders = [
        order.model_copy(update={"setup": setups[n // settings.batch % len(setups)]})
        for n, order in enumerate(orders)
    ]
    bench = Bench(loaded, {order.id: order for order in orders}, execute)
    path = output or _default_output(config, loaded)
    _check_output(path)
    return Authoring(config, loaded, orders, bench, with_intake(loaded, bench), path)


async def write(
    job: Authoring, watch: Callable[[Status], AbstractAsyncContextManager[None]]
) -> list[Status]:
    """Ask for every order, round by round; return the state of each round.

    Args:
        job: What is to be written.
        watch: Shows a round while it runs.

    Raises:
        DistillError: The run was stopped by a fault; everything finished is stored.
    """
    rounds: list[Status] = []
    for attempt in range(ROUNDS):
        plan = job.plan(attempt)
        if not plan.episodes:
            break
        rounds.append(Status())
        async with watch(rounds[-1]):
            await collect(job.config, plan, rounds[-1])
        if rounds[-1].notice is not None:
            break
    return rounds


def report_path(output: Path) -> Path:
    """Return where the coverage of a tasks file is written."""
    return output.with_name(f"{output.stem}.coverage.json")


def _own(config: Config) -> Config:
    """Return the config with the store, the budget and the limits that requests have."""
    settings = config.tasks.generate
    own = {
        "store": f"traces/{config.name}-tasks.db",
        "budget_usd": settings.budget_usd,
        "max_steps": MOST_STEPS,
        "user": None,
        "simulator": None,
    }
    longest = {"max_tokens": settings.max_tokens}
    return config.model_copy(
        update={
            "collect": config.collect.model_copy(update=own),
            "teacher": config.teacher.model_copy(update=longest),
        }
    )


def _default_output(config: Config, loaded: LoadedToolSet) -> Path:
    path = config.tasks.path
    return config.path(path) if path and path.endswith(".jsonl") else loaded.folder / OUTPUT


def _check_output(path: Path) -> None:
    """A file somebody else has written tasks into is not overwritten."""
    if not path.exists():
        return
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]
        ours = all(str(row["family"]).startswith("generated/") for row in rows)
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise TaskError(
            f"{str(path)!r} holds tasks that were not written by this command; "
            f"name another file with --out"
        )


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _guess(config: Config, plan: Plan, owed: Sequence[Episode], high: bool) -> Load:
    """A request is read once for every call; its drafts are written once, or corrected."""
    toolset = plan.loaded.toolset
    prefix = request_bytes((SystemMessage(content=toolset.system or ""),), toolset.tools)
    return sum((_request(config, episode.task, prefix, high) for episode in owed), Load())


def _request(config: Config, task: Task, prefix: int, high: bool) -> Load:
    calls, output = _CALLS[high], _TASK_TOKENS[high] * config.tasks.generate.batch
    said = request_bytes((UserMessage(content=task.turns[0].content),), ())
    fixed = prefix / _BYTES_PER_TOKEN[high] * calls
    history = said / _BYTES_PER_TOKEN[high] * calls + output * (calls - 1)
    cached = 0.0 if high else fixed
    usage = Usage(
        input_tokens=round(fixed + history), cached_tokens=round(cached), output_tokens=output
    )
    usd = cost_usd(config.teacher.model, usage, config.teacher.price)
    return Load(calls, fixed + history - cached, cached, output=output, usd=usd)
