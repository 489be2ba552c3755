"""The embedded teacher as a simulated user, when the prompt tells it to play one.

It tells the fact it is asked for, else the next one it has not told, one at a time, and says that
it is done when it has told all. At the seeded rate it forgets its role: it speaks as the assistant,
tells everything at once, or thanks for ever.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from distill.types import AssistantMessage, Message, SystemMessage, UserMessage, digest

_FACT = re.compile(r"^- ([^:\n]+): (.+)$", re.MULTILINE)
_LAPSES = (
    "How can I help you today?",
    "Thank you so much, you have been very helpful!",
    None,
)
"""What it says when it forgets its role; None: everything at once."""


def plays_user(messages: Sequence[Message]) -> bool:
    """Whether a conversation asks for the part of the user."""
    systems = [m.content for m in messages[:1] if isinstance(m, SystemMessage)]
    return any(text.startswith("You play a user") for text in systems)


def speak(messages: Sequence[Message], seed: int, lapse_rate: float) -> AssistantMessage:
    """Return what the user says next.

    Args:
        messages: The prompt and the conversation from the user's side.
        seed: Seed of the lapses.
        lapse_rate: Share of the users that forget their role at some point, 0 to 1.
    """
    prompt = messages[0].content or ""
    facts = dict(_FACT.findall(prompt.partition("What you know:")[2].partition("\n\n")[0]))
    rng = random.Random(digest([seed, prompt, len(messages)]))
    if rng.random() < lapse_rate:
        lapse = rng.choice(_LAPSES)
        everything = ", ".join(f"{name} is {value}" for name, value in facts.items())
        return AssistantMessage(content=lapse or f"Here is it all: {everything}.")
    told = " ".join(m.content or "" for m in messages if isinstance(m, AssistantMessage))
    left = [name for name, value in facts.items() if value not in told]
    if not left:
        return AssistantMessage(content="[DONE]")
    heard = [m.content for m in messages if isinstance(m, UserMessage)][-1].casefold()
    name = next((name for name in left if name.casefold() in heard), left[0])
    return AssistantMessage(content=f"The {name} is {facts[name]}.")
