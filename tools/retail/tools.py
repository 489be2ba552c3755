"""The order desk of a shop: customers, orders, stock, returns and refunds.

The business rules live here and in shop.py, not in the prompt: what cannot be done is refused with
a `ToolError` that says why.

It does not know who is asking, takes no payments and sends no mail.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from distill.errors import ToolSetError
from distill.toolsets import ToolError, load_module, tool

shop = load_module(Path(__file__).with_name("shop.py"), ToolSetError)
world = shop.world

UNORDERED: dict[str, Any] = {"uniqueItems": True}

Quantity = Annotated[int, Field(ge=1)]


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sku: str
    quantity: Quantity = 1


class Address(BaseModel):
    """A postal address."""

    model_config = ConfigDict(extra="forbid")

    street: str
    city: str
    postcode: str
    country: Literal["AT", "BE", "CH", "DE", "FR", "NL"]


Items = Annotated[list[Item], Field(min_length=1, json_schema_extra=UNORDERED)]
Skus = Annotated[list[str], Field(min_length=1, json_schema_extra=UNORDERED)]


class OrderDesk(shop.Shop):
    """What a clerk of the shop can do."""

    # --- looking things up ----------------------------------------------------------------

    @tool
    def find_customer(self, email: str) -> dict[str, Any]:
        """Find a customer's id, name and store credit.

        Args:
            email: Email address of the account.
        """
        row = self._row("SELECT * FROM customers WHERE lower(email) = lower(?)", email)
        if row is None:
            raise ToolError(f"no customer with the email address {email!r}")
        return {
            "customer_id": row["id"],
            "name": row["name"],
            "city": row["city"],
            "store_credit": shop.euros(row["credit"]),
        }

    @tool
    def list_orders(
        self,
        customer_id: str,
        status: Literal["any", "pending", "shipped", "delivered", "cancelled"] = "any",
        placed_since: dt.date | None = None,
    ) -> list[dict[str, Any]]:
        """List the orders of one customer, newest first, without their items.

        Args:
            customer_id: Such as C118.
            status: Keep orders in this status.
            placed_since: Keep orders placed on or after this day.
        """
        if self._row("SELECT id FROM customers WHERE id = ?", customer_id) is None:
            raise ToolError(f"unknown customer {customer_id!r}")
        rows = self.db.execute(
            "SELECT * FROM orders WHERE customer = ? ORDER BY placed DESC, id DESC", (customer_id,)
        )
        return [
            {
                "order_id": row["id"],
                "placed": row["placed"],
                "status": row["status"],
                "total": shop.euros(self._total(row)),
            }
            for row in rows
            if status in ("any", row["status"])
            and (placed_since is None or row["placed"] >= placed_since.isoformat())
        ]

    @tool
    def get_order(self, order_id: str) -> dict[str, Any]:
        """Show one order: status, items with SKU and price, address, total, refunds.

        Args:
            order_id: Such as R4821.
        """
        order = self._order(order_id)
        return {
            "order_id": order["id"],
            "customer_id": order["customer"],
            "placed": order["placed"],
            "status": order["status"],
            "items": [
                {
                    "sku": item["sku"],
                    "name": f"{item['model']}, {item['variant']}",
                    "quantity": item["quantity"],
                    "price": shop.euros(item["cents"]),
                }
                for item in self._items(order_id)
            ],
            "shipping": order["shipping"],
            "gift_wrap": bool(order["gift_wrap"]),
            "address": shop.address(order),
            "total": shop.euros(self._total(order)),
            "refunded": shop.euros(order["refunded"]),
        }

    @tool
    def track_shipment(self, order_id: str) -> dict[str, Any]:
        """Tell where the parcel of a shipped order is and when it arrives or arrived.

        Args:
            order_id: Such as R4821.
        """
        order = self._order(order_id)
        if order["status"] == "delivered":
            return {"carrier": order["carrier"], "delivered": order["delivered"]}
        if order["status"] != "shipped":
            raise ToolError(f"order {order_id} has no parcel: it is {order['status']}")
        return {
            "carrier": order["carrier"],
            "location": order["location"],
            "expected": order["expected"],
        }

    @tool
    def search_products(
        self,
        category: Literal["kitchen", "outdoor", "office", "audio", "home"],
        max_price: float | None = None,
        in_stock: bool = False,
        sort: Literal["rating", "price_asc", "price_desc"] = "rating",
    ) -> list[dict[str, Any]]:
        """Browse one category of the catalogue; at most 6 hits.

        Args:
            category: Department.
            max_price: Most a piece may cost, in EUR.
            in_stock: Only what can ship now.
            sort: Best rated first, or by price.
        """
        order = {"rating": "rating DESC", "price_asc": "cents", "price_desc": "cents DESC"}[sort]
        rows = self.db.execute(
            "SELECT * FROM products WHERE category = ? AND cents <= ? AND stock >= ? "
            f"ORDER BY {order}, sku LIMIT 6",
            (category, 10**9 if max_price is None else round(max_price * 100), int(in_stock)),
        )
        return [
            {
                "sku": row["sku"],
                "name": f"{row['model']}, {row['variant']}",
                "price": shop.euros(row["cents"]),
                "rating": row["rating"],
                "stock": row["stock"],
            }
            for row in rows
        ]

    @tool
    def check_stock(self, skus: Skus) -> dict[str, int]:
        """Count the pieces in stock of known SKUs.

        Args:
            skus: All SKUs to check, such as KT-204.
        """
        return {sku: self._product(sku)["stock"] for sku in skus}

    # --- changing things ------------------------------------------------------------------

    @tool
    def place_order(
        self,
        customer_id: str,
        items: Items,
        shipping: Literal["standard", "express"] = "standard",
        gift_wrap: bool = False,
    ) -> dict[str, Any]:
        """Order products for a customer, to the address on the account.

        Args:
            customer_id: Such as C118.
            items: Everything to order.
            shipping: Delivery speed.
            gift_wrap: Wrap as a present.
        """
        customer = self._row("SELECT * FROM customers WHERE id = ?", customer_id)
        if customer is None:
            raise ToolError(f"unknown customer {customer_id!r}")
        _check_distinct(items)
        for item in items:
            if (stock := self._product(item.sku)["stock"]) < item.quantity:
                raise ToolError(f"out of stock: {stock} of {item.sku} left")
        numbers = [int(row["id"][1:]) for row in self.db.execute("SELECT id FROM orders")]
        order_id = f"R{max(numbers) + 1}"
        address = [customer[name] for name in world.ADDRESS]
        self.db.execute(
            "INSERT INTO orders (id, customer, status, placed, shipping, gift_wrap, street, city, "
            "postcode, country) VALUES (?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?)",
            (order_id, customer_id, world.TODAY.isoformat(), shipping, gift_wrap, *address),
        )
        for item in items:
            self._move_stock(item.sku, -item.quantity)
            self.db.execute(
                "INSERT INTO items (order_id, sku, quantity) VALUES (?, ?, ?)",
                (order_id, item.sku, item.quantity),
            )
        return {"order_id": order_id, "total": shop.euros(self._total(self._order(order_id)))}

    @tool
    def cancel_order(
        self,
        order_id: str,
        reason: Literal["not_given", "mistake", "too_slow", "found_cheaper"] = "not_given",
    ) -> dict[str, Any]:
        """Cancel a whole order that has not been shipped and refund it.

        Args:
            order_id: Such as R4821.
            reason: Why, if the customer says so.
        """
        order = self._pending(order_id, "cancelled")
        refund = self._total(order)
        for item in self._items(order_id):
            self._move_stock(item["sku"], item["quantity"])
        self.db.execute(
            "UPDATE orders SET status = 'cancelled', refunded = ? WHERE id = ?", (refund, order_id)
        )
        return {"order_id": order_id, "status": "cancelled", "refund": shop.euros(refund)}

    @tool
    def change_address(self, order_id: str, address: Address) -> dict[str, Any]:
        """Send an order that has not been shipped to another address.

        Args:
            order_id: Such as R4821.
            address: The new address.
        """
        self._pending(order_id, "redirected")
        self.db.execute(
            "UPDATE orders SET street = ?, city = ?, postcode = ?, country = ? WHERE id = ?",
            (address.street, address.city, address.postcode, address.country, order_id),
        )
        return {"order_id": order_id, "address": address.model_dump()}

    @tool
    def return_items(
        self,
        order_id: str,
        items: Items,
        refund_to: Literal["original_payment", "store_credit"] = "original_payment",
    ) -> dict[str, Any]:
        """Take delivered goods back for their price, within 30 days of delivery.

        Args:
            order_id: Such as R4821.
            items: Everything that comes back from this order.
            refund_to: Where the money goes.
        """
        order = self._returnable(order_id)
        _check_distinct(items)
        lines = {item["sku"]: item for item in self._items(order_id)}
        for item in items:
            self._check_line(order_id, lines, item.sku, item.quantity)
        refund = sum(lines[item.sku]["cents"] * item.quantity for item in items)
        for item in items:
            self._send_back(order_id, item.sku, item.quantity)
        if refund_to == "store_credit":
            self.db.execute(
                "UPDATE customers SET credit = credit + ? WHERE id = ?", (refund, order["customer"])
            )
        else:
            self._refund(order_id, refund)
        return {"order_id": order_id, "refund": shop.euros(refund), "refund_to": refund_to}

    @tool
    def exchange_item(
        self, order_id: str, sku: str, new_sku: str, quantity: Quantity = 1
    ) -> dict[str, Any]:
        """Swap a delivered product for another colour or size of it, within 30 days.

        Args:
            order_id: Such as R4821.
            sku: What comes back.
            new_sku: What is sent instead.
            quantity: How many pieces.
        """
        self._returnable(order_id)
        lines = {item["sku"]: item for item in self._items(order_id)}
        self._check_line(order_id, lines, sku, quantity)
        new = self._product(new_sku)
        if new["model"] != lines[sku]["model"]:
            raise ToolError(f"{new_sku} is another product than {sku}; only variants are exchanged")
        if new["stock"] < quantity:
            raise ToolError(f"out of stock: {new['stock']} of {new_sku} left")
        self._send_back(order_id, sku, quantity)
        self._move_stock(new_sku, -quantity)
        self.db.execute(
            "INSERT INTO exchanges (order_id, sku, new_sku, quantity) VALUES (?, ?, ?, ?)",
            (order_id, sku, new_sku, quantity),
        )
        return {"order_id": order_id, "sends": f"{new['model']}, {new['variant']}"}

    @tool
    def refund_order(
        self,
        order_id: str,
        amount: Annotated[float, Field(gt=0)],
        reason: Literal["damaged", "late", "missing_item", "goodwill"],
    ) -> dict[str, Any]:
        """Give part of the money back while the customer keeps the goods.

        Args:
            order_id: Such as R4821.
            amount: EUR.
            reason: Why.
        """
        order = self._order(order_id)
        if order["status"] not in ("shipped", "delivered"):
            raise ToolError(f"order {order_id} is {order['status']}; nothing to compensate")
        left = self._total(order) - order["refunded"]
        if round(amount * 100) > left:
            raise ToolError(f"at most {shop.euros(left):.2f} EUR can be refunded on {order_id}")
        self._refund(order_id, round(amount * 100))
        return {"order_id": order_id, "refund": amount, "reason": reason}


def _check_distinct(items: list[Item]) -> None:
    if len({item.sku for item in items}) < len(items):
        raise ToolError("list every SKU once, with its quantity")
