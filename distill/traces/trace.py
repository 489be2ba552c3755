"""The Trace: the whole record of one episode, and the ledger line of one call.

A trace says what was asked, what the teacher answered, what the tools returned, what it cost and
under which settings it was made, so that no later stage needs anything else. It is written once,
when its episode ends. It never holds a key, a header or an endpoint address.

A shortened trace, as `TraceStore` keeps it:

    {"version": 1, "key": "5d0c...", "task": {"id": "home-0017", ...}, "toolset_name": "home",
     "toolset_hash": "9a41...", "teacher": {"provider": "openai_chat", "model": "...", ...},
     "sample": 0, "outcome": "completed", "error": null,
     "messages": [{"role": "system", ...}, {"role": "user", ...}, {"role": "assistant", ...}],
     "turns": [{"message": 2, "stop": "end", "usage": {...}, "cost_usd": 0.0021, ...}],
     "changes": {"/lamps/hallway/level": 33}, ...}
"""

from __future__ import annotations

import secrets
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from distill.types import (
    Frozen,
    Json,
    Message,
    Outcome,
    StopReason,
    Task,
    ToolCall,
    Turn,
    Usage,
    digest,
)


class TeacherRef(Frozen):
    """Who answered: what identifies a teacher, without how it is reached."""

    provider: str
    model: str
    served_model: str = ""
    """The model that was served, as the endpoint named it in its last answer."""
    terms: str | None = None
    settings: dict[str, Json] = {}
    """Request settings that shape the answers (max_tokens, temperature, extra)."""


class TurnRecord(Frozen):
    """The accounting of one assistant message."""

    message: int
    """Index of the message in `Trace.messages`."""
    stop: StopReason
    usage: Usage = Usage()
    cost_usd: float | None = None
    """None: the price is unknown."""
    request_id: str | None = None
    attempts: int = 1
    latency_s: float = 0.0
    model: str = ""
    """The model that was served."""
    context: bool = False
    """Not an answer of the trace's teacher: it is there to be understood, and is not learnt."""

    @classmethod
    def of(cls, turn: Turn, message: int, *, context: bool = False) -> TurnRecord:
        """Return the record of an answer; `message` is its place in the conversation."""
        return cls(
            message=message,
            stop=turn.stop,
            usage=turn.usage,
            cost_usd=turn.cost_usd,
            request_id=turn.request_id,
            attempts=turn.attempts,
            latency_s=round(turn.latency_s, 3),
            model=turn.model,
            context=context,
        )


class UserEnd(StrEnum):
    """Why a simulated user spoke no more; the last four are its faults."""

    GOAL = "goal"
    THANKS = "thanks"
    MAX_TURNS = "max_turns"
    LEAK = "leak"
    ROLE_SWAP = "role_swap"
    REPEATS = "repeats"
    EMPTY = "empty"


class UserRecord(Frozen):
    """The simulated user of an episode: who played it, and how that went."""

    teacher: TeacherRef
    """The model that played it."""
    ended: UserEnd | None
    """None: the episode ended before."""
    said: tuple[int, ...] = ()
    """Indices of its messages in `Trace.messages`; the other user messages are the task's."""
    calls: tuple[TurnRecord, ...] = ()
    """The accounting of its answers; `message` is the index at which one was to stand."""
    faults: tuple[str, ...] = ()
    """Answers it was asked to give again, each with what was wrong."""


class SimulatorRecord(Frozen):
    """The model that made up the results of simulated tools."""

    teacher: TeacherRef
    calls: int
    """How often it answered; a call that was recorded or made before is not asked about."""
    cost_usd: float | None
    """None: the price of an answer is unknown."""


