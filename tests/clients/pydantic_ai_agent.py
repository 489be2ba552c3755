"""Pydantic AI, unchanged: an agent that calls the tool, gets its result and goes on."""

import json
import os

from pydantic_ai import Agent, Tool, UsageLimitExceeded, UsageLimits
from pydantic_ai.models.openai import OpenAIChatModel

function = json.loads(os.environ["TOOL"])["function"]
heard: list[dict[str, str]] = []


def forecast(**given: str) -> str:
    heard.append(given)
    return json.dumps({"sky": "snow"})


tool = Tool.from_schema(
    forecast,
    name=function["name"],
    description=function["description"],
    json_schema=function["parameters"],
)
agent = Agent(
    OpenAIChatModel("student"),
    tools=[tool],
    model_settings={"temperature": 0, "max_tokens": 100},
)
try:
    done = agent.run_sync(
        "What is the weather in Oslo on Monday?", usage_limits=UsageLimits(request_limit=3)
    )
    assert isinstance(done.output, str), done
except UsageLimitExceeded:
    pass  # a tiny student may never stop calling; what counts is that its calls arrived
assert heard and all(set(call) == {"place", "day"} for call in heard), heard
print("pydantic-ai ok")
