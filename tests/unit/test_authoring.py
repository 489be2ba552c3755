"""What is ordered of an author, what is refused of what it hands in, and what becomes tasks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from distill.collect.authoring.bench import Bench, Reason, Refusal, named_tool
from distill.collect.authoring.coverage import cover
from distill.collect.authoring.drafts import SUBMIT
from distill.collect.authoring.harvest import Harvest
from distill.collect.authoring.orders import Order, draw_orders
from distill.collect.authoring.points import Point, points_of
from distill.collect.authoring.requests import Intake, requests, shown, with_intake
from distill.toolsets import load_toolset
from distill.toolsets.generation import SHARES
from distill.traces import TeacherRef, Trace
from distill.types import (
    AssistantMessage,
    ExpectedCall,
    Kind,
    Outcome,
    Task,
    ToolCall,
    ToolSet,
    UserTurn,
)

TOOLS = '''
from typing import Literal

from distill.toolsets import Environment, ToolError, tool

Room = Literal["hall", "living_room"]


class Rooms(Environment):
    def __init__(self, start: int = 0):
        self.level = {"hall": start}

    def snapshot(self):
        return self.level

    @tool
    def set_light(self, room: Room, level: int, slowly: bool = False, note: str = "") -> dict:
        """Set the light of a room.

        Args:
            room: Which.
            level: Percent.
            slowly: Take time.
            note: A remark.
        """
        if level > 100:
            raise ToolError("too bright")
        self.level[room] = level
        return {"level": level}

    @tool
    def read_light(self, room: Room) -> dict:
        """Read how bright the light of a room is.

        Args:
            room: Which.
        """
        return {"level": self.level.get(room)}

    @tool
    def bell(self, days: list[Literal["mon", "tue"]]) -> dict:
        """Ring a bell on days.

        Args:
            days: When.
        """
        return {}
'''


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("rooms")
    (folder / "tools.py").write_text(TOOLS)
    (folder / "toolset.yaml").write_text("name: rooms\ndescription: Rooms.\nsource: tools.py\n")
    return load_toolset(folder)


# --- points and orders ------------------------------------------------------------------------


def test_the_points_of_a_tool_set(rooms) -> None:
    assert [str(point) for point in points_of(rooms.toolset)] == [
        'set_light.room="hall"',
        'set_light.room="living_room"',
        "set_light.slowly=true",
        "set_light.slowly=false",
        "set_light.note",
        'read_light.room="hall"',
        'read_light.room="living_room"',
        'bell.days="mon"',
        'bell.days="tue"',
    ]


def test_a_value_is_compared_as_json() -> None:
    point = Point(tool="t", parameter="p", value=True)
    assert point.shown_by(ExpectedCall(name="t", arguments={"p": True}))
    assert point.shown_by(ExpectedCall(name="t", arguments={"p": [False, True]}))
    assert not point.shown_by(ExpectedCall(name="t", arguments={"p": 1}))
    assert not point.shown_by(ExpectedCall(name="t", arguments={}))
    assert Point(tool="t", parameter="p", any_value=True).shown_by(
        ExpectedCall(name="t", arguments={"p": 0})
    )


def test_orders_cover_tools_values_and_kinds_and_a_longer_list_begins_with_the_shorter(
    rooms,
) -> None:
    orders = draw_orders(rooms.toolset, SHARES, 100, seed=3)
    assert orders == draw_orders(rooms.toolset, SHARES, 100, seed=3)
    assert orders[:40] == draw_orders(rooms.toolset, SHARES, 40, seed=3)
    assert orders != draw_orders(rooms.toolset, SHARES, 100, seed=4)
    kinds = Counter(order.kind for order in orders)
    assert all(abs(kinds[kind] - 100 * share) <= 1 for kind, share in SHARES.items())
    used = Counter(name for order in orders for name in order.tools)
    assert max(used.values()) - min(used.values()) <= 1
    ordered = {point for order in orders[:40] for point in order.points}
    assert ordered == set(points_of(rooms.toolset))
    assert {(o.tools[0], o.lacks) for o in orders if o.lacks} == {
        ("set_light", "room"),
        ("set_light", "level"),
        ("read_light", "room"),
        ("bell", "days"),
    }
    assert {o.near for o in orders if o.kind is Kind.CHOOSE and o.tools == ("read_light",)} == {
        "set_light"
    }
    assert {o.fault for o in orders if o.kind is Kind.TOOL_FAILED} == {"once", "always"}
    prescribed = [[(point.tool, point.parameter) for point in order.points] for order in orders]
    assert all(len(set(one)) == len(one) for one in prescribed)


def test_kinds_a_tool_set_has_no_task_of_are_left_out(rooms) -> None:
    one = ToolSet(name="one", tools=(rooms.toolset.tools[1].model_copy(),))
    plain = one.tools[0].model_copy(update={"parameters": {"type": "object", "properties": {}}})
    orders = draw_orders(one.model_copy(update={"tools": (plain,)}), SHARES, 50, 0)
    assert {Kind.CHOOSE, Kind.MISSING}.isdisjoint(order.kind for order in orders)
    assert len(orders) == 50


def test_what_an_order_says_to_the_model() -> None:
    order = Order(
        id="g00001",
        kind=Kind.CHOOSE,
        tools=("read_light",),
        points=(Point(tool="read_light", parameter="room", value=False),),
        near="set_light",
        persona="a cook",
        style="terse",
    )
    assert shown(order) == {
        "order": "g00001",
        "kind": "choose",
        "calls": ["read_light"],
        "with": [{"tool": "read_light", "parameter": "room", "value": False}],
        "near": "set_light",
        "person": "a cook",
        "style": "terse",
    }


def test_requests_hold_orders_of_one_setup() -> None:
    setups: list[dict[str, Any]] = [{"start": 1}, {"start": 2}]
    orders = [Order(id=f"g{n:05}", kind=Kind.CHAT, setup=setups[n % 2]) for n in range(7)]
    tasks = requests(orders, "rooms-authoring", 3, 1, setups)
    assert [task.id for task in tasks] == ["g00000-1", "g00001-1", "g00006-1"]
    assert [task.setup["start"] for task in tasks] == [1, 2, 1]
    rows = tasks[0].turns[0].content.split("\n\n")[1].splitlines()
    assert [json.loads(row)["order"] for row in rows] == ["g00000", "g00002", "g00004"]


# --- drafts -----------------------------------------------------------------------------------


def light(level: Any = 30, room: str = "hall", **more: Any) -> dict[str, Any]:
    return {"name": "set_light", "arguments": {"room": room, "level": level}} | more


def turn(said: str = "Make the hall dim", expect: str = "call", *calls: Any, **more: Any) -> Any:
    calls = calls or ((light(),) if expect == "call" else ())
    return {"user": said, "expect": expect, "calls": list(calls)} | more


ORDERS = {
    order.id: order
    for order in (
        Order(id="g00000", kind=Kind.SINGLE, tools=("set_light",)),
        Order(id="g00001", kind=Kind.PARALLEL, tools=("set_light", "set_light")),
        Order(id="g00002", kind=Kind.MULTI_STEP, tools=("set_light",)),
        Order(id="g00003", kind=Kind.MULTI_TURN, tools=("set_light",), turns=2),
        Order(id="g00004", kind=Kind.NO_TOOL, near="bell"),
        Order(id="g00005", kind=Kind.MISSING, tools=("set_light",), lacks="level"),
        Order(id="g00006", kind=Kind.TOOL_FAILED, tools=("set_light",), fault="always"),
        Order(id="g00007", kind=Kind.CHOOSE, tools=("set_light",), near="read_light"),
        Order(
            id="g00008",
            kind=Kind.SINGLE,
            tools=("set_light",),
            points=(Point(tool="set_light", parameter="room", value="living_room"),),
        ),
        Order(id="g00009", kind=Kind.TOOL_FAILED, tools=("set_light",), fault="once"),
    )
}
READ = {"name": "read_light", "arguments": {"room": "hall"}}


@pytest.mark.parametrize(
    ("order", "turns", "end_state"),
    [
        ("g00000", [turn()], {"/hall": 30}),
        ("g00001", [turn("Both", "call", light(), light(room="living_room"))], None),
        ("g00002", [turn("As there", "call", READ, light(step=1))], {"/hall": 30}),
        ("g00003", [turn(), turn("Thanks", "answer")], {"/hall": 30}),
        ("g00004", [turn("Ring the neighbours", "abstain")], {}),
        ("g00005", [turn("Light in the hall, please", "ask", mentions=[["bright"]])], {}),
        ("g00006", [turn(answer="Done.")], {}),
        ("g00009", [turn(answer="Done.", mentions=[["30"]])], {"/hall": 30}),
    ],
)
def test_drafts_as_ordered_become_tasks(rooms, order, turns, end_state) -> None:
    task = Bench(rooms, ORDERS, execute=True).judge({"order": order, "turns": turns, "why": "x"})
    assert isinstance(task, Task), task
    assert task.kind is ORDERS[order].kind
    assert task.end_state == ({"/hall": 30, "/living_room": 30} if end_state is None else end_state)
    lasting = order == "g00006"
    assert [fault.times for fault in task.faults] == {"g00006": [None], "g00009": [1]}.get(
        order, []
    )
    assert (task.turns[0].expectation.answer is None) == (lasting or "answer" not in turns[0])


@pytest.mark.parametrize(
    ("row", "reason", "words"),
    [
        ("no draft", Reason.MALFORMED, "valid"),
        ({"order": "g00000", "turns": [turn("\ud800")]}, Reason.MALFORMED, "characters"),
        ({"order": "g00000", "turns": []}, Reason.MALFORMED, "turns"),
        ({"order": "g00000", "turns": [{"user": "x"}]}, Reason.MALFORMED, "turns.0.expect"),
        ({"order": "g1", "turns": [turn()]}, Reason.UNKNOWN_ORDER, "g1"),
        ({"order": "g00000", "turns": [turn(), turn()]}, Reason.WRONG_SHAPE, "2 turns"),
        ({"order": "g00000", "turns": [turn("Hi", "answer")]}, Reason.WRONG_SHAPE, "'call'"),
        ({"order": "g00000", "turns": [turn("x", "ask", READ)]}, Reason.WRONG_SHAPE, "1 calls"),
        ({"order": "g00001", "turns": [turn()]}, Reason.WRONG_SHAPE, "two or more calls"),
        ({"order": "g00002", "turns": [turn("x", "call", READ, light())]}, Reason.WRONG_SHAPE, ""),
        ({"order": "g00003", "turns": [turn()]}, Reason.WRONG_SHAPE, "2 turns"),
        ({"order": "g00004", "turns": [turn()]}, Reason.WRONG_SHAPE, "'abstain'"),
        (
            {"order": "g00000", "turns": [turn("x", "call", {"name": "dim", "arguments": {}})]},
            Reason.INVALID_CALL,
            "'dim'",
        ),
        ({"order": "g00000", "turns": [turn("x", "call", light("a"))]}, Reason.INVALID_CALL, "'a'"),
        ({"order": "g00000", "turns": [turn("x", "call", READ)]}, Reason.NOT_AS_ORDERED, ""),
        ({"order": "g00008", "turns": [turn()]}, Reason.NOT_AS_ORDERED, "living_room"),
        (
            {"order": "g00000", "turns": [turn("call SET_LIGHT now")]},
            Reason.NAMES_TOOL,
            "set_light",
        ),
        ({"order": "g00000", "turns": [turn("x", "call", light(101))]}, Reason.FAILS, "too bright"),
    ],
)
def test_other_drafts_are_refused_with_a_reason(rooms, row, reason, words) -> None:
    refusal = Bench(rooms, ORDERS, execute=True).judge(row)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason
    assert words in refusal.detail


def test_without_execution_a_failing_call_is_not_found_and_there_is_no_end_state(rooms) -> None:
    task = Bench(rooms, ORDERS, execute=False).judge(
        {"order": "g00000", "turns": [turn("x", "call", light(101))]}
    )
    assert isinstance(task, Task) and task.end_state is None


def test_a_name_that_is_a_word_may_be_said() -> None:
    assert named_tool("search for the bell", {"search", "bell"}) is None
    assert named_tool("use findUser", {"findUser"}) == "findUser"
    assert named_tool("use get-user2.", {"get-user2"}) == "get-user2"
    assert named_tool("unset_lights", {"set_light"}) is None


# --- requests and harvest ---------------------------------------------------------------------


async def test_the_author_has_the_tools_and_is_told_what_is_wrong(rooms) -> None:
    desk = with_intake(rooms, Bench(rooms, ORDERS, execute=True))
    assert [tool.name for tool in desk.toolset.tools] == ["set_light", "read_light", "bell", SUBMIT]
    order = ORDERS["g00000"].model_copy(update={"setup": {"start": 7}})
    task = requests([order], desk.toolset.name, 5, 0, [{"start": 7}])[0]
    runner = desk.runner(task)
    try:
        seen = await runner.call(ToolCall(id="1", name="read_light", arguments='{"room": "hall"}'))
        assert json.loads(seen.content) == {"level": 7}
        rows = [{"order": "g00000", "turns": [turn()]}, 3]
        answer = await runner.call(
            ToolCall(id="2", name=SUBMIT, arguments=json.dumps({"tasks": rows}))
        )
    finally:
        runner.close()
    told = json.loads(answer.content)
    assert told["accepted"] == ["g00000"] and not answer.is_error
    assert [row["reason"] for row in told["refused"]] == ["malformed"]


def test_tools_that_may_not_be_called_are_told_of(rooms) -> None:
    desk = with_intake(rooms, Bench(rooms, ORDERS, execute=False))
    assert [tool.name for tool in desk.toolset.tools] == [SUBMIT]
    assert "Read how bright" in desk.toolset.system
    assert isinstance(desk.functions[SUBMIT], Intake)


def trace(*submissions: str) -> Trace:
    calls = tuple(
        ToolCall(id=f"c{n}", name=SUBMIT, arguments=text) for n, text in enumerate(submissions)
    )
    return Trace(
        key="k",
        task=Task(
            id="g00000-0",
            toolset="rooms-authoring",
            kind=Kind.CHAT,
            family="authoring",
            turns=(UserTurn(content="-"),),
        ),
        toolset_name="rooms-authoring",
        toolset_hash="h",
        teacher=TeacherRef(provider="openai_chat", model="m"),
        outcome=Outcome.COMPLETED,
        messages=(AssistantMessage(tool_calls=calls),),
        started_at="",
        finished_at="",
    )


def draft(number: int, said: str, order: str | None = None) -> str:
    return json.dumps({"tasks": [{"order": order or f"g{number:05}", "turns": [turn(said)]}]})


def test_duplicates_are_refused_and_what_is_alike_is_one_family(rooms) -> None:
    many = {
        f"g{n:05}": Order(id=f"g{n:05}", kind=Kind.SINGLE, tools=("set_light",)) for n in range(9)
    }
    found = Harvest(Bench(rooms, many, execute=True), near_duplicates=0.7)
    long = (
        "Could you please bring the light in the hall down a bit before the guests arrive tonight"
    )
    for number, said in enumerate(
        (
            long,
            long + ", thanks",
            "Dim the hall",
            "dim the hall!",
            "Dim the hall now",
            "Could you please bring the light in the hall down a bit, my head aches terribly today",
        )
    ):
        found.take(trace(draft(number, said)))
    assert list(found.tasks) == ["g00000", "g00002", "g00004", "g00005"]
    assert found.refused == {Reason.DUPLICATE: 2}
    assert found.tasks["g00005"].family == found.tasks["g00000"].family
    assert found.tasks["g00002"].family != found.tasks["g00004"].family


def test_what_an_answer_holds_is_counted_and_the_first_good_draft_is_taken(rooms) -> None:
    found = Harvest(Bench(rooms, ORDERS, execute=True), near_duplicates=0.7)
    found.take(trace())
    found.take(trace("{", '{"tasks": 3}', "[" * 100_000))
    good = json.loads(draft(0, "Dim the hall"))["tasks"]
    found.take(trace(json.dumps({"tasks": [1, *good]}), draft(0, "Dim it later")))
    assert [task.turns[0].content for task in found.tasks.values()] == ["Dim the hall"]
    assert found.refused == {Reason.NO_DRAFT: 1, Reason.MALFORMED: 4}


def test_coverage_counts_tasks_and_names_what_is_missing(rooms) -> None:
    bench = Bench(rooms, ORDERS, execute=True)
    tasks = [
        bench.judge({"order": "g00000", "turns": [turn()]}),
        bench.judge({"order": "g00002", "turns": [turn("As there", "call", READ, light(step=1))]}),
    ]
    coverage = cover(tasks, rooms.toolset)
    assert coverage.tools["set_light"] == {Kind.SINGLE: 1, Kind.MULTI_STEP: 1}
    assert coverage.tools["bell"] == {}
    assert coverage.shown == 2
    assert coverage.missing == [
        "bell",
        'set_light.room="living_room"',
        "set_light.slowly=true",
        "set_light.slowly=false",
        "set_light.note",
        'read_light.room="living_room"',
    ]
