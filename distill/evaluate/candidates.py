"""Who is compared: what decides a model's answers, and how it is asked.

Base and student are two names of one endpoint, or, where all weights were tuned, two endpoints;
the teacher is asked as the config says, or read from the trace store. Two further columns are the
cheaper answers, both of them the base: with worked examples in its prompt, and with its calls held
to the schemas of the tools on offer by the server's decoder. A candidate's identity holds
everything that decides its answers (weights, template, parser, request settings) and nothing that
does not (port, time limits), so that stored answers are reused exactly when they would be given
again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import httpx2

from distill.chat import OBSERVE
from distill.config import Config, TeacherConfig
from distill.dataset import TRAIN
from distill.errors import ConfigError
from distill.evaluate.prompting import Prompted, Strict, choose_shots
from distill.results import MODELS
from distill.student.base import folder_hash
from distill.student.manifest import (
    ADAPTER,
    MERGED,
    TEMPLATE,
    Manifest,
    read_manifest,
    weights_file,
)
from distill.teachers import Teacher, teacher_identity
from distill.types import Json, Message, digest


@dataclass(frozen=True)
class Candidate:
    """One model to compare."""

    name: str
    """One of `distill.results.MODELS`."""
    label: str
    """What it is called for people."""
    identity: str
    """Digest of what decides its answers."""
    model: TeacherConfig | None
    """How it is asked; None: its answers are the stored traces."""
    served: bool
    """Whether it stands behind the student's endpoint, whose address is known only later."""
    trials: int = 1
    """How often it answers each case."""
    shots: tuple[Message, ...] = ()
    """Worked examples put before every conversation."""
    strict: bool = False
    """Whether its calls are held to the schemas of the tools it is offered."""
    bare: bool = False
    """Whether it is asked of a server of its own, which holds the base without the student."""
    disguise: Callable[[Teacher], Teacher] | None = None
    """Changes what it sees; what it answers is changed back."""

    def at(self, endpoint: str | None) -> TeacherConfig:
        """Return how it is asked, given the student's endpoint."""
        assert self.model is not None
        if not self.served:
            return self.model
        extra = self.model.extra | {OBSERVE: True}
        return self.model.model_copy(update={"base_url": endpoint, "extra": extra})

    def connect(self, endpoint: str | None, create: Callable[[TeacherConfig], Teacher]) -> Teacher:
        """Return the model, ready to be asked.

        Args:
            endpoint: Where base and student are served.
            create: Makes the client.
        """
        client = create(self.at(endpoint))
        if self.strict:
            client = Strict(client)
        if self.disguise:
            client = self.disguise(client)
        return Prompted(client, self.shots) if self.shots else client


def candidates(config: Config, endpoint: str | None, only: Collection[str]) -> list[Candidate]:
    """Return who is compared, in the order of the columns.

    Args:
        config: The distillation.
        endpoint: An endpoint that somebody else started; None: it will be started for this.
        only: Names to keep; empty: all that the config asks for.

    Raises:
        ConfigError: `only` names something else, or a column that is not configured.
        StudentError: There is no trained student.
    """
    settings = config.eval
    manifest = read_manifest(config.run_dir) if set(only) != {"teacher"} else None
    with_base = manifest is None or manifest.method != "full" or endpoint is None
    wanted = {
        "base": with_base,
        "prompted": with_base and settings.few_shot > 0,
        "constrained": with_base and settings.constrained,
        "student": True,
        "teacher": settings.teacher != "none",
    }
    for name in only:
        if name not in MODELS:
            raise ConfigError(f"--only {name!r}: one or more of {','.join(MODELS)}")
        if not wanted[name] and name != "teacher" and not with_base:
            raise ConfigError(
                f"--only {name!r}: a model tuned whole is served without its base; leave out "
                "--endpoint"
            )
        if not wanted[name] and name != "teacher":
            key = "few_shot" if name == "prompted" else "constrained"
            raise ConfigError(f"--only {name!r}: set eval.{key} to have this column")
    chosen = [name for name in MODELS if wanted[name] and (not only or name in only)]
    known = endpoint and serves_run(endpoint, config.run_dir, config.serve.api_key_env)
    foreign = None if known else endpoint
    return [
        teacher_candidate(config)
        if name == "teacher" or manifest is None
        else served_candidate(name, config, manifest, foreign)
        for name in chosen
    ]


