"""`distill check`: find what is wrong before money or GPU time is spent."""

from __future__ import annotations

import typer

from distill.cli.options import ConfigArgument, SetOption

MARKS = {
    "ok": "[green]ok[/]",
    "warning": "[yellow]warning[/]",
    "fault": "[red]fault[/]",
    "unchecked": "[dim]not checked[/]",
}


def check(config: ConfigArgument, set_: SetOption = None) -> None:
    """Find what is wrong before it costs anything.

    Checks the config, the tool set, the tasks, the teacher's key, terms and price, the student's
    template and parser, the packages and the disk. Asks nothing of the network: what needs the hub
    is reported as not checked. Exit code 2 if anything is at fault.
    """
    from rich.console import Console
    from rich.table import Table

    from distill.config import load_config
    from distill.preflight import Level, inspect

    findings = list(inspect(load_config(config, set_)))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for finding in findings:
        table.add_row(finding.area, MARKS[finding.level], finding.text)
    Console().print(table)
    faults = sum(finding.level is Level.FAULT for finding in findings)
    if faults:
        typer.echo(f"error: {config}: {faults} fault(s) to mend before collecting", err=True)
        raise typer.Exit(2)
    Console().print(f"\nNext: [bold]distill collect {config}[/bold]")
