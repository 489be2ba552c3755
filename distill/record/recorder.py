"""What passes through the endpoint, told into the trace store by a thread of its own.

The tools of a request are held against the config's tool set. Equal ones (all of them or some, in
any order) make a trace of that set. Where one is unknown or differs, the trace is stamped with the
hash of the tools it was really held with, so that `distill filter` says that the set has drifted,
or follows `filter.renames`. A request without tools is no tool calling and is not kept.

Whatever goes wrong here is counted and said, never felt by the agent. A key never comes here: of a
request it is the body that is told, of an answer the body and its type.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from distill.config import Config
from distill.errors import StoreError
from distill.record.wires import Wire, prepare
from distill.teachers import cost_usd
from distill.toolsets.sources.foreign import read_tool
from distill.traces import LedgerLine, TeacherRef, TraceStore
from distill.traces.foreign import offer_of
from distill.traces.importers import Conversation, Skip
from distill.traces.importers.openai import named
from distill.traces.joining import Answered, join
from distill.types import Message, Tool, ToolSet, Turn, Usage

LOG = logging.getLogger("distill.record")

SOURCE = "recorded"
MOST_WAITING = 1000
"""Answers that wait to be stored before further ones are let go: memory is the agent's, too."""
MOST_RESPONSES = 1000
"""Answers that a request may still name with `previous_response_id`."""
SETTINGS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "reasoning")
"""Request fields that `TeacherRef.settings` notes."""


@dataclass
class Exchange:
    """A request of a recorded API, and what was answered to it."""

    wire: Wire
    body: bytes
    started: float
    """`time.monotonic` when it came."""
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the answer."""
    content: bytes = b""
    """Of the answer, as far as it came, as it came."""
    latency_s: float = 0.0


@dataclass
class Counts:
    """What has passed so far."""

    passed: int = 0
    """Requests of recorded APIs."""
    kept: int = 0
    conversations: int = 0
    """Traces that were begun."""
    unreached: int = 0
    """Requests the provider could not be reached for."""
    refused: Counter[int] = field(default_factory=Counter)
    """HTTP status -> requests that the provider did not answer."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Reason -> answers that were not kept."""
    unknown_tools: Counter[str] = field(default_factory=Counter)
    """Name -> requests with a tool that the tool set does not have."""
    changed_tools: Counter[str] = field(default_factory=Counter)
    """Name -> requests with a tool that the tool set has otherwise."""
    models: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    unpriced: int = 0
    """Kept answers whose cost is not known."""
    fault: str = ""
    """What went wrong last."""


