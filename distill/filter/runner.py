"""Filtering: from the trace store to a data set, or to the verdicts on one trace.

Everything is decided before anything is written; what comes out depends on the store, the tasks,
the suites, the reviews and the config alone, so two runs write the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from distill.audit import Audit
from distill.calibration import JudgeReport
from distill.config import Config
from distill.dataset import (
    CARD,
    INFO,
    REJECTS,
    TRAIN,
    VALIDATION,
    DatasetInfo,
    dataset_hash,
    read_rows,
)
from distill.errors import DatasetError
from distill.filter.assembly import DROPPED, Assembly, Decision
from distill.filter.balance import balanced
from distill.filter.card import card, warnings
from distill.filter.contamination import suites
from distill.filter.folder import written_aside
from distill.filter.judging import judged, judging_estimate
from distill.filter.reviews import audit_of
from distill.filter.screening import mistakes, screen
from distill.filter.split import TRAIN as TRAIN_SPLIT
from distill.filter.subject import Rules
from distill.filter.writing import Tally, Writer
from distill.judge import JudgeEstimate
from distill.toolsets import LoadedToolSet, configured_tasks, load_toolset
from distill.traces import TraceStore
from distill.traces.attempts import AttemptStore
from distill.traces.reviews import ReviewStore
from distill.types import Task, Tool, Verdict


@dataclass(frozen=True)
class Report:
    """What a run of the filter did."""

    info: DatasetInfo
    kept: int
    """Traces that passed every check, those of held-out tasks among them."""
    context_turns: int
    """Turns kept as context only: the tool refused their call, and it was then made right; or they
    are not the teacher's."""
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """Every verdict on one trace."""

    key: str
    task: str
    kind: str
    family: str
    verdicts: tuple[Verdict, ...]
    fate: str
    """train, validation, test or dropped."""
    cut: bool
    """Whether only the user turns before the fault are kept."""

    @property
    def failure(self) -> Verdict | None:
        """The first fault; None: there is none."""
        return next((verdict for verdict in self.verdicts if not verdict.ok), None)


@dataclass(frozen=True)
class Change:
    """A trace that the checks of today judge differently than the data set on disk."""

    key: str
    task: str
    before: str
    """`kept`, or the `stage/code` it was dropped for."""
    now: str


