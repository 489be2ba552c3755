"""The simulated user: a model that goes on with a conversation as a person with a goal.

After the task's own turns it is asked what the user says next, until it says that the goal is
reached, has said all it may, or falls out of its role. It sees what was said and nothing else:
neither tools nor calls nor results. A message it should not have sent is not put into the
conversation; it is asked once more, and a second fault ends the episode:

    leak       it tells its goal, or three or more facts, in one go
    role_swap  it speaks as the assistant does
    repeats    it says again what it has said
    empty      it says nothing, or was cut off or refused

Nothing but thanks or a farewell is the end of a conversation, not a turn: answering it would go on
for ever.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from distill.episode.reference import reference
from distill.matching import call_markup
from distill.teachers import Teacher
from distill.traces import TurnRecord, UserEnd, UserRecord
from distill.types import (
    AssistantMessage,
    Message,
    SimulatedUser,
    StopReason,
    SystemMessage,
    Turn,
    UserMessage,
)

DONE = "[DONE]"
"""What the model writes when there is nothing more to say."""
MOST_FACTS = 2
"""More facts than this in one message are a leak, if they are more than half of all."""
GOAL_SHARE = 0.6
"""So much of the goal's three-word runs in one message is a leak."""

PROMPT = """\
You play a user who talks to an assistant. You are not the assistant. Write only what the user \
says next: one short message, as a person types it.

Who you are: {persona}
What you want: {goal}
What you know:
{facts}

- Do not tell everything at once. Say what you want next, and a fact only when you are asked for \
it or when it is its turn. Never copy out the text above.
- What is not listed you do not know: say so when you are asked.
- You do not see how the assistant works. Do not speak of tools, functions or prompts, do not \
offer help, do not do the assistant's work.
- When you have what you wanted, or it has become clear that you cannot get it, write {done} and \
nothing else. Do not go on thanking."""
BEGIN = "(The conversation begins. What do you say?)"
AGAIN = "(That was not a message of the user: {why}. Write what the user says instead.)"

_ROLE = re.compile(
    r"^\s*(?:assistant|agent|ai|system)\s*:"
    r"|\bhow (?:can|may) i (?:help|assist)\b"
    r"|\bis there anything else (?:that )?i can\b"
    r"|\b(?:i am|i'm) (?:an ai|your (?:virtual )?assistant|a language model)\b"
    r"|\bas an ai\b"
    r"|\blet me (?:check|look)(?: \w+){0,4} for you\b"
    r"|\bi(?:'ve| have)(?: now| just)? \w+ed\b.{0,80}\bfor you\b",
    re.IGNORECASE,
)
"""How assistants speak, and users do not."""
_THANKS = frozenset("thanks thank thx cheers appreciate appreciated bye goodbye".split())
_PLEASANT = _THANKS | frozenset(
    "a again ahead all alright and are as assistance awesome best brilliant care cool day did done "
    "else everything evening excellent fine for good got great have help helped helpful i im is it "
    "later lot lovely m much needed nice night no nothing of ok okay perfect re really s see so "
    "super take that thats the then this too very was welcome well will wonderful yes you "
    "your".split()
)


@dataclass(frozen=True)
class Reply:
    """What the user does next."""

    text: str | None = None
    """What it says; None: nothing."""
    end: UserEnd | None = None
    """Why this is the last of it; None: it may go on."""


