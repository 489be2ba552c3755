"""`distill train`: tune the student on the data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from distill.cli.options import ConfigArgument, SetOption

if TYPE_CHECKING:
    from rich.console import Console

    from distill.config import Config
    from distill.train.device import Device
    from distill.train.plan import Plan


def train(
    config: ConfigArgument,
    set_: SetOption = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Train nothing; print tokens, steps, memory and time."),
    ] = False,
    curve: Annotated[
        bool,
        typer.Option("--curve", help="Also train on parts of the data: would more traces help?"),
    ] = False,
    despite_audit: Annotated[
        bool,
        typer.Option("--despite-audit", help="Train on data whose audit has failed."),
    ] = False,
) -> None:
    """LoRA-tune the student on the data set.

    Uses the GPU when there is one, else the CPU; under torchrun, one GPU a process. Run it again
    to resume from the last checkpoint; Ctrl-C keeps one and exits with code 130. The run folder
    holds the adapter with its card, the loss curve and the metrics.
    """
    from rich.console import Console

    from distill.config import load_config
    from distill.train import ranks
    from distill.train.audit import heed_audit

    settings, console = load_config(config, set_), Console(quiet=not ranks.is_first())
    audit = heed_audit(settings.dataset_dir, despite=despite_audit)
    console.print(audit, highlight=False, soft_wrap=True)

    from distill.student.manifest import weights_file
    from distill.train import runner  # seconds of imports, once it is sure to train

    if dry_run:
        _show_plan(console, settings.train.method, *runner.plan(settings))
        return
    if curve:
        _show_curve(console, settings)
    result = runner.train(settings, console)
    if not ranks.is_first():
        return
    if result.manifest is None:
        console.print("Interrupted; run the same command again to resume.")
        raise typer.Exit(130)
    if result.already:
        console.print(f"already trained: {result.folder}")
    metrics = result.manifest.metrics
    validation = f", validation {metrics['eval_loss']:.4f}" if "eval_loss" in metrics else ""
    console.print(
        f"loss {metrics['train_loss']:.4f}{validation} after {metrics['steps']:.0f} steps, "
        f"{metrics['seconds']:.0f} s, {metrics['peak_memory_gib']:.1f} GiB"
    )
    made = "Model" if result.manifest.method == "full" else "Adapter"
    weights = weights_file(result.folder, result.manifest.method)
    console.print(f"\n{made}: {weights.parent}", soft_wrap=True)
    console.print(
        f"Next: [bold]distill serve {config}[/bold] or [bold]distill eval {config}[/bold]"
    )


def _show_plan(console: Console, method: str, plan: Plan, device: Device) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    rows = {
        "examples": f"{plan.examples} ({plan.validation} more for validation)",
        "samples": f"{plan.samples}",
        "steps": f"{plan.recipe.steps}",
        "recipe": plan.recipe.in_words(method),
        "tokens": f"{plan.executed_tokens:,} computed for {plan.logical_tokens:,} in the samples",
        "sharing": f"{plan.sharing:.1f}x",
        "rows": f"at most {plan.row_tokens:,} tokens"
        + (", layers computed twice to save memory" if plan.checkpointing else ""),
        "memory": f"about {plan.memory_bytes / 2**30:.1f} GiB on {device.name}"
        + (", the base shared out over the ranks" if plan.sharded else ""),
        "time": f"about {_duration(plan.seconds(device))}, plus validation",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    for reason, count in plan.dropped.items():
        console.print(f"[yellow]dropped[/] {count}: {reason}")


def _show_curve(console: Console, settings: Config) -> None:
    from rich.table import Table

    from distill.train.growth import FILE, grow, in_words

    growth = grow(settings, console)
    if growth is None:
        console.print("Interrupted; run the same command again to go on.")
        raise typer.Exit(130)
    table = Table("rows", "tokens", "validation loss", "calls as the teacher", box=None)
    for point in growth.points:
        share = point.accuracy
        table.add_row(
            f"{point.rows}",
            f"{point.tokens:,}",
            f"{point.loss:.4f}",
            f"{share.value:.1%} ({share.low:.0%}-{share.high:.0%}, {share.n} turns)",
        )
    console.print(table)
    console.print(in_words(growth), soft_wrap=True)
    console.print(f"\nCurve: {settings.run_dir / FILE}", soft_wrap=True)


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
