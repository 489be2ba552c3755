"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

ConfigArgument: TypeAlias = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The distillation's YAML file.", show_default=False)
]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the config, as in --set train.epochs=2; may be repeated.",
        show_default=False,
    ),
]
