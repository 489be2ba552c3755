"""BFCL's multi-turn entries on the official back ends: what is done in silent turns is seen."""

from __future__ import annotations

import json
import random
from importlib.util import find_spec

import pytest

from distill.evaluate.suites.bfcl_dialogue import OUTGREW, STEPS
from distill.evaluate.suites.questions import Judged, suite_report
from distill.types import AssistantMessage, ToolCall, ToolMessage, UserMessage

pytestmark = pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is missing")


def play(entry, guesses):
    """Play an entry rightly, but with `guesses` in its silent turns."""
    messages = []
    for question, gold in zip(entry.questions, entry.gold, strict=True):
        messages += question or (entry.questions[0][:1])
        for n, call in enumerate(gold or guesses):
            ((name, arguments),) = call.items()
            made = ToolCall(id=f"c{n}", name=name, arguments=json.dumps(arguments))
            messages.append(AssistantMessage(tool_calls=(made,)))
            messages.append(ToolMessage(tool_call_id=made.id, name=name, content="{}"))
        messages.append(AssistantMessage(content="Done."))
    return messages


@pytest.fixture(scope="module")
def entry():
    """An entry on files in which one turn cannot be served yet."""
    from distill.evaluate.suites.bfcl import multi_turn

    entries = multi_turn("multi_turn_miss_func")
    return next(e for e in entries if "GorillaFileSystem" in e.classes and [] in e.gold)


def test_guessing_in_a_silent_turn_costs_nothing_and_is_counted(entry):
    looked, wrote = {"pwd": {}}, {"mkdir": {"dir_name": "guessed"}}
    quiet, reading, writing = (play(entry, guesses) for guesses in ([], [looked], [wrote]))
    assert entry.judge(quiet).ok and entry.judge(reading).ok
    (turn,) = entry.silent_turns(quiet)
    assert (turn.called, turn.acted) == (False, False)
    (turn,) = entry.silent_turns(reading)
    assert (turn.called, turn.acted) == (True, False)
    (turn,) = entry.silent_turns(writing)
    assert (turn.called, turn.acted) == (True, True)


def test_violations_are_counted_by_part_and_model(entry):
    def judged(n, guesses):
        messages = play(entry, guesses)
        return Judged(str(n), "miss", str(n), entry.judge(messages), entry.silent_turns(messages))

    rows = {
        "base": [judged(1, [{"mkdir": {"dir_name": "x"}}]), judged(2, [])],
        "student": [judged(1, [{"pwd": {}}]), judged(2, [])],
    }
    report = suite_report("bfcl", "1", rows, {}, {})
    base, student = report.silent["miss"]["base"], report.silent["miss"]["student"]
    assert (base.called.value, base.acted.value, base.called.n) == (0.5, 0.5, 2)
    assert (student.called.value, student.acted.value) == (0.5, 0.0)


def test_a_dialogue_beyond_the_context_and_one_without_end_are_told_apart(entry):
    """Both are wrong; what was answered before counts for the silent turns."""
    whole = play(entry, [])
    start = next(n for n, message in enumerate(whole) if message.content == "Done.") + 1
    refused = [*whole[:start], UserMessage(content="Go on."), UserMessage(content="")]
    assert entry.judge(refused).detail == OUTGREW
    steps = [m for m in whole if not isinstance(m, UserMessage)][:2] * (STEPS + 1)
    endless = [*whole[:1], *steps, UserMessage(content="")]
    assert entry.judge(endless).detail == "called without end"
    assert entry.silent_turns(endless) == ()
    silent_first = entry.written[0] == []
    assert len(entry.silent_turns(refused)) == silent_first


def test_the_gold_leaves_out_what_its_schema_lacks():
    """The one entry whose gold knows an argument that the question's tool has not."""
    from distill.evaluate.suites.bfcl import single_turn
    from distill.evaluate.suites.bfcl_data import right_calls

    odd = next(e for e in single_turn("parallel_multiple") if e.id == "parallel_multiple_12")
    for seed in range(9):
        calls = right_calls(odd.raw, odd.right, random.Random(seed))
        assert "permeability" not in calls[1]["calculate_voltage_difference"]
