"""A garden whose tasks the embedded teacher writes, over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distill.demo.teacher.busy import Busy
from distill.demo.teacher.script import Script
from distill.demo.teacher.server import TeacherServer
from distill.toolsets import load_toolset
from distill.types import Task, ToolSet

TOOLS = '''
"""A garden."""
from typing import Annotated, Literal

from pydantic import Field

from distill.toolsets import Environment, ToolError, tool

Bed = Literal["roses", "herbs", "front_lawn"]


class Garden(Environment):
    def __init__(self, dry: bool = False) -> None:
        self.litres, self.dry = {}, dry

    def snapshot(self):
        return {"litres": self.litres}

    @tool
    def water_bed(
        self,
        bed: Bed,
        litres: Annotated[int, Field(ge=1, le=20)],
        fine: bool = False,
        note: str = "",
    ) -> dict[str, int]:
        """Give water to a flower bed. Takes a while.

        Args:
            bed: Which bed.
            litres: How much.
            fine: As a mist.
            note: Anything to write down.
        """
        if self.dry:
            raise ToolError("the tank is empty")
        self.litres[bed] = self.litres.get(bed, 0) + litres
        return {"litres": self.litres[bed]}

    @tool
    def read_soil(self, bed: Bed) -> dict[str, int]:
        """Measure how moist the soil is.

        Args:
            bed: Which bed.
        """
        return {"moisture": 41}

    @tool
    def open_gate(self, side: Literal["north", "south"]) -> dict[str, str]:
        """Let visitors in on one side.

        Args:
            side: Which gate.
        """
        return {"open": side}
'''


def garden(folder: Path, base_url: str, provider: str = "openai_chat", **generate: Any) -> Path:
    """Write the tool set and a config; return the config's path."""
    tools = folder / "tools" / "garden"
    tools.mkdir(parents=True, exist_ok=True)
    (tools / "tools.py").write_text(TOOLS)
    (tools / "toolset.yaml").write_text(
        "name: garden\ndescription: A garden with three beds.\nsystem: You keep a garden.\n"
        "source: tools.py\n"
    )
    config = {
        "name": "garden",
        "toolset": "tools/garden",
        "tasks": {"generate": {"count": 60, **generate}},
        "teacher": {
            "provider": provider,
            "model": "demo-teacher",
            "base_url": base_url,
            "price": {"input": 1, "output": 5},
        },
        "collect": {"concurrency": 4},
    }
    path = folder / "garden.yaml"
    path.write_text(json.dumps(config))
    return path


@contextmanager
def serving(
    toolset: ToolSet, tasks: Sequence[Task], error_rate: float = 0.0
) -> Iterator[TeacherServer]:
    """The embedded teacher, knowing `tasks`."""
    server = TeacherServer(("127.0.0.1", 0), Script(toolset, tasks, 0, error_rate), Busy(0.0, 0))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def author(
    folder: Path, error_rate: float = 0.0, tasks: Sequence[Task] = ()
) -> Iterator[TeacherServer]:
    """The embedded teacher for the garden."""
    garden(folder, "http://127.0.0.1:9/v1")
    with serving(load_toolset(folder / "tools" / "garden").toolset, tasks, error_rate) as server:
        yield server


def address(server: TeacherServer, provider: str = "openai_chat") -> str:
    return f"http://127.0.0.1:{server.port}" + ("" if provider == "anthropic" else "/v1")