def build_dataset(config: Config) -> Report:
    """Filter the traces of a config and write its data set.

    Raises:
        DatasetError: There are no traces, none of the tool set as it is now, or none that is fit to
            train on; or the folder cannot be written. An older data set stays as it was.
        StoreError: The store is missing or cannot be read.
        ToolSetError: The tool set cannot be loaded.
        TaskError: The tasks cannot be loaded.
    """
    loaded = load_toolset(config.toolset_dir)
    with _screened(config, loaded) as assembly:
        _refuse_unusable(config, loaded, assembly)
        split_of = assembly.split()
        decisions, judge = _decided(config, loaded, assembly, split_of, asking=True)
        _refuse_empty(decisions)
        wanted = [task for task in assembly.asked if task.kind not in config.filter.drop_kinds]
        assembly.suites.count_tools(loaded.toolset.tools)
        with written_aside(config.dataset_dir) as aside:
            foreign = _foreign_tools(config, loaded)
            writer = Writer(assembly, loaded.toolset, config.filter.augment, foreign)
            tally = writer.write(aside, decisions, split_of, wanted)
            audit = audit_of(config, assembly.found(decisions, split_of))
            info = _info(config, loaded, assembly, tally, audit)
            info = info.model_copy(update={"hash": dataset_hash(aside), "judge": judge})
            worries = tuple(warnings(info, {task.kind for task in wanted}))
            (aside / CARD).write_text(card(info, tally.tools, worries), encoding="utf-8")
            (aside / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return Report(info, tally.kept, tally.context_turns, worries)


def explain(config: Config, key: str) -> list[Explanation]:
    """Return every verdict on the traces that `key` names: a trace's key, or a task's id.

    Raises:
        DatasetError: No trace is called so.
        StoreError: The store is missing or cannot be read.
        ToolSetError: The tool set cannot be loaded.
        TaskError: The tasks cannot be loaded.
    """
    loaded = load_toolset(config.toolset_dir)
    with _screened(config, loaded, fully=True) as assembly:
        decisions, _ = _decided(config, loaded, assembly, assembly.split(), asking=False)
        found = [
            Explanation(
                key=one.key,
                task=one.task_id,
                kind=one.kind,
                family=one.family,
                verdicts=(*one.verdicts, *decision.verdicts),
                fate=decision.fate,
                cut=one.row is not None and one.row.cut and decision.fate != DROPPED,
            )
            for one, decision in zip(assembly.screened(), decisions, strict=True)
            if key in (one.key, one.task_id)
        ]
        if not found:
            raise DatasetError(
                f"no trace {key!r} among the {len(decisions)} of {config.store_url!r}; give the "
                "key of a line of rejects.jsonl, or the id of a task"
            )
        return found


def reverify(config: Config) -> list[Change]:
    """Judge the stored traces again and return what the data set on disk has otherwise.

    Nothing is written and no teacher is asked.

    Raises:
        DatasetError: There is no data set yet.
        StoreError: The store is missing or cannot be read.
        ToolSetError: The tool set cannot be loaded.
        TaskError: The tasks cannot be loaded.
    """
    before = _fates_on_disk(config)
    loaded = load_toolset(config.toolset_dir)
    with _screened(config, loaded) as assembly:
        decisions, _ = _decided(config, loaded, assembly, assembly.split(), asking=False)
        changes = []
        for one, decision in zip(assembly.screened(), decisions, strict=True):
            failure = decision.failure or next((v for v in one.verdicts if not v.ok), None)
            dropped = decision.fate == DROPPED and failure is not None
            now = f"{failure.stage}/{failure.code}" if dropped and failure else "kept"
            then = before.get(one.key, "kept")
            if now != then:
                changes.append(Change(one.key, one.task_id, then, now))
        return changes


def estimate_judging(config: Config) -> tuple[JudgeEstimate, JudgeEstimate] | None:
    """Return what the judge's calibration and its opinions would take; nothing is asked or written.

    Returns:
        The two estimates; None when the config has no judge.

    Raises:
        DatasetError: There are no traces.
        StoreError: The store is missing or cannot be read.
        ToolSetError: The tool set cannot be loaded.
        TaskError: The tasks cannot be loaded.
    """
    if config.filter.judge is None:
        return None
    loaded = load_toolset(config.toolset_dir)
    with _screened(config, loaded) as assembly:
        return judging_estimate(config, loaded, assembly, assembly.decide(assembly.split()))


def _decided(
    config: Config,
    loaded: LoadedToolSet,
    assembly: Assembly,
    split_of: Mapping[str, str],
    *,
    asking: bool,
) -> tuple[list[Decision], JudgeReport | None]:
    decisions = assembly.decide(split_of)
    decisions, report = judged(config, loaded, assembly, decisions, asking=asking)
    return balanced(decisions, config.filter), report


@contextmanager
def _screened(config: Config, loaded: LoadedToolSet, *, fully: bool = False) -> Iterator[Assembly]:
    """Give everything that screening says about the config's traces."""
    tasks = _load_tasks(config, loaded)
    cases = config.path(config.eval.cases) if config.eval.cases else None
    found = suites(config.path("eval"), cases, config.dataset_dir)
    with Assembly(config.filter, tasks, found) as assembly:
        with TraceStore.open(config.store_url) as store:
            rules = Rules.of(config, loaded, store.toolsets())
            reviews = ReviewStore(store).decisions()
            try:
                assembly.take_mistakes(mistakes(AttemptStore(store).texts(), rules))
                assembly.take(screen(store.trace_texts(), rules, tasks, reviews, fully=fully))
            except ValidationError as error:
                raise store.unreadable(error) from None
        if not assembly.survey.count:
            raise DatasetError(
                f"no finished trace in {store.name!r}; run `distill collect {config.source}`"
            )
        yield assembly


def _load_tasks(config: Config, loaded: LoadedToolSet) -> list[Task]:
    """Return the config's tasks; none when it names none, as for imported traces."""
    if loaded.tasks_path is None and config.tasks.path is None:
        return []
    return configured_tasks(config, loaded)


def _foreign_tools(config: Config, loaded: LoadedToolSet) -> list[Tool]:
    """Return the tools of the workspace's other tool sets, where rows are to offer some."""
    if not config.filter.augment.distractors:
        return []
    folders = sorted(path.parent for path in loaded.folder.parent.glob("*/toolset.yaml"))
    others = [load_toolset(folder) for folder in folders if folder != loaded.folder]
    tools = {tool.name: tool for other in others for tool in other.toolset.tools}
    if not tools:
        raise DatasetError(
            f"filter.augment.distractors: there is no other tool set beside "
            f"{str(loaded.folder)!r} to take tools from; set it to 0"
        )
    return list(tools.values())


def _fates_on_disk(config: Config) -> dict[str, str]:
    folder = config.dataset_dir
    dropped = {r["key"]: f"{r['stage']}/{r['code']}" for _, r in read_rows(folder / REJECTS)}
    rows = (row for name in (TRAIN, VALIDATION) for _, row in read_rows(folder / name))
    return dropped | {row["meta"]["key"]: "kept" for row in rows}


def _refuse_unusable(config: Config, loaded: LoadedToolSet, assembly: Assembly) -> None:
    survey, now = assembly.survey, loaded.toolset.hash
    if now not in survey.hashes:
        then = ", ".join(sorted(survey.hashes))
        raise DatasetError(
            f"tool set changed since the traces were collected: {str(config.toolset_dir)!r} is now "
            f"{now!r}, all {survey.count} traces are of {then!r}; undo the change to the tools or "
            "the system prompt, map it in filter.renames when only names changed, or collect again "
            "under another `name` or `collect.store`"
        )
    if survey.rejected.total() == survey.count:
        codes = ", ".join(f"{code} {number}" for code, number in survey.rejected.most_common(4))
        raise DatasetError(
            f"empty data set: none of the {survey.count} traces is fit to train on ({codes}); look "
            f"at one with `distill filter {config.source} --explain {survey.first_reject}`"
        )


def _refuse_empty(decisions: Sequence[Decision]) -> None:
    kept = [one for one in decisions if one.fate != DROPPED]
    if any(one.fate == TRAIN_SPLIT for one in kept):
        return
    if kept:
        raise DatasetError(
            f"empty data set: all {len(kept)} kept traces belong to families of the "
            "validation and test splits; collect more tasks, or raise filter.split.train"
        )
    codes = sorted({f"{one.failure.stage}/{one.failure.code}" for one in decisions if one.failure})
    raise DatasetError(
        f"empty data set: every trace that passed its checks was dropped as {', '.join(codes)}"
    )


def _info(
    config: Config, loaded: LoadedToolSet, assembly: Assembly, tally: Tally, audit: Audit
) -> DatasetInfo:
    """Describe the data set; its hash is known once it is written."""
    survey = assembly.survey
    return DatasetInfo(
        name=config.name,
        toolset=loaded.toolset.name,
        toolset_hash=loaded.toolset.hash,
        teacher=", ".join(sorted(survey.teachers)),
        terms="; ".join(sorted(survey.terms)) or None,
        traces=survey.count,
        counts=tally.counts,
        kinds={split: dict(sorted(kinds.items())) for split, kinds in tally.kinds.items()},
        rejected=dict(sorted(sorted(tally.rejected.items()), key=lambda item: -item[1])),
        mix={str(kind): share for kind, share in config.filter.mix.items()},
        cut=tally.cut,
        pairs=dict(sorted(tally.pairs.items())),
        pairs_by=dict(sorted(tally.pairs_by.items())),
        suites=assembly.suites.names,
        shared=dict(sorted(assembly.suites.shared.items())),
        leaks=tally.leaks,
        hash="",
        audit=audit,
    )
