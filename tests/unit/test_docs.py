"""The generated pages are what the code generates, and the documents name things that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from distill.cli.reference import config_page

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_config_page_is_current() -> None:
    assert (ROOT / "docs/config.md").read_text() == config_page(), "run `make docs`"


def test_the_cli_page_is_current() -> None:
    script = "from distill.cli.reference import cli_page; print(cli_page(), end='')"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs/cli.md").read_text() == result.stdout, "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_config_opens_with_commands_on_itself() -> None:
    for path in (ROOT / "configs").glob("*.yaml"):
        head = path.read_text().split("\nname:")[0]
        named = set(re.findall(r"configs/[\w.-]+\.yaml", head))
        assert named == {f"configs/{path.name}"}, path.name
        assert "distill check" in head, path.name
