"""The words of the project as small frozen values: messages, tools, tasks, expectations, turns.

Pure data, no I/O and no identity of their own. `ToolCall.arguments` is the raw string the model
emitted, valid JSON or not. Everything that crosses a file boundary is one of these or is built
from them.

A task with one user turn, as it stands in a `tasks.jsonl`:

    {"id": "home-0017", "toolset": "home", "kind": "single", "family": "set_light/level",
     "turns": [{"content": "Bring the hallway lamp down to a third",
                "expectation": {"action": "call",
                                "calls": [{"name": "set_light",
                                           "arguments": {"room": "hallway", "brightness": 33}}]}}]}
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Json: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list or dict with string keys."""


class Frozen(BaseModel):
    """Base of every value: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def canonical_json(value: Json) -> str:
    """Serialise `value` the one way that hashes and comparisons use (sorted keys, no spaces)."""
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Json) -> str:
    """First 16 hex digits of the SHA-256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


# --- messages ---------------------------------------------------------------------------------


class ToolCall(Frozen):
    """One call as the model emitted it; `arguments` is its raw string."""

    id: str
    name: str
    arguments: str

    def parsed(self) -> dict[str, Json]:
        """Return the arguments as an object.

        Raises:
            ValueError: The string is not JSON, or is JSON but not an object.
        """
        try:
            value = json.loads(self.arguments)
        except RecursionError:
            raise ValueError("arguments are nested too deeply") from None
        if not isinstance(value, dict):
            raise ValueError(f"arguments are {type(value).__name__}, not an object")
        return value


class SystemMessage(Frozen):
    """Instructions to the agent."""

    role: Literal["system"] = "system"
    content: str


class UserMessage(Frozen):
    """What the user says."""

    role: Literal["user"] = "user"
    content: str


class AssistantMessage(Frozen):
    """One turn of the model: text, calls, or both."""

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    provider_state: Json = None
    """Opaque native items (signed thinking, encrypted reasoning) to replay unmodified; never
    trained on."""


class ToolMessage(Frozen):
    """The result of one call, as JSON text."""

    role: Literal["tool"] = "tool"
    tool_call_id: str
    name: str
    content: str
    is_error: bool = False


Message: TypeAlias = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


# --- tools ------------------------------------------------------------------------------------


class Tool(Frozen):
    """One function a model may call; `parameters` is a JSON Schema (Draft 2020-12) object."""

    name: str
    description: str
    parameters: dict[str, Json]

    def as_function(self) -> dict[str, Json]:
        """Return the tool in the OpenAI shape, keys in the order the server renders them."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
        return {"type": "function", "function": function}


class ToolSet(Frozen):
    """A named list of tools with the system prompt the agent works under."""

    name: str
    tools: tuple[Tool, ...]
    system: str | None = None

    @property
    def hash(self) -> str:
        """Content hash of the system prompt and the rendered schemas, in order."""
        return digest([self.system, [tool.as_function() for tool in self.tools]])

    def get(self, name: str) -> Tool | None:
        """Return the tool called `name`, or None."""
        return next((tool for tool in self.tools if tool.name == name), None)

    def offered(self, task: Task) -> ToolSet:
        """Return the set as `task` shows it; tools it names that do not exist are left out."""
        if task.offer is None:
            return self
        extra = {tool.name: tool for tool in task.offer.extra}
        shown = (extra.get(name) or self.get(name) for name in task.offer.names)
        return self.model_copy(update={"tools": tuple(tool for tool in shown if tool)})


# --- tasks ------------------------------------------------------------------------------------


class Kind(StrEnum):
    """What a task exercises."""

    SINGLE = "single"
    CHOOSE = "choose"
    PARALLEL = "parallel"
    MULTI_STEP = "multi_step"
    MULTI_TURN = "multi_turn"
    NO_TOOL = "no_tool"
    MISSING = "missing_parameter"
    TOOL_FAILED = "tool_failed"
    CHAT = "chat"


class Leniency(Frozen):
    """How one argument is compared where its schema alone is too strict."""

    text: Literal["strip", "letters"] = "strip"
    """letters: only letters and digits of strings count, as in `New York, NY` and `new york ny`."""
    tolerance: float = 0
    """How far a number may be off, in its own unit."""
    relative: float = 0
    """The same as a share of the expected number."""


class ExpectedCall(Frozen):
    """A call a right answer makes.

    Calls with the same `step` may come in any order, in one turn or several; all of them come
    before the calls of the next step. A parameter left out of `arguments` must be omitted or
    equal its schema default.
    """

    name: str
    arguments: dict[str, Json] = {}
    accept: dict[str, tuple[Json, ...]] = {}
    """Further accepted values of a parameter; None among them means it may be omitted."""
    free: tuple[str, ...] = ()
    """Parameters whose value is free text: any non-empty string is right."""
    lenient: dict[str, Leniency] = {}
    """Parameters whose strings or numbers need not be exact, nested values included."""
    step: int = 0


class Expectation(Frozen):
    """What a right answer to one user turn is."""

    action: Literal["call", "ask", "abstain", "answer"]
    """call: make `calls`; ask: a question back; abstain: say that no tool fits; answer: plain
    chat."""
    calls: tuple[ExpectedCall, ...] = ()
    mentions: tuple[tuple[str, ...], ...] = ()
    """Groups of words; the final text contains at least one of each group (case ignored)."""
    answer: str | None = None
    """A reference final answer, for readers and judges; never compared as a string."""
    words: bool = True
    """Whether words to the user follow the calls; False: the right calls are all that is known, as
    in data that holds no results."""


class UserTurn(Frozen):
    """One thing the user says, and what a right answer to it is."""

    content: str
    expectation: Expectation | None = None


class Fault(Frozen):
    """An injected tool failure: the first `times` calls of `tool` fail with `message`."""

    tool: str
    message: str
    times: int | None = 1
    """None: every call fails."""


class Offer(Frozen):
    """The tools a task is asked with, where they are not the whole set in its order."""

    names: tuple[str, ...]
    """Names of tools, in the order they are shown."""
    extra: tuple[Tool, ...] = ()
    """Those among them that are not the set's; nothing executes them."""


