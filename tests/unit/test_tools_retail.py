"""The order desk: its rules hold, and its generated tasks are right, varied and reproducible."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill.errors import ToolSetError
from distill.matching import match_task
from distill.toolsets import load_tasks, load_toolset
from distill.toolsets.folder import load_module
from distill.types import AssistantMessage, Kind, Message, Task, ToolCall, UserMessage, UserTurn

FOLDER = Path(__file__).parents[2] / "tools" / "retail"
RETAIL = load_toolset(FOLDER)
WORLD = load_module(FOLDER / "world.py", ToolSetError).rows(1)
STOCK = {row["sku"]: row["stock"] for row in WORLD["products"]}
COUNT = 400


@pytest.fixture
def desk():
    """A function that calls a tool in world 1, and its runner."""
    turn = UserTurn(content="-")
    task = Task(id="t", toolset="retail", kind=Kind.SINGLE, family="f", turns=(turn,))
    runner = RETAIL.runner(task)

    def use(name: str, **arguments: Any) -> Any:
        call = ToolCall(id="c", name=name, arguments=json.dumps(arguments))
        return json.loads(runner.call_sync(call).content)

    yield use, runner
    runner.close()


def orders(status: str) -> list[str]:
    """Return the orders of world 1 in a status, oldest first."""
    return [row["id"] for row in WORLD["orders"] if row["status"] == status]


def items(order: str) -> dict[str, int]:
    return {r["sku"]: r["quantity"] for r in WORLD["items"] if r["order_id"] == order}


# --- the rules -----------------------------------------------------------------------------------


def test_a_cancelled_order_is_refunded_and_goes_back_to_the_shelf(desk):
    use, runner = desk
    order = orders("pending")[0]
    total = use("get_order", order_id=order)["total"]
    assert use("cancel_order", order_id=order)["refund"] == total
    assert runner.changes() == {
        f"/orders/{order}/status": "cancelled",
        f"/orders/{order}/refunded": round(total * 100),
    } | {f"/stock/{sku}": STOCK[sku] + count for sku, count in items(order).items()}
    assert "already cancelled" in use("cancel_order", order_id=order)["error"]


def test_what_has_left_the_house_cannot_be_cancelled_or_redirected(desk):
    use, runner = desk
    order = orders("shipped")[0]
    address = {"street": "Am Anger 1", "city": "Bremen", "postcode": "28195", "country": "DE"}
    assert "already shipped" in use("cancel_order", order_id=order)["error"]
    assert "already shipped" in use("change_address", order_id=order, address=address)["error"]
    assert "not delivered" in use("return_items", order_id=order, items=[{"sku": "x"}])["error"]
    assert runner.changes() == {}


def test_goods_come_back_once_and_within_thirty_days(desk):
    use, runner = desk
    late, order = orders("delivered")[0], orders("delivered")[-1]
    sku, count = next(iter(items(order).items()))
    one = [{"sku": sku, "quantity": 1}]
    assert "30 days are over" in use("return_items", order_id=late, items=one)["error"]
    credit = {"refund_to": "store_credit"}
    back = use("return_items", order_id=order, items=[{"sku": sku, "quantity": count}], **credit)
    assert "can come back" in use("return_items", order_id=order, items=one)["error"]
    customer = use("get_order", order_id=order)["customer_id"]
    assert runner.changes() == {
        f"/orders/{order}/sent_back/{sku}": count,
        f"/credit/{customer}": round(back["refund"] * 100),
    }


def test_an_exchange_stays_within_a_product(desk):
    use, runner = desk
    order = orders("delivered")[-1]
    sku = next(iter(items(order)))
    other = next(name for name in STOCK if name[:2] != sku[:2])
    swap = {"order_id": order, "sku": sku}
    assert "only variants" in use("exchange_item", **swap, new_sku=other)["error"]
    assert (
        "not part of order" in use("exchange_item", order_id=order, sku=other, new_sku=sku)["error"]
    )
    assert runner.changes() == {}


def test_an_order_with_one_sold_out_item_is_not_placed_at_all(desk):
    use, runner = desk
    there = next(sku for sku, count in STOCK.items() if count > 2)
    gone = next(sku for sku, count in STOCK.items() if count == 0)
    both = [{"sku": there, "quantity": 2}, {"sku": gone, "quantity": 1}]
    customer = WORLD["customers"][0]["id"]
    assert "out of stock" in use("place_order", customer_id=customer, items=both)["error"]
    twice = [{"sku": there, "quantity": 2}, {"sku": there, "quantity": 1}]
    assert "every SKU once" in use("place_order", customer_id=customer, items=twice)["error"]
    assert runner.changes() == {}
    placed = use("place_order", customer_id=customer, items=both[:1], shipping="express")
    assert runner.changes()[f"/stock/{there}"] == STOCK[there] - 2
    assert use("get_order", order_id=placed["order_id"])["total"] == placed["total"]


def test_refunds_never_exceed_what_was_paid(desk):
    use, _ = desk
    order = orders("delivered")[-1]
    total = use("get_order", order_id=order)["total"]
    late = {"order_id": order, "reason": "late"}
    assert "at most" in use("refund_order", **late, amount=total + 0.01)["error"]
    use("refund_order", **late, amount=round(total - 1, 2))
    assert use("refund_order", **late, amount=1.01)["error"].startswith("at most 1.00 EUR")
    assert "error" in use("refund_order", **late | {"order_id": orders("pending")[0]}, amount=1)


def test_worlds_differ():
    rows = load_module(FOLDER / "world.py", ToolSetError).rows
    assert len({rows(seed)["orders"][0]["id"] for seed in range(20)}) > 15
    assert rows(1) == WORLD


# --- the tasks -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    return load_tasks(RETAIL, None, COUNT, seed=11)


def replay(task: Task, *, backwards: bool = False) -> tuple[list[Message], dict[str, Any], int]:
    """Play the reference answer; return the conversation, what it changed, and failed calls."""
    runner, messages, failed = RETAIL.runner(task), [], 0
    for turn in task.turns:
        messages.append(UserMessage(content=turn.content))
        for step in sorted({call.step for call in turn.expectation.calls}):
            expected = [call for call in turn.expectation.calls if call.step == step]
            calls = [
                ToolCall(id=f"{len(messages)}.{n}", name=e.name, arguments=json.dumps(e.arguments))
                for n, e in enumerate(expected[::-1] if backwards else expected)
            ]
            results = [runner.call_sync(call) for call in calls]
            failed += sum(result.is_error for result in results)
            messages += [AssistantMessage(tool_calls=calls), *results]
        messages.append(AssistantMessage(content=turn.expectation.answer))
    changes = runner.changes()
    runner.close()
    return messages, changes, failed


def test_ids_and_texts_are_unique(tasks):
    assert len({task.id for task in tasks}) == COUNT
    assert len({tuple(turn.content.lower() for turn in task.turns) for task in tasks}) == COUNT


def test_the_seed_decides(tasks):
    assert load_tasks(RETAIL, None, 40, seed=11) == tasks[:40]
    other = {task.turns[0].content for task in load_tasks(RETAIL, None, 40, seed=12)}
    assert len(other & {task.turns[0].content for task in tasks}) < 10


def test_kinds_families_and_tools_are_covered(tasks):
    assert {task.kind for task in tasks} == set(Kind)
    assert len({task.family for task in tasks}) >= 100
    alone = Counter(name for task in tasks if task.kind is Kind.SINGLE for name in task.tools)
    chosen = {name for task in tasks if task.kind is Kind.CHOOSE for name in task.tools}
    assert alone.keys() == {tool.name for tool in RETAIL.toolset.tools}
    assert len(chosen) >= 10


def test_reference_answers_are_right_and_do_what_the_task_says(tasks):
    for task in tasks:
        messages, changes, failed = replay(task)
        assert (failed > 0) == (task.kind is Kind.TOOL_FAILED), task.id
        assert changes == (task.end_state or {}), task.id
        match = match_task(task, messages, RETAIL.toolset, changes)
        assert match.ok, (task.id, task.family, match.verdict)


def test_calls_of_one_step_may_come_in_any_order(tasks):
    for task in tasks:
        if task.kind is Kind.PARALLEL:
            assert replay(task, backwards=True)[1] == task.end_state


def test_every_text_is_filled_and_tidy(tasks):
    for task in tasks:
        for turn in task.turns:
            for text in (turn.content, turn.expectation.answer):
                assert not re.search(r"[{}\[\]|]|  | [,.?!]|[,.?!]{2}|\bon on\b|False", text), text


def test_families_share_no_sentence():
    entries = yaml.safe_load((FOLDER / "wording.yaml").read_text()).values()
    parts = [part for entry in entries for part in entry.get("turns", [entry])]
    frames = [x for part in parts for family in part["families"].values() for x in family]
    assert [frame for frame, times in Counter(frames).items() if times > 1] == []
