"""Judges behind real HTTP, good and useless, and a store for them to read.

The lamps' tasks are worded so that a judge of a few lines can tell right from wrong: the request
names room and brightness, or leaves one out, or is not about lamps.
"""

from __future__ import annotations

import json
import random
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "unit"))

from filter_world import calling, light, make_task, make_trace, make_workspace, store_traces

from distill.config import Config, load_config
from distill.demo.teacher.busy import Busy
from distill.demo.teacher.server import TeacherServer
from distill.toolsets import load_toolset
from distill.traces import Trace
from distill.types import AssistantMessage, Expectation, Kind, Message, Task

ROOMS = ("hall", "office", "attic")
ASK = Expectation(action="ask")
ABSTAIN = Expectation(action="abstain")
JUDGE = """
collect: {{budget_usd: {budget}}}
filter:
  judge:
    {{provider: openai_chat, model: judge-1, base_url: "{url}", calibration: 40, min_precision: 0.7,
      price: {{input: 1, output: 5}}, concurrency: 4}}
"""


class Mind:
    """A judge; answers as the embedded teacher's script would."""

    def __init__(self) -> None:
        self.asked: list[list[Message]] = []

    def answer(self, messages: Sequence[Message], offered: frozenset[str]) -> AssistantMessage:
        """Answer one request."""
        self.asked.append(list(messages))
        shown = messages[1].content.partition("\n")[2]
        return AssistantMessage(content=self.say(json.loads(shown)))

    def say(self, conversation: list[dict]) -> str:
        """Return the answer's text."""
        raise NotImplementedError


def opinion(calls: str = "right", questions: str = "none", answer: str = "right") -> str:
    points = {"calls": calls, "questions": questions, "answer": answer}
    return json.dumps({n: {"verdict": v, "reason": "because"} for n, v in points.items()})


class Competent(Mind):
    """Reads the request, and errs once in forty."""

    def say(self, conversation: list[dict]) -> str:
        said = next(m["content"] for m in conversation if m["role"] == "user")
        rooms = [room for room in ROOMS if room in said]
        levels = [int(n) for n in re.findall(r"(\d+) percent", said)]
        wanted = [{"room": rooms[0], "percent": levels[0]}] if rooms and levels else []
        made = [c for m in conversation for c in m.get("calls", ())]
        calls = [c["arguments"] for c in made if c["tool"] == "set_light"]
        words = conversation[-1].get("content", "")
        over = not conversation[-1].get("calls")
        right = (
            calls == wanted and len(made) == len(calls)
            if over
            else all(c["tool"] == "set_light" and c["arguments"] in wanted for c in made)
        )
        results = json.dumps([m for m in conversation if m["role"] == "tool"] + calls)
        true = all(number in results for number in re.findall(r"\d+", words)) or not made
        if random.Random(json.dumps(conversation)).random() < 0.025:
            right = not right
        answer = "right" if true else "wrong"
        return "```json\n" + opinion("right" if right else "wrong", "none", answer) + "\n```"


class Yes(Mind):
    """Finds everything right."""

    def say(self, conversation: list[dict]) -> str:
        return opinion()


class No(Mind):
    """Finds everything wrong."""

    def say(self, conversation: list[dict]) -> str:
        return opinion("wrong")


class Coin(Mind):
    """Tosses one."""

    def say(self, conversation: list[dict]) -> str:
        heads = random.Random(json.dumps(conversation) + "coin").random() < 0.5
        return opinion("wrong" if heads else "right")


class Garbage(Mind):
    """Says something else."""

    def say(self, conversation: list[dict]) -> str:
        return '{"calls": {"verdict": "wrong"}, "score": 7'


@contextmanager
def judging(mind: Mind) -> Iterator[str]:
    """Serve a judge; yields its base URL."""
    server = TeacherServer(("127.0.0.1", 0), mind, Busy(0, 0))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def tasks() -> list[Task]:
    """Sixty calls and twenty tasks that need none."""
    made = []
    for n in range(60):
        room, percent = ROOMS[n % 3], 10 + n
        text = f"Please set the {room} to {percent} percent, way {n}"
        expected = calling(light(room, percent))
        made.append(make_task(f"call-{n}", text, expected, family=f"call/{n}"))
    for n in range(10):
        text = f"Dim something to {n + 20} percent, way {n}"
        made.append(make_task(f"ask-{n}", text, ASK, kind=Kind.MISSING, family=f"ask/{n}"))
        text = f"Order pizza number {n}"
        made.append(make_task(f"no-{n}", text, ABSTAIN, kind=Kind.NO_TOOL, family=f"no/{n}"))
    return made


def trace_of(task: Task, toolset_hash: str) -> Trace:
    """What a good teacher does; one call in fifteen is told wrongly afterwards."""
    if not task.turns[0].expectation.calls:
        words = "Which room, please?" if task.kind is Kind.MISSING else "I cannot do that."
        return make_trace(task, toolset_hash, [words], changes={})
    call = task.turns[0].expectation.calls[0]
    number = int(task.id.partition("-")[2])
    told = call.arguments["percent"] + (100 if number % 15 == 3 else 0)
    return make_trace(
        task, toolset_hash, [[(call.name, call.arguments)], f"It is at {told} now."], changes={}
    )


def make_world(folder: Path, url: str | None, budget: float = 5) -> Config:
    """Write a workspace whose store is full; with a judge at `url`, where there is one."""
    extra = JUDGE.format(url=url, budget=budget) if url else ""
    config = make_workspace(folder, tasks(), extra)
    now = load_toolset(config.toolset_dir).toolset.hash
    store_traces(config, [trace_of(task, now) for task in tasks()])
    return config


def again(config: Config, *overrides: str) -> Config:
    """Read the config once more, with other settings."""
    return load_config(config.source, list(overrides))
