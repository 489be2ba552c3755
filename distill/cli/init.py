"""`distill init`: make a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)
    ],
) -> None:
    """Make a workspace with a small tool set.

    Replace the tool set by yours, then run `distill check`.
    """
    from rich import print

    from distill.workspace import write_workspace

    for path in write_workspace(folder):
        print(f"  {path}")
    print(f"\nNext: [bold]cd {folder} && distill check configs/weather.yaml[/bold]")
