"""Calls are executed for real, and no fault of a tool leaves the runner as an exception."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from distill.errors import TaskError, ToolSetError
from distill.toolsets import load_toolset
from distill.toolsets.state import diff
from distill.types import Fault, Kind, Task, ToolCall, UserTurn

TOOLS = '''
import asyncio, datetime, sqlite3, threading
from typing import Literal
from typing_extensions import TypedDict
from distill.toolsets import Environment, ToolError, tool

GATE = threading.Event()

class Span(TypedDict):
    start: datetime.time
    days: set[Literal["mon", "tue"]]

class Shop(Environment):
    def __init__(self, stock: int = 3) -> None:
        if stock < 0:
            raise ValueError("stock below zero")
        self.db = sqlite3.connect(":memory:")
        self.db.execute("create table item (name text primary key, n int)")
        self.db.execute("insert into item values ('tea', ?)", (stock,))
        self.log, self.closed = [], False

    def snapshot(self):
        return {"stock": dict(self.db.execute("select name, n from item")), "log": self.log}

    def close(self):
        self.closed = True

    @tool
    def take(self, name: str, count: int = 1) -> dict[str, int]:
        """Take.

        Args:
            name: What.
            count: How many.
        """
        row = self.db.execute("select n from item where name = ?", (name,)).fetchone()
        if row is None:
            raise ToolError(f"no {name} here")
        self.db.execute("update item set n = n - ? where name = ?", (count, name))
        return {"left": row[0] - count}

    @tool
    async def wait(self, seconds: float) -> str:
        """Wait.

        Args:
            seconds: How long.
        """
        await asyncio.sleep(seconds)
        self.log.append("waited")
        return "ok"

    @tool
    def block(self) -> str:
        """Block."""
        GATE.wait(5)
        self.log.append("blocked")
        return "ok"

    @tool
    def plan(self, span: Span, until: datetime.date | None = None) -> str:
        """Plan.

        Args:
            span: When.
            until: Last day.
        """
        assert isinstance(span["start"], datetime.time) and isinstance(span["days"], set)
        return f"{span['start'].hour} {until is None}"

    @tool
    def crash(self, how: Literal["bug", "exit", "bytes", "nan", "long"]) -> object:
        """Crash.

        Args:
            how: How.
        """
        if how == "exit":
            raise SystemExit(3)
        if how == "bug":
            return {}["missing"]
        return {"bytes": b"\\xff", "nan": float("nan"), "long": "x" * 70_000}[how]
'''


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    (folder / "tools.py").write_text(TOOLS)
    (folder / "toolset.yaml").write_text("name: shop\ndescription: d\nsource: tools.py\n")
    return load_toolset(folder)


@pytest.fixture
def start(loaded):
    runners = []

    def make(timeout_s: float = 5, **fields):
        turn = UserTurn(content="x")
        base = {"id": "t", "toolset": "shop", "kind": Kind.SINGLE, "family": "f", "turns": (turn,)}
        runners.append(loaded.runner(Task(**base | fields), timeout_s))
        return runners[-1]

    yield make
    for runner in runners:
        runner.close()


def call(name: str, arguments: object = None, id: str = "c1") -> ToolCall:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return ToolCall(id=id, name=name, arguments=text)


async def test_a_call_changes_the_environment(start):
    runner = start(setup={"stock": 5})
    assert runner.changes() == {}
    message = await runner.call(call("take", {"name": "tea", "count": 2}))
    assert json.loads(message.content) == {"left": 3} and not message.is_error
    assert (message.tool_call_id, message.name) == ("c1", "take")
    assert runner.changes() == {"/stock/tea": 3}


async def test_every_episode_starts_fresh(start):
    await start().call(call("take", {"name": "tea"}))
    assert start().changes() == {}


async def test_values_arrive_as_python_objects(start):
    arguments = {"span": {"start": "18:30", "days": ["mon"]}}
    message = await start().call(call("plan", arguments))
    assert json.loads(message.content) == "18 True"


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (call("take", '{"name": "tea"'), "malformed arguments: Expecting ',' delimiter"),
        (call("take", "[1]"), "malformed arguments: arguments are list, not an object"),
        (call("steal", {}), "unknown tool 'steal'; the tools are take, wait"),
        (call("take", {"name": "tea", "count": "2"}), "count: '2' is not of type 'integer'"),
        (call("take", {"name": "rum"}), "no rum here"),
        (call("crash", {"how": "bug"}), "KeyError: 'missing'"),
        (call("crash", {"how": "exit"}), "SystemExit: 3"),
        (call("crash", {"how": "bytes"}), "the result is not JSON"),
        (call("crash", {"how": "nan"}), "the result is not JSON"),
        (call("crash", {"how": "long"}), "longer than 64 KiB"),
    ],
)
async def test_faults_are_results(start, made, error):
    runner = start()
    message = await runner.call(made)
    assert message.is_error and error in json.loads(message.content)["error"]
    assert "Traceback" not in message.content
    assert runner.changes() == {}
    after = await runner.call(call("take", {"name": "tea"}))
    assert not after.is_error


async def test_injected_faults_count_valid_calls_of_their_tool(start):
    runner = start(faults=(Fault(tool="take", message="busy", times=2),))
    arguments = {"name": "tea"}
    assert "invalid" in (await runner.call(call("take"))).content
    results = [await runner.call(call("take", arguments)) for _ in range(3)]
    assert [json.loads(r.content).get("error") for r in results] == ["busy", "busy", None]
    assert runner.changes() == {"/stock/tea": 2}


async def test_a_permanent_fault_never_ends(start):
    runner = start(faults=(Fault(tool="take", message="down", times=None),))
    for _ in range(3):
        assert (await runner.call(call("take", {"name": "tea"}))).is_error


async def test_an_async_tool_is_cancelled_at_its_timeout(start):
    runner = start(timeout_s=0.05)
    message = await runner.call(call("wait", {"seconds": 60}))
    assert message.is_error and "wait gave no answer within 0.05 s" in message.content
    assert not (await runner.call(call("wait", {"seconds": 0}))).is_error
    assert runner.changes() == {"/log": ["waited"]}


async def test_a_timed_out_call_does_not_disturb_later_ones(start, loaded):
    gate = loaded.functions["block"].function.__globals__["GATE"]
    gate.clear()
    runner = start(timeout_s=0.1)
    slow = await runner.call(call("block"))
    behind = await runner.call(call("take", {"name": "tea"}))
    assert slow.is_error and "no answer within 0.1 s" in slow.content
    assert behind.is_error and "no answer" in behind.content
    gate.set()
    runner._timeout_s = 5
    after = await runner.call(call("take", {"name": "tea"}))
    assert json.loads(after.content) == {"left": 2}  # the call that had to wait was never made
    assert runner.changes() == {"/log": ["blocked"], "/stock/tea": 2}


async def test_calls_made_together_run_in_order(start):
    runner = start()
    made = [call("take", {"name": "tea"}, id=f"c{n}") for n in range(3)]
    messages = await asyncio.gather(*(runner.call(one) for one in made))
    assert [json.loads(m.content)["left"] for m in messages] == [2, 1, 0]


def test_a_runner_works_without_a_loop_and_ends_its_thread(start):
    before = threading.active_count()
    runner = start()
    assert json.loads(runner.call_sync(call("wait", {"seconds": 0})).content) == "ok"
    environment = runner._environment
    runner.close()
    for thread in threading.enumerate():
        if thread.name == "distill-tools":
            thread.join(1)
    assert environment.closed and threading.active_count() <= before


def test_a_setup_the_environment_refuses(start):
    with pytest.raises(TaskError, match=r"task 't': .* stock below zero"):
        start(setup={"stock": -1})


async def test_a_snapshot_that_is_not_json_is_the_authors_fault(start):
    runner = start()
    runner._environment.log = object()
    with pytest.raises(ToolSetError, match=r"Shop\.snapshot fails: .* not JSON"):
        await runner.call(call("take", {"name": "tea"}))


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"/a/b": 3, "/a/c": None}),
        ({}, {"a": {"b": 1}}, {"/a": {"b": 1}}),
        ({"a": [1, 2]}, {"a": [1]}, {"/a": [1]}),
        ({"a/b~": 1}, {"a/b~": 2}, {"/a~1b~0": 2}),
        ({"a": {}}, {"a": 1}, {"/a": 1}),
    ],
)
def test_diff(before, after, changes):
    assert diff(before, after) == changes
