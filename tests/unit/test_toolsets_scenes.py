"""Ideas read from a wording file: one for each family, played in a world of their own."""

from __future__ import annotations

import pytest

from distill.errors import TaskError
from distill.toolsets import load_toolset
from distill.toolsets.generation import write_tasks
from distill.toolsets.scenes import WORLDS, Scene, read_ideas
from distill.types import Kind

TOOLS = '''
from distill.toolsets import Environment, tool

class Till(Environment):
    def __init__(self, seed: int) -> None:
        self.money = seed

    def snapshot(self):
        return {"money": self.money}

    @tool
    def take(self, amount: int) -> int:
        """Take.

        Args:
            amount: How much.
        """
        self.money -= amount
        return self.money
'''
WORDING = """
take:
  kind: single
  answers: ["{left} is left. that is for {amount}."]
  mentions: [["{left}"]]
  families:
    plain: ["Take {amount}"]
    chatty: ["hello. please take {amount}. a@b.example asks"]
take_again:
  kind: multi_turn
  writer: take_twice
  turns:
    - {answers: ["Gone."], families: {plain: ["First {amount}"]}}
    - {answers: ["Gone too."], families: {plain: ["The same again"]}}
leave:
  kind: no_tool
  writer: outside
  answers: ["I cannot."]
  families: {plain: ["[Burn|Eat|Bury] {thing}"]}
"""


class Till(Scene):
    def facts(self):
        return {"thing": f"till {self.rng.randrange(1000)}"}


def take(s: Till) -> None:
    amount = s.rng.randrange(10_000)
    s.says(amount=amount, left=s.call("take", amount=amount))


def take_twice(s: Till) -> None:
    amount = s.rng.randrange(10_000)
    for _ in range(2):
        s.call("take", amount=amount)
        s.says(amount=amount)


@pytest.fixture
def till(tmp_path):
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "toolset.yaml").write_text("name: till\ndescription: d\nsource: tools.py\n")
    (tmp_path / "wording.yaml").write_text(WORDING)
    return load_toolset(tmp_path)


@pytest.fixture
def ideas(till):
    return read_ideas(till.folder / "wording.yaml", Till, {"take": take, "take_twice": take_twice})


def write(till, ideas, kind: Kind, count: int):
    return list(write_tasks(till, ideas, {kind: 1.0}, 0, count))


def test_every_family_is_an_idea(ideas):
    assert [(idea.kind, idea.family) for idea in ideas] == [
        (Kind.SINGLE, "take/plain"),
        (Kind.SINGLE, "take/chatty"),
        (Kind.MULTI_TURN, "take_again/plain"),
        (Kind.NO_TOOL, "leave/plain"),
    ]


def test_a_task_is_played_in_the_world_its_setup_names(till, ideas):
    tasks = write(till, ideas, Kind.SINGLE, 60)
    seeds = {task.setup["seed"] for task in tasks}
    assert len(seeds) > 20 and seeds <= set(range(1, WORLDS + 1))
    for task in tasks:
        (call,) = task.turns[0].expectation.calls
        left = task.setup["seed"] - call.arguments["amount"]
        assert task.turns[0].expectation.mentions == ((f"{left}",),)
        assert task.end_state == ({"/money": left} if call.arguments["amount"] else {})


def test_sentences_open_with_a_capital_but_addresses_stay(till, ideas):
    tasks = write(till, ideas, Kind.SINGLE, 30)
    (task,) = [t for t in tasks if t.family == "take/chatty"][:1]
    amount = task.turns[0].expectation.calls[0].arguments["amount"]
    assert task.turns[0].content == f"Hello. Please take {amount}. a@b.example asks"
    assert task.turns[0].expectation.answer.endswith(f" is left. That is for {amount}.")


def test_turns_take_their_wording_in_order(till, ideas):
    (task,) = write(till, ideas, Kind.MULTI_TURN, 1)
    first, second = task.turns
    assert first.content.startswith("First ") and second.content == "The same again"
    assert second.expectation.answer == "Gone too."


def test_what_is_not_answered_with_a_call_needs_facts_alone(till, ideas):
    tasks = write(till, ideas, Kind.NO_TOOL, 20)
    assert {task.turns[0].expectation.action for task in tasks} == {"abstain"}
    assert all(" till " in task.turns[0].content for task in tasks)


def test_an_entry_without_a_writer_is_named(till):
    with pytest.raises(TaskError, match=r"wording\.yaml: 'take' has no writer 'take'"):
        read_ideas(till.folder / "wording.yaml", Till, {})
