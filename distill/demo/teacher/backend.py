"""The embedded teacher as what stands behind simulated tools, when the prompt tells it to be that.

Its results are guesses that fit the tool's schema of results and repeat what the call was about. At
the seeded rate an answer is no JSON, violates the schema, or refuses the call; what it is asked
again it answers properly.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from distill.demo.teacher.guesses import Known, guess
from distill.types import AssistantMessage, Json, Message, SystemMessage, digest


def is_backend(messages: Sequence[Message]) -> bool:
    """Whether a conversation asks for the results of tools."""
    systems = [m.content for m in messages[:1] if isinstance(m, SystemMessage)]
    return any(text.startswith("You are what stands") for text in systems)


def respond(messages: Sequence[Message], seed: int, error_rate: float) -> AssistantMessage:
    """Return the answer to the last call.

    Args:
        messages: The prompt and the calls so far.
        seed: Seed of guesses and errors.
        error_rate: Share of the answers that are not proper at first, 0 to 1.
    """
    asked = [row for m in messages if m.role == "user" and (row := _object(m.content))][-1]
    schema = _results(messages[0].content or "")[asked["call"]]
    rng = random.Random(digest([seed, len(messages), asked]))
    said = " ".join(map(str, asked["arguments"].values()))
    known = Known(said, asked["arguments"])
    again = _object(messages[-1].content) is None
    if not again and rng.random() < error_rate:
        refused = json.dumps({"error": f"{said} is not known here"})
        return AssistantMessage(content=rng.choice(["It is fine.", '{"result": [[]]}', refused]))
    result = guess(schema, known, rng) if isinstance(schema, dict) else {"ok": True}
    return AssistantMessage(content=json.dumps({"result": result}, ensure_ascii=False))


def _results(prompt: str) -> dict[str, Json]:
    rows = (row for line in prompt.splitlines() if (row := _object(line)))
    return {row["name"]: row["result"] for row in rows if "result" in row}


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text or "")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
