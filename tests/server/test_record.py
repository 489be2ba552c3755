"""Recording agents of the real SDKs in front of `llmock`."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from pathlib import Path

import anthropic
import openai
import pytest
from llmock_world import Mock, workspace
from record_world import (
    KEY,
    MODEL,
    async_chat_agent,
    async_messages_agent,
    booked,
    chat_agent,
    chat_turn,
    messages_agent,
    recording,
    responses_agent,
    stored,
)

from distill.config import load_config
from distill.dataset import read_examples
from distill.filter.runner import build_dataset
from distill.types import Outcome

QUESTION = "Set the lamp to 30"


def config_at(folder: Path, mock: Mock, provider: str, **collect):
    path = workspace(folder, mock, provider, 3, **collect)
    os.environ.pop("LAMPS_KEY", None)
    return load_config(path)


def script(mock, *replies):
    mock.behave(*[{"type": "reply", **reply} for reply in replies])


def sets(*levels):
    return {"tool_calls": [{"name": "set_lamp", "arguments": {"level": n}} for n in levels]}


AGENTS = {
    "chat": ("openai_chat", chat_agent),
    "chat-stream": ("openai_chat", functools.partial(chat_agent, stream=True)),
    "chat-async": ("openai_chat", lambda *a: asyncio.run(async_chat_agent(*a))),
    "responses": ("openai", responses_agent),
    "responses-stream": ("openai", functools.partial(responses_agent, stream=True)),
    "responses-chained": ("openai", functools.partial(responses_agent, chained=True)),
    "messages": ("anthropic", messages_agent),
    "messages-stream": ("anthropic", functools.partial(messages_agent, stream=True)),
    "messages-async": ("anthropic", lambda *a: asyncio.run(async_messages_agent(*a))),
}


@pytest.mark.parametrize("name", AGENTS)
def test_a_whole_agent_loop_is_one_trace(name, mock, tmp_path):
    provider, agent = AGENTS[name]
    config = config_at(tmp_path, mock, provider)
    script(mock, sets(30, 60), {"text": "The lamp is at 60."})
    with recording(config) as at:
        agent(at.root, at.toolset, "Set the lamp to 30, then to 60")
    assert at.counts.skipped == {}
    (trace,) = stored(config)
    assert (at.counts.kept, at.counts.conversations) == (2, 1)
    roles = [message.role for message in trace.messages if message.role != "system"]
    assert roles == ["user", "assistant", "tool", "tool", "assistant"]
    calling, first, second, words = trace.messages[-4:]
    assert [call.parsed() for call in calling.tool_calls] == [{"level": 30}, {"level": 60}]
    assert [r.tool_call_id for r in (first, second)] == [c.id for c in calling.tool_calls]
    assert json.loads(second.content) == {"done": "set_lamp", "level": 60}
    assert (words.content, trace.outcome) == ("The lamp is at 60.", Outcome.COMPLETED)
    assert trace.toolset_hash == at.toolset.hash and trace.task.offer is None
    assert [record.context for record in trace.turns] == [False, False]
    lines = booked(config)
    assert {line.key for line in lines} == {trace.key} and len(lines) == 2
    assert all(line.cost_usd and line.usage.output_tokens for line in lines)
    assert trace.cost_usd == pytest.approx(sum(line.cost_usd for line in lines))
    assert KEY not in trace.model_dump_json()


def test_what_was_recorded_passes_the_filter(mock, tmp_path):
    config = config_at(tmp_path, mock, "openai_chat")
    numbers = range(10, 60, 5)
    for n in numbers:
        script(mock, sets(n), {"text": f"The lamp is at {n}."})
    with recording(config) as at:
        for n in numbers:
            chat_agent(at.root, at.toolset, f"Please set the lamp to {n} this evening, number {n}")
    config = load_config(config.source, ["filter.near_duplicates=null", "filter.split.seed=1"])
    report = build_dataset(config)
    assert report.kept == len(numbers)
    rows = read_examples(config.dataset_dir / "train.jsonl")
    assert rows and all(row.weights == (1.0, 1.0) for row in rows)


def test_conversations_at_once_and_over_several_user_turns(mock, tmp_path):
    config = config_at(tmp_path, mock, "openai_chat")
    rooms, histories = ("hall", "attic", "porch"), {}
    script(mock, *[{"text": f"Which level in the {room}?"} for room in rooms])
    with recording(config) as at:
        tools = [tool.as_function() for tool in at.toolset.tools]
        with openai.OpenAI(base_url=f"{at.root}/v1", api_key=KEY, max_retries=0) as client:

            def ask(room, *messages):
                history = histories.setdefault(room, [])
                history += messages
                answer = client.chat.completions.create(model=MODEL, messages=history, tools=tools)
                history += chat_turn(answer.choices[0].message)

            for room in rooms:
                ask(room, {"role": "user", "content": f"Light in the {room}"})
            script(mock, *[sets(n) for n in (10, 20, 30)])
            for n, room in enumerate(rooms, 1):
                ask(room, {"role": "user", "content": f"{n}0"})
            script(mock, *[{"text": f"Done in the {room}."} for room in reversed(rooms)])
            for room in reversed(rooms):
                ask(room)
    traces = {trace.task.turns[0].content.split()[-1]: trace for trace in stored(config)}
    assert sorted(traces) == sorted(rooms) and at.counts.kept == 9
    for n, room in enumerate(rooms, 1):
        assert [turn.content for turn in traces[room].task.turns][1:] == [f"{n}0"]
        assert traces[room].messages[-1].content == f"Done in the {room}."
        assert traces[room].calls[0].parsed() == {"level": 10 * n}
    assert {line.key for line in booked(config)} == {trace.key for trace in traces.values()}


def test_a_recorder_that_is_started_again_goes_on(mock, tmp_path):
    config = config_at(tmp_path, mock, "anthropic")
    script(mock, sets(30), {"text": "It is at 30."}, sets(40), {"text": "Now at 40."})
    history = [{"role": "user", "content": QUESTION}]
    for _ in range(2):
        with recording(config) as at:
            tools = [{"name": "set_lamp", "input_schema": at.toolset.tools[0].parameters}]
            tools[0]["description"] = at.toolset.tools[0].description
            with anthropic.Anthropic(base_url=at.root, api_key=KEY) as client:
                answer = client.messages.create(
                    model=MODEL, max_tokens=90, messages=history, tools=tools
                )
        history.append(answer.to_param())
        if answer.stop_reason == "tool_use":
            result = {"type": "tool_result", "tool_use_id": answer.content[0].id, "content": "{}"}
            history.append({"role": "user", "content": [result]})
    (trace,) = stored(config)
    assert trace.messages[-1].content == "It is at 30."
    assert [record.context for record in trace.turns] == [False, False]


def test_what_nobody_saw_is_context_and_not_learnt(mock, tmp_path):
    config = config_at(tmp_path, mock, "openai_chat")
    script(mock, *[{"text": "Which level would you like?"}] * 5)
    with recording(config) as at:
        tools = [tool.as_function() for tool in at.toolset.tools]
        with openai.OpenAI(base_url=f"{at.root}/v1", api_key=KEY) as client:
            for n in range(5):
                messages = [
                    {"role": "user", "content": f"Hello from room {n} of this house"},
                    {"role": "assistant", "content": "Hi."},
                    {"role": "user", "content": "Some light in it, please"},
                ]
                client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
    assert [record.context for record in stored(config)[0].turns] == [True, False]
    build_dataset(load_config(config.source, ["filter.near_duplicates=null"]))
    rows = read_examples(config.dataset_dir / "train.jsonl")
    assert {row.weights for row in rows} == {(0.0, 1.0)}


def test_other_tools_are_counted_and_stamped_with_their_own_hash(mock, tmp_path):
    config = config_at(tmp_path, mock, "openai_chat")
    with recording(config) as at:
        (lamp,) = at.toolset.tools
        changed = at.toolset.model_copy(
            update={"tools": (lamp.model_copy(update={"description": "Another."}),)}
        )
        other = lamp.model_copy(update={"name": "set_blind"})
        more = at.toolset.model_copy(update={"tools": (other, lamp)})
        script(mock, *[{"text": "No."}] * 3)
        for n, offered in enumerate((at.toolset, changed, more)):
            chat_agent(at.root, offered, f"{QUESTION} {n}")
        with openai.OpenAI(base_url=f"{at.root}/v1", api_key=KEY) as client:
            messages = [{"role": "user", "content": "A title, please"}]
            client.chat.completions.create(model=MODEL, messages=messages)
    hashes = {t.task.turns[0].content[-1]: t.toolset_hash for t in stored(config)}
    assert hashes == {"0": at.toolset.hash, "1": changed.hash, "2": more.hash}
    assert at.counts.changed_tools == {"set_lamp": 1}
    assert at.counts.unknown_tools == {"set_blind": 1}
    assert at.counts.skipped == {"no tools were offered": 1}
    build_dataset(
        load_config(config.source, ["filter.split={train: 0.9, validation: 0, test: 0.1}"])
    )
    rejects = [
        json.loads(r) for r in (config.dataset_dir / "rejects.jsonl").read_text().splitlines()
    ]
    assert {row["code"] for row in rejects} == {"drift"} and len(rejects) == 2


@pytest.mark.parametrize("status", [429, 500])
@pytest.mark.parametrize("provider", ["openai_chat", "anthropic"])
def test_refusals_are_passed_on(mock, tmp_path, provider, status):
    config = config_at(tmp_path, mock, provider)
    mock.behave({"type": "fail", "status": status, "retry_after": 7, "times": 1})
    agent = messages_agent if provider == "anthropic" else chat_agent
    vendor = anthropic if provider == "anthropic" else openai
    expected = vendor.RateLimitError if status == 429 else vendor.InternalServerError
    with recording(config) as at, pytest.raises(expected) as caught:
        agent(at.root, at.toolset, QUESTION)
    assert caught.value.status_code == status
    assert caught.value.response.headers.get("retry-after") == "7"
    assert at.counts.refused == {status: 1} and stored(config) == [] and booked(config) == []


def test_a_stream_that_breaks_off_is_no_trace(mock, tmp_path):
    config = config_at(tmp_path, mock, "openai_chat")
    for kind in ("disconnect", "truncate"):
        script(mock, {"text": "one two three four five six"})
        mock.behave({"type": "stream_fault", "kind": kind, "after_chunks": 3})
        with recording(config) as at:
            tools = [tool.as_function() for tool in at.toolset.tools]
            with openai.OpenAI(base_url=f"{at.root}/v1", api_key=KEY, max_retries=0) as client:
                chunks = client.chat.completions.create(
                    model=MODEL,
                    messages=[{"role": "user", "content": QUESTION}],
                    tools=tools,
                    stream=True,
                )
                if kind == "disconnect":
                    with pytest.raises((openai.APIConnectionError, Exception)):
                        list(chunks)
                else:
                    assert all(not c.choices or not c.choices[0].finish_reason for c in chunks)
        assert at.counts.kept == 0 and at.counts.skipped.total() == 1
    assert stored(config) == []
