"""A recorder in front of a provider, and agents of the vendors' SDKs that talk through it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import openai

from distill.config import Config
from distill.endpoint import bound_socket, listening
from distill.record import Counts, Recorder, Upstream, create_app
from distill.record.upstream import own_key
from distill.toolsets import load_toolset
from distill.traces import LedgerLine, Trace, TraceStore
from distill.types import ToolSet

KEY = "sk-agent-71b0c4d5e6"
MODEL = "claude-haiku-4-5"


@dataclass
class Recording:
    """A running recorder."""

    root: str
    counts: Counts
    toolset: ToolSet


@contextmanager
def recording(config: Config, toolset: ToolSet | None = None) -> Iterator[Recording]:
    """Record for a config, as `distill record` does; what passed is stored when the block ends."""
    toolset = toolset or load_toolset(config.toolset_dir).toolset
    with TraceStore.open(config.store_url, create=True) as store:
        recorder = Recorder(config, toolset, store)
        app = create_app(
            lambda: Upstream(config.teacher), recorder, spends=own_key(config.teacher) is not None
        )
        plain = {"log_level": "critical", "date_header": False, "server_header": False}
        with bound_socket("127.0.0.1", 0) as door:
            with listening(app, door, **plain):
                root = f"http://127.0.0.1:{door.getsockname()[1]}"
                yield Recording(root, recorder.counts, toolset)
            recorder.close()


def stored(config: Config) -> list[Trace]:
    """What the recorder stored."""
    with TraceStore.open(config.store_url) as store:
        return list(store.traces())


def booked(config: Config) -> list[LedgerLine]:
    """The calls in its ledger."""
    with TraceStore.open(config.store_url) as store:
        return list(store.ledger())


def execute(name: str, arguments: str) -> str:
    """The agent's own tool."""
    return json.dumps({"done": name, **json.loads(arguments)})


# --- agents: each asks, executes what is called, and goes on until it gets words ---------------


def chat_agent(root: str, toolset: ToolSet, *questions: str, stream: bool = False) -> list[Any]:
    """An agent on Chat Completions."""
    tools = [tool.as_function() for tool in toolset.tools]
    messages: list[Any] = [{"role": "system", "content": "You mind the lamps."}]
    with openai.OpenAI(base_url=f"{root}/v1", api_key=KEY, max_retries=0) as client:
        for question in questions:
            messages.append({"role": "user", "content": question})
            while messages[-1]["role"] != "assistant":
                asked = {"model": MODEL, "messages": messages, "tools": tools}
                if stream:
                    with client.chat.completions.stream(
                        **asked, stream_options={"include_usage": True}
                    ) as answer:
                        message = answer.get_final_completion().choices[0].message
                else:
                    message = client.chat.completions.create(**asked).choices[0].message
                messages += chat_turn(message)
    return messages


async def async_chat_agent(root: str, toolset: ToolSet, question: str) -> list[Any]:
    """The same, with the asynchronous client."""
    tools = [tool.as_function() for tool in toolset.tools]
    messages: list[Any] = [{"role": "user", "content": question}]
    async with openai.AsyncOpenAI(base_url=f"{root}/v1", api_key=KEY, max_retries=0) as client:
        while messages[-1]["role"] != "assistant":
            answer = await client.chat.completions.create(
                model=MODEL, messages=messages, tools=tools
            )
            messages += chat_turn(answer.choices[0].message)
    return messages


def chat_turn(message: Any) -> list[Any]:
    """An answer, and the results of its calls."""
    results = [
        {
            "role": "tool",
            "tool_call_id": call.id,
            "content": execute(call.function.name, call.function.arguments),
        }
        for call in message.tool_calls or ()
    ]
    kept = message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
    for call in kept.get("tool_calls") or ():
        call["function"].pop("parsed_arguments", None)
    return [kept, *results]


def responses_agent(
    root: str, toolset: ToolSet, question: str, *, stream: bool = False, chained: bool = False
) -> None:
    """An agent on Responses; chained: the provider holds the conversation."""
    tools = [
        {"type": "function", "strict": False, **tool.as_function()["function"]}
        for tool in toolset.tools
    ]
    items: list[Any] = [{"role": "user", "content": question}]
    previous: dict[str, Any] = {}
    with openai.OpenAI(base_url=f"{root}/v1", api_key=KEY, max_retries=0) as client:
        while items:
            asked = {"model": MODEL, "input": items, "tools": tools, "instructions": "Lamps."}
            if stream:
                with client.responses.stream(**asked, **previous) as events:
                    answer = events.get_final_response()
            else:
                answer = client.responses.create(**asked, **previous)
            results = [
                {
                    "type": "function_call_output",
                    "call_id": item.call_id,
                    "output": execute(item.name, item.arguments),
                }
                for item in answer.output
                if item.type == "function_call"
            ]
            if not results:
                return
            if chained:
                items, previous = results, {"previous_response_id": answer.id}
            else:
                given = [item.to_dict(mode="json", exclude_none=True) for item in answer.output]
                items = [*items, *[_sent(item) for item in given], *results]


def _sent(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "parsed_arguments"}


def messages_agent(root: str, toolset: ToolSet, question: str, *, stream: bool = False) -> None:
    """An agent on Anthropic Messages."""
    tools = messages_tools(toolset)
    messages: list[Any] = [{"role": "user", "content": question}]
    with anthropic.Anthropic(base_url=root, api_key=KEY, max_retries=0) as client:
        while True:
            asked = {"model": MODEL, "max_tokens": 500, "messages": messages, "tools": tools}
            if stream:
                with client.messages.stream(**asked, system="You mind the lamps.") as events:
                    answer = events.get_final_message()
            else:
                answer = client.messages.create(**asked, system="You mind the lamps.")
            if not (results := messages_results(answer)):
                return
            messages += [answer.to_param(), {"role": "user", "content": results}]


async def async_messages_agent(root: str, toolset: ToolSet, question: str) -> None:
    """The same, with the asynchronous client."""
    tools = messages_tools(toolset)
    messages: list[Any] = [{"role": "user", "content": question}]
    async with anthropic.AsyncAnthropic(base_url=root, api_key=KEY, max_retries=0) as client:
        while True:
            answer = await client.messages.create(
                model=MODEL, max_tokens=500, messages=messages, tools=tools
            )
            if not (results := messages_results(answer)):
                return
            messages += [answer.to_param(), {"role": "user", "content": results}]


def messages_tools(toolset: ToolSet) -> list[Any]:
    return [
        {"name": t.name, "description": t.description, "input_schema": t.parameters}
        for t in toolset.tools
    ]


def messages_results(answer: Any) -> list[Any]:
    return [
        {
            "type": "tool_result",
            "tool_use_id": block.id,
            "content": execute(block.name, json.dumps(block.input)),
        }
        for block in answer.content
        if block.type == "tool_use"
    ]


Agent = Callable[[str, ToolSet, str], Any]
