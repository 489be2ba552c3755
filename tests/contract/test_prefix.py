"""What providers cache must be the same bytes in every process, whatever its hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRINT = """
import json, pathlib
from distill.toolsets import load_toolset

toolset = load_toolset(pathlib.Path("tools/home")).toolset
print(json.dumps([toolset.system, *(tool.as_function() for tool in toolset.tools)]))
"""


def test_tools_and_system_are_the_same_bytes_in_every_process():
    def prefix(seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, "-c", PRINT],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    first = prefix("1")
    assert len(first) > 1000
    assert first == prefix("2")
