"""What is counted: every metric on answers whose score is known by hand."""

from __future__ import annotations

import pytest

from distill.evaluate.metrics import by_kind, by_tool, measure, score, share
from distill.results import ModelReport
from distill.types import Outcome, Task, ToolMessage
from tests.unit.evaluate_world import (
    answer,
    call,
    called,
    lamp,
    missing,
    no_tool,
    pair,
    said,
    toolset,
    workspace,
)


@pytest.fixture
def lamps(tmp_path):
    workspace(tmp_path, [lamp(1)])
    return toolset(tmp_path).toolset


def result(call_id: str = "c0", error: bool = False) -> ToolMessage:
    return ToolMessage(tool_call_id=call_id, name="set_lamp", content="{}", is_error=error)


def lit(task: Task, arguments: str = '{"room": "hall", "level": 30}', name: str = "set_lamp"):
    changes = {"/hall": 30} if arguments == '{"room": "hall", "level": 30}' else {}
    messages = (called(call(name, arguments)), result(), said("Done."))
    return answer(task, *messages, changes=changes)


def measured(lamps, *pairs) -> ModelReport:
    return measure("m", "i", [score(task, given, lamps) for task, given in pairs], lamps)


def test_a_right_case_counts_everywhere(lamps):
    report = measured(lamps, (lamp(1), lit(lamp(1))))
    for name in ("call_accuracy", "turn_accuracy", "tool_accuracy", "argument_accuracy"):
        assert getattr(report, name).value == 1.0, name
    assert report.end_state.value == 1.0
    assert report.failures == {}
    assert report.tokens.input == 200
    assert report.latency_s.p50 == 0.5


def test_wrong_arguments_keep_the_right_tool(lamps):
    report = measured(lamps, (lamp(1), lit(lamp(1), '{"room": "hall", "level": 31}')))
    assert report.call_accuracy.value == 0.0
    assert report.tool_accuracy.value == 1.0
    assert report.argument_accuracy.value == 0.0
    assert report.schema_validity.value == 1.0
    assert report.end_state.value == 0.0
    assert report.failures == {"wrong_arguments": 1}


def test_schema_and_hallucination_are_told_apart(lamps):
    report = measured(
        lamps,
        (lamp(1), lit(lamp(1), '{"room": "hall", "level": "dim"}')),
        (lamp(2), lit(lamp(2), "{}", name="dim_lamp")),
        (lamp(3), lit(lamp(3))),
    )
    assert report.schema_validity.value == pytest.approx(1 / 3)
    assert report.hallucinated_tool.value == pytest.approx(1 / 3)
    assert report.failures == {"schema_violation": 1, "unknown_tool": 1}


def test_a_call_that_cannot_be_parsed_is_never_an_abstention(lamps):
    report = measured(
        lamps,
        (no_tool(1), answer(no_tool(1), said('<tool_call>{"name": "set_lamp"'))),
        (no_tool(2), answer(no_tool(2), said("No tool of mine does that."))),
    )
    assert report.parse_failure.value == 0.5
    assert report.abstention.recall.value == 0.5
    assert report.failures == {"unparsed_call": 1}


def test_a_cut_off_answer_is_neither_right_nor_an_abstention(lamps):
    cut = answer(no_tool(1), said("I am afraid that"), outcome=Outcome.TRUNCATED)
    report = measured(lamps, (no_tool(1), cut))
    assert report.truncation.value == 1.0
    assert report.call_accuracy.value == 0.0
    assert report.turn_accuracy.value == 0.0
    assert report.abstention.recall.value == 0.0
    assert report.failures == {"truncated": 1}


def test_abstention_counts_over_and_under_calling(lamps):
    report = measured(
        lamps,
        (lamp(1), answer(lamp(1), said("I cannot."))),  # under-call
        (lamp(2), lit(lamp(2))),
        (no_tool(1), lit(no_tool(1))),  # over-call
        (no_tool(2), answer(no_tool(2), said("No tool of mine does that."))),
    )
    assert report.abstention.precision.value == 0.5
    assert report.abstention.recall.value == 0.5
    assert report.abstention.f1 == 0.5
    assert report.failures == {"missing_call": 1, "called_instead_of_abstaining": 1}


def test_asking_back_needs_a_question(lamps):
    report = measured(
        lamps,
        (missing(1), answer(missing(1), said("Which room?"))),
        (missing(2), answer(missing(2), said("No."))),
    )
    assert (report.ask_accuracy.value, report.ask_accuracy.n) == (0.5, 2)


def test_a_parallel_set_is_all_or_nothing(lamps):
    one, two = (
        call("set_lamp", f'{{"room": "{room}", "level": 5}}', n) for n, room in enumerate("ab")
    )
    both = answer(
        pair(1),
        called(two, one),
        result("c1"),
        result("c0"),
        said("Done."),
        changes={"/a": 5, "/b": 5},
    )
    half = answer(pair(2), called(one), result(), said("Done."), changes={"/a": 5})
    report = measured(lamps, (pair(1), both), (pair(2), half))
    assert (report.parallel_exact.value, report.parallel_exact.n) == (0.5, 2)
    assert report.tool_accuracy.value == 0.75


def test_the_end_state_counts_only_where_something_had_to_change(lamps):
    idle = answer(no_tool(1), said("No tool of mine does that."))
    assert measured(lamps, (no_tool(1), idle)).end_state.n == 0


def test_nothing_counted_is_not_a_share(lamps):
    empty = share([])
    assert (empty.value, empty.low, empty.high, empty.n) == (None, 0.0, 1.0, 0)
    report = measured(lamps, (no_tool(1), answer(no_tool(1), said("No tool does that."))))
    assert report.argument_accuracy.value is None
    assert report.abstention.f1 == 1.0


def test_cases_of_one_family_are_worth_less_than_as_many_of_their_own(lamps):
    def told(families):
        pairs = []
        for n in range(24):
            task = lamp(n).model_copy(update={"family": str(n % families)})
            right = n % families < families / 2
            pairs.append((task, lit(task) if right else answer(task, said("I cannot."))))
        return measured(lamps, *pairs)

    own, shared = told(24), told(6)
    assert own.call_accuracy.value == shared.call_accuracy.value == 0.5
    for field in ("call_accuracy", "turn_accuracy", "tool_accuracy", "under_call"):
        narrow, wide = getattr(own, field), getattr(shared, field)
        assert wide.high - wide.low > 1.4 * (narrow.high - narrow.low), field


def test_breakdowns_follow_the_expected_calls(lamps):
    scored = [
        score(lamp(1), lit(lamp(1)), lamps),
        score(lamp(2), answer(lamp(2), said("I cannot.")), lamps),
        score(missing(1), answer(missing(1), said("Which room?")), lamps),
    ]
    assert by_kind(scored)["single"].value == 0.5
    assert by_kind(scored)["missing_parameter"].value == 1.0
    tools = by_tool(scored)
    assert list(tools) == ["set_lamp"]
    assert (tools["set_lamp"].value, tools["set_lamp"].n) == (0.5, 2)
