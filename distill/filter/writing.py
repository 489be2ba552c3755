"""The rows of a data set as they go into their files, counted on the way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from distill.config import AugmentConfig
from distill.dataset import (
    CASES,
    PAIRS,
    REJECTS,
    example_from_row,
    example_to_row,
    pair_to_row,
    write_rows,
)
from distill.dataset import TRAIN as TRAIN_FILE
from distill.dataset import VALIDATION as VALIDATION_FILE
from distill.filter.assembly import Assembly, Decision
from distill.filter.augment import augmented
from distill.filter.cases import cases
from distill.filter.contamination import leaks
from distill.filter.pairs import paired
from distill.filter.screening import Body, Row, Screened, tools_text
from distill.filter.split import TEST, TRAIN, VALIDATION
from distill.types import Json, Task, Tool, ToolSet, Verdict


@dataclass
class Tally:
    """How many rows there are of what."""

    kinds: dict[str, Counter[str]] = field(
        default_factory=lambda: {TRAIN: Counter(), VALIDATION: Counter(), TEST: Counter()}
    )
    """Split -> kind of task -> rows."""
    tools: dict[str, Counter[str]] = field(
        default_factory=lambda: {TRAIN: Counter(), VALIDATION: Counter(), TEST: Counter()}
    )
    """Split -> tool -> rows that call it (a row counts once for each of its tools)."""
    rejected: Counter[str] = field(default_factory=Counter)
    """`stage/code` -> dropped traces."""
    pairs: Counter[str] = field(default_factory=Counter)
    """Kind of mistake -> pairs."""
    pairs_by: Counter[str] = field(default_factory=Counter)
    """Whose mistake -> pairs."""
    kept: int = 0
    cut: int = 0
    context_turns: int = 0
    leaks: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each file."""
        return {
            "train": self.kinds[TRAIN].total(),
            "validation": self.kinds[VALIDATION].total(),
            "cases": self.kinds[TEST].total(),
            "rejects": self.rejected.total(),
        }


