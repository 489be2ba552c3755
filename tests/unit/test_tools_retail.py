"""The order desk: its rules hold, and its worlds differ."""

from __future__ import annotations

import pytest
from tools_world import TOOLS, episode

from distill.toolsets import load_module

rows = load_module(TOOLS / "retail" / "world.py").rows
WORLD = rows(1)
STOCK = {row["sku"]: row["stock"] for row in WORLD["products"]}


@pytest.fixture
def desk():
    """A function that calls a tool in world 1, and its runner."""
    with episode("retail") as found:
        yield found


def orders(status: str) -> list[str]:
    """Return the orders of world 1 in a status, oldest first."""
    return [row["id"] for row in WORLD["orders"] if row["status"] == status]


def items(order: str) -> dict[str, int]:
    return {r["sku"]: r["quantity"] for r in WORLD["items"] if r["order_id"] == order}


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
    assert len({rows(seed)["orders"][0]["id"] for seed in range(20)}) > 15
    assert rows(1) == WORLD
