"""A training run on disk: what it was started with, how far it is, and its finished adapter.

    runs/<name>/
      run.json       what decides the weights; a later call with anything else is refused
      checkpoints/   the Trainer's own; the newest complete one is resumed from
      adapter/       appears in one step when training is finished

The same weights come from the same `run.json`, so it leaves out what only moves, packs or watches
the work (`train.output`, `train.row_tokens`, `train.shard`, `train.track`).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from distill.config import Config
from distill.errors import TrainError
from distill.student.base import Base
from distill.student.manifest import ADAPTER, MANIFEST
from distill.train.data import Material
from distill.types import Json, digest

_IDENTITY = "run.json"
_IRRELEVANT = {"output", "row_tokens", "shard", "track"}


class Run:
    """The folder of one training run."""

    def __init__(self, folder: Path) -> None:
        """Take the run's folder, which need not exist yet."""
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.adapter = folder / ADAPTER
        self.metrics = folder / "metrics.jsonl"
        self.log = folder / "train.log"
        self.curve = folder / "loss.png"

    @property
    def finished(self) -> bool:
        """Whether the adapter is there."""
        return (self.adapter / MANIFEST).is_file()

    def claim(self, identity: dict[str, Json]) -> None:
        """Start the run, or make sure that what it has made so far fits the settings.

        Raises:
            TrainError: It does not.
        """
        path = self.folder / _IDENTITY
        if not (self.finished or self.last_checkpoint()):
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")
            return
        started = json.loads(path.read_text(encoding="utf-8"))
        keys = [key for key in identity if identity[key] != started.get(key)]
        if keys:
            changes = ", ".join(f"{k} {started.get(k)!r} -> {identity[k]!r}" for k in keys)
            raise TrainError(
                f"{str(self.folder)!r} holds a run with other settings: {changes}; set another "
                "train.output, or delete that folder"
            )

    def last_checkpoint(self) -> Path | None:
        """Return the newest checkpoint that was written to its end."""
        complete = (p.parent for p in self.checkpoints.glob("checkpoint-*/trainer_state.json"))
        return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)

    def publish(self, prepared: Path) -> None:
        """Move a prepared folder to its place as the run's adapter, in one step."""
        if self.adapter.exists():
            shutil.rmtree(self.adapter)
        prepared.rename(self.adapter)


def identity_of(config: Config, base: Base, base_hash: str, material: Material) -> dict[str, Json]:
    """Return what decides the weights, as flat keys that a message can name."""
    settings = config.train.model_dump(mode="json", exclude=_IRRELEVANT)
    recipe = config.train.recipe(len(material.train))
    settings |= {key: value for key, value in recipe._asdict().items() if key != "steps"}
    return {f"train.{key}": value for key, value in settings.items()} | {
        "base model": base_hash,
        "chat template": digest(base.template),
        "family": base.family.name,
        "data set": material.hash,
        "tool set": material.info.toolset_hash,
    }