class Writer:
    """Writes what was decided."""

    def __init__(
        self,
        assembly: Assembly,
        toolset: ToolSet,
        augment: AugmentConfig,
        foreign: Sequence[Tool],
    ) -> None:
        self._assembly = assembly
        self._tools = tools_text(toolset.tools)
        self._augment = augment
        self._foreign = foreign
        self._verified: dict[str, tuple[Task, Task]] = {}
        self._trained: dict[str, bytes] = {}
        """What training rows ask first, with its sketch."""
        self._answered: set[str] = set()
        """Prompts for which a real wrong answer has its pair."""
        self.tally = Tally()

    def write(
        self,
        folder: Path,
        decisions: Sequence[Decision],
        split_of: Mapping[str, str],
        wanted: Sequence[Task],
    ) -> Tally:
        """Write every file but the card and `dataset.json`.

        Args:
            folder: Where.
            decisions: One per screened trace, in order.
            split_of: Family -> split.
            wanted: The config's tasks that were not dropped on purpose.
        """
        names = {TRAIN: TRAIN_FILE, VALIDATION: VALIDATION_FILE, "pairs": PAIRS, "rejects": REJECTS}
        with ExitStack() as stack:
            files = {
                key: stack.enter_context((folder / name).open("w", encoding="utf-8"))
                for key, name in names.items()
            }
            screened = self._assembly.screened(bodies=True)
            for one, decision in zip(screened, decisions, strict=True):
                self._put(one, decision, files)
            self._put_built_pairs(files["pairs"], split_of)
        held_out = [task for task in wanted if split_of[task.family] == TEST]
        kept = list(cases(held_out, self._verified))
        write_rows(folder / CASES, (_case_row(task) for task in kept))
        for task in kept:
            self.tally.kinds[TEST][str(task.kind)] += 1
            self.tally.tools[TEST].update(task.tools)
        self.tally.leaks = leaks(kept, self._trained.items())
        return self.tally

    def _put(self, one: Screened, decision: Decision, files: Mapping[str, TextIO]) -> None:
        row = one.row
        failure = decision.failure
        if row is None or failure is not None:
            reject = one.reject or {}
            if failure is not None:
                reject = _ledger_line(one, failure)
            if decision.disputed and decision.share is not None:
                reject = {**reject, "agreement": round(decision.share, 3)}
            self.tally.rejected[f"{reject['stage']}/{reject['code']}"] += 1
            files["rejects"].write(_line(reject))
            return
        self.tally.kept += 1
        body = one.body
        if body.case is not None:
            self._verified.setdefault(one.task_id, body.case)
        if decision.fate == TEST:
            return
        self._count(one, row, decision.fate)
        text = body.row.text(self._tools)
        files[decision.fate].write(self._augmented(text, decision) + "\n")
        if decision.fate == TRAIN:
            self._trained.setdefault(row.request, row.request_sketch)
            self._assembly.suites.count_calls(row.calls)
            self._put_pair(one.task_id, text, body, files["pairs"])

    def _count(self, one: Screened, row: Row, split: str) -> None:
        tally = self.tally
        tally.kinds[split][one.kind] += 1
        tally.tools[split].update(row.tools)
        tally.cut += row.cut
        tally.context_turns += row.context_turns if split == TRAIN else 0

    def _augmented(self, text: str, decision: Decision) -> str:
        share = decision.share
        settings = self._augment if decision.fate == TRAIN else AugmentConfig()
        if share in (None, 1) and settings == AugmentConfig():
            return text
        example = example_from_row(json.loads(text))
        if share is not None:
            meta = {**example.meta, "agreement": round(share, 3)}
            worth = 1 if decision.vouched else share
            weights = tuple(round(weight * worth, 3) for weight in example.weights)
            example = example.model_copy(update={"weights": weights, "meta": meta})
        return json.dumps(
            example_to_row(augmented(example, settings, self._foreign)), ensure_ascii=False
        )

    def _put_pair(self, task: str, text: str, body: Body, file: TextIO) -> None:
        """Write the row's pair: with another sample's real mistake where there is one."""
        mistakes = self._assembly.survey.mistakes.get(task, ())
        for wrong, _ in mistakes:
            if wrong.prompt in self._answered:
                continue
            pair = paired(example_from_row(json.loads(text)), wrong)
            if pair is not None:
                self._answered.add(wrong.prompt)
                self._count_pair(pair.kind, pair.by)
                file.write(_line(pair_to_row(pair)))
                return
        if body.pair is not None and body.pair_kind is not None:
            self._count_pair(body.pair_kind, body.pair_by)
            file.write(body.pair.text(self._tools) + "\n")

    def _count_pair(self, kind: str, by: str) -> None:
        self.tally.pairs[kind] += 1
        self.tally.pairs_by[by] += 1

    def _put_built_pairs(self, file: TextIO, split_of: Mapping[str, str]) -> None:
        """Write the pairs of failed episodes whose task says which calls were right."""
        survey = self._assembly.survey
        for task, mistakes in survey.mistakes.items():
            for wrong, pair in mistakes:
                if pair is None or wrong.prompt in self._answered:
                    continue
                if split_of.get(survey.families[task]) == TRAIN:
                    self._answered.add(wrong.prompt)
                    self._count_pair(wrong.kind, wrong.by)
                    file.write(pair.text(self._tools) + "\n")


def _ledger_line(one: Screened, failure: Verdict) -> dict[str, Json]:
    return {
        "key": one.key,
        "task": one.task_id,
        "kind": one.kind,
        "family": one.family,
        "stage": failure.stage,
        "code": failure.code,
        "evidence": " ".join(failure.detail.split()),
        "turn": None,
    }


def _line(row: Mapping[str, Json]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _case_row(task: Task) -> dict[str, Json]:
    row: dict[str, Json] = task.model_dump(mode="json", exclude_defaults=True)
    return row
