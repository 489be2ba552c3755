"""Proof that what answers is what was trained.

vLLM answers happily with an adapter that matches no module of the base, and renders tools in its
own way: both look like a student that learnt nothing. So before an endpoint is announced, the
adapter has to change an answer, and the server has to render conversations into exactly the
tokens that training saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import httpx2

from distill.chat import to_chat
from distill.errors import ServeError
from distill.serve.command import BASE, STUDENT
from distill.types import Message, Tool

TIMEOUT_S = 300.0
"""For one request: the first one of a fresh server may compile kernels."""

ANSWER_TOKENS = 48


class Prompt(NamedTuple):
    """A conversation up to where the model speaks, with the tools on offer."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]

    def body(self, model: str) -> dict[str, Any]:
        """Return the part of a request that says what is asked of whom."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [to_chat(message) for message in self.messages],
        }
        return body | {"tools": [tool.as_function() for tool in self.tools]} if self.tools else body


def check_effect(url: str, prompts: Sequence[Prompt]) -> None:
    """Raise if the adapter changes nothing.

    Greedy answers are compared first; only if all of them agree, the probabilities of the first
    token, which any change of the weights moves.

    Raises:
        ServeError: Base and student answer alike, to the last digit.
    """
    for prompt in prompts:
        if _answer(url, prompt, BASE) != _answer(url, prompt, STUDENT):
            return
    if _first_token(url, prompts[0], BASE) == _first_token(url, prompts[0], STUDENT):
        raise ServeError(
            "the adapter has no effect: base and student give the same probabilities, so none of "
            "its modules fits this base; train it again on the base that is served"
        )


def check_prompts(url: str, prompts: Sequence[tuple[Prompt, Sequence[int]]]) -> None:
    """Raise if the server renders a conversation into other tokens than training did.

    Args:
        url: The endpoint.
        prompts: Conversations, each with the token ids that training rendered it into.

    Raises:
        ServeError: The tokens differ; the message says from where on.
    """
    for prompt, trained in prompts:
        served = _post(url.removesuffix("/v1"), "tokenize", prompt.body(STUDENT))["tokens"]
        if list(trained) != served:
            at = next(
                (
                    n
                    for n, pair in enumerate(zip(trained, served, strict=False))
                    if pair[0] != pair[1]
                ),
                min(len(trained), len(served)),
            )
            raise ServeError(
                f"the server renders a prompt of {len(served)} tokens where training had "
                f"{len(trained)}, different from token {at} on: {served[at : at + 5]} instead of "
                f"{list(trained)[at : at + 5]}; serve it with the template it was trained with"
            )


def _answer(url: str, prompt: Prompt, model: str) -> tuple[str | None, list[tuple[str, str]]]:
    settings = {"temperature": 0, "max_tokens": ANSWER_TOKENS}
    message = _post(url, "chat/completions", prompt.body(model) | settings)["choices"][0]["message"]
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return message.get("content"), [(call["name"], call["arguments"]) for call in calls]


def _first_token(url: str, prompt: Prompt, model: str) -> list[tuple[str, float]]:
    settings = {"temperature": 0, "max_tokens": 1, "logprobs": True, "top_logprobs": 5}
    choice = _post(url, "chat/completions", prompt.body(model) | settings)["choices"][0]
    top = choice["logprobs"]["content"][0]["top_logprobs"]
    return [(token["token"], token["logprob"]) for token in top]


def _post(root: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = httpx2.post(f"{root}/{path}", json=body, timeout=TIMEOUT_S)
    except httpx2.HTTPError as error:
        raise ServeError(
            f"{root}/{path} does not answer: {error or type(error).__name__}"
        ) from error
    if answer.status_code != 200:
        raise ServeError(f"{root}/{path}: HTTP {answer.status_code}: {answer.text[:200]}")
    value: dict[str, Any] = answer.json()
    return value
