"""The import direction of the packages, and what starting the command may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "distill"
LAYERS = [
    {"errors"},
    {"types"},
    {"proportion"},
    {"audit", "calibration"},
    {"config", "chat", "dataset", "endpoint", "interrupts", "results", "similarity", "trackers"},
    {"toolsets", "teachers", "traces", "student", "matching"},
    {"episode", "judge"},
    {
        "collect",
        "record",
        "filter",
        "review",
        "train",
        "serve",
        "evaluate",
        "report",
        "export",
        "demo",
        "preflight",
        "workspace",
    },
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
STAGES = LAYERS[7]
HEAVY = ["torch", "transformers", "trl", "peft", "vllm", "anthropic", "openai", "datasets", "mcp"]


def imports() -> list[tuple[str, str, Path]]:
    """Every (importing unit, imported unit, file) inside the package."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] in ("__init__",) or (parts[0] == "workspace" and len(parts) > 2):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
                if node.module == "distill":
                    names = [f"distill.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name.startswith("distill."):
                    found.append((parts[0], name.split(".")[1], path))
    return found


def test_every_unit_has_a_layer() -> None:
    units = {
        p.stem
        for p in PACKAGE.iterdir()
        if p.stem != "__init__" and (p.suffix == ".py" or (p.is_dir() and any(p.glob("*.py"))))
    }
    assert units == set(RANK) - {"py"}


def test_imports_point_downwards() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}: {user} -> {used}"
        for user, used, path in imports()
        if user != used and used != "__version__" and RANK[used] > RANK[user]
    ]
    assert wrong == []


def test_stages_do_not_import_each_other() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}: {user} -> {used}"
        for user, used, path in imports()
        if user in STAGES and used in STAGES and user != used
    ]
    assert wrong == []


@pytest.mark.parametrize("command", [[], ["collect"], ["train"], ["serve"], ["eval"]])
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    script = (
        "import sys\n"
        "from distill.cli.main import main\n"
        f"sys.argv = ['distill', *{command!r}, '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('loaded:', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "loaded: []"
