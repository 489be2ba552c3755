"""The shop behind the order desk: its SQLite database, and the rules of its orders.

Every episode gets its own in-memory database; `seed` picks one of many worlds (who the customers
are, what they ordered, what is in stock), always the same for the same seed. What the model may do
with it is in tools.py.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path
from typing import Any

from distill.errors import ToolSetError
from distill.toolsets import Environment, ToolError, load_module

world = load_module(Path(__file__).with_name("world.py"), ToolSetError)

SCHEMA = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
RETURN_DAYS = 30
SHIPPING_CENTS = {"standard": 490, "express": 1290}


class Shop(Environment):
    """Customers, orders and stock, as of 4 March 2026."""

    def __init__(self, seed: int = 1) -> None:
        self.db = sqlite3.connect(":memory:")
        self.db.row_factory = sqlite3.Row
        self.db.executescript(SCHEMA)
        for table, rows in world.rows(seed).items():
            names = ", ".join(rows[0])
            marks = ", ".join(f":{name}" for name in rows[0])
            self.db.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)

    def snapshot(self) -> dict[str, Any]:
        """Return orders with their items, stock, store credit and exchanges."""
        orders = {row["id"]: _order_state(row) for row in self.db.execute("SELECT * FROM orders")}
        for row in self.db.execute("SELECT * FROM items"):
            order = orders[row["order_id"]]
            order["items"][row["sku"]] = row["quantity"]
            if row["sent_back"]:
                order["sent_back"][row["sku"]] = row["sent_back"]
        return {
            "orders": orders,
            "stock": dict(map(tuple, self.db.execute("SELECT sku, stock FROM products"))),
            "credit": dict(map(tuple, self.db.execute("SELECT id, credit FROM customers"))),
            "exchanges": list(map(list, self.db.execute("SELECT * FROM exchanges"))),
        }

    def close(self) -> None:
        """Drop the database."""
        self.db.close()

    def _row(self, sql: str, *values: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self.db.execute(sql, values).fetchone()
        return row

    def _order(self, order_id: str) -> sqlite3.Row:
        row = self._row("SELECT * FROM orders WHERE id = ?", order_id)
        if row is None:
            raise ToolError(f"there is no order {order_id!r}")
        return row

    def _product(self, sku: str) -> sqlite3.Row:
        row = self._row("SELECT * FROM products WHERE sku = ?", sku)
        if row is None:
            raise ToolError(f"unknown SKU {sku!r}")
        return row

    def _items(self, order_id: str) -> list[sqlite3.Row]:
        sql = "SELECT * FROM items JOIN products USING (sku) WHERE order_id = ? ORDER BY sku"
        return self.db.execute(sql, (order_id,)).fetchall()

    def _total(self, order: sqlite3.Row) -> int:
        goods = sum(item["cents"] * item["quantity"] for item in self._items(order["id"]))
        return int(goods + SHIPPING_CENTS[order["shipping"]])

    def _pending(self, order_id: str, done: str) -> sqlite3.Row:
        order = self._order(order_id)
        if order["status"] != "pending":
            raise ToolError(f"order {order_id} is already {order['status']}; it cannot be {done}")
        return order

    def _returnable(self, order_id: str) -> sqlite3.Row:
        order = self._order(order_id)
        if order["status"] != "delivered":
            raise ToolError(f"order {order_id} is {order['status']}, not delivered")
        if (world.TODAY - dt.date.fromisoformat(order["delivered"])).days > RETURN_DAYS:
            raise ToolError(
                f"the {RETURN_DAYS} days are over: {order_id} was delivered on {order['delivered']}"
            )
        return order

    def _check_line(
        self, order_id: str, lines: dict[str, sqlite3.Row], sku: str, quantity: int
    ) -> None:
        if sku not in lines:
            raise ToolError(f"{sku} is not part of order {order_id}")
        if quantity > (left := lines[sku]["quantity"] - lines[sku]["sent_back"]):
            raise ToolError(f"only {left} of {sku} can come back from order {order_id}")

    def _send_back(self, order_id: str, sku: str, quantity: int) -> None:
        self.db.execute(
            "UPDATE items SET sent_back = sent_back + ? WHERE order_id = ? AND sku = ?",
            (quantity, order_id, sku),
        )

    def _move_stock(self, sku: str, by: int) -> None:
        self.db.execute("UPDATE products SET stock = stock + ? WHERE sku = ?", (by, sku))

    def _refund(self, order_id: str, cents: int) -> None:
        self.db.execute("UPDATE orders SET refunded = refunded + ? WHERE id = ?", (cents, order_id))


def _order_state(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "customer": row["customer"],
        "status": row["status"],
        "shipping": row["shipping"],
        "gift_wrap": bool(row["gift_wrap"]),
        "address": "{street}, {postcode} {city}, {country}".format(**address(row)),
        "refunded": row["refunded"],
        "items": {},
        "sent_back": {},
    }


def address(row: sqlite3.Row) -> dict[str, str]:
    """Return where an order goes."""
    return {name: row[name] for name in world.ADDRESS}


def euros(cents: int) -> float:
    """Return an amount as tools tell it."""
    return round(cents / 100, 2)
