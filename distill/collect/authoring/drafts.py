"""The form in which the teacher hands a task in, and the tool that takes it.

    {"order": "g00017",
     "turns": [{"user": "The hallway is too bright, bring it to a third", "expect": "call",
                "calls": [{"name": "set_light", "arguments": {"room": "hallway", "percent": 33}}],
                "answer": "The hallway light is at 33%."}]}

The schema is what the model is shown; what it hands in is read leniently, draft by draft, so that
one broken draft does not spoil the others.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from distill.types import Json, Tool

SUBMIT = "submit_tasks"
"""Name of the tool that takes drafts."""


class DraftPart(BaseModel):
    """Base of what a model writes: further fields are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class DraftCall(DraftPart):
    """A call of the right answer."""

    name: str
    arguments: dict[str, Json] = {}
    step: int = Field(default=0, ge=0, le=20)
    free: tuple[str, ...] = ()
    accept: dict[str, tuple[Json, ...]] = {}


class DraftTurn(DraftPart):
    """One thing the user says, and the right answer to it."""

    user: str = Field(min_length=1, max_length=4000)
    expect: Literal["call", "ask", "abstain", "answer"]
    calls: tuple[DraftCall, ...] = Field(default=(), max_length=12)
    mentions: tuple[tuple[str, ...], ...] = ()
    answer: str | None = None


class Draft(DraftPart):
    """A task as the teacher hands it in."""

    order: str
    turns: tuple[DraftTurn, ...] = Field(min_length=1, max_length=8)


def _object(required: list[str], **properties: Json) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def _list(items: Json, description: str) -> dict[str, Any]:
    return {"type": "array", "items": items, "description": description}


_TEXT = {"type": "string"}
_CALL = _object(
    ["name", "arguments"],
    name=_TEXT,
    arguments={"type": "object", "description": "Exactly as the call is to be made."},
    step={
        "type": "integer",
        "description": "0 for calls that need no other result; 1 for those that need one, ...",
    },
    free=_list(_TEXT, "Parameters whose text is the writer's choice, such as a note."),
    accept={"type": "object", "description": "Parameter -> list of further right values."},
)
_TURN = _object(
    ["user", "expect"],
    user={"type": "string", "description": "What the user says, word for word."},
    expect={
        "type": "string",
        "enum": ["call", "ask", "abstain", "answer"],
        "description": "call: make the calls; ask: ask the user back; abstain: say that this "
        "cannot be done; answer: just reply.",
    },
    calls=_list(_CALL, "Every call of the right answer; only with call."),
    mentions=_list(
        _list(_TEXT, "Words of which one is enough."),
        "With ask and call: groups of words; a right answer holds one of each group. Few or none.",
    ),
    answer={"type": "string", "description": "What a right final answer would say."},
)
SUBMIT_TOOL = Tool(
    name=SUBMIT,
    description="Hand in written tasks. Returns which orders are accepted and, for the others, "
    "what to change; hand those in again, corrected.",
    parameters=_object(
        ["tasks"],
        tasks=_list(
            _object(
                ["order", "turns"],
                order={"type": "string", "description": "The order it fills."},
                turns=_list(_TURN, "What the user says, turn by turn."),
            ),
            "One task for each order.",
        ),
    ),
)
"""What the model is shown."""
INTAKE_TOOL = SUBMIT_TOOL.model_copy(
    update={"parameters": _object(["tasks"], tasks={"type": "array"})}
)
"""What a submission is held against as a whole; its drafts are read one by one."""
