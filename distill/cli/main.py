"""The `distill` command: registers the commands and turns errors into one line and exit code 2."""

from __future__ import annotations

import errno
import sys
from typing import Annotated, NoReturn

import typer

from distill import __version__
from distill.cli.check import check
from distill.cli.collect import collect
from distill.cli.compare import compare
from distill.cli.demo import demo
from distill.cli.eval import eval_
from distill.cli.export_data import export_data
from distill.cli.filter import filter_
from distill.cli.init import init
from distill.cli.merge import merge
from distill.cli.record import record
from distill.cli.rehearse import rehearse
from distill.cli.review import review
from distill.cli.score import score
from distill.cli.serve import serve
from distill.cli.tasks import tasks
from distill.cli.tools import tools
from distill.cli.traces import traces
from distill.cli.train import train
from distill.errors import DistillError

HELP = """Distil an agent's tool calling from a teacher into a small student, and prove it.

Every command takes the same CONFIG, one YAML file per distillation. They are listed in the order
they are used; `tools` and `traces` import data and look at it, `tasks` has tasks written. New
here? `distill demo` runs them all with no key and no GPU.
"""

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"distill {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options of `distill` itself."""


app.command()(init)
app.add_typer(tools, name="tools")
app.add_typer(tasks, name="tasks")
app.add_typer(traces, name="traces")
app.command()(check)
app.command()(collect)
app.command()(record)
app.command("filter")(filter_)
app.command("export-data")(export_data)
app.command()(review)
app.command()(train)
app.command()(merge)
app.command()(serve)
app.command()(rehearse)
app.command("eval")(eval_)
app.command()(score)
app.command()(compare)
app.command()(demo)


def main() -> None:
    """Run the command line; expected errors become one line on stderr and exit code 2."""
    try:
        app()
    except DistillError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = f" while writing {error.filename!r}" if error.filename else ""
        _fail(f"the disk is full{where}; free some space and run the same command again")


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)
