"""Tool sets that were imported: a snapshot of the tools, and a way to execute their calls.

`toolset.yaml` names the source: `openapi.yaml` (calls are HTTP requests), `mcp.yaml` (calls go to
an MCP server), `simulated.yaml` (a model makes their results up), or `tools.json` alone (recorded
results are replayed). The tools themselves always
stand in `tools.json`. Python tool sets are read by `distill.toolsets.folder`.
"""

from __future__ import annotations

from pathlib import Path

from distill.errors import ToolSetError
from distill.toolsets.sources.recorded import RECORDED, Replay, read_recordings
from distill.toolsets.sources.session import Session, SessionTool, Source
from distill.toolsets.sources.simulated import SIMULATED, Ask, Simulation, open_simulated
from distill.toolsets.sources.snapshot import SNAPSHOT, Snapshot, read_snapshot

OPENAPI, MCP = "openapi.yaml", "mcp.yaml"

__all__ = [
    "MCP",
    "OPENAPI",
    "SIMULATED",
    "SNAPSHOT",
    "Ask",
    "Session",
    "SessionTool",
    "Simulation",
    "Snapshot",
    "open_source",
]


def open_source(path: Path) -> Source:
    """Read the source of an imported tool set.

    Args:
        path: `openapi.yaml`, `mcp.yaml`, `simulated.yaml` or `tools.json` in the folder of the
            tool set.

    Raises:
        ToolSetError: A file is missing or wrong, or the kind of source is unknown.
    """
    if path.name not in (OPENAPI, MCP, SIMULATED, SNAPSHOT):
        raise ToolSetError(
            f"{path.parent / 'toolset.yaml'}: source {path.name!r} is not a .py file, {OPENAPI}, "
            f"{MCP}, {SIMULATED} or {SNAPSHOT}; name one of them"
        )
    snapshot = read_snapshot(path.parent / SNAPSHOT)
    if path.name == OPENAPI:
        from distill.toolsets.sources.openapi import open_api

        return open_api(path, snapshot)
    if path.name == MCP:
        from distill.toolsets.sources.mcp import open_server

        return open_server(path, snapshot)
    if path.name == SIMULATED:
        return open_simulated(path, snapshot)
    recordings = read_recordings(path.parent / RECORDED)
    why = "the tool has no implementation, and no result of this call was recorded"
    gaps = () if recordings else (f"{path}: the tools have no implementation; {_HOW}",)
    return Source(snapshot, lambda _: Replay(recordings, why), gaps)


_HOW = f"put recorded results next to it as {RECORDED}, or every call fails"