class Trace(Frozen):
    """The record of one episode, from the first message to its outcome."""

    version: int = 1
    key: str
    """`episode_key` of the episode; unique in a store."""
    task: Task
    toolset_name: str
    toolset_hash: str
    teacher: TeacherRef
    config_digest: str = ""
    """Digest of the settings that define the data (see `distill.collect.plan`)."""
    sample: int = 0
    outcome: Outcome
    error: str | None = None
    """Why the episode ended as `error`, in one line."""
    messages: tuple[Message, ...]
    """The conversation, the system message first when the tool set has one."""
    turns: tuple[TurnRecord, ...] = ()
    """One record per assistant message, in order."""
    user: UserRecord | None = None
    """The simulated user; None: the task has none."""
    simulator: SimulatorRecord | None = None
    """The model behind simulated tools; None: no result was made up."""
    changes: dict[str, Json] | None = None
    """What the tools changed: JSON pointer -> new value, None: removed. None: never started."""
    started_at: str
    """ISO 8601, UTC."""
    finished_at: str
    """ISO 8601, UTC."""
    versions: dict[str, str] = {}
    """Versions of distill, Python and the SDK that was used."""

    @property
    def asked(self) -> Task:
        """The task without the turns that a simulated user added."""
        if self.user is None:
            return self.task
        own = len(self.task.turns) - len(self.user.said)
        return self.task.model_copy(update={"turns": self.task.turns[:own]})

    @property
    def usage(self) -> Usage:
        """Tokens of the whole episode."""
        return sum((turn.usage for turn in self.turns), Usage())

    @property
    def cost_usd(self) -> float | None:
        """Cost of the teacher's turns; None when the price of one is unknown."""
        costs = [turn.cost_usd for turn in self.turns]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Every tool call the teacher made, in order."""
        return tuple(c for m in self.messages if m.role == "assistant" for c in m.tool_calls)


def new_call() -> str:
    """Return an id for a call that is about to be made."""
    return secrets.token_hex(8)


JUDGING = "judge-"
"""How the id of a call to a judge begins; every other call was made for an episode."""


class Reservation(Frozen):
    """Money held for a call before it is sent."""

    call: str = Field(default_factory=new_call)
    key: str
    """The episode that makes the call."""
    owner: str | None
    """The run that makes the call; None: it is in a batch, which outlives runs."""
    at: str
    """When; ISO 8601, UTC."""
    provider: str
    model: str
    reserved_usd: float | None = None
    """The most it may cost; None: the price is unknown."""

    def line(self, at: str, **fields: Any) -> LedgerLine:
        """Return the line of the call, over since `at`; `fields` say how."""
        held = self.model_dump(exclude={"owner", "at"})
        return LedgerLine.model_validate(held | {"at": at} | fields)


class LedgerLine(Frozen):
    """One call to a teacher: what it used and what it cost, whatever became of its episode."""

    call: str = Field(default_factory=new_call)
    """Identity of the call."""
    key: str
    """The episode that made the call."""
    status: Literal["reserved", "settled", "unknown"] = "settled"
    """reserved: under way; settled: over; unknown: nobody knows whether it was billed."""
    reserved_usd: float | None = None
    """The most it may cost, held until it is settled; None: the price is unknown."""
    at: str
    """When the call ended (began, while it is reserved or unknown); ISO 8601, UTC."""
    provider: str
    model: str
    usage: Usage = Usage()
    cost_usd: float | None = None
    """None: unknown price, or a failed call whose cost the provider did not tell."""
    attempts: int = 1
    """How often it was sent; 0: not known."""
    latency_s: float = 0.0
    request_id: str | None = None
    failure: str | None = None
    """Why the call gave no answer; None: it did, or is under way."""

    @property
    def judging(self) -> bool:
        """Whether it was made to a judge of the trace rather than for it."""
        return self.call.startswith(JUDGING)


def episode_key(task: Task, toolset_hash: str, teacher: dict[str, Json], sample: int) -> str:
    """Return the identity of an episode: what is asked, with which tools, of whom, which time.

    Args:
        task: The task, expectation included.
        toolset_hash: `ToolSet.hash`.
        teacher: Settings that shape the answers; never the endpoint, the key or time limits.
        sample: Which of several episodes of the same task.
    """
    # Without defaults: a field that tasks get later does not change the identity of the old ones.
    asked = task.model_dump(mode="json", exclude_defaults=True)
    return digest([asked, toolset_hash, teacher, sample])
