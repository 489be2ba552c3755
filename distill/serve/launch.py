"""From a deployment to a checked endpoint, and back to nothing.

with launched(target, run_dir / LOG, examples, show) as server:
    server.join()
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distill.dataset import TRAIN, VALIDATION, read_examples
from distill.serve.checks import Prompt, check_effect, check_prompts
from distill.serve.command import (
    STUDENT,
    Deployment,
    vllm_command,
    vllm_environment,
    vllm_version,
)
from distill.serve.server import Server, check_port
from distill.student.families import family_named
from distill.student.render import Renderer, Sample, weighted_turns
from distill.types import AssistantMessage, Example, Tool, ToolCall, UserMessage

LOG = "serve.log"

SAMPLES = 4
"""Conversations that an endpoint is checked with."""

FORECAST = Tool(
    name="get_forecast",
    description="Forecast for a place on a day.",
    parameters={
        "type": "object",
        "properties": {"place": {"type": "string"}, "day": {"type": "string"}},
        "required": ["place", "day"],
    },
)
NO_DATA = Example(
    messages=(
        UserMessage(content="What is the weather in Oslo on Monday?"),
        AssistantMessage(
            tool_calls=(
                ToolCall(id="1", name="get_forecast", arguments='{"place":"Oslo","day":"Monday"}'),
            )
        ),
    ),
    tools=(FORECAST,),
    weights=(1.0,),
)
"""Stands in where there is no data set."""


@contextmanager
def launched(
    target: Deployment,
    log: Path,
    examples: Sequence[Example],
    progress: Callable[[str], None],
) -> Iterator[Server]:
    """Start vLLM, wait until it serves the deployment, check it, stop it after the block.

    Args:
        target: What to serve.
        log: File that takes vLLM's output.
        examples: Conversations to check it with.
        progress: Told what is going on while it starts.

    Raises:
        ServeError: vLLM is missing, the port is taken, it does not come up, or what came up is
            not what was trained.
    """
    vllm_version()
    check_port(target.settings.host, target.settings.port)
    command, environment = vllm_command(target), vllm_environment(target)
    with Server(command, environment, target.url, log) as server:
        progress("importing")
        trained = rendered(target, examples)
        server.wait(target.names, progress)
        progress("does it read prompts as training did")
        check_prompts(target.url, trained)
        progress("does the adapter change the answers")
        check_effect(target.url, [prompt(example) for example in examples])
        yield server


def rendered(target: Deployment, examples: Sequence[Example]) -> list[tuple[Prompt, Sequence[int]]]:
    """Return every prompt in the examples with the token ids that training makes of it."""
    from transformers import AutoTokenizer  # seconds, which vLLM needs to start anyway

    tokenizer = AutoTokenizer.from_pretrained(target.base, revision=target.revision)
    tokenizer.chat_template = target.template.read_text(encoding="utf-8")
    renderer = Renderer(tokenizer, family_named(target.family))
    return [
        (Prompt(example.messages[:turn], example.tools), _prompt_ids(sample))
        for example in examples
        for (turn, _), sample in zip(weighted_turns(example), renderer.render(example), strict=True)
    ]


def sample_examples(dataset_dir: Path | None) -> list[Example]:
    """Return conversations of the data set, each of another kind, those with a call first."""
    files = [dataset_dir / name for name in (VALIDATION, TRAIN)] if dataset_dir else []
    found: dict[str, Example] = {}
    for path in files:
        for example in read_examples(path) if path.is_file() else ():
            found.setdefault(str(example.meta.get("kind")), example)
    ordered = sorted(found.values(), key=lambda example: not _first_calls(example))
    return ordered[:SAMPLES] or [NO_DATA]


def prompt(example: Example) -> Prompt:
    """Return an example up to its first answer."""
    first = next(n for n, m in enumerate(example.messages) if isinstance(m, AssistantMessage))
    return Prompt(messages=example.messages[:first], tools=example.tools)


def curl_line(url: str, example: Example) -> str:
    """Return a command that asks the student for the example's first call."""
    called = {call.name for call in _first_calls(example)}
    tools = tuple(tool for tool in example.tools if tool.name in called) or example.tools[:1]
    body = Prompt(prompt(example).messages, tools).body(STUDENT) | {"temperature": 0}
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    return f"curl {url}/chat/completions -H 'Content-Type: application/json' -d {data}"


def _first_calls(example: Example) -> tuple[ToolCall, ...]:
    first = next(m for m in example.messages if isinstance(m, AssistantMessage))
    return first.tool_calls


def _prompt_ids(sample: Sample) -> list[int]:
    """Return the ids before the first one that is trained on."""
    first = next(n for n, weight in enumerate(sample.weights) if weight > 0)
    return [int(token) for token in sample.ids[:first]]
