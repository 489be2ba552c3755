"""The Teacher: a model behind an API, and the one vocabulary of how such an API fails.

`complete(messages, tools)` sends a whole conversation and returns one `Turn`. A teacher keeps no
conversation of its own and never retries: `distill.teachers.pacing` decides when a call is sent
again, from the `Failure` that every error is classified into exactly once, here.

A refusal or a cut-off answer is not a failure: it is a `Turn` with that stop reason. An answer
whose stop reason is missing or unknown counts as cut off (`StopReason.LENGTH`), so that it is
never taken for a complete one.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from distill.config import TeacherConfig
from distill.errors import ConfigError, DistillError
from distill.teachers.prices import cost_usd
from distill.types import AssistantMessage, Json, Message, StopReason, Tool, Turn, Usage

NO_KEY = "none"
"""What is sent to a server that asks for no key; the SDKs insist on one."""


class Failure(StrEnum):
    """What kind of failure, and with it what to do about it."""

    THROTTLE = "throttle"
    """Too many requests: slow down, send again."""
    OVERLOAD = "overload"
    """The provider is at capacity: slow down, send again."""
    TRANSIENT = "transient"
    """Network, time-out, server error: send again, a bounded number of times."""
    QUOTA = "quota"
    """Money or allowance has run out: stop the run."""
    AUTH = "auth"
    """The key is missing, wrong or not allowed: stop the run."""
    BAD_REQUEST = "bad_request"
    """This request will never succeed: fail the episode."""


class TeacherError(DistillError, RuntimeError):
    """A call to a teacher failed.

    Attributes:
        failure: What kind of failure it is.
        retry_after_s: Seconds the server asked to wait, when it said so.
        request_id: The provider's id of the request, when it gave one.
        attempts: How often the call was sent; set by the pacing.
    """

    def __init__(
        self,
        message: str,
        failure: Failure,
        *,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.attempts = 1


class Teacher(ABC):
    """A model that can be asked for the next turn of a conversation."""

    provider: str = ""
    model: str = ""
    terms: str | None = None
    settings: Mapping[str, Json] = {}
    """Request settings that shape the answers."""

    @property
    def name(self) -> str:
        """How messages to the user call this teacher."""
        return f"{self.provider}/{self.model}" if self.provider else self.model

    @abstractmethod
    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Return the next turn.

        Args:
            messages: The conversation so far; a system message, if any, comes first.
            tools: The tools on offer, in order.

        Raises:
            TeacherError: The call failed.
        """

    async def close(self) -> None:  # noqa: B027 -- nothing to close unless there is a client
        """Close the connections."""


class ApiTeacher(Teacher):
    """What the three SDK teachers share: settings, time limit, cost, classified errors.

    A subclass sends one request in `_send` and says in `_classify` which of its SDK's exceptions
    means what.
    """

    def __init__(self, config: TeacherConfig) -> None:
        self.config = config
        self.provider = config.provider
        self.model = config.model
        self.terms = config.terms
        self.settings = teacher_settings(config)

    async def complete(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Send the conversation once and return the answer, priced and timed."""
        start = time.monotonic()
        try:
            # A server that trickles keep-alive bytes would outlive the SDK's own read time-out.
            async with asyncio.timeout(self.config.timeout_s):
                turn = await self._send(messages, tools)
        except TimeoutError:
            raise self.error(
                f"no answer within {self.config.timeout_s:g} s (teacher.timeout_s)",
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
        cost = turn.cost_usd
        if cost is None:
            cost = cost_usd(self.model, turn.usage, self.config.price)
        return turn.model_copy(
            update={"latency_s": time.monotonic() - start, "cost_usd": cost},
        )

    @abstractmethod
    async def _send(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Turn:
        """Send one request and map its answer."""

    @abstractmethod
    def _classify(self, error: Exception) -> TeacherError | None:
        """Classify an exception of the SDK; None: it is not one, but a fault of ours."""

    def error(self, message: str, failure: Failure, **details: Any) -> TeacherError:
        """Build a one-line error that names the teacher and never shows the key."""
        line = " ".join(message.split())[:400]
        key = os.environ.get(self.config.api_key_env or "", "")
        if key:
            line = line.replace(key, "***")
        return TeacherError(f"teacher {self.name!r}: {line}", failure, **details)

    def status_error(
        self,
        status: int,
        codes: Collection[str | None],
        message: str,
        headers: Mapping[str, str],
        request_id: str | None,
    ) -> TeacherError:
        """Build the error of an HTTP status."""
        failure = failure_of(status, codes)
        hint = {
            Failure.QUOTA: "; top up or raise the limit, then run again to resume",
            Failure.AUTH: f"; check the key in {self.config.api_key_env or 'the environment'}",
        }.get(failure, "")
        return self.error(
            f"HTTP {status}: {message}{hint}",
            failure,
            retry_after_s=retry_after_s(headers),
            request_id=request_id,
        )

    def connection_error(self, error: Exception) -> TeacherError:
        """Build the error of a connection that failed below HTTP."""
        cause = error.__cause__ or error
        where = self.config.base_url or "the provider"
        reason = str(cause) or type(cause).__name__
        return self.error(
            f"cannot reach {where}: {reason}; is it running, and is teacher.base_url right?",
            Failure.TRANSIENT,
        )


def teacher_settings(config: TeacherConfig) -> dict[str, Json]:
    """Return the settings that shape the answers, without transport, price and terms."""
    return config.model_dump(mode="json", include={"max_tokens", "temperature", "extra"})


def teacher_identity(config: TeacherConfig) -> dict[str, Json]:
    """Return what makes two teachers the same one: provider, model, settings."""
    return {"provider": config.provider, "model": config.model, **teacher_settings(config)}


def is_hosted(config: TeacherConfig) -> bool:
    """Whether the teacher is a vendor's service rather than a server of the user's own."""
    host = urlsplit(config.base_url or "").hostname
    if host is None:
        return True
    try:
        return not ipaddress.ip_address(host).is_private
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal"))


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


# --- classification ---------------------------------------------------------------------------

QUOTA_CODES = frozenset(
    {
        "billing_error",
        "contract_spend_limit_reached",
        "credit_balance_exhausted",
        "enforced_spend_limit_reached",
        "insufficient_quota",
        "linked_organization_billing_unavailable",
        "linked_organization_spend_limit_reached",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
    }
)
"""Error codes and types that mean money, whatever status they come with."""


def failure_of(status: int, codes: Collection[str | None]) -> Failure:
    """Classify an HTTP error by its status and the provider's error codes."""
    if status == 402 or not QUOTA_CODES.isdisjoint(codes):
        return Failure.QUOTA
    if status in (401, 403):
        return Failure.AUTH
    if status == 429:
        return Failure.THROTTLE
    if status in (503, 529):
        return Failure.OVERLOAD
    if status in (408, 409, 499) or status >= 500:
        return Failure.TRANSIENT
    return Failure.BAD_REQUEST


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `retry-after-ms` or `retry-after` (seconds or a date) ask for."""
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / divisor)
        except (KeyError, ValueError):
            continue
    try:
        when = email.utils.parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


# --- building a turn --------------------------------------------------------------------------


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
