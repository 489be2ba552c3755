"""Both real SDK clients against the embedded teacher over HTTP."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import anthropic
import openai
import pytest

from distill.demo.teacher import mistakes
from distill.demo.teacher.busy import Busy
from distill.demo.teacher.script import Script
from distill.demo.teacher.server import TeacherServer
from distill.toolsets import load_tasks, load_toolset

TOOLS = '''
"""A garden."""
from typing import Literal
from distill.toolsets import ToolError, tool

Bed = Literal["roses", "herbs", "lawn"]

@tool
def water_bed(bed: Bed, litres: int) -> dict[str, int]:
    """Water one bed.

    Args:
        bed: Which bed.
        litres: How much water.
    """
    return {"litres": litres}

@tool
def mist_bed(bed: Bed) -> dict[str, str]:
    """Mist one bed finely.

    Args:
        bed: Which bed.
    """
    return {"bed": bed}

@tool
def read_soil(bed: Bed) -> dict[str, int]:
    """Read how moist a bed is.

    Args:
        bed: Which bed.
    """
    return {"moisture": 41}
'''


def _water(bed, litres):
    return {"name": "water_bed", "arguments": {"bed": bed, "litres": litres}}


def _row(id, kind, *turns, **fields):
    turns = [{"content": said, "expectation": expectation} for said, expectation in turns]
    return {"id": id, "toolset": "garden", "kind": kind, "family": id, "turns": turns, **fields}


FAULT = {"tool": "read_soil", "message": "the probe did not answer", "times": 1}
ROWS = [
    _row(
        "single",
        "single",
        ("Five litres for the roses", {"action": "call", "calls": [_water("roses", 5)]}),
    ),
    _row(
        "parallel",
        "parallel",
        (
            "Roses 5, lawn 9 litres",
            {"action": "call", "calls": [_water("roses", 5), _water("lawn", 9)]},
        ),
    ),
    _row(
        "turns",
        "multi_turn",
        ("Water the herbs", {"action": "ask", "mentions": [["litres"]]}),
        ("Three litres", {"action": "call", "calls": [_water("herbs", 3)]}),
        ("Thanks a lot", {"action": "answer"}),
    ),
    _row(
        "failed",
        "tool_failed",
        (
            "How moist are the herbs?",
            {"action": "call", "calls": [{"name": "read_soil", "arguments": {"bed": "herbs"}}]},
        ),
        faults=[FAULT],
    ),
]


@pytest.fixture(scope="module")
def garden(tmp_path_factory) -> Path:
    """A workspace with the garden tool set and a config."""
    root = tmp_path_factory.mktemp("workspace")
    (root / "tools").mkdir()
    (root / "tools/tools.py").write_text(TOOLS)
    manifest = "name: garden\ndescription: A garden.\nsource: tools.py\ntasks: tasks.jsonl\n"
    (root / "tools/toolset.yaml").write_text(manifest)
    (root / "tools/tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (root / "garden.yaml").write_text(
        "name: garden\ntoolset: tools\n"
        "teacher: {provider: openai_chat, model: m, base_url: http://127.0.0.1:9/v1}\n"
    )
    return root


@pytest.fixture(scope="module")
def loaded(garden):
    return load_toolset(garden / "tools")


@contextmanager
def _serving(loaded, error_rate=0.0, busy_rate=0.0):
    tasks = load_tasks(loaded, None, 100, 0)
    script = Script(loaded.toolset, tasks, 0, error_rate)
    server = TeacherServer(("127.0.0.1", 0), script, Busy(busy_rate, 0))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class AnthropicAgent:
    """An agent loop on the anthropic client: everything it sends and receives is the SDK's."""

    def __init__(self, url, loaded):
        self.client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
        self.tools = [
            {"name": t.name, "description": t.description, "input_schema": t.parameters}
            for t in loaded.toolset.tools
        ]
        self.messages = []

    def say(self, text):
        self.messages.append({"role": "user", "content": text})
        return self.turn()

    def turn(self):
        answer = self.client.messages.create(
            model="demo-teacher", max_tokens=500, messages=self.messages, tools=self.tools
        )
        assert isinstance(answer, anthropic.types.Message) and answer._request_id
        assert answer.usage.input_tokens > 100 and answer.usage.output_tokens > 0
        self.messages.append(answer.to_param())
        text = "".join(block.text for block in answer.content if block.type == "text")
        uses = [block for block in answer.content if block.type == "tool_use"]
        assert answer.stop_reason == ("tool_use" if uses else "end_turn")
        return text, [(use.id, use.name, use.input) for use in uses]

    def results(self, results):
        blocks = [
            {"type": "tool_result", "tool_use_id": i, "content": text, "is_error": "error" in text}
            for i, text in results
        ]
        self.messages.append({"role": "user", "content": blocks})
        return self.turn()


