"""What is done about an unfit answer, in the order of `serve.on_invalid`.

    retry      the student is asked once more, its calls held to the schemas by a grammar where
               the parser has one, and with a little chance where it was asked greedily
    escalate   the teacher is asked, while `serve.budget_usd` lasts

Both are asked once. What they answer is checked like any other; the first fit answer counts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill.chat import to_chat
from distill.serve.gateway.check import find_problem
from distill.serve.gateway.exchange import Ask, Problem
from distill.serve.gateway.keep import Keeper, NoMoney
from distill.serve.gateway.upstream import CHAT, Fault, Upstream, completion
from distill.teachers import Teacher, TeacherError
from distill.types import StopReason, Turn

LOG = logging.getLogger("distill.gateway")

RETRY_TEMPERATURE = 0.5

FINISH = {
    StopReason.END: "stop",
    StopReason.TOOL_CALLS: "tool_calls",
    StopReason.LENGTH: "length",
    StopReason.REFUSAL: "content_filter",
}


@dataclass(frozen=True)
class Answer:
    """What the client gets."""

    body: Mapping[str, Any]
    """A chat completion."""
    route: str
    """direct, retried or escalated."""
    problem: Problem | None = None
    """What is still wrong with it."""


class Remedies:
    """The steps that are tried one after the other."""

    def __init__(
        self,
        steps: Sequence[str],
        upstream: Upstream,
        teacher: Teacher | None,
        keeper: Keeper | None = None,
    ) -> None:
        """Take the steps.

        Args:
            steps: Of retry and escalate.
            upstream: The student.
            teacher: Who answers escalated requests.
            keeper: Counts and keeps them.
        """
        self._steps = steps
        self._upstream = upstream
        self._teacher = teacher
        self._keeper = keeper

    async def close(self) -> None:
        """Close the teacher's connections."""
        if self._teacher is not None:
            await self._teacher.close()

    async def mend(self, ask: Ask, problem: Problem) -> Answer | Problem:
        """Return a fit answer in place of an unfit one; the problem when there is none to be had.

        That the teacher was not asked for want of money is said in the problem.
        """
        for step in self._steps:
            try:
                answer = await (self._retry(ask) if step == "retry" else self._escalate(ask))
            except NoMoney as error:
                LOG.warning("%s: %s: the teacher was not asked: %s", ask.model, problem.code, error)
                more = f"{problem.detail}; the teacher was not asked: {error}"
                problem = problem._replace(detail=more)
                continue
            except (Fault, TeacherError, ValueError, KeyError, TypeError) as error:
                LOG.warning("%s: %s: %s failed: %s", ask.model, problem.code, step, error)
                continue
            if (still := find_problem(ask, answer.body["choices"])) is None:
                LOG.info("%s: %s: %s: %s", ask.model, problem.code, answer.route, problem.detail)
                return answer
            LOG.warning("%s: %s: %s: still %s", ask.model, problem.code, step, still.code)
        return problem

    async def _retry(self, ask: Ask) -> Answer:
        tools = [
            tool | {"function": tool["function"] | {"strict": True}}
            for tool in ask.body.get("tools", ())
        ]
        changes: dict[str, Any] = {"stream": False, "stream_options": None}
        if not ask.body.get("temperature", 1):
            changes["temperature"] = RETRY_TEMPERATURE
        raw = ask.raw(**changes, **({"tools": tools} if tools else {}))
        reply = await self._upstream.post(CHAT, raw)
        if reply.status != 200:
            raise Fault("refused", f"vLLM answers HTTP {reply.status}")
        return Answer(completion(reply), "retried")

    async def _escalate(self, ask: Ask) -> Answer:
        assert self._teacher is not None
        made = await self._keeper.begin(ask) if self._keeper else None
        try:
            turn = await self._teacher.complete(ask.messages, ask.toolset.tools)
        except BaseException as error:  # the client may have left, too
            if self._keeper and made:
                self._keeper.unanswered(made, error)
            raise
        answer = Answer(from_turn(turn, self._teacher.model), "escalated")
        if self._keeper and made:
            self._keeper.escalated(made, turn, find_problem(ask, answer.body["choices"]))
        return answer


def from_turn(turn: Turn, model: str) -> dict[str, Any]:
    """Return a teacher's turn as a chat completion."""
    usage = turn.usage
    return {
        "id": f"chatcmpl-{turn.request_id or time.time_ns()}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": turn.model or model,
        "choices": [
            {
                "index": 0,
                "message": to_chat(turn.message),
                "logprobs": None,
                "finish_reason": FINISH[turn.stop],
            }
        ],
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }
