"""How a world of the order desk starts: the rows of every table, by seed.

Products and people come from catalogue.yaml. Ids, stock and orders differ from world to world, so
that they have to be looked up and cannot be learnt by heart.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TODAY = date(2026, 3, 4)
ADDRESS = ("street", "city", "postcode", "country")
AGES = {"delivered": (8, 33), "cancelled": (5, 20), "shipped": (3, 6), "pending": (0, 2)}
"""Days since an order in that status was placed, from and to."""
STATUSES = ("delivered",) * 8 + ("cancelled",) + ("shipped",) * 5 + ("pending",) * 7
PLACES = ("Leipzig hub", "Cologne depot", "Linz hub", "Venlo depot")
CARRIERS = ("DHL", "UPS", "GLS", "PostNL")

Row = dict[str, Any]


@cache
def catalogue() -> Row:
    """Return products and people, as they stand in `catalogue.yaml`."""
    text = Path(__file__).with_name("catalogue.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


@cache
def rows(seed: int) -> dict[str, list[Row]]:
    """Return table -> rows, as an episode finds them."""
    rng = random.Random(f"order desk {seed}")
    products = [_product(rng, p, sku, v) for p in catalogue()["products"] for sku, v in _skus(p)]
    people = rng.sample(catalogue()["customers"], 8)
    ids = rng.sample(range(100, 1000), len(people))
    customers = [{"id": f"C{n}"} | person for n, person in zip(ids, people, strict=True)]
    numbers = sorted(rng.sample(range(1000, 9000), len(STATUSES)))
    ages = [60, 48, *(rng.randint(*AGES[status]) for status in STATUSES[2:])]
    orders = [
        _order(rng, f"R{number}", rng.choice(customers), status, age)
        for number, (age, status) in zip(
            numbers, sorted(zip(ages, STATUSES, strict=True), reverse=True), strict=True
        )
    ]
    items = [
        {"order_id": order["id"], "sku": p["sku"], "quantity": rng.choice((1, 1, 1, 2, 3))}
        for order in orders
        for p in rng.sample(products, rng.choice((1, 2, 2, 3)))
    ]
    return {"customers": customers, "products": products, "orders": orders, "items": items}


def _skus(product: Row) -> list[tuple[str, str]]:
    return list(product["variants"].items())


def _product(rng: random.Random, product: Row, sku: str, variant: str) -> Row:
    return {
        "sku": sku,
        "model": product["model"],
        "variant": variant,
        "category": product["category"],
        "cents": round(product["price"] * 100),
        "rating": product["rating"],
        "stock": rng.choice((0, 0, 1, 3, 5, 9, 14, 25)),
    }


def _order(rng: random.Random, order_id: str, customer: Row, status: str, age: int) -> Row:
    placed = TODAY - timedelta(days=age)
    arrived, due = placed + timedelta(days=rng.randint(3, 6)), TODAY + timedelta(rng.randint(1, 4))
    sent = status in ("shipped", "delivered")
    return {
        "id": order_id,
        "customer": customer["id"],
        "status": status,
        "placed": placed.isoformat(),
        "delivered": arrived.isoformat() if status == "delivered" else None,
        "expected": due.isoformat() if status == "shipped" else None,
        "location": rng.choice(PLACES) if status == "shipped" else None,
        "carrier": rng.choice(CARRIERS) if sent else None,
        "shipping": rng.choice(("standard", "standard", "express")),
        "gift_wrap": int(rng.random() < 0.2),
    } | {name: customer[name] for name in ADDRESS}