class OpenAIAgent:
    """The same on the openai client (Chat Completions)."""

    def __init__(self, url, loaded):
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        self.tools = [t.as_function() for t in loaded.toolset.tools]
        self.messages = []

    def say(self, text):
        self.messages.append({"role": "user", "content": text})
        return self.turn()

    def turn(self):
        answer = self.client.chat.completions.create(
            model="demo-teacher", messages=self.messages, tools=self.tools
        )
        assert isinstance(answer, openai.types.chat.ChatCompletion) and answer._request_id
        assert answer.usage.prompt_tokens > 100 and answer.usage.completion_tokens > 0
        (choice,) = answer.choices
        self.messages.append(choice.message.model_dump(exclude_none=True))
        calls = choice.message.tool_calls or []
        assert choice.finish_reason == ("tool_calls" if calls else "stop")
        return choice.message.content or "", [
            (call.id, call.function.name, call.function.arguments) for call in calls
        ]

    def results(self, results):
        self.messages += [{"role": "tool", "tool_call_id": i, "content": t} for i, t in results]
        return self.turn()


AGENTS = pytest.mark.parametrize("kind", [AnthropicAgent, OpenAIAgent])


def _arguments(call):
    return json.loads(call[2]) if isinstance(call[2], str) else call[2]


@AGENTS
def test_single(kind, loaded):
    with _serving(loaded) as url:
        agent = kind(url, loaded)
        _, (call,) = agent.say("Five litres for the roses")
        assert call[1] == "water_bed" and _arguments(call) == {"bed": "roses", "litres": 5}
        text, calls = agent.results([(call[0], '{"litres": 5}')])
        assert text and not calls


@AGENTS
def test_parallel_calls_in_one_message(kind, loaded):
    with _serving(loaded) as url:
        agent = kind(url, loaded)
        _, calls = agent.say("Roses 5, lawn 9 litres")
        assert [_arguments(call)["litres"] for call in calls] == [5, 9]
        assert len({call[0] for call in calls}) == 2
        text, more = agent.results([(call[0], "{}") for call in calls])
        assert text and not more


@AGENTS
def test_multi_turn(kind, loaded):
    with _serving(loaded) as url:
        agent = kind(url, loaded)
        text, calls = agent.say("Water the herbs")
        assert "litres" in text and "?" in text and not calls
        _, (call,) = agent.say("Three litres")
        assert _arguments(call) == {"bed": "herbs", "litres": 3}
        text, calls = agent.results([(call[0], '{"litres": 3}')])
        assert text and not calls
        text, calls = agent.say("Thanks a lot")
        assert text and not calls


@AGENTS
def test_recovery_from_a_tool_error(kind, loaded):
    with _serving(loaded) as url:
        agent = kind(url, loaded)
        _, (first,) = agent.say("How moist are the herbs?")
        error = json.dumps({"error": FAULT["message"]})
        _, (second,) = agent.results([(first[0], error)])
        assert second[1:] == first[1:] and second[0] != first[0]
        text, calls = agent.results([(second[0], '{"moisture": 41}')])
        assert "41" in text and not calls


@AGENTS
def test_malformed_arguments_in_both_shapes(kind, loaded, monkeypatch):
    monkeypatch.setattr(mistakes, "WEIGHTS", {mistakes.malformed_json: 1})
    with _serving(loaded, error_rate=1.0) as url:
        _, (call,) = kind(url, loaded).say("Five litres for the roses")
    if kind is OpenAIAgent:
        with pytest.raises(ValueError):
            json.loads(call[2])
    else:
        assert isinstance(call[2], dict)


