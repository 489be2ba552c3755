"""Is an answer fit to be acted on: calls that parse, of tools on offer, with valid arguments?

Whether a valid call is the right one, nobody can know here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill.matching import Code, call_markup, call_problem
from distill.serve.gateway.exchange import Ask, Problem
from distill.types import ToolCall

TRUNCATED_CALL = "truncated_call"
"""The token limit cut a call off, so that it arrived as text."""


def find_problem(ask: Ask, choices: Sequence[Mapping[str, Any]]) -> Problem | None:
    """Return what is wrong with the choices of an answer, or None.

    Args:
        ask: The request.
        choices: Its answer's choices, in OpenAI's shape.
    """
    if not ask.offers_tools:
        return None
    found = (_one(ask, choice["message"], choice.get("finish_reason")) for choice in choices)
    return next((problem for problem in found if problem), None)


def _one(ask: Ask, message: Mapping[str, Any], finish: str | None) -> Problem | None:
    calls = message.get("tool_calls") or ()
    if not calls:
        return _wordy(ask, message.get("content") or "", finish)
    for call in calls:
        function = call.get("function") or {}
        made = ToolCall(
            id=str(call.get("id")),
            name=function.get("name") or "",
            arguments=function.get("arguments") or "",
        )
        if problem := _call(ask, made):
            return problem
    return None


def _wordy(ask: Ask, text: str, finish: str | None) -> Problem | None:
    """Judge an answer without calls."""
    if markup := call_markup(text):
        if finish == "length":
            return Problem(TRUNCATED_CALL, "the token limit cut the call off")
        return Problem(Code.UNPARSED_CALL, f"{markup!r} stands in the text")
    if finish == "length" and not text.strip():  # a stream does not show a call without its name
        return Problem(TRUNCATED_CALL, "the token limit cut the answer off before any word or call")
    if ask.must_call is not None:
        return Problem(Code.MISSING_CALL, "tool_choice asks for a call, none was made")
    if not text.strip():  # in a stream, vLLM's parser also swallows a call that it cannot read
        return Problem(Code.EMPTY_ANSWER, "neither a word nor a call came")
    return None


def _call(ask: Ask, call: ToolCall) -> Problem | None:
    if ask.must_call and call.name != ask.must_call:
        return Problem(Code.WRONG_TOOL, f"{call.name!r} instead of {ask.must_call!r}")
    try:
        found = call_problem(call, ask.offer(call.name))
    except Exception:  # whatever a client's own schema makes jsonschema raise: cannot be judged
        return None
    return Problem(*found) if found else None
