"""The generated tasks of every tool set are right, varied, told apart, and reproducible."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
import yaml
from tools_world import TOOLS, replay, tasks_of, toolset

from distill.matching import match_task
from distill.toolsets import load_tasks
from distill.toolsets.generation import SHARES
from distill.types import Kind, Task

COUNTS = {"home": 600, "retail": 400, "travel": 400}
FAMILIES = {"home": 400, "retail": 100, "travel": 100}


@pytest.fixture(params=COUNTS)
def name(request) -> str:
    return request.param


@pytest.fixture
def tasks(name) -> list[Task]:
    return tasks_of(name)[: COUNTS[name]]


def test_what_a_user_has_said_tells_the_task(name, tasks):
    assert len({task.id for task in tasks}) == len(tasks) == COUNTS[name]
    said = [[turn.content.lower() for turn in task.turns] for task in tasks]
    begun = [tuple(texts[:turns]) for texts in said for turns in range(1, len(texts) + 1)]
    assert [texts for texts, times in Counter(begun).items() if times > 1] == []


def test_the_seed_decides(name, tasks):
    assert load_tasks(toolset(name), None, 40, seed=0) == tasks[:40]
    other = {task.turns[0].content for task in load_tasks(toolset(name), None, 40, seed=1)}
    assert len(other & {task.turns[0].content for task in tasks}) < 10


def test_kinds_families_and_tools_are_covered(name, tasks):
    kinds = Counter(task.kind for task in tasks)
    assert kinds.keys() == SHARES.keys() == set(Kind)
    for kind, share in SHARES.items():
        assert share / 2 < kinds[kind] / len(tasks) < share * 1.6, kind
    assert len({task.family for task in tasks}) >= FAMILIES[name]
    alone = {tool for task in tasks if task.kind is Kind.SINGLE for tool in task.tools}
    chosen = {tool for task in tasks if task.kind is Kind.CHOOSE for tool in task.tools}
    assert alone == {tool.name for tool in toolset(name).toolset.tools}
    assert len(chosen) >= 9


def test_reference_answers_are_right_and_do_what_the_task_says(name, tasks):
    for task in tasks:
        messages, changes, failed = replay(task)
        assert (failed > 0) == (task.kind is Kind.TOOL_FAILED), task.id
        assert changes == (task.end_state or {}), task.id
        match = match_task(task, messages, toolset(name).toolset, changes)
        assert match.ok, (task.id, task.family, match.verdict)


def test_calls_of_one_step_may_come_in_any_order(tasks):
    for task in tasks:
        if task.kind is Kind.PARALLEL:
            assert replay(task, backwards=True)[1] == task.end_state


def test_every_text_is_filled_and_tidy(tasks):
    for task in tasks:
        for turn in task.turns:
            for text in (turn.content, turn.expectation.answer):
                assert not re.search(r"[{}\[\]|]|  | [,.?!]|[,.?!]{2}|\bon on\b|False", text), text


def phrases(kind: str) -> str:
    return (TOOLS / "home" / "phrases" / f"{kind}.yaml").read_text()


def frames(name: str) -> Iterator[str]:
    """Every sentence frame of a tool set."""
    if name == "home":
        for kind in SHARES:
            for families in yaml.safe_load(phrases(kind)).values():
                for lines in families.values():
                    yield from lines.splitlines()
        return
    for entry in yaml.safe_load((TOOLS / name / "wording.yaml").read_text()).values():
        for part in entry.get("turns", [entry]):
            for family in part["families"].values():
                yield from family


def test_families_share_no_sentence(name):
    assert [frame for frame, times in Counter(frames(name)).items() if times > 1] == []


@pytest.mark.parametrize("kind", SHARES)
def test_every_idea_at_home_has_nine_wordings(kind):
    # nodes keep what a loaded mapping would lose: a name given twice
    for idea, families in yaml.compose(phrases(kind)).value:
        names = [name.value for name, _ in families.value]
        assert len(set(names)) == len(names) >= 9, idea.value


@pytest.mark.parametrize("kind", SHARES)
def test_no_idea_at_home_is_named_twice(kind):
    names = [idea.value for idea, _ in yaml.compose(phrases(kind)).value]
    assert len(set(names)) == len(names)