def served_candidate(
    name: str, config: Config, manifest: Manifest, endpoint: str | None
) -> Candidate:
    """Return one of the models behind the student's endpoint.

    Args:
        name: Which one.
        config: The distillation.
        manifest: What training recorded.
        endpoint: An endpoint that is not known to serve this run: its address stands for what
            it serves.
    """
    adapter = config.run_dir / ADAPTER
    request = TeacherConfig(
        provider="openai_chat",
        model="student" if name == "student" else "base",
        api_key_env=config.serve.api_key_env,
        temperature=config.eval.temperature,
        max_tokens=config.eval.max_tokens,
    )
    decides: dict[str, Json] = {
        "base": manifest.base_hash,
        "template": [file_hash(adapter / TEMPLATE), manifest.template_kwargs],
        "parser": manifest.parser,
        "request": teacher_identity(request),
        "server": [config.serve.max_model_len, *config.serve.vllm_args, *_numerics(config)],
        "endpoint": endpoint,
        **({"strict": True} if name == "constrained" else {}),
    }
    shots: tuple[Message, ...] = ()
    whole = manifest.method == "full"
    if name == "student":
        decides["adapter"] = weights_hash(config, manifest)
    if name == "prompted":
        shots = choose_shots(config.dataset_dir / TRAIN, config.eval.few_shot)
        decides["shots"] = [message.model_dump(mode="json") for message in shots]
    return Candidate(
        name=name,
        label=_label(name, config, manifest),
        identity=digest(decides),
        model=request,
        served=True,
        trials=config.eval.trials,
        shots=shots,
        strict=name == "constrained",
        bare=whole and name != "student",
    )


def weights_hash(config: Config, manifest: Manifest) -> str:
    """Hash what training wrote: a whole model or an adapter."""
    if manifest.method == "full":
        return folder_hash(config.run_dir / MERGED)
    return file_hash(weights_file(config.run_dir, manifest.method))


def _label(name: str, config: Config, manifest: Manifest) -> str:
    folder = Path(manifest.base)  # two names of it: many are called "model" or "merged"
    base = "/".join(folder.parts[-2:]) if folder.is_absolute() else manifest.base
    match name:
        case "prompted":
            return f"{base}, {config.eval.few_shot} examples in the prompt"
        case "constrained":
            return f"{base}, calls held to the schemas"
        case "student" if manifest.rank:
            return f"{manifest.name} (LoRA rank {manifest.rank} on {base})"
        case "student":
            return f"{manifest.name} (all weights of {base} tuned)"
    return base


def teacher_candidate(config: Config) -> Candidate:
    """Return the teacher, live or stored."""
    live = config.eval.teacher == "live"
    return Candidate(
        name="teacher",
        label=config.teacher.model,
        identity=digest([teacher_identity(config.teacher), config.eval.teacher]),
        model=config.teacher if live else None,
        served=False,
        trials=config.eval.trials if live else config.collect.samples,
    )


def serves_run(endpoint: str, run_dir: Path, key_env: str | None = None) -> bool:
    """Whether an endpoint says that its `student` is the adapter of this run.

    Raises:
        ConfigError: It is, but as it was before it was trained again.
    """
    key = os.environ.get(key_env or "", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx2.get(f"{endpoint}/models", timeout=10, headers=headers)
        models = {model["id"]: model for model in answer.json()["data"]}
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return False  # whatever it is, asking it will tell
    student = models.get("student", {})
    if student.get("root") != str(run_dir / ADAPTER):
        return False
    if student.get("stale"):
        raise ConfigError(
            f"--endpoint {endpoint}: its student was loaded before {str(run_dir)!r} was trained "
            "again; start `distill serve` again"
        )
    return True


def _numerics(config: Config) -> list[str]:
    """Return the settings of the server that change what it answers, when they are set."""
    settings = config.serve
    return [*(["constrain"] if settings.constrain else []), *filter(None, [settings.quantize])]


def file_hash(path: Path) -> str:
    """Return the first 16 hex digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
