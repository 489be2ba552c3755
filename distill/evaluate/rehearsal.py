"""A rehearsal: the served student at tasks it was trained on, for what it still gets wrong there.

Its answers are kept beside the traces (`distill.traces.attempts`), where the next `distill filter`
finds the wrong ones and pairs them with the teacher's verified answers to the same prompts. Tasks
that are held out, for validation too, are never asked. Nothing is measured here: how often a
student is right on its own training tasks says nothing about others.
"""

from __future__ import annotations

from collections.abc import Callable

from distill.config import Config
from distill.dataset import TRAIN, read_rows
from distill.episode import run_episode
from distill.errors import DatasetError
from distill.evaluate.answers import answer_key
from distill.evaluate.asking import Unanswered, ask_all
from distill.evaluate.candidates import candidates
from distill.evaluate.runner import counts, spread
from distill.matching import match_task
from distill.teachers import Teacher, create_teacher
from distill.toolsets import configured_tasks, load_toolset
from distill.traces import Trace, TraceStore
from distill.traces.attempts import AttemptStore
from distill.types import Json, Task

Progress = Callable[[int, int], None]
"""Told (answers there are, answers in all)."""


class Rehearsal:
    """The training tasks of one distillation, and what its student did at them.

    Attributes:
        wrong: Attempts made here that do not meet their task.
        gap: Why tasks are left without an attempt; "" when none are.
    """

    def __init__(
        self, config: Config, store: TraceStore, endpoint: str | None, limit: int | None
    ) -> None:
        """Read everything it needs, before anything is started or asked.

        Args:
            config: The distillation.
            store: Its open trace store.
            endpoint: An endpoint that somebody else started; None: it will be started for this.
            limit: Most tasks; the same ones every time, and a larger limit contains them.

        Raises:
            DatasetError: There is no data set, or none of its training tasks can be asked.
            StoreError: The store cannot be written to.
            StudentError: There is no trained student.
        """
        self.config = config
        self._loaded = load_toolset(config.toolset_dir)
        (self._student,) = candidates(config, endpoint, ["student"])
        self._attempts = AttemptStore(store)
        self._attempts.create()
        settings: dict[str, Json] = {
            "toolset": self._loaded.toolset.hash,
            "max_steps": config.collect.max_steps,
            "tool_timeout_s": config.collect.tool_timeout_s,
        }
        tasks = spread(_training_tasks(config, configured_tasks(config, self._loaded)), limit)
        self._key_of = {
            task.id: answer_key(task, self._student.identity, settings) for task in tasks
        }
        known = self._attempts.keys()
        self.tasks = tasks
        self._owed = {task.id: task for task in tasks if self._key_of[task.id] not in known}
        self.wrong = 0
        self.gap = ""

    @property
    def owed(self) -> int:
        """How many tasks the student has yet to try."""
        return len(self._owed)

    async def ask(self, endpoint: str | None, progress: Progress) -> None:
        """Let the student try what it owes; every attempt is kept before the next is begun.

        Args:
            endpoint: Where it is served.
            progress: Told about every attempt.

        Raises:
            TeacherError: The endpoint's key is wrong or an allowance is used up.
        """
        model, owed = self._student.connect(endpoint, create_teacher), list(self._owed.values())

        async def attempt(task: Task, paced: Teacher) -> None:
            trace = await run_episode(
                task,
                self._loaded,
                paced,
                key=self._key_of[task.id],
                max_steps=self.config.collect.max_steps,
                tool_timeout_s=self.config.collect.tool_timeout_s,
            )
            if not counts(trace):
                raise Unanswered(trace.error or "the endpoint refused the first request")
            self._keep(task, trace)
            progress(len(self.tasks) - self.owed, len(self.tasks))

        try:
            left = await ask_all(owed, model, self.config.eval.concurrency, attempt)
            self.gap = left.reason
        finally:
            await model.close()

    def _keep(self, task: Task, trace: Trace) -> None:
        self._attempts.add(self._student.identity, trace)
        del self._owed[task.id]
        offered = self._loaded.toolset.offered(task)
        self.wrong += not match_task(task, trace.messages, offered, trace.changes).ok


def _training_tasks(config: Config, tasks: list[Task]) -> list[Task]:
    """Return the tasks that training rows were made from and that say what is right."""
    path = config.dataset_dir / TRAIN
    trained = {row["meta"]["task"] for _, row in read_rows(path)}
    found = [task for task in tasks if task.id in trained and task.expects]
    if not found:
        raise DatasetError(
            f"{path}: no row is of a task of this config that says what is right, so no answer "
            "can be called wrong; run `distill filter CONFIG`, or give tasks expectations"
        )
    return found