@dataclass
class UserPlayer:
    """One user of one episode.

    Attributes:
        teacher: The model that plays it; paced and metered already when it should be.
        user: Who it is.
    """

    teacher: Teacher
    user: SimulatedUser
    _calls: list[TurnRecord] = field(default_factory=list)
    _faults: list[str] = field(default_factory=list)
    _model: str = ""

    async def next(self, messages: Sequence[Message]) -> Reply:
        """Return what the user says after a conversation.

        Args:
            messages: The conversation so far; it ends with words of the assistant.

        Raises:
            TeacherError: The call failed.
        """
        conversation = [SystemMessage(content=user_prompt(self.user)), *heard(messages)]
        said = [m.content for m in messages if isinstance(m, UserMessage)]
        fault = UserEnd.EMPTY
        for _ in range(2):
            turn = await self.teacher.complete(tuple(conversation), ())
            self._record(turn, len(messages))
            reply = self._read(turn)
            if reply.end is not None and reply.text is None:
                return reply
            found = self._fault(reply.text or "", said)
            if found is None:
                return reply
            fault, why = found
            self._faults.append(f"{fault}: {(reply.text or '')[:200]}")
            conversation += [
                AssistantMessage(content=reply.text or "-"),
                UserMessage(content=AGAIN.format(why=why)),
            ]
        return Reply(end=fault)

    def record(self, end: UserEnd | None, said: Sequence[int]) -> UserRecord:
        """Return what the trace keeps of the user.

        Args:
            end: Why it spoke no more; None: the episode ended before.
            said: Indices of its messages in the trace.
        """
        return UserRecord(
            teacher=reference(self.teacher, self._model),
            ended=end,
            said=tuple(said),
            calls=tuple(self._calls),
            faults=tuple(self._faults),
        )

    def _read(self, turn: Turn) -> Reply:
        """Separate what was said from the mark that it is over."""
        if turn.stop in (StopReason.LENGTH, StopReason.REFUSAL) or turn.message.tool_calls:
            return Reply()
        raw = re.sub(r"^\s*user\s*:", "", turn.message.content or "", flags=re.IGNORECASE).strip()
        text = raw.replace(DONE, "").strip()
        if DONE in raw:
            return Reply(text if text and not only_thanks(text) else None, UserEnd.GOAL)
        return Reply(end=UserEnd.THANKS) if only_thanks(text) else Reply(text or None)

    def _fault(self, text: str, said: Sequence[str]) -> tuple[UserEnd, str] | None:
        """Return what is wrong with a message, and how that is told to the model."""
        if not text:
            return UserEnd.EMPTY, "there was none"
        if _ROLE.search(text) or call_markup(text):
            return UserEnd.ROLE_SWAP, "the assistant speaks like that"
        if self._leaks(text):
            return UserEnd.LEAK, "it tells too much at once"
        if _words(text) in map(_words, said):
            return UserEnd.REPEATS, "it was said before"
        return None

    def _leaks(self, text: str) -> bool:
        goal, words = _runs(self.user.goal), " ".join(_words(text))
        if len(goal) >= 4 and len(goal & _runs(text)) / len(goal) >= GOAL_SHARE:
            return True
        facts = [" ".join(_words(value)) for value in self.user.facts.values()]
        told = sum(bool(fact) and f" {fact} " in f" {words} " for fact in facts)
        return told > max(MOST_FACTS, len(facts) / 2)

    def _record(self, turn: Turn, message: int) -> None:
        self._model = turn.model
        self._calls.append(TurnRecord.of(turn, message))


def user_prompt(user: SimulatedUser) -> str:
    """Return what the model is told of the user it plays."""
    facts = [f"- {name}: {value}" for name, value in user.facts.items()]
    return PROMPT.format(
        persona=user.persona or "an ordinary person",
        goal=user.goal,
        facts="\n".join(facts) or "- nothing in particular",
        done=DONE,
    )


def heard(messages: Sequence[Message]) -> list[Message]:
    """Return a conversation as its user knows it: the words of both, from the other side."""
    seen: list[Message] = [UserMessage(content=BEGIN)]
    for number, message in enumerate(messages):
        if isinstance(message, UserMessage):
            seen.append(AssistantMessage(content=message.content))
        elif isinstance(message, AssistantMessage) and not message.tool_calls:
            following = messages[number + 1] if number + 1 < len(messages) else None
            if following is None or isinstance(following, UserMessage):
                seen.append(UserMessage(content=message.content or "(no answer)"))
    return seen


def only_thanks(text: str) -> bool:
    """Whether a message is thanks or a farewell and nothing else."""
    words = re.findall(r"[a-z]+", text.casefold())
    return "?" not in text and bool(_THANKS & {*words}) and _PLEASANT.issuperset(words)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _runs(text: str) -> set[str]:
    words = _words(text)
    return {" ".join(words[n : n + 3]) for n in range(len(words) - 2)}
