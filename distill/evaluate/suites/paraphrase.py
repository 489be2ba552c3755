"""Paraphrases of cases: what the user says, in the teacher's other words, for the same answer.

    {"key": "9f1c...", "model": "teacher", "identity": "5d0c...",
     "text": "Heat the hall to 22 degrees", "reworded": "Please bring the hall up to 22 degrees"}

A rewording changes the question unless every value of the expected calls survives, so those are
looked up in the user's words first, and the same words must stand in the rewording; no number may
come or go. A case whose values are not said literally ("half past six", "there") cannot be checked
so, and a case whose rewording lost one is not the same question: both are left out and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from distill.config import Config
from distill.evaluate.answers import AnswerFile, Keyed
from distill.evaluate.asking import ask_all
from distill.evaluate.runner import Progress
from distill.results import SUITES
from distill.teachers import Teacher, create_teacher, teacher_identity
from distill.toolsets.wording import in_words
from distill.types import ExpectedCall, Json, SystemMessage, Task, UserMessage, UserTurn, digest

REQUEST = (
    "Rewrite what a user says to an assistant in other words that mean exactly the same. Add "
    "nothing and leave nothing out. Answer with the rewritten text alone."
)
KEEP = " Keep these words as they are: "

UNSAID = "say a value in other words than its own"
LOST = "got a wording that changes or drops a value"
SAME = "got no other wording"

_WORDS = re.compile(r"[^\W_]+(?:[.:]\d+)*")


class Rewording(Keyed):
    """One text in other words."""

    text: str
    reworded: str


class Wanted(NamedTuple):
    """A text to be reworded."""

    text: str
    kept: tuple[str, ...]
    """Words of it that must stay."""


class Paraphrases:
    """The teacher's wordings of cases: those there are, and those that are owed."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.reason = ""
        self._identity = digest([teacher_identity(config.teacher), REQUEST])
        path = config.results_dir / SUITES / "paraphrases.jsonl"
        self._file = AnswerFile(path, Rewording)

    def owed(self, cases: Sequence[Task]) -> list[Wanted]:
        """Return the texts that have yet to be reworded."""
        wanted = dict.fromkeys(one for case in cases for one in said_values(case) or ())
        return [one for one in wanted if self._file.get(self._key(one)) is None]

    async def ask(self, cases: Sequence[Task], progress: Progress) -> None:
        """Let the teacher reword what is owed; why some of it is left stands in `reason`.

        Raises:
            TeacherError: A key is wrong or an allowance is used up.
        """
        owed = self.owed(cases)
        model = create_teacher(self.config.teacher)

        async def answer(wanted: Wanted, paced: Teacher) -> None:
            said = await paced.complete(_request(wanted), ())
            reworded = (said.message.content or "").strip()
            row = {"model": "teacher", "identity": self._identity, "text": wanted.text}
            self._file.add(Rewording(key=self._key(wanted), reworded=reworded, **row))
            progress("paraphrases", len(owed) - len(self.owed(cases)), len(owed))

        try:
            left = await ask_all(owed, model, self.config.eval.concurrency, answer)
            self.reason = left.reason
        finally:
            await model.close()

    def reworded(self, cases: Sequence[Task]) -> tuple[list[Task], Counter[str]]:
        """Return the cases in other words, and how many could not be used for which reason."""
        found: list[Task] = []
        left: Counter[str] = Counter()
        for case in cases:
            wanted = said_values(case)
            rows = [self._file.get(self._key(one)) for one in wanted or ()]
            if wanted is None:
                left[UNSAID] += 1
            elif known := [row for row in rows if row is not None]:
                faults = [fault(*pair) for pair in zip(wanted, known, strict=False)]
                if len(known) < len(rows):
                    continue  # not asked yet
                if worst := next((one for one in (LOST, SAME) if one in faults), None):
                    left[worst] += 1
                else:
                    found.append(_with_words(case, [row.reworded for row in known]))
        return found, left

    def _key(self, wanted: Wanted) -> str:
        return digest([wanted.text, wanted.kept, self._identity])


def said_values(case: Task) -> list[Wanted] | None:
    """Return what each user turn says and which of its words expected values are taken from.

    A value may have been said in an earlier turn.

    Returns:
        None when some value of an expected call is not said literally.
    """
    kept: list[set[str]] = [set() for _ in case.turns]
    for at, turn in enumerate(case.turns):
        for call in turn.expectation.calls if turn.expectation else ():
            for forms in _values(call):
                places = [
                    (n, form)
                    for n in range(at + 1)
                    for form in forms
                    if _stands(form, case.turns[n].content)
                ]
                if not places:
                    return None
                for n, form in places:
                    kept[n].add(form)
    return [
        Wanted(turn.content, tuple(sorted(words)))
        for turn, words in zip(case.turns, kept, strict=True)
    ]


def fault(wanted: Wanted, row: Rewording) -> str | None:
    """Return what is wrong with a rewording; None: it asks for the same in other words."""
    before, after = _tokens(wanted.text), _tokens(row.reworded)
    if not all(_stands(form, row.reworded) for form in wanted.kept):
        return LOST
    if _numbers(before) != _numbers(after):
        return LOST
    if len(after) > 3 * len(before) + 12:
        return LOST  # an answer or an explanation rather than a rewording
    return SAME if before == after else None


def _request(wanted: Wanted) -> tuple[SystemMessage, UserMessage]:
    keep = KEEP + ", ".join(map(repr, wanted.kept)) + "." if wanted.kept else ""
    return SystemMessage(content=REQUEST + keep), UserMessage(content=wanted.text)


def _with_words(case: Task, words: Sequence[str]) -> Task:
    turns = [
        UserTurn(content=said, expectation=turn.expectation)
        for turn, said in zip(case.turns, words, strict=True)
    ]
    return case.model_copy(update={"turns": tuple(turns)})


def _values(call: ExpectedCall) -> Iterator[set[str]]:
    """Yield, for every scalar that a call has to give, the words it may be said in."""
    for name, value in call.arguments.items():
        if name in call.free:
            continue
        others = [form for other in call.accept.get(name, ()) for form in _forms(other)]
        for scalar in _scalars(value):
            yield {*_forms(scalar), *others}


def _scalars(value: Json) -> Iterator[Json]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _scalars(inner)
    else:
        yield value


def _forms(value: Json) -> Iterator[str]:
    """Yield how a scalar is said literally; nothing for what cannot be (true, null)."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, str):
        yield value.replace("_", " ").casefold()
    elif isinstance(value, int | float):
        yield f"{value:g}"
        if value in range(1000):
            yield in_words(int(value))


def _tokens(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())


def _numbers(tokens: Sequence[str]) -> Counter[str]:
    return Counter(token for token in tokens if any(map(str.isdigit, token)))


def _stands(form: str, text: str) -> bool:
    """Whether words stand in a text, as whole words in this order."""
    wanted, words = _tokens(form), _tokens(text)
    return any(words[n : n + len(wanted)] == wanted for n in range(len(words) - len(wanted) + 1))
