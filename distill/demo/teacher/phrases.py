"""The teacher's wording: seeded choices, so that no two tasks are answered in the same words.

Every function returns one short text. Expected mentions are always in it: where the reference
answer or the tool results do not bring a word along, a closing sentence does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from distill.matching.answers import missing_mention
from distill.types import Expectation, Json

_DONE = ("Done.", "All set.", "That's taken care of.", "Okay, done.", "There you go.", "Finished.")
_FOUND = ("Here is what I found:", "Here you go:", "This is what came back:", "The result:")
_CLOSERS = ("Let me know if you need anything else.", "Just say if you want it changed.")
_LOOKING = ("Let me check.", "One moment.", "I'll take care of that.", "Sure, on it.")
_APOLOGIES = ("Sorry about this.", "I'm afraid this did not work out.", "Bad news.", "Hm.")
_NOT_THIS = ("Sorry about this.", "I'm afraid not.", "Unfortunately not.", "I'm sorry.")
_SORRY = ("I'm sorry, but", "Unfortunately,", "Sorry,", "I'm afraid")
_CANNOT = (
    "none of the tools I have can do that.",
    "that is outside of what I can do here.",
    "I have no tool for that.",
    "that is not something I can help with from here.",
)
_ASK = ("Sure.", "Happy to.", "Of course.", "I can do that.", "Gladly.")
_MISSING = (
    "Could you tell me {what}?",
    "What should I use for {what}?",
    "I still need {what}. Which is it?",
    "Before I go ahead: what about {what}?",
)
_CHAT = ("Happy to help.", "You're welcome.", "Glad to hear from you.", "No problem at all.")
_OFFERS = ("Is there anything I can do for you?", "I am here if you need something.")
_STRANGER = "I am a script that knows the tasks of one config only, and this is none of them."
_VAGUE = ("That did not work.", "I could not complete that.", "Something went wrong on my side.")
_FAILED = (
    "That did not work: {error}.",
    "I could not complete that. The tool answered: {error}.",
    "I tried, but it failed with: {error}.",
    "It failed, so nothing was changed: {error}.",
)


def before_calls(rng: random.Random) -> str | None:
    """A remark in front of calls; mostly none."""
    return rng.choice(_LOOKING) if rng.random() < 0.04 else None


def question(expectation: Expectation, rng: random.Random) -> str:
    """Ask for the parameter that is missing."""
    what = expectation.mentions[0][0] if expectation.mentions else "a bit more detail"
    asked = expectation.answer or rng.choice(_MISSING).format(what=what)
    text = asked if rng.random() < 0.4 else f"{rng.choice(_ASK)} {asked}"
    text = _mentioning(text, expectation, "I need")
    return text if "?" in text else f"{text} Could you tell me?"


def abstention(expectation: Expectation, rng: random.Random) -> str:
    """Say that no tool fits."""
    if not expectation.answer:
        text = refusal(rng)
    elif rng.random() < 0.5:
        text = expectation.answer
    else:
        text = f"{rng.choice(_NOT_THIS)} {expectation.answer}"
    return _mentioning(text, expectation, "It is about")


def chat(expectation: Expectation, rng: random.Random) -> str:
    """Answer without tools."""
    text = expectation.answer or rng.choice(_CHAT)
    if rng.random() < 0.25:
        text = f"{text} {rng.choice(_OFFERS)}"
    return _mentioning(text, expectation, "In short:")


def success(expectation: Expectation, results: Sequence[Json], rng: random.Random) -> str:
    """Report what the calls did."""
    found = facts(results)
    if expectation.answer:
        text = expectation.answer
        if rng.random() < 0.4 and not text.startswith("Done"):
            text = f"{rng.choice(_DONE)} {text}"
    elif found:
        text = f"{rng.choice(_FOUND + _DONE)} {found[0].upper()}{found[1:]}."
    else:
        text = rng.choice(_DONE)
    if rng.random() < 0.15:
        text = f"{text} {rng.choice(_CLOSERS)}"
    return _mentioning(text, expectation, "In short:")


def claimed_success(rng: random.Random) -> str:
    """Claim success whatever happened."""
    return f"{rng.choice(_DONE)} {rng.choice(_CLOSERS)}"


def failure(expectation: Expectation | None, error: str, rng: random.Random) -> str:
    """Report a failed call; `expectation` is given where the failure was to be met."""
    text = rng.choice(_FAILED).format(error=error.rstrip("."))
    if expectation is None:
        return text if rng.random() < 0.5 else rng.choice(_VAGUE)
    if expectation.answer:
        opener = f"{rng.choice(_APOLOGIES)} " if rng.random() < 0.5 else ""
        text = f"{opener}{expectation.answer}"
    return _mentioning(text, expectation, "In short:")


def refusal(rng: random.Random) -> str:
    """Decline although a tool would do."""
    return f"{rng.choice(_SORRY)} {rng.choice(_CANNOT)}"


def needless_question(rng: random.Random) -> str:
    """Ask although everything is there."""
    what = rng.choice(("whether you are sure", "a bit more detail", "what exactly you want"))
    return f"{rng.choice(_ASK)} {rng.choice(_MISSING).format(what=what)}"


def unknown(rng: random.Random) -> str:
    """Answer a conversation that belongs to no task."""
    return f"{rng.choice(_SORRY)} {_STRANGER}"


def facts(results: Sequence[Json]) -> str:
    """Return up to three values from the tool results, as `name value`."""
    pairs: list[str] = []
    for result in results:
        rows = result if isinstance(result, list) else [result]
        for row in rows:
            if isinstance(row, dict):
                pairs += [f"{k.replace('_', ' ')} {v}" for k, v in row.items() if _is_plain(v)]
            elif _is_plain(row):
                pairs.append(str(row))
    return ", ".join(pairs[:3])


def _is_plain(value: Json) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""


def _mentioning(text: str, expectation: Expectation, lead: str) -> str:
    """Return `text` with a sentence for each group of words it should mention and does not."""
    while group := missing_mention(text, expectation.mentions):
        text = f"{text} {lead} {group[0]}."
    return text
