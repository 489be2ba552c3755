"""One training run from data set to adapter.

Resumable: a run that was stopped continues from its newest complete checkpoint, a finished one is
left alone. The adapter folder appears in one step, so it is never half written.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from distill.config import Config
from distill.student.base import Base, base_hash, find_base, load_tokenizer
from distill.student.manifest import Manifest, hash_template, read_manifest
from distill.student.render import Renderer
from distill.student.template import check_template
from distill.toolsets import load_toolset
from distill.trackers import check_trackers
from distill.train import ranks
from distill.train.card import write_card
from distill.train.curve import draw_curve
from distill.train.data import Material, load_material
from distill.train.device import Device, choose_device
from distill.train.fit import Job, fit
from distill.train.logs import quiet
from distill.train.plan import Plan, make_plan
from distill.train.progress import read_metrics
from distill.train.publish import publish_run
from distill.train.run import Run, identity_of

_PACKAGES = ("tool-distill", "torch", "transformers", "trl", "peft", "accelerate", "tokenizers")


@dataclass(frozen=True)
class Result:
    """How a call of `train` ended."""

    folder: Path
    manifest: Manifest | None
    """None: interrupted, run again to resume; or not the first rank."""
    already: bool = False
    """The run was finished before."""


def plan(config: Config) -> tuple[Plan, Device]:
    """Return what training would cost on this machine.

    Raises:
        DistillError: Something that training needs is missing or does not fit.
    """
    check_trackers("train.track", config.train.track)
    base, material, _ = prepared(config)
    device = choose_device()
    return make_plan(config, base, material, device), device


def train(config: Config, console: Console) -> Result:
    """Train the student of a config, or go on training it.

    Every rank calls this; only the first writes, and only its result has a manifest.

    Raises:
        DistillError: Something that training needs is missing or does not fit, or the run in the
            folder has other settings.
    """
    check_trackers("train.track", config.train.track)
    return train_on(config, *prepared(config), console)


def train_on(
    config: Config, base: Base, material: Material, tokenizer: Any, console: Console
) -> Result:
    """Train on a data set that is rendered already; otherwise as `train`."""
    run = Run(config.run_dir)
    content = base_hash(base)
    if ranks.is_first():
        run.claim(identity_of(config, base, content, material))
    if run.finished:
        return Result(run.folder, read_manifest(run.folder), already=True)
    device = choose_device()
    costs = make_plan(config, base, material, device)
    if ranks.is_first():
        _announce(console, base, costs, device, config.train.method, run.last_checkpoint())
    fitted = fit(Job(config, base, material, tokenizer, device, run, costs), console)
    if not ranks.is_first():
        return Result(run.folder, None)
    rows = read_metrics(run.metrics)
    draw_curve(rows, run.curve, f"{config.name}: {base.name}")
    if fitted.interrupted:
        return Result(run.folder, None)
    manifest = _manifest(config, base, content, material, _summary(rows, fitted.seconds))
    with quiet(run.log):
        card = write_card(manifest, material, len(_tools(config)))
        publish_run(run, fitted.model, base, manifest, card)
    return Result(run.folder, manifest)


def prepared(config: Config) -> tuple[Base, Material, Any]:
    """Return the base, the rendered data set and the tokenizer of a config."""
    with quiet(None):
        base = find_base(config)
        tokenizer = load_tokenizer(base)
        check_template(tokenizer, base.family)
        return base, load_material(config, Renderer(tokenizer, base.family)), tokenizer


def _announce(
    console: Console, base: Base, costs: Plan, device: Device, method: str, checkpoint: Path | None
) -> None:
    console.print(
        f"{base.name} ({base.family.name}) on {device.name}, {str(device.dtype)[6:]}: "
        f"{costs.examples} examples, {costs.recipe.steps} steps, {costs.executed_tokens:,} tokens "
        f"({costs.sharing:.1f}x fewer than unpacked)"
        + (f", on {ranks.count()} ranks" if ranks.count() > 1 else ""),
        soft_wrap=True,
    )
    console.print(costs.recipe.in_words(method), soft_wrap=True)
    if costs.sharded:
        console.print(f"the base is shared out over the {ranks.count()} ranks")
    if checkpoint:
        console.print(f"resuming from {checkpoint.name}")


def _summary(rows: list[dict[str, float]], seconds: float) -> dict[str, float]:
    """Return the figures of a finished run; the training loss is the mean of its last tenth."""
    steps = [row for row in rows if "loss" in row]
    last = steps[-max(1, len(steps) // 10) :]
    figures = {
        "train_loss": sum(row["loss"] for row in last) / len(last),
        "steps": steps[-1]["step"],
        "executed_tokens": sum(row["executed_tokens"] for row in steps),
        "logical_tokens": sum(row["logical_tokens"] for row in steps),
        "seconds": round(seconds, 1),
        "peak_memory_gib": round(_peak_memory_bytes() / 2**30, 2),
    }
    checked = [row for row in rows if "eval_loss" in row]
    if checked:  # the adapter is that of the best validation
        best = max(checked, key=lambda row: row.get("eval_score", -row["eval_loss"]))
        names = ("eval_loss", "eval_pair_accuracy", "eval_turn_accuracy")
        figures |= {name: best[name] for name in names if name in best}
        figures["best_step"] = best["step"]
    return figures


def _peak_memory_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _manifest(
    config: Config, base: Base, content: str, material: Material, figures: dict[str, float]
) -> Manifest:
    return Manifest(
        name=config.name,
        base=base.name,
        base_hash=content,
        revision=base.revision,
        family=base.family.name,
        parser=base.parser,
        template_hash=hash_template(base.template.encode()),
        template_kwargs=dict(base.family.template_kwargs),
        method=config.train.method,
        rank=config.train.recipe(len(material.train)).rank,
        toolset_name=material.info.toolset,
        toolset_hash=material.info.toolset_hash,
        dataset_hash=material.hash,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config.model_dump(mode="json"),
        versions={name: metadata.version(name) for name in _installed()},
        metrics=figures,
    )


def _installed() -> list[str]:
    known = {found.name for found in metadata.distributions()}
    return [name for name in _PACKAGES if name in known]


def _tools(config: Config) -> tuple[Any, ...]:
    return load_toolset(config.toolset_dir).toolset.tools
