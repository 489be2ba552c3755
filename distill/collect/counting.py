"""How many tokens the provider counts in a few of the requests that a plan would send first.

The tools and the system prompt are the larger part of most requests and the same in all: they are
counted once, and the users' words of a few tasks tell how many bytes a token has. Nothing is
generated or paid. An endpoint that does not count is no fault: the estimate then goes by bytes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from distill.collect.plan import Plan
from distill.config import TeacherConfig
from distill.errors import DistillError
from distill.teachers import Teacher, create_teacher
from distill.teachers.estimate import request_bytes
from distill.types import Message, SystemMessage, UserMessage

SAMPLES = 8
"""Requests that are counted, spread over the plan."""


@dataclass(frozen=True)
class Counted:
    """What the provider counted."""

    prefix: int
    """Tokens of the tools, the system prompt and what the provider adds to them."""
    bytes_per_token: float
    """Of the users' words."""


async def count_requests(config: TeacherConfig, plan: Plan) -> Counted | str:
    """Count a few requests of `plan`; return why not when it cannot be done."""
    try:
        teacher = create_teacher(config)
    except DistillError as error:
        return str(error)
    try:
        return await _count(teacher, plan) or f"{teacher.name!r} has no endpoint that counts them"
    except DistillError as error:
        return str(error)
    finally:
        await teacher.close()


async def _count(teacher: Teacher, plan: Plan) -> Counted | None:
    toolset = plan.loaded.toolset
    system: tuple[Message, ...] = (SystemMessage(content=toolset.system),) if toolset.system else ()
    step = max(1, len(plan.episodes) // SAMPLES)
    said = [episode.task.turns[0].content for episode in plan.episodes[::step][:SAMPLES]]
    asked = [UserMessage(content=text) for text in (".", *said)]
    # The first alone: an endpoint that does not count, or is not there, is asked once.
    least = await teacher.count_tokens((*system, asked[0]), toolset.tools)
    if least is None:
        return None
    counts = await asyncio.gather(
        *(teacher.count_tokens((*system, message), toolset.tools) for message in asked[1:])
    )
    tokens = sum((count or least) - least for count in counts)
    size = sum(
        request_bytes((message,), ()) - request_bytes(asked[:1], ()) for message in asked[1:]
    )
    return Counted(prefix=least, bytes_per_token=max(1.0, size / max(1, tokens)))
