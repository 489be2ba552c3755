"""What is served: a base model and the adapters on it, or one merged model.

Everything follows from what training recorded next to each adapter (its manifest) and from a
config's `serve` section. Adapters that share a server share its template and parser, so they must
have been trained alike.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.config import ServeConfig, TeacherConfig
from distill.endpoint import LOOPBACK
from distill.errors import ConfigError, ServeError
from distill.student.manifest import (
    ADAPTER,
    MERGED,
    TEMPLATE,
    Manifest,
    hash_template,
    read_manifest,
    weights_file,
)
from distill.types import Json

BASE, STUDENT = "base", "student"
"""Names the endpoint serves; several adapters go by the names of their runs."""


@dataclass(frozen=True)
class Deployment:
    """A model, the adapters on it, and the format they were trained for."""

    run_dir: Path
    """The (first) training run, where the logs go too."""
    base: str
    """Folder or hub id of what vLLM loads: the base, or the merged model."""
    revision: str | None
    """Commit of a hub base."""
    base_hash: str | None
    """Content of the base that the adapters were trained on; None for a merged model."""
    adapters: Mapping[str, Path]
    """Served name -> folder of the adapter; empty for a merged model."""
    rank: int
    """Highest LoRA rank among them."""
    family: str
    parser: str
    template: Path
    template_kwargs: Mapping[str, Json]
    """Template variables that training set (thinking switched off, say)."""
    settings: ServeConfig
    teacher: TeacherConfig | None
    """Who answers what the student cannot."""
    alone: str = STUDENT
    """Served name of a model without adapters: the merged student, or its bare base."""

    @property
    def url(self) -> str:
        """Root of the OpenAI-compatible endpoint, as a client on this machine reaches it."""
        host = "127.0.0.1" if self.settings.host in ("0.0.0.0", "::") else self.settings.host
        bracketed = f"[{host}]" if ":" in host else host
        return f"http://{bracketed}:{self.settings.port}/v1"

    @property
    def students(self) -> tuple[str, ...]:
        """Served names of what was trained."""
        return tuple(name for name in self.names if name != BASE)

    @property
    def names(self) -> tuple[str, ...]:
        """Models the endpoint lists."""
        return (BASE, *self.adapters) if self.adapters else (self.alone,)

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        return self.settings.host not in LOOPBACK

    @property
    def key(self) -> str | None:
        """What clients must send; None: nothing.

        Raises:
            ConfigError: The variable it should be in is not set.
            ServeError: Other machines could use the endpoint without one.
        """
        name = self.settings.api_key_env
        if name is None:
            if self.exposed:
                raise ServeError(
                    f"serve.host {self.settings.host!r} can be reached from other machines; set "
                    "serve.api_key_env to a variable with the key they must send, or use 127.0.0.1"
                )
            return None
        key = os.environ.get(name, "")
        if not key:
            raise ConfigError(
                f"serve.api_key_env: environment variable {name!r} is not set; "
                f"run `export {name}=...` and try again"
            )
        return key


def deployment(
    run_dirs: Path | Sequence[Path],
    base: str | None,
    settings: ServeConfig | None,
    *,
    teacher: TeacherConfig | None = None,
    merged: bool = False,
    bare: bool = False,
) -> Deployment:
    """Return what serves the students of one or more runs.

    Args:
        run_dirs: The training runs.
        base: Where the base is; where training found it when None.
        settings: How to serve; what the (first) config said at training when None.
        teacher: Who answers what the student cannot; the config's of training when None.
        merged: Serve the run's merged model instead of its adapter, as is always done where all
            weights were tuned.
        bare: Serve the base alone, as the student was trained to read and write.

    Raises:
        StudentError: There is no trained student in a run.
        ServeError: An adapter's folder is incomplete or has another template than in training, or
            the runs do not fit on one server.
    """
    runs = [run_dirs] if isinstance(run_dirs, Path) else list(run_dirs)
    manifests = [read_manifest(run_dir) for run_dir in runs]
    first, adapter = manifests[0], runs[0] / ADAPTER
    for run_dir, manifest in zip(runs, manifests, strict=True):
        _refuse_incomplete(run_dir, manifest)
        _refuse_other_template(run_dir / ADAPTER / TEMPLATE, manifest)
    for other, run_dir in zip(manifests[1:], runs[1:], strict=True):
        _refuse_strangers(first, other, runs[0], run_dir)
    whole = any(manifest.method == "full" for manifest in manifests)
    if merged := not bare and (merged or whole):
        base = _merged_folder(runs)
    saved = first.config.get("teacher")
    return Deployment(
        run_dir=runs[0],
        base=base or first.base,
        revision=None if merged else first.revision,
        base_hash=None if merged else first.base_hash,
        adapters={} if merged or bare else _named(manifests, runs),
        rank=max(manifest.rank for manifest in manifests),
        family=first.family,
        parser=first.parser,
        template=adapter / TEMPLATE,
        template_kwargs=first.template_kwargs,
        settings=settings or ServeConfig.model_validate(first.config.get("serve", {})),
        teacher=teacher or (TeacherConfig.model_validate(saved) if saved else None),
        alone=BASE if bare else STUDENT,
    )


def _refuse_incomplete(run_dir: Path, manifest: Manifest) -> None:
    for needed in (weights_file(run_dir, manifest.method), run_dir / ADAPTER / TEMPLATE):
        if not needed.is_file():
            raise ServeError(
                f"no {needed.name} in {str(needed.parent)!r}; run `distill train CONFIG`"
            )


def _refuse_other_template(template: Path, manifest: Manifest) -> None:
    """Raise if the template was changed: prompts would agree with each other, and be wrong."""
    if manifest.template_hash not in (None, found := hash_template(template.read_bytes())):
        raise ServeError(
            f"{str(template)!r} is not the template of training: its hash is {found}, it was "
            f"{manifest.template_hash}; put that one back, or train again with student.template"
        )


def _refuse_strangers(one: Manifest, other: Manifest, here: Path, there: Path) -> None:
    """Raise if two students cannot share a server."""
    for what in ("base_hash", "family", "parser", "template_kwargs"):
        mine, theirs = getattr(one, what), getattr(other, what)
        if mine != theirs:
            raise ServeError(
                f"{str(there)!r} cannot share a server with {str(here)!r}: its {what} is "
                f"{theirs!r}, not {mine!r}; serve it on a port of its own"
            )
    if (here / ADAPTER / TEMPLATE).read_bytes() != (there / ADAPTER / TEMPLATE).read_bytes():
        raise ServeError(
            f"{str(there)!r} cannot share a server with {str(here)!r}: they were trained with "
            "different chat templates; serve it on a port of its own"
        )


def _named(manifests: Sequence[Manifest], runs: Sequence[Path]) -> dict[str, Path]:
    if len(runs) == 1:
        return {STUDENT: runs[0] / ADAPTER}
    names = [manifest.name for manifest in manifests]
    twice = next((name for n, name in enumerate(names) if name in (*names[:n], BASE)), None)
    if twice is not None:
        raise ServeError(
            f"two models would be served as {twice!r}; adapters go by the `name` of their config, "
            "so train one of them under another"
        )
    return {name: run / ADAPTER for name, run in zip(names, runs, strict=True)}


def _merged_folder(runs: Sequence[Path]) -> str:
    if len(runs) > 1:
        raise ServeError("--merged serves one run; serve the others on ports of their own")
    folder = runs[0] / MERGED
    if not (folder / "config.json").is_file():
        raise ServeError(f"no merged model in {str(folder)!r}; merge the adapter into the base")
    return str(folder)
