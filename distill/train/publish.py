"""What a finished run leaves: the adapter, or the whole model where all weights were tuned.

Each folder appears in one step. A fully tuned model is a checkpoint like a merged one, in the same
place; the adapter's folder, which marks a run as finished, then holds only what goes with it:
manifest, template and card.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from distill.student.base import Base, load_tokenizer
from distill.student.manifest import MERGED, TEMPLATE, Manifest, write_manifest
from distill.train.run import Run


def publish_run(run: Run, model: Any, base: Base, manifest: Manifest, card: str) -> None:
    """Write a trained student into its run's folder.

    Args:
        run: The run.
        model: As it was trained.
        base: What it was trained from.
        manifest: What is recorded of it.
        card: The model card's text.
    """
    prepared = run.folder / "adapter.part"
    shutil.rmtree(prepared, ignore_errors=True)
    if manifest.method == "full":
        prepared.mkdir(parents=True)
        model.config.use_cache = True
        dtype = AutoConfig.from_pretrained(base.folder).dtype or torch.float32
        save_model(model.to(dtype), base, run.folder / MERGED, card)
    else:
        model.save_pretrained(prepared, save_embedding_layers=False)
    (prepared / TEMPLATE).write_text(base.template, encoding="utf-8")
    (prepared / "README.md").write_text(card, encoding="utf-8")
    write_manifest(prepared, manifest)
    run.publish(prepared)


def save_model(model: Any, base: Base, folder: Path, card: str) -> None:
    """Write a whole model as a checkpoint folder, with the base's tokenizer and template."""
    prepared = folder.with_name(folder.name + ".part")
    shutil.rmtree(prepared, ignore_errors=True)
    model.save_pretrained(prepared)
    load_tokenizer(base).save_pretrained(prepared)
    (prepared / TEMPLATE).write_text(base.template, encoding="utf-8")
    (prepared / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    prepared.rename(folder)
