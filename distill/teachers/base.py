"""The Teacher: a model behind an API, and the one vocabulary of how such an API fails.

`complete(messages, tools)` sends a whole conversation and returns one `Turn`. A teacher keeps no
conversation of its own and never retries: `distill.teachers.pacing` decides when a call is sent
again, from the `Failure` that every error is classified into exactly once, here.

A refusal or a cut-off answer is not a failure: it is a `Turn` with that stop reason. An answer
whose stop reason is missing or unknown counts as cut off (`StopReason.LENGTH`), so that it is
never taken for a complete one.
"""

from __future__ import annotations

import email.utils
import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import urlsplit

from distill.config import TeacherConfig
from distill.errors import ConfigError, DistillError
from distill.teachers.allowance import Allowance
from distill.types import Json, Message, Tool, Turn


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
    account: tuple[str, ...] = ()
    """What a rate limit is shared by: provider, endpoint, key, model class; empty: nothing is."""
    requests_per_minute: float | None = None
    """The account's limit, where the config names it."""
    allowance: Allowance | None = None
    """What the last answer said of the account's limit; None once the gate has heard it."""

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

    async def count_tokens(self, messages: Sequence[Message], tools: Sequence[Tool]) -> int | None:
        """Return how many tokens the provider counts in a request; None: it counts none.

        Nothing is generated and nothing is paid.

        Raises:
            TeacherError: The provider could not be asked.
        """
        return None

    async def close(self) -> None:  # noqa: B027 -- nothing to close unless there is a client
        """Close the connections."""


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


def refuse_without_terms(config: TeacherConfig, key: str = "teacher") -> None:
    """Raise if nobody has said why a vendor's answers may be trained on.

    Args:
        config: The teacher.
        key: Where it stands in the config.

    Raises:
        ConfigError: It is a hosted teacher without `terms`.
    """
    if is_hosted(config) and not config.terms:
        raise ConfigError(
            f"{key}.terms is not set: vendors restrict training on their models' outputs; "
            "say in your words why you may, it is stored on every trace"
        )


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


def failure_of(status: int, codes: Collection[str | None], message: str = "") -> Failure:
    """Classify an HTTP error by its status, the provider's error codes and its words."""
    if status == 402 or not QUOTA_CODES.isdisjoint(codes):
        return Failure.QUOTA
    if status in (401, 403):
        return Failure.AUTH
    if status == 429:
        # OpenAI says so of a request that is larger than a minute's tokens: it never fits.
        never = message.startswith("Request too large")
        return Failure.BAD_REQUEST if never else Failure.THROTTLE
    if status in (503, 529):
        return Failure.OVERLOAD
    if status in (408, 409, 499) or status >= 500:
        return Failure.TRANSIENT
    return Failure.BAD_REQUEST


TOO_LONG = (
    "maximum context length",  # vLLM, OpenAI
    "context window",
    "prompt is too long",  # Anthropic
)
"""What endpoints say of a conversation that is longer than the model's context."""


def outgrew_context(message: str) -> bool:
    """Whether a request was refused for its length, by the words of the refusal."""
    return any(words in message for words in TOO_LONG)


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