@pytest.mark.parametrize(
    ("kind", "limits", "overloads"),
    [
        (AnthropicAgent, anthropic.RateLimitError, anthropic.OverloadedError),
        (OpenAIAgent, openai.RateLimitError, openai.InternalServerError),
    ],
)
def test_a_busy_server_is_got_through_by_waiting_as_told(kind, limits, overloads, loaded):
    met = Counter()
    with _serving(loaded, busy_rate=1.0) as url:
        agents = [kind(url, loaded) for _ in range(8)]
        for n, agent in enumerate(agents):
            agent.messages.append({"role": "user", "content": f"Hello {n}"})
            for _ in range(3):
                try:
                    assert agent.turn()[0]
                    break
                except limits as error:
                    wait = float(error.response.headers["retry-after"])
                    assert 0 < wait < 1
                    assert float(error.response.headers["retry-after-ms"]) == round(wait * 1000)
                    time.sleep(wait)
                    met["limited"] += 1
                except overloads as error:
                    assert error.status_code == (529 if kind is AnthropicAgent else 503)
                    met["overloaded"] += 1
            else:
                raise AssertionError("rejected more often than promised")
    assert met["limited"] and met["overloaded"]


def test_the_sdk_retries_by_itself(loaded):
    with _serving(loaded, busy_rate=1.0) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=2)
        messages = [{"role": "user", "content": "Hello"}]
        answer = client.chat.completions.create(model="demo-teacher", messages=messages)
    assert answer.choices[0].message.content


def test_models_and_token_counts(loaded):
    with _serving(loaded) as url:
        listed = openai.OpenAI(base_url=f"{url}/v1", api_key="none").models.list()
        assert [model.id for model in listed] == ["demo-teacher"]
        agent = AnthropicAgent(url, loaded)
        agent.say("Five litres for the roses")
        asked = agent.messages[:1]
        count = agent.client.messages.count_tokens(
            model="demo-teacher", messages=asked, tools=agent.tools
        )
        assert count.input_tokens > 100


def test_bad_requests_are_refused_in_the_vendors_shape(loaded):
    with _serving(loaded) as url:
        chat = OpenAIAgent(url, loaded).client
        with pytest.raises(openai.BadRequestError, match="stream"):
            chat.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "x"}], stream=True
            )
        with pytest.raises(openai.BadRequestError, match="unknown role"):
            chat.chat.completions.create(model="m", messages=[{"role": "wizard", "content": "x"}])
        with pytest.raises(openai.NotFoundError, match="no route"):
            chat.responses.create(model="m", input="x")
        claude = AnthropicAgent(url, loaded).client
        with pytest.raises(anthropic.BadRequestError, match="at least one message"):
            claude.messages.create(model="m", max_tokens=10, messages=[])


async def test_64_conversations_at_once(loaded):
    with _serving(loaded) as url:
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)
        tools = [t.as_function() for t in loaded.toolset.tools]

        async def ask():
            return await client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "Five litres for the roses"}],
                tools=tools,
            )

        answers = await asyncio.gather(*(ask() for _ in range(64)))
        await client.close()
    assert {a.choices[0].message.tool_calls[0].function.name for a in answers} == {"water_bed"}


# --- the process ------------------------------------------------------------------------------


def _teacher(garden, *options, **fields):
    command = [sys.executable, "-m", "distill.demo.teacher", str(garden / "garden.yaml"), *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **fields
    )


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_when_it_is_ready_and_stops_when_told(garden, stop):
    with _teacher(garden, "--port", "0") as process:
        ready = process.stdout.readline()
        url = ready.split()[-1]
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        assert client.models.list().data
        client.close()
        process.send_signal(stop)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


def test_a_taken_port_and_a_missing_config_are_one_line(garden, loaded, tmp_path):
    with _serving(loaded) as url:
        port = url.rsplit(":", 1)[1]
        with _teacher(garden, "--port", port) as process:
            assert process.wait(10) == 2
            (line,) = process.stderr.read().splitlines()
    assert port in line and "--port" in line
    with _teacher(tmp_path) as process:
        assert process.wait(10) == 2
        assert len(process.stderr.read().splitlines()) == 1
