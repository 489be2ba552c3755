"""A running `llmock` and a small workspace whose teacher it is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from distill.collect import Status, collect, make_plan
from distill.config import Config, load_config
from distill.errors import DistillError
from distill.traces import TraceStore

SERVER = """
from llmock.cli import app
from llmock.routers import batch
batch._BATCH_DELAY = 0.3  # seconds; three as it comes
app()
"""
FIRST_LASTS = """
from itertools import chain, repeat
from llmock.cli import app
from llmock.routers import batch

delays = chain([3600], repeat(0.3))

class Delay:
    def __radd__(self, now):
        return now + next(delays)

batch._BATCH_DELAY = Delay()
app()
"""
"""The server whose first batch is never over before it is cancelled."""
AGENT = """
import json, sys, urllib.request
from llmock.cli import app
from llmock.routers import batch
batch._BATCH_DELAY = 1.0
port = sys.argv[sys.argv.index("--port") + 1]

def live(path, body):
    url, kind = f"http://127.0.0.1:{port}{path}", {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), kind)
    return json.load(urllib.request.urlopen(request))

batch._build_response = live
batch._build_anthropic_message = lambda body: live("/anthropic/v1/messages", body)
app()
"""
"""The server with the calls of a batch answered by its live endpoints, which call tools."""
SECRET = "sk-test-5f2c9d8e7a"
TOOLS = '''
from distill.toolsets import tool


@tool
def set_lamp(level: int) -> dict:
    """Set the lamp to a level.

    Args:
        level: Brightness.
    """
    return {"level": level}
'''


class Mock:
    """A running `llmock`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx2.Client(base_url=url)

    def behave(self, *behaviors: dict[str, Any]) -> None:
        answer = self.client.post("/_llmock/scenario", json={"behaviors": list(behaviors)})
        answer.raise_for_status()

    def reset(self) -> None:
        self.client.post("/_llmock/reset").raise_for_status()

    def requests(self, path: str) -> list[dict[str, Any]]:
        """What was sent to a path since the last reset."""
        records = self.client.get("/_llmock/requests").json()["requests"]
        return [record for record in records if record["path"] == path]

    def verdict(self) -> dict[str, Any]:
        return self.client.get("/_llmock/verdict").json()

    def base_url(self, provider: str) -> str:
        return self.url + ("/anthropic" if provider == "anthropic" else "/v1")


@contextmanager
def serving(server: str = SERVER, *options: str) -> Iterator[Mock]:
    """An `llmock` of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", server]
    process = subprocess.Popen(
        [*command, "serve", "--host", "127.0.0.1", "--port", str(port), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    mock = Mock(f"http://127.0.0.1:{port}")
    try:
        _wait_until_ready(mock, process)
        yield mock
    finally:
        mock.client.close()
        process.kill()  # asked to end, it would first finish the answers it holds back
        process.wait(10)


def _wait_until_ready(mock: Mock, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "llmock died at start"
        try:
            if mock.client.get("/health").status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError("llmock did not become ready")


def workspace(folder: Path, mock: Mock, provider: str, count: int, **collect_: Any) -> Path:
    tools = folder / "tools" / "lamps"
    tools.mkdir(parents=True)
    (tools / "tools.py").write_text(TOOLS)
    (tools / "toolset.yaml").write_text(
        "name: lamps\ndescription: Lamps.\nsource: tools.py\ntasks: tasks.jsonl\n"
    )
    rows = [
        {
            "id": f"t{n:03}",
            "toolset": "lamps",
            "kind": "single",
            "family": "f",
            "turns": [{"content": f"Set the lamp to {n}"}],
        }
        for n in range(count)
    ]
    (tools / "tasks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = {
        "name": "lamps",
        "toolset": "tools/lamps",
        "teacher": {
            "provider": provider,
            "model": "claude-haiku-4-5",
            "base_url": mock.base_url(provider),
            "api_key_env": "LAMPS_KEY",
        },
        "collect": {"concurrency": 8, **collect_},
    }
    path = folder / "lamps.yaml"
    path.write_text(json.dumps(config))
    return path


async def run(config: Config) -> Status:
    status = Status()
    await collect(config, make_plan(config), status)
    return status


COMMAND = """
import sys, typer
from distill.cli.collect import collect
from distill.errors import DistillError
app = typer.Typer(pretty_exceptions_enable=False)
app.command()(collect)
try:
    app()
except DistillError as error:
    print("error:", error, file=sys.stderr)
    raise SystemExit(2)
"""


def environment() -> dict[str, str]:
    return os.environ | {"LAMPS_KEY": SECRET, "PYTHONPATH": str(Path.cwd())}


def start(path: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(path), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )


def finished(path: Path) -> int:
    try:
        with TraceStore.open(load_config(path).store_url) as store:
            return store.counts().done
    except DistillError:
        return 0


def wait_for(process: subprocess.Popen[str], path: Path, count: int) -> None:
    while finished(path) < count:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
