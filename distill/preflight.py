"""Everything that can be wrong with a distillation before money or GPU time is spent.

Reads files and the environment, never the network: what only the hub or an endpoint could tell is
reported as unchecked. Each area yields findings; a fault in one does not hide the others.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from distill.config import Config, JudgeConfig
from distill.errors import DistillError
from distill.judge import Range, most_judging
from distill.student.base import find_base, load_tokenizer
from distill.student.families import family_of
from distill.teachers import is_hosted, price_of
from distill.toolsets import LoadedToolSet, configured_tasks, load_toolset
from distill.trackers import check_trackers
from distill.types import Kind, SystemMessage, Task, ToolSet, UserMessage

MINIMUM_FREE_GB = 1.0
"""Below this, a store or a checkpoint may not fit."""
USEFUL_TASKS = 500
"""Fewer tasks than this rarely teach tool calling."""
USEFUL_CASES = 200
"""Fewer held-out cases than this leave an interval wider than 14 points."""
NEGATIVES = frozenset({Kind.NO_TOOL, Kind.MISSING, Kind.TOOL_FAILED})


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    UNCHECKED = "unchecked"


class Finding(NamedTuple):
    """What one check found."""

    area: str
    level: Level
    text: str


def inspect(config: Config) -> Iterator[Finding]:
    """Yield the findings on every area of `config`, in the order of the stages."""
    yield Finding("config", Level.OK, str(config.source))
    loaded = None
    try:
        loaded = load_toolset(config.toolset_dir)
    except DistillError as error:
        yield Finding("tool set", Level.FAULT, str(error))
    else:
        yield from _toolset(loaded)
        yield from _tasks(config, loaded)
    yield from _teacher(config)
    if config.filter.judge is not None:
        yield from _judge(config, config.filter.judge, loaded)
    yield from _student(config)
    if loaded and Path(config.base_model).is_dir():
        yield from _prompt(config, loaded)
    yield from _packages()
    yield from _trackers(config)
    yield from _disk(config)


def _toolset(loaded: LoadedToolSet) -> Iterator[Finding]:
    toolset = loaded.toolset
    text = f"{toolset.name}: {len(toolset.tools)} tools, hash {toolset.hash}"
    yield Finding("tool set", Level.OK, text)
    if toolset.system is None:
        yield Finding("tool set", Level.WARNING, "no system prompt in toolset.yaml")
    yield from (Finding("tool set", Level.WARNING, gap) for gap in loaded.gaps)


def _tasks(config: Config, loaded: LoadedToolSet) -> Iterator[Finding]:
    try:
        tasks = configured_tasks(config, loaded)
    except DistillError as error:
        yield Finding("tasks", Level.FAULT, str(error))
        return
    kinds = Counter(task.kind for task in tasks)
    summary = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    yield Finding("tasks", Level.OK, f"{len(tasks)}: {summary}")
    yield from (Finding("tasks", Level.WARNING, text) for text in _gaps(config, loaded, tasks))
    if config.collect.simulator is None and loaded.simulation is not None:
        text = "tools are simulated: set collect.simulator to the model that answers their calls"
        yield Finding("tool set", Level.FAULT, text)
    if config.collect.user is None and any(task.user for task in tasks):
        text = "tasks have a simulated user: set collect.user to the model that plays it"
        yield Finding("tasks", Level.FAULT, text)


def _gaps(config: Config, loaded: LoadedToolSet, tasks: list[Task]) -> Iterator[str]:
    called = {name for task in tasks for name in task.tools}
    expecting = sum(task.expects for task in tasks)
    if expecting and (unused := [t.name for t in loaded.toolset.tools if t.name not in called]):
        yield f"no task expects a call of {', '.join(unused)}"
    if expecting < len(tasks):
        yield f"{len(tasks) - expecting} tasks have no expectation: answers to them are not judged"
    if missing := sorted(NEGATIVES - {task.kind for task in tasks}):
        yield f"no {', '.join(missing)} tasks: a student without them learns to call always"
    if len(tasks) < USEFUL_TASKS:
        yield f"{len(tasks)} tasks are few; {USEFUL_TASKS} to 5,000 is usual for tool calling"
    cases = config.eval.limit or round(len(tasks) * config.filter.split.test)
    if not config.eval.cases and cases < USEFUL_CASES:
        yield f"about {cases} held-out cases; with {USEFUL_CASES} the interval is +-7 points"


def _teacher(config: Config) -> Iterator[Finding]:
    teacher = config.teacher
    yield Finding("teacher", Level.OK, f"{teacher.provider} {teacher.model}")
    if teacher.provider == "openai_chat" and not teacher.base_url:
        yield Finding("teacher", Level.FAULT, "openai_chat needs teacher.base_url")
    if not teacher.terms:
        level = Level.FAULT if is_hosted(config.teacher) else Level.WARNING
        text = "teacher.terms is not set: say why you may train on this model's outputs"
        yield Finding("teacher", level, text)
    if teacher.api_key_env and not os.environ.get(teacher.api_key_env):
        text = f"environment variable {teacher.api_key_env!r} is not set; collect needs it"
        yield Finding("teacher", Level.WARNING, text)
    if teacher.price is None and price_of(teacher.model) is None:
        level = Level.FAULT if config.collect.budget_usd else Level.WARNING
        text = f"no price is known for {teacher.model!r}; set teacher.price {{input, output}}"
        yield Finding("teacher", level, text)


def _judge(config: Config, judge: JudgeConfig, loaded: LoadedToolSet | None) -> Iterator[Finding]:
    yield Finding("judge", Level.OK, f"{judge.provider} {judge.model}")
    if judge.provider == "openai_chat" and not judge.base_url:
        yield Finding("judge", Level.FAULT, "openai_chat needs filter.judge.base_url")
    if judge.api_key_env and not os.environ.get(judge.api_key_env):
        text = f"environment variable {judge.api_key_env!r} is not set; filter needs it"
        yield Finding("judge", Level.WARNING, text)
    if price_of(judge.model, judge.price) is None:
        level = Level.FAULT if config.collect.budget_usd else Level.WARNING
        text = f"no price is known for {judge.model!r}; set filter.judge.price {{input, output}}"
        yield Finding("judge", level, text)
    elif loaded is not None:
        yield from _judging(config, judge, loaded)


def _judging(config: Config, judge: JudgeConfig, loaded: LoadedToolSet) -> Iterator[Finding]:
    """Findings on what the judge may cost, if the checks keep every trace."""
    try:
        tasks = configured_tasks(config, loaded)
    except DistillError:
        return  # reported with the tasks
    found = most_judging(judge, tasks, loaded.toolset, config.collect.samples)
    usd = found.usd or Range(0, 0)
    text = (
        f"at most {found.calls:,} calls, ${usd.low:.4g} to ${usd.high:.4g}; "
        "`distill filter --dry-run` counts them once there are traces"
    )
    yield Finding("judge", Level.OK, text)


def _student(config: Config) -> Iterator[Finding]:
    base = config.base_model
    if not Path(base).is_dir():
        if base.startswith((".", "/", "~")):
            yield Finding("student", Level.FAULT, f"student.base: no folder {base!r}")
            return
        yield Finding("student", Level.UNCHECKED, f"{base}: weights and template are on the hub")
    try:
        family = family_of(config)
    except DistillError as error:
        yield Finding("student", Level.FAULT, str(error))
        return
    parser = config.student.parser or family.parser
    yield Finding("student", Level.OK, f"family {family.name}, tool parser {parser}")


def _prompt(config: Config, loaded: LoadedToolSet) -> Iterator[Finding]:
    """Findings on the template: whether it renders the tool set, and how long that is."""
    if find_spec("transformers") is None:
        text = "the template needs transformers to be rendered: tool-distill[train]"
        yield Finding("student", Level.UNCHECKED, text)
        return
    try:
        tokens = _prompt_tokens(config, loaded.toolset)
    except DistillError as error:
        yield Finding("student", Level.FAULT, str(error))
        return
    limit = min(config.train.max_length, config.serve.max_model_len)
    level = Level.OK if tokens < limit else Level.FAULT
    room = f"of train.max_length and serve.max_model_len, at least {limit:,}"
    yield Finding("student", level, f"system prompt and tools are {tokens:,} tokens ({room})")


def _prompt_tokens(config: Config, toolset: ToolSet) -> int:
    from distill.student.render import Renderer

    base = find_base(config)
    tokenizer = load_tokenizer(base)
    system = [SystemMessage(content=toolset.system)] if toolset.system else []
    tools = [tool.as_function() for tool in toolset.tools]
    renderer = Renderer(tokenizer, base.family)
    prompt = renderer.prompt([*system, UserMessage(content="")], tools)
    return len(tokenizer(prompt, add_special_tokens=False)["input_ids"])


def _packages() -> Iterator[Finding]:
    needs = {"trl": ("train", "train"), "peft": ("train", "train"), "vllm": ("serve", "serve")}
    for package, (command, extra) in needs.items():
        if find_spec(package) is None:
            text = f"{package} is not installed; `distill {command}` needs tool-distill[{extra}]"
            yield Finding("packages", Level.WARNING, text)


def _trackers(config: Config) -> Iterator[Finding]:
    for setting, names in (("train.track", config.train.track), ("eval.track", config.eval.track)):
        try:
            check_trackers(setting, names)
        except DistillError as error:
            yield Finding("packages", Level.FAULT, str(error))


def _disk(config: Config) -> Iterator[Finding]:
    for folder in sorted({config.dataset_dir.parent, config.run_dir.parent}):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not existing.is_dir():
            yield Finding("disk", Level.FAULT, f"{str(existing)!r} is a file; move it away")
            continue
        if not os.access(existing, os.W_OK):
            yield Finding("disk", Level.FAULT, f"{str(existing)!r} is not writable")
            continue
        free = shutil.disk_usage(existing).free / 1e9
        level = Level.OK if free >= MINIMUM_FREE_GB else Level.FAULT
        yield Finding("disk", level, f"{folder}: {free:.1f} GB free")
