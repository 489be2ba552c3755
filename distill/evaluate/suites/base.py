"""What a suite is: questions that a model plays and that can be judged from what it said.

A suite has parts (BFCL's categories, a pack's files) with a score each; a suite that is not
installed or whose data is not there says what it needs. How often a question is asked, where its
answers are kept and what is counted is not decided here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from distill.config import Config
from distill.evaluate.runner import Evaluation, Progress
from distill.matching import Code
from distill.results import SuiteReport
from distill.teachers import Teacher
from distill.traces import TurnRecord
from distill.types import AssistantMessage, Json, Message, StopReason, Tool, Verdict


class Reply(NamedTuple):
    """What a model did in one question."""

    messages: tuple[Message, ...]
    """Everything after the question; in a dialogue the user's later turns as well."""
    turns: tuple[TurnRecord, ...]
    """One record per assistant message."""


class SilentTurn(NamedTuple):
    """A turn in which no call could be right yet."""

    called: bool
    """Whether the model called anyway."""
    acted: bool
    """Whether its calls changed something."""


class Question(ABC):
    """One question of a suite."""

    id: str
    part: str
    cluster: str
    """Questions of one cluster share their tools or their story: they are not independent."""

    @property
    @abstractmethod
    def content(self) -> Json:
        """Everything that is asked, for the key of its answers."""

    @abstractmethod
    async def play(self, model: Teacher) -> Reply:
        """Let a model answer.

        Raises:
            TeacherError: The endpoint failed.
        """

    @abstractmethod
    def judge(self, messages: Sequence[Message]) -> Verdict:
        """Judge what it said."""

    def silent_turns(self, messages: Sequence[Message]) -> tuple[SilentTurn, ...]:
        """Return what was done in the turns it reached in which no call could be right yet."""
        return ()


@dataclass(frozen=True)
class SingleTurn(Question):
    """A question that is answered in one turn."""

    id: str
    part: str
    cluster: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]

    @property
    def content(self) -> Json:
        """The messages and the tools."""
        said = [message.model_dump(mode="json") for message in self.messages]
        return [self.id, said, [tool.as_function() for tool in self.tools]]

    async def play(self, model: Teacher) -> Reply:
        """Ask once."""
        turn = await model.complete(self.messages, self.tools)
        return Reply((turn.message,), (TurnRecord.of(turn, 0),))

    @abstractmethod
    def judge(self, messages: Sequence[Message]) -> Verdict:
        """Judge the one answer."""


class SuiteRun(Protocol):
    """A suite with the models that answer it."""

    gaps: dict[str, str]
    """Model -> why answers of it are missing; filled by `ask`."""

    @property
    def needs_endpoint(self) -> bool:
        """Whether the student's endpoint has anything left to answer."""

    async def ask(self, endpoint: str | None, progress: Progress) -> None:
        """Let every model answer what it owes.

        Raises:
            TeacherError: A key is wrong or an allowance is used up.
        """

    def report(self) -> SuiteReport:
        """Judge every answer."""


class Suite(ABC):
    """Something to run beside the user's own cases."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """What it measures, in a few words."""
    needs: ClassVar[str]
    """What has to be there before it runs."""

    @abstractmethod
    def run(self, evaluation: Evaluation, parts: Sequence[str]) -> SuiteRun:
        """Prepare it for the models of an evaluation.

        Args:
            evaluation: Its config, its models, and the folder answers are kept in.
            parts: Only these parts; empty: all.

        Raises:
            DatasetError: Its data is not there.
            ConfigError: There is no such part.
        """


class QuestionSuite(Suite):
    """A suite of questions."""

    @abstractmethod
    def version(self, config: Config) -> str:
        """Return which data this is; scores of two versions are not comparable."""

    @abstractmethod
    def questions(self, config: Config) -> list[Question]:
        """Return all questions.

        Raises:
            DatasetError: The data is not there.
        """

    def headline(self, parts: Mapping[str, float]) -> float | None:
        """Return the one number the suite is known by; None where its parts say it all.

        Args:
            parts: Share of right answers per part.
        """
        return None

    def run(self, evaluation: Evaluation, parts: Sequence[str]) -> SuiteRun:
        """Prepare the questions, at most `eval.limit` of each part."""
        from distill.evaluate.suites.questions import QuestionRun

        return QuestionRun(self, evaluation.config, evaluation.candidates, parts)


def cut_off(turns: Sequence[TurnRecord]) -> bool:
    """Whether an answer was cut off or refused: never right, whatever it says."""
    return any(turn.stop in (StopReason.LENGTH, StopReason.REFUSAL) for turn in turns)


def the_answer(messages: Sequence[Message]) -> AssistantMessage:
    """Return the one answer of a single-turn question."""
    answer = messages[0]
    assert isinstance(answer, AssistantMessage)
    return answer


def verdict(stage: str, code: Code, detail: str) -> Verdict:
    """Return a finding of a suite."""
    return Verdict(ok=code is Code.OK, stage=stage, code=code, detail=detail)
