"""A teacher behind a vendor's SDK: client, time limit, cost, and errors told in our vocabulary.

The SDKs of Anthropic and OpenAI are built alike: their clients take the same settings and their
exceptions bear the same names. A subclass says which SDK it is, sends one request in `_send`, and
reads codes and message off a status error. The SDK's own retries are off: see the pacing.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import httpx2

from distill.config import TeacherConfig
from distill.errors import ConfigError
from distill.teachers.allowance import read_allowance
from distill.teachers.base import (
    Failure,
    Teacher,
    TeacherError,
    failure_of,
    retry_after_s,
    teacher_settings,
)
from distill.teachers.prices import cost_usd, undated
from distill.types import AssistantMessage, Message, StopReason, Tool, Turn, Usage

NO_KEY = "none"
"""What is sent to a server that asks for no key; the SDKs insist on one."""


class SdkTeacher(Teacher):
    """What the SDK teachers share."""

    sdk: ModuleType
    """The SDK, for its exceptions."""
    client_type: type[Any]
    """Its asynchronous client."""
    key_env: str
    """The vendor's own variable of the key."""
    _client: Any

    def __init__(
        self, config: TeacherConfig, http_client: httpx2.AsyncClient | None = None
    ) -> None:
        """Make the client; nothing is sent yet.

        Args:
            config: The teacher.
            http_client: The transport; None: the SDK's own.

        Raises:
            ConfigError: The key is not in the environment.
        """
        self.config = config
        self.provider = config.provider
        self.model = config.model
        self.terms = config.terms
        self.settings = teacher_settings(config)
        key = config.api_key_env or ("" if config.base_url else self.key_env)
        self.account = (config.provider, config.base_url or "", key, undated(config.model))
        self.requests_per_minute = config.limits.requests
        http_client = http_client or self.sdk.DefaultAsyncHttpxClient()
        http_client.event_hooks["response"].append(self._hear)
        self._client = self.client_type(
            api_key=api_key(config, self.key_env),
            base_url=config.base_url,
            timeout=config.timeout_s,
            max_retries=0,
            http_client=http_client,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Send the conversation once and return the answer, priced and timed."""
        start = time.monotonic()
        async with self.asking():
            turn = await self._send(messages, tools)
        return self.priced(turn).model_copy(update={"latency_s": time.monotonic() - start})

    async def count_tokens(self, messages: Sequence[Message], tools: Sequence[Tool]) -> int | None:
        """Ask the provider's own counter; None: the endpoint has none."""
        try:
            async with self.asking():
                return await self._count(messages, tools)
        except TeacherError as error:
            if error.failure is Failure.BAD_REQUEST:
                return None
            raise

    @asynccontextmanager
    async def asking(self, least_s: float = 0) -> AsyncIterator[None]:
        """Around any use of the client: time limit, and its errors told as `TeacherError`.

        Args:
            least_s: A longer limit than `teacher.timeout_s`, for large transfers.
        """
        limit = max(least_s, self.config.timeout_s)
        try:
            # A server that trickles keep-alive bytes would outlive the SDK's own read time-out.
            async with asyncio.timeout(limit):
                yield
        except TimeoutError:
            raise self.error(
                f"no answer within {limit:g} s (teacher.timeout_s)",
                Failure.TRANSIENT,
            ) from None
        except json.JSONDecodeError as error:
            raise self.error(f"the answer is not JSON: {error}", Failure.TRANSIENT) from None
        except TeacherError:
            raise
        except Exception as error:
            classified = self._classify(error)
            if classified is None:
                raise
            raise classified from None

    def priced(self, turn: Turn, *, batch: bool = False) -> Turn:
        """Return a turn with its cost, unless the server has told it."""
        if turn.cost_usd is not None:
            return turn
        cost = cost_usd(self.model, turn.usage, self.config.price, batch=batch)
        return turn.model_copy(update={"cost_usd": cost})

    async def _hear(self, response: httpx2.Response) -> None:
        self.allowance = read_allowance(response.headers) or self.allowance

    @abstractmethod
    async def _send(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Send one request and map its answer."""

    @abstractmethod
    async def _count(self, messages: Sequence[Message], tools: Sequence[Tool]) -> int:
        """Ask for the number of tokens of one request."""

    @abstractmethod
    def _status(self, error: Any) -> tuple[Collection[str | None], str]:
        """Return the codes and the message of the SDK's `APIStatusError`."""

    def _classify(self, error: Exception) -> TeacherError | None:
        """Classify an exception of the SDK; None: it is not one, but a fault of ours."""
        match error:
            case self.sdk.APIStatusError():
                return self._status_error(error)
            case self.sdk.APIConnectionError() | httpx2.HTTPError():
                return self._connection_error(error)
            case self.sdk.APIResponseValidationError():
                return self.error(str(error), Failure.TRANSIENT)
        return None

    def error(self, message: str, failure: Failure, **details: Any) -> TeacherError:
        """Build a one-line error that names the teacher and never shows the key."""
        line = " ".join(message.split())[:400]
        key = os.environ.get(self.config.api_key_env or "", "")
        if key:
            line = line.replace(key, "***")
        return TeacherError(f"teacher {self.name!r}: {line}", failure, **details)

    def _status_error(self, error: Any) -> TeacherError:
        codes, message = self._status(error)
        failure = failure_of(error.status_code, codes, message)
        hint = {
            Failure.QUOTA: "; top up or raise the limit, then run again to resume",
            Failure.AUTH: f"; check the key in {self.config.api_key_env or 'the environment'}",
        }.get(failure, "")
        return self.error(
            f"HTTP {error.status_code}: {message}{hint}",
            failure,
            retry_after_s=retry_after_s(error.response.headers),
            request_id=error.request_id,
        )

    def _connection_error(self, error: Exception) -> TeacherError:
        cause = error.__cause__ or error
        where = self.config.base_url or "the provider"
        reason = str(cause) or type(cause).__name__
        return self.error(
            f"cannot reach {where}: {reason}; is it running, and is teacher.base_url right?",
            Failure.TRANSIENT,
        )


def api_key(config: TeacherConfig, default_env: str) -> str:
    """Return the key from the environment.

    Args:
        config: The teacher; `api_key_env` names the variable.
        default_env: The provider's own variable, used when neither `api_key_env` nor `base_url`
            is set: a key is never sent to an endpoint it was not configured for.

    Raises:
        ConfigError: The variable is not set.
    """
    name = config.api_key_env or (None if config.base_url else default_env)
    if name is None:
        return NO_KEY
    key = os.environ.get(name, "")
    if not key:
        raise ConfigError(
            f"teacher.api_key_env: environment variable {name!r} is not set; "
            f"run `export {name}=...` and try again"
        )
    return key


def build_turn(
    message: AssistantMessage,
    stop: StopReason,
    usage: Usage,
    *,
    model: str,
    request_id: str | None,
    cost: float | None = None,
) -> Turn:
    """Build a turn whose stop reason agrees with whether it calls tools."""
    if stop in (StopReason.END, StopReason.TOOL_CALLS):
        # Some compatible servers finish with "stop" although the turn holds calls.
        stop = StopReason.TOOL_CALLS if message.tool_calls else StopReason.END
    return Turn(
        message=message,
        stop=stop,
        usage=usage,
        model=model,
        request_id=request_id,
        cost_usd=cost,
    )
