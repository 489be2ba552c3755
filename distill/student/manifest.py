"""What training records next to an adapter: everything that serving and measuring it need.

A run folder, `runs/<name>/`:

    adapter/                     appears in one step, when training is finished
        adapter_model.safetensors, adapter_config.json     as peft writes them
        distill.json             `Manifest`
        chat_template.jinja      the template it was trained with
        README.md                the model card
    merged/                      base and adapter in one, when they were merged, or all weights
                                 where all were tuned: a checkpoint. adapter/ then has no weights
    metrics.jsonl, loss.png, train.log, checkpoints/
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from distill.errors import StudentError
from distill.types import Frozen, Json

ADAPTER, MANIFEST, TEMPLATE = "adapter", "distill.json", "chat_template.jinja"
MERGED = "merged"


class Manifest(Frozen):
    """An adapter's origin and how it must be used."""

    version: int = 1
    name: str
    base: str
    """Hub id, or folder."""
    base_hash: str
    """Content of the base's configuration, tokenizer and weights."""
    revision: str | None
    """Commit of a hub base."""
    family: str
    parser: str
    """vLLM's tool-call parser."""
    template_hash: str | None = None
    """Content of the template's file; None: nobody wrote it down."""
    template_kwargs: dict[str, Json] = {}
    """Template variables that requests to the server must set, as training did."""
    method: Literal["lora", "qlora", "full"] = "lora"
    rank: int
    """Of the adapter; 0: there is none."""
    toolset_name: str
    toolset_hash: str
    dataset_hash: str
    created_at: str
    """ISO 8601, UTC."""
    config: dict[str, Json]
    """The whole config it was trained with."""
    versions: dict[str, str]
    """Packages."""
    metrics: dict[str, float]
    """Of the finished run: losses, tokens, seconds."""


def hash_template(content: bytes) -> str:
    """Return the first 16 hex digits of a template's SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def weights_file(run_dir: Path, method: str) -> Path:
    """Return a file of a run that is there when its trained weights are."""
    if method == "full":
        return run_dir / MERGED / "config.json"
    return run_dir / ADAPTER / "adapter_model.safetensors"


def read_manifest(run_dir: Path) -> Manifest:
    """Read the manifest of a training run.

    Raises:
        StudentError: There is no trained student in `run_dir`.
    """
    path = run_dir / ADAPTER / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudentError(
            f"no trained student in {str(run_dir)!r} ({error.strerror}); run `distill train CONFIG`"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StudentError(f"{path}: {where}: {first['msg']}; train again") from None


def write_manifest(adapter: Path, manifest: Manifest) -> None:
    """Write the manifest into an adapter folder."""
    text = manifest.model_dump_json(indent=1)
    (adapter / MANIFEST).write_text(text + "\n", encoding="utf-8")
