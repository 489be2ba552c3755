"""How the embedded teacher says something in other words, when an evaluation asks it to.

It knows a few everyday verbs and frames; words it is told to keep, it keeps. What it does not know
it leaves, so its wordings are near the original: a real teacher's are further off.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from distill.types import Message, SystemMessage, UserMessage

ASKED = "Rewrite what a user says"
"""How such a request begins."""

FRAMES = (
    "Do me a favour: {}",
    "{} That is what I need.",
    "Here is what I am after: {}",
    "{} Would you see to that?",
    "If you can: {}",
)
OTHER: dict[str, tuple[str, ...]] = {
    "please": ("kindly",),
    "turn": ("switch",),
    "switch": ("turn",),
    "set": ("put", "bring"),
    "put": ("set", "bring"),
    "make": ("have",),
    "show me": ("tell me",),
    "tell me": ("let me know",),
    "i want": ("i would like",),
    "i would like": ("i want",),
    "is it": ("would it be",),
    "too": ("far too",),
    "now": ("right now",),
    "give me": ("let me have",),
    "let": ("have",),
    "need not": ("does not need to",),
}
"""Words and what may stand in their place; longer ones are tried first."""

_KEPT = re.compile(r"'([^']*)'")


def is_rewording(messages: Sequence[Message]) -> bool:
    """Whether a request asks for other words rather than for an action."""
    first = messages[0] if messages else None
    return isinstance(first, SystemMessage) and first.content.startswith(ASKED)


def reworded(messages: Sequence[Message], rng: random.Random) -> str:
    """Return what the user says, in other words."""
    said = next(m.content for m in messages if isinstance(m, UserMessage))
    kept = {word for form in _KEPT.findall(messages[0].content or "") for word in form.split()}
    names = sorted((n for n in OTHER if not kept & set(n.split())), key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b", re.IGNORECASE)
    changed = pattern.sub(lambda match: rng.choice(OTHER[match[1].casefold()]), said)
    ended = changed if changed.endswith((".", "?", "!")) else changed + "."
    return rng.choice(FRAMES).format(ended[:1].upper() + ended[1:])
