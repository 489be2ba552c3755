"""The plan: which episodes a config asks for, and the settings their traces have in common.

Made before anything is spent: whatever is wrong with the config, the tool set, the tasks, the
price or the terms is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from distill.config import Config
from distill.errors import ConfigError
from distill.teachers import refuse_without_price, refuse_without_terms, teacher_identity
from distill.toolsets import LoadedToolSet, configured_tasks, load_toolset
from distill.traces import Owed, episode_key
from distill.types import Json, Task, ToolSet, digest


@dataclass(frozen=True)
class Episode:
    """One task to be run once."""

    key: str
    task: Task
    sample: int

    @property
    def owed(self) -> Owed:
        """The episode as the store notes it."""
        return Owed(self.key, self.task.id, self.sample)


@dataclass(frozen=True)
class Plan:
    """Everything a run is to do."""

    loaded: LoadedToolSet
    episodes: tuple[Episode, ...]
    settings: dict[str, Json]
    """What every trace of the store has in common; a store refuses a run where they differ."""

    @property
    def digest(self) -> str:
        """`Trace.config_digest`."""
        return digest(self.settings)


def make_plan(config: Config, limit: int | None = None) -> Plan:
    """Read tool set and tasks and list the episodes, all samples of a task together.

    Args:
        config: The distillation.
        limit: Only the first so many episodes.

    Raises:
        ConfigError: Budget without a price, or a hosted teacher without terms.
        ToolSetError: The tool set cannot be loaded.
        TaskError: A task is wrong.
    """
    check_money_and_terms(config)
    _check_batch(config)
    loaded = load_toolset(config.toolset_dir)
    tasks = configured_tasks(config, loaded)
    _check_user(config, tasks)
    if loaded.simulation is not None and config.collect.simulator is None:
        raise ConfigError(
            f"the tools in {str(loaded.folder)!r} are simulated, and collect.simulator is not set: "
            f"name the model that answers their calls, with provider, model, base_url as a teacher"
        )
    toolset_hash = loaded.toolset.hash
    episodes = (
        Episode(episode_key(task, toolset_hash, _asked(config, loaded, task), sample), task, sample)
        for task in tasks
        for sample in range(config.collect.samples)
    )
    return Plan(loaded, tuple(islice(episodes, limit)), common_settings(config, loaded.toolset))


def common_settings(config: Config, toolset: ToolSet) -> dict[str, Json]:
    """Return what every trace of a store has in common."""
    identity = teacher_identity(config.teacher)
    others = {"user": config.collect.user, "simulator": config.collect.simulator}
    return {
        "toolset.name": toolset.name,
        "toolset.hash": toolset.hash,
        **{f"teacher.{name}": value for name, value in identity.items()},
        "collect.max_steps": config.collect.max_steps,
        **{f"collect.{name}": teacher_identity(one) for name, one in others.items() if one},
    }


def check_money_and_terms(config: Config) -> None:
    """Refuse a budget without a price, and a hosted teacher without terms.

    Raises:
        ConfigError: One of them.
    """
    budget = config.collect.budget_usd
    models = {
        "teacher": config.teacher,
        "collect.user": config.collect.user,
        "collect.simulator": config.collect.simulator,
    }
    for key, model in models.items():
        if model is None:
            continue
        if budget is not None:
            refuse_without_price(model, f"collect.budget_usd is {budget:g}", key)
        refuse_without_terms(model, key)


def _check_batch(config: Config) -> None:
    parts = {"user": config.collect.user, "simulator": config.collect.simulator}
    live = next((part for part, model in parts.items() if model is not None), None)
    if config.collect.batch and live is not None:
        # Asked again when an episode is taken up, it would say something else than before.
        raise ConfigError(
            f"collect.batch is set together with collect.{live}: an episode that waits for a "
            f"batch could not be taken up where it was; leave one of the two out"
        )


def _check_user(config: Config, tasks: Iterable[Task]) -> None:
    first = next((task.id for task in tasks if task.user is not None), None)
    if first is not None and config.collect.user is None:
        raise ConfigError(
            f"task {first!r} has a simulated user, and collect.user is not set: name the model "
            f"that plays it, with provider, model and base_url as for a teacher"
        )


def _asked(config: Config, loaded: LoadedToolSet, task: Task) -> dict[str, Json]:
    """Return what decides how an episode goes: the teacher, and the models of other parts in it."""
    identity = teacher_identity(config.teacher)
    user, simulator = config.collect.user, config.collect.simulator
    if task.user is not None and user is not None:
        identity["user"] = teacher_identity(user)
    if loaded.simulation is not None and simulator is not None:
        identity["simulator"] = teacher_identity(simulator)
        identity["simulation"] = loaded.simulation.digest
    return identity
