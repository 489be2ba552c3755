"""`distill merge`: the adapter into its base, as one model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.cli.options import ConfigArgument, SetOption


def merge(
    config: ConfigArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Folder of the merged model; runs/<name>/merged when left out.",
            show_default=False,
        ),
    ] = None,
    gguf: Annotated[
        bool,
        typer.Option("--gguf", help="Also write model.gguf and an Ollama Modelfile (llama.cpp)."),
    ] = False,
    set_: SetOption = None,
) -> None:
    """Merge the trained adapter into its base.

    The sum is made in float32, rounded to the base's precision, and compared with the adapter on
    validation turns before it is kept. Needs memory for the base in float32.
    """
    from rich.console import Console

    from distill.config import load_config
    from distill.student.manifest import MERGED, read_manifest
    from distill.train import merge as merging

    console, settings = Console(), load_config(config, set_)
    folder = settings.run_dir / MERGED
    if read_manifest(settings.run_dir).method != "full" or output or not gguf:
        merged = merging.merge(settings, output)
        folder = merged.folder
        console.print(
            f"{merged.turns} turns compared: log-probabilities differ by {merged.mean:.2g} nats a "
            f"token, the same token is most probable at {merged.same:.2%} of the positions"
        )
    if gguf:
        console.print(f"GGUF: {merging.to_gguf(folder)}", soft_wrap=True)
    console.print(f"\nModel: {folder}", soft_wrap=True)
