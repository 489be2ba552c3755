"""A workspace with traces the embedded teacher really made, filtered and ready to be reviewed."""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import tempfile
import threading
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from distill.collect import Status, collect, make_plan
from distill.config import Config, load_config
from distill.demo.teacher.busy import Busy
from distill.demo.teacher.script import Script
from distill.demo.teacher.server import TeacherServer
from distill.filter import build_dataset, judge_for
from distill.review import Desk
from distill.toolsets import load_tasks, load_toolset
from distill.traces import TraceStore, schema
from distill.traces.reviews import ReviewStore
from distill.types import AssistantMessage, Message
from tests.unit.filter_world import make_task, make_trace, make_workspace, store_traces

ROOT = Path(__file__).parents[2]
CONFIG = """
name: small
toolset: tools/home
tasks: {count: 120, seed: 3}
teacher:
  provider: openai_chat
  model: demo-teacher
  base_url: URL
  terms: Mine.
review: {sample: 12}
"""


@cache
def collected() -> Path:
    """Collect and filter 120 tasks of the home tool set, once; return the config's path."""
    temporary = tempfile.TemporaryDirectory()
    atexit.register(temporary.cleanup)
    folder = Path(temporary.name)
    shutil.copytree(ROOT / "tools/home", folder / "tools/home")
    (folder / "configs").mkdir()
    path = folder / "configs" / "small.yaml"
    loaded = load_toolset(folder / "tools/home")
    script = Script(loaded.toolset, load_tasks(loaded, None, 120, 3), 0, 0.12)
    server = TeacherServer(("127.0.0.1", 0), script, Busy(0.0, 0))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        path.write_text(CONFIG.replace("URL", f"http://127.0.0.1:{server.port}/v1"))
        config = load_config(path)
        asyncio.run(collect(config, make_plan(config, None), Status()))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    build_dataset(config)
    return path


def copied(folder: Path) -> Config:
    """Copy the collected workspace, so that a test may change it."""
    path = collected()
    shutil.copytree(path.parents[1], folder / "workspace")
    return load_config(folder / "workspace" / "configs" / path.name)


def disagreeing(folder: Path) -> Config:
    """Filter 12 tasks of three samples each; in every second task the samples disagree."""
    tasks = [make_task(f"o{n}", f"Dim hall to 30% or office to 40%, {n}", None) for n in range(12)]
    config = make_workspace(folder, tasks, "review: {sample: 8, disputed: 3}\n")
    now = load_toolset(config.toolset_dir).toolset.hash
    hall = ("set_light", {"room": "hall", "percent": 30})
    office = ("set_light", {"room": "office", "percent": 40})
    traces = [
        make_trace(task, now, [[deed], f"Done {n}."], key=f"{task.id}/{n}", sample=n, changes={})
        for m, task in enumerate(tasks)
        for n, deed in enumerate((hall, hall, office if m % 2 else hall))
    ]
    store_traces(config, traces)
    build_dataset(config)
    return config


def open_desk(config: Config, store: TraceStore, reviewer: str = "ann") -> Desk:
    return Desk(config, store, reviewer, judge_for(config))


def number_of(desk: Desk, store: TraceStore, wanted) -> int:
    """The first row of the sample whose trace is as wanted."""
    traces = ReviewStore(store)
    return next(n for n, row in enumerate(desk.rows) if wanted(traces.trace(row.key)))


def poison(config: Config, key: str, text: str) -> None:
    """Put `text` into every place of a stored trace that somebody else writes."""
    with TraceStore.open(config.store_url) as store:
        trace = ReviewStore(store).trace(key)
        poisoned = trace.model_copy(
            update={
                "messages": tuple(_poisoned(message, text) for message in trace.messages),
                "task": trace.task.model_copy(update={"id": text, "family": text}),
                "changes": {f"/{text}": text},
                "teacher": trace.teacher.model_copy(update={"model": text}),
            }
        )
        with store.engine.begin() as connection:
            connection.execute(
                sa.update(schema.episodes)
                .where(schema.episodes.c.key == key)
                .values(trace=poisoned.model_dump_json())
            )


def _poisoned(message: Message, text: str) -> Message:
    if not isinstance(message, AssistantMessage):
        return message.model_copy(update={"content": text})
    arguments = json.dumps({text: text})
    calls = tuple(
        call.model_copy(update={"name": text, "arguments": arguments})
        for call in message.tool_calls
    )
    return message.model_copy(update={"content": text, "tool_calls": calls})