class Recorder:
    """Takes exchanges from the endpoint and stores them, one after the other."""

    def __init__(self, config: Config, toolset: ToolSet, store: TraceStore) -> None:
        """Load the provider's SDK and start the thread.

        Args:
            config: The distillation.
            toolset: Its tool set.
            store: Where traces go; the caller's to close, after `close`.
        """
        self.counts = Counts()
        self._teacher = config.teacher
        self._toolset = toolset
        self._tools = {tool.name: read_tool(tool.as_function()) for tool in toolset.tools}
        self._store = store
        self._responses: OrderedDict[str, tuple[Message, ...]] = OrderedDict()
        self._room = threading.BoundedSemaphore(MOST_WAITING)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="distill-record")
        prepare(config.teacher.provider)

    def close(self) -> None:
        """Store what waits, and end the thread."""
        self._thread.shutdown()

    def take(self, exchange: Exchange) -> None:
        """Take what has passed; returns at once."""
        self.counts.passed += 1
        if exchange.status != 200:
            self.counts.refused[exchange.status] += 1
        elif self._room.acquire(blocking=False):
            self._thread.submit(self._keep, exchange)
        else:
            self._fault("answers come faster than they can be stored")

    def _keep(self, exchange: Exchange) -> None:
        try:
            self._tell(exchange)
        except Skip as skip:
            self.counts.skipped[str(skip)] += 1
        except StoreError as error:
            self._fault(str(error))
        except Exception as error:  # in a thread: whatever it is, nobody else would hear of it
            LOG.info("not read: %s: %s", type(error).__name__, error)
            self.counts.skipped[f"not as the API has it ({type(error).__name__})"] += 1
        finally:
            self._room.release()

    def _fault(self, reason: str) -> None:
        LOG.info("not kept: %s", reason)
        self.counts.fault = f"an answer is not kept (the agent has it): {reason}"
        self.counts.skipped["could not be stored"] += 1

    def _tell(self, exchange: Exchange) -> None:
        body = json.loads(exchange.body)
        asked = exchange.wire.request(body)
        if not asked.tools:
            raise Skip("no tools were offered")
        turn, identity = exchange.wire.turn(exchange.content, exchange.headers)
        turn = self._priced(turn, asked.model, exchange)
        messages = self._whole(asked, body.get("previous_response_id"))
        answered = self._answered(asked, messages, turn, body)
        joined = join(self._store, answered, self._line(answered))
        self._remember(identity, (*messages, turn.message))
        counts = self.counts
        counts.kept += 1
        counts.conversations += not joined.goes_on
        counts.models[asked.model] += 1
        counts.usage = counts.usage + turn.usage
        counts.cost_usd += turn.cost_usd or 0.0
        counts.unpriced += turn.cost_usd is None

    def _priced(self, turn: Turn, asked: str, exchange: Exchange) -> Turn:
        cost = turn.cost_usd
        if cost is None and turn.usage != Usage():  # some streams do not tell it
            price = self._teacher.price if asked == self._teacher.model else None
            cost = cost_usd(asked, turn.usage, price)
        return turn.model_copy(update={"cost_usd": cost, "latency_s": exchange.latency_s})

    def _whole(self, asked: Conversation, previous: str | None) -> tuple[Message, ...]:
        """Return the conversation, with what the provider knows of it from before."""
        if not previous:
            messages = asked.messages
        elif previous in self._responses:
            system = [m for m in asked.messages if m.role == "system"]
            before = [m for m in self._responses[previous] if m.role != "system"]
            rest = [m for m in asked.messages if m.role != "system"]
            messages = named([*system, *before, *rest])
        else:
            raise Skip("it goes on with a response that was not recorded")
        if not any(message.role == "user" for message in messages):
            raise Skip("no message of a user")
        return messages

    def _answered(
        self,
        asked: Conversation,
        messages: tuple[Message, ...],
        turn: Turn,
        body: Mapping[str, Any],
    ) -> Answered:
        toolset = self._held_against(asked.tools or ())
        tools = tuple(toolset.get(tool.name) or tool for tool in asked.tools or ())
        teacher = TeacherRef(
            provider=self._teacher.provider,
            model=asked.model,
            served_model=turn.model,
            terms=self._teacher.terms,
            settings={name: body[name] for name in SETTINGS if body.get(name) is not None},
        )
        offer = offer_of(tools, toolset)
        return Answered(messages, turn, teacher, toolset, SOURCE, offer)

    def _held_against(self, tools: tuple[Tool, ...]) -> ToolSet:
        """Return the tool set of a request, and count how it differs from the config's."""
        unknown = [tool.name for tool in tools if tool.name not in self._tools]
        changed = [t.name for t in tools if self._tools.get(t.name, t) != t]
        self.counts.unknown_tools.update(unknown)
        self.counts.changed_tools.update(changed)
        if unknown or changed:
            return self._toolset.model_copy(update={"tools": tools})
        return self._toolset

    def _line(self, answered: Answered) -> LedgerLine:
        turn, teacher = answered.turn, answered.teacher
        return LedgerLine(
            key="",  # known once it is joined
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            provider=teacher.provider,
            model=turn.model or teacher.model,
            usage=turn.usage,
            cost_usd=turn.cost_usd,
            latency_s=round(turn.latency_s, 3),
            request_id=turn.request_id,
        )

    def _remember(self, identity: str, messages: tuple[Message, ...]) -> None:
        self._responses[identity] = messages
        while len(self._responses) > MOST_RESPONSES:
            self._responses.popitem(last=False)