class SimulatedUser(Frozen):
    """Who goes on speaking after a task's own turns, played by a model (`collect.user`)."""

    goal: str
    """What the user wants, in the end."""
    persona: str = ""
    """Who the user is and how they speak."""
    facts: dict[str, str] = {}
    """What the user knows: name -> value, told when it is asked for."""
    max_turns: int = Field(default=8, ge=1)
    """Most messages after the task's own."""


class Task(Frozen):
    """What the agent is asked to do, turn by turn."""

    id: str
    toolset: str
    kind: Kind
    family: str
    """Tasks of one family are variations of one idea; a split never separates them."""
    turns: tuple[UserTurn, ...] = Field(min_length=1)
    setup: dict[str, Json] = {}
    """Keyword arguments of the tool set's `Environment`."""
    faults: tuple[Fault, ...] = ()
    end_state: dict[str, Json] | None = None
    """Expected changes of the environment, JSON pointer -> new value (None: removed); None: not
    checked."""
    offer: Offer | None = None
    """The tools it is asked with; None: the whole set."""
    user: SimulatedUser | None = None
    """Who goes on after `turns`; None: the conversation ends with them. A trace's task holds the
    turns that were really spoken."""

    @property
    def expects(self) -> bool:
        """Whether every user turn carries an expectation, so that an answer can be judged.

        What a simulated user will say is not known, so neither is what is right.
        """
        return self.user is None and all(turn.expectation is not None for turn in self.turns)

    @property
    def tools(self) -> tuple[str, ...]:
        """Names of the tools a right answer calls, in order, without repeats."""
        calls = [c.name for t in self.turns if t.expectation for c in t.expectation.calls]
        return tuple(dict.fromkeys(calls))


# --- what a model answers ---------------------------------------------------------------------


class Usage(Frozen):
    """Tokens of one call. `input_tokens` includes the cached and the written ones."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    """Includes `reasoning_tokens`."""
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Add field by field."""
        mine, theirs = self.model_dump(), other.model_dump()
        return Usage(**{key: mine[key] + theirs[key] for key in mine})


class StopReason(StrEnum):
    """Why a turn ended."""

    END = "end"
    TOOL_CALLS = "tool_calls"
    LENGTH = "length"
    REFUSAL = "refusal"


class Turn(Frozen):
    """One answer of a model with its accounting."""

    message: AssistantMessage
    stop: StopReason
    usage: Usage = Usage()
    model: str = ""
    """The model that was served, as the endpoint names it."""
    request_id: str | None = None
    attempts: int = 1
    latency_s: float = 0.0
    cost_usd: float | None = None
    """None: the price of the model is unknown."""


class Outcome(StrEnum):
    """How an episode ended."""

    COMPLETED = "completed"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    TURN_LIMIT = "turn_limit"
    USER_FAILED = "user_failed"
    """The simulated user fell out of its role."""
    ERROR = "error"


class Verdict(Frozen):
    """The finding of one check over a trace or one of its turns."""

    ok: bool
    stage: str
    code: str
    detail: str = ""
    turn: int | None = None
    """Index of the message the finding is about; None: the whole trace."""


class Example(Frozen):
    """What a student trains on: a conversation, the tools offered, a weight per assistant turn."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    weights: tuple[float, ...]
    """One per assistant message, in order; 0 keeps a turn as context only."""
    meta: dict[str, Json] = {}
