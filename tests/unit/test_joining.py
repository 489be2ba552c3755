"""Requests of one conversation as one trace, on both engines."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from distill.traces import LedgerLine, TeacherRef, TraceStore
from distill.traces.importers import Skip
from distill.traces.joining import Answered, join
from distill.types import (
    AssistantMessage,
    Message,
    Outcome,
    StopReason,
    Tool,
    ToolCall,
    ToolMessage,
    ToolSet,
    Turn,
    Usage,
    UserMessage,
)

TOOLS = ToolSet(name="lamps", tools=(Tool(name="set", description="d", parameters={}),))
TEACHER = TeacherRef(provider="openai", model="big")


@pytest.fixture
def store(store_url: str) -> Iterator[TraceStore]:
    with TraceStore.open(store_url, create=True) as opened:
        yield opened


def user(text: str) -> UserMessage:
    return UserMessage(content=text)


def says(text: str) -> AssistantMessage:
    return AssistantMessage(content=text)


def calls(identity: str, arguments: str = '{"level": 1}') -> AssistantMessage:
    call = ToolCall(id=identity, name="set", arguments=arguments)
    return AssistantMessage(tool_calls=(call,), provider_state={"secret": 1})


def result(identity: str, content: str = "{}") -> ToolMessage:
    return ToolMessage(tool_call_id=identity, name="set", content=content)


def answered(*messages: Message, answer: AssistantMessage, **fields) -> Answered:
    stop = StopReason.TOOL_CALLS if answer.tool_calls else StopReason.END
    turn = Turn(message=answer, stop=stop, usage=Usage(input_tokens=7), cost_usd=0.5)
    values = {"turn": turn, "teacher": TEACHER, "toolset": TOOLS, "source": "recorded"}
    return Answered(messages=messages, **(values | fields))


def line() -> LedgerLine:
    return LedgerLine(key="", at="2026-01-01", provider="openai", model="big", cost_usd=0.5)


def test_a_request_that_goes_on_takes_the_place_of_the_trace(store):
    first = join(store, answered(user("Dim it"), answer=calls("a")), line())
    whole = (user("Dim it"), calls("a"), result("a"))
    second = join(store, answered(*whole, answer=says("Done.")), line())
    third = join(store, answered(*whole, says("Done."), user("More"), answer=says("No.")), line())
    assert [one.goes_on for one in (first, second, third)] == [False, True, True]
    (trace,) = store.traces()
    assert trace == third.trace and trace.started_at == first.trace.started_at
    assert [turn.message for turn in trace.turns] == [1, 3, 5]
    assert [turn.usage.input_tokens for turn in trace.turns] == [7, 7, 7]
    assert first.trace.messages[1].provider_state is None
    assert [ledger.key for ledger in store.ledger()] == [trace.key] * 3
    assert store.money().spent_usd == trace.cost_usd == 1.5
    assert store.counts().outcomes == {"completed": 1}
    assert [turn.content for turn in trace.task.turns] == ["Dim it", "More"]


@pytest.mark.parametrize(
    "sent_back",
    [
        AssistantMessage(
            content="So  be\nit ",
            tool_calls=(ToolCall(id="a", name="set", arguments='{ "x": [1],"level":1 }'),),
        ),
        AssistantMessage(
            content="So be it",
            tool_calls=(ToolCall(id="other", name="set", arguments='{"level": 1, "x": [1]}'),),
        ),
    ],
)
def test_a_client_may_write_an_answer_in_its_own_way(store, sent_back):
    said = calls("a", '{"level": 1, "x": [1]}').model_copy(update={"content": "So be it"})
    join(store, answered(user("Dim it"), answer=said))
    after = answered(
        user("Dim it"), sent_back, result(sent_back.tool_calls[0].id), answer=says("Done.")
    )
    assert join(store, after).goes_on
    assert store.counts().done == 1


@pytest.mark.parametrize(
    "other",
    [
        {"answer": calls("a", '{"level": 2}')},
        {"answer": says("No.")},
        {"teacher": TEACHER.model_copy(update={"model": "small"})},
        {"toolset": TOOLS.model_copy(update={"system": "Other"})},
        {"source": "served"},
        {"error": "unfit"},
    ],
)
def test_what_differs_does_not_go_on(store, other):
    join(store, answered(user("Dim it"), **({"answer": calls("a")} | other)))
    whole = (user("Dim it"), calls("a"), result("a"))
    joined = join(store, answered(*whole, answer=says("Done.")))
    assert not joined.goes_on and store.counts().done == 2
    assert [turn.context for turn in joined.trace.turns] == [True, False]


def test_conversations_that_are_alike_part_where_they_differ(store):
    for _ in range(2):
        join(store, answered(user("Dim it"), answer=calls("a")), line())
    assert store.counts().done == 1  # word for word the same
    whole = (user("Dim it"), calls("a"), result("a"))
    for answer in ("One.", "Two."):
        join(store, answered(*whole, answer=says(answer)), line())
    assert sorted(t.messages[-1].content for t in store.traces()) == ["One.", "Two."]
    assert store.money().spent_usd == 2.0 and len(list(store.ledger())) == 4


def test_an_answer_asked_for_twice_is_one_trace_with_two_calls(store):
    for _ in range(2):
        join(store, answered(user("Dim it"), answer=says("No.")), line())
    assert store.counts().done == 1 and len(list(store.ledger())) == 2


def test_answers_of_others_only_go_on(store):
    whole = (user("Dim it"), calls("a"), result("a"))
    with pytest.raises(Skip):
        join(store, answered(*whole, answer=says("Done."), by_another=True))
    join(store, answered(user("Dim it"), answer=calls("a")))
    joined = join(store, answered(*whole, answer=says("Done."), by_another=True))
    assert [turn.context for turn in joined.trace.turns] == [False, True]


def test_how_an_answer_ended_is_how_the_trace_did(store):
    for stop, outcome in [
        (StopReason.LENGTH, Outcome.TRUNCATED),
        (StopReason.REFUSAL, Outcome.REFUSED),
    ]:
        turn = Turn(message=says("Well"), stop=stop)
        joined = join(store, answered(user(stop), answer=says("Well"), turn=turn))
        assert joined.trace.outcome is outcome


def test_conversations_from_several_processes_at_once(store_url):
    """Each of several writers has its own connection; their requests come in any order."""
    with TraceStore.open(store_url, create=True):
        pass
    rng = random.Random(3)

    def talk(number: int) -> None:
        with TraceStore.open(store_url) as store:
            messages: list[Message] = []
            for step in range(6):
                messages.append(user(f"{number}: {step if step else rng.random()}"))
                answer = says(f"Answer {step}")
                join(store, answered(*messages, answer=answer), line())
                messages.append(answer)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(talk, range(6)))
    with TraceStore.open(store_url) as store:
        traces = list(store.traces())
        assert len(traces) == 6 and {len(trace.messages) for trace in traces} == {12}
        keys = [ledger.key for ledger in store.ledger()]
        assert {key: keys.count(key) for key in keys} == {trace.key: 6 for trace in traces}
        assert json.loads(traces[0].model_dump_json())["key"] in keys
