"""Regression: what tuning may have cost elsewhere, by lm-evaluation-harness.

    eval:
      files: {regression: "ifeval,gsm8k_cot_zeroshot,mmlu_pro"}

The harness is run as a command against the chat endpoint, task by task, for the base and for the
student, and its per-sample log is read back: both answered the same samples, so they are compared
in pairs. Only generative tasks work over a chat endpoint. The data of the harness's own tasks come
from the Hugging Face hub; a path among the tasks is a folder of task files of your own, which can
do with local data. A task that cannot be run is named and leaves the others alone.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from distill.chat import OBSERVE
from distill.config import Config
from distill.dataset import read_rows
from distill.errors import DatasetError
from distill.evaluate.candidates import Candidate
from distill.evaluate.runner import Evaluation, Progress
from distill.evaluate.suites.base import Suite, SuiteRun
from distill.evaluate.suites.questions import Judged, suite_report
from distill.results import SUITES, SuiteReport
from distill.types import Verdict, digest

NEEDS = 'pip install "lm_eval[api]"; eval.files.regression: the tasks (their data: the hub)'
METRICS = ("exact_match", "prompt_level_strict_acc", "acc")
"""Per-sample metrics that say right or wrong, the first of them that a task has."""
HUB = "on the Hub"
"""Stands in the last line when a task's data cannot be fetched."""
TAIL = 3
"""Lines of the harness's last words that are shown when it fails."""


class Regression(Suite):
    """General tasks before and after."""

    name = "regression"
    summary = "general tasks through lm-evaluation-harness, student against base"
    needs = NEEDS

    def run(self, evaluation: Evaluation, parts: Sequence[str]) -> SuiteRun:
        """Prepare one run of the harness for each served model.

        Raises:
            DatasetError: It is not installed, or no tasks are named.
        """
        if importlib.util.find_spec("lm_eval") is None:
            raise DatasetError("suite 'regression' is not installed; run " + NEEDS.split(";")[0])
        named = evaluation.config.eval.files.get(self.name)
        if not named:
            raise DatasetError("suite 'regression': set eval.files.regression to the tasks")
        words = [word.strip() for word in named.split(",")]
        tasks = [word for word in words if "/" not in word and (not parts or word in parts)]
        folders = [evaluation.config.path(word) for word in words if "/" in word]
        return _Run(evaluation, tasks, folders)


class _Run:
    """The harness, once per model."""

    def __init__(self, evaluation: Evaluation, tasks: list[str], folders: list[Path]) -> None:
        self.config: Config = evaluation.config
        self.tasks, self.folders = tasks, folders
        self.models = [one for one in evaluation.candidates if one.name in ("base", "student")]
        self.gaps: dict[str, str] = {}

    @property
    def needs_endpoint(self) -> bool:
        return bool(self._owed())

    def _owed(self) -> list[tuple[Candidate, str]]:
        every = ((model, task) for model in self.models for task in self.tasks)
        return [(model, task) for model, task in every if not self._done(model, task)]

    async def ask(self, endpoint: str | None, progress: Progress) -> None:
        owed = self._owed()
        for n, (model, task) in enumerate(owed):
            progress("regression", n, len(owed))
            await self._harness(model, task, endpoint)
        progress("regression", len(owed), len(owed))

    async def _harness(self, model: Candidate, task: str, endpoint: str | None) -> None:
        folder = self._folder(model, task)
        folder.mkdir(parents=True, exist_ok=True)
        key = os.environ.get(self.config.serve.api_key_env or "", "none")
        process = await asyncio.create_subprocess_exec(
            *self._command(model, task, endpoint, folder),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"OPENAI_API_KEY": key},
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode != 0:
            before = self.gaps.get(model.name)
            failed = f"{task}: {_why(output.decode(errors='replace'))}"
            self.gaps[model.name] = f"{before}; {failed}" if before else failed

    def _command(
        self, model: Candidate, task: str, endpoint: str | None, folder: Path
    ) -> list[str]:
        asked = model.at(endpoint)
        arguments = f"model={asked.model},base_url={asked.base_url}/chat/completions"
        arguments += f",num_concurrent={self.config.eval.concurrency},max_retries=5"
        limit = self.config.eval.limit
        return [
            *(sys.executable, "-m", "lm_eval", "--model", "local-chat-completions"),
            *("--model_args", arguments, "--apply_chat_template", "--log_samples"),
            *("--tasks", task, "--output_path", str(folder)),
            # The model's own answer, whatever the gateway could put in its place.
            *("--gen_kwargs", f"{OBSERVE}=True"),
            *(("--limit", str(limit)) if limit else ()),
            *(word for path in self.folders for word in ("--include_path", str(path))),
        ]

    def report(self) -> SuiteReport:
        judged: dict[str, list[Judged]] = {}
        for model in self.models:
            for task in self.tasks:
                if self._done(model, task):
                    judged.setdefault(model.name, []).extend(_samples(self._folder(model, task)))
        return suite_report("regression", metadata.version("lm_eval"), judged, self.gaps, {})

    def _done(self, model: Candidate, task: str) -> bool:
        return any(self._folder(model, task).rglob("results_*.json"))

    def _folder(self, model: Candidate, task: str) -> Path:
        """Return where results lie: other weights, another task or limit, another folder."""
        of = [model.identity, task, self.config.eval.limit]
        return self.config.results_dir / SUITES / f"regression-{model.name}-{digest(of)}"


def _why(output: str) -> str:
    """Return why the harness failed, from what it printed last."""
    lines = output.strip().splitlines()
    if lines and HUB in lines[-1]:
        return (
            "its data are on the Hugging Face hub, which cannot be reached from here; fetch them "
            f"where it can (HF_HOME holds them) or name task files of your own ({lines[-1]})"
        )
    return "lm_eval failed: " + " / ".join(lines[-TAIL:])


def _samples(folder: Path) -> Iterator[Judged]:
    """Yield the judged samples of a run, by task and document."""
    for path in sorted(folder.rglob("samples_*.jsonl")):
        task = path.stem.removeprefix("samples_").rsplit("_", 1)[0]
        seen: set[str] = set()
        for _, sample in read_rows(path):
            name = f"{task}/{sample['doc_id']}"
            right = next((sample[metric] for metric in METRICS if metric in sample), None)
            if name in seen or right is None:
                continue  # a task with several answer filters logs each sample once per filter
            seen.add(name)
            finding = Verdict(ok=bool(right), stage="regression", code="ok" if right else "wrong")
            yield Judged(name, task, name, finding)
