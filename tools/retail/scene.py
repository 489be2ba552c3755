"""What a writer of tasks works with: one script in one world, and values put into words.

Which words stand around the values is in wording.yaml; what happens is in writers.py.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from random import Random
from typing import Any

from distill.toolsets import load_module, scenes
from distill.toolsets.generation import amount, dates, listed

LATE = "2026-01-28"
"""What was placed before this day, the oldest orders of every world, can no longer come back."""
COUNTRIES = {"AT": "Austria", "DE": "Germany", "NL": "the Netherlands", "FR": "France"}
TOWNS = (
    ("Bremen", "28195", "DE"),
    ("Dresden", "01067", "DE"),
    ("Nuremberg", "90402", "DE"),
    ("Salzburg", "5020", "AT"),
    ("Linz", "4020", "AT"),
    ("Utrecht", "3511 LN", "NL"),
    ("Rotterdam", "3011 AD", "NL"),
    ("Nantes", "44000", "FR"),
    ("Lille", "59800", "FR"),
)
STREETS = ("Birkenweg", "Schulstr.", "Am Anger", "Poststr.", "Nieuwstraat", "Rue du Port")
WHY_REFUND = {
    "damaged": (
        "it arrived damaged",
        "a corner is cracked",
        "it came with a dent",
        "it is scratched",
    ),
    "late": ("it came far too late", "the parcel was a week late", "they waited ages for it"),
    "missing_item": ("one part was missing", "a piece was not in the box", "it came incomplete"),
    "goodwill": ("as a gesture of goodwill", "just to be kind", "as a friendly gesture"),
}
WHY_CANCEL = {
    "not_given": ("",),
    "mistake": ("it was ordered by mistake", "they clicked it by accident"),
    "too_slow": ("it takes too long", "they cannot wait that long"),
    "found_cheaper": ("it is cheaper elsewhere", "another shop sells it for less"),
}

world = load_module(Path(__file__).with_name("world.py"))

Row = dict[str, Any]


class Scene(scenes.Scene):
    """One script in one world of the desk."""

    def orders(self, status: str, count: int = 1) -> list[Row]:
        """Return some orders in a status; "late" ones were delivered more than a month ago."""
        wanted = "delivered" if status == "late" else status
        found = [row for row in self.rows["orders"] if row["status"] == wanted]
        if wanted == "delivered":
            found = [row for row in found if (row["placed"] < LATE) == (status == "late")]
        return self.rng.sample(found, count)

    def order(self, *statuses: str) -> Row:
        """Return one order in one of the statuses."""
        return self.orders(self.rng.choice(statuses))[0]

    def items(self, order: Row) -> list[Row]:
        """Return the lines of an order, with what the catalogue says about each."""
        lines = [row for row in self.rows["items"] if row["order_id"] == order["id"]]
        return [row | self.products[row["sku"]] for row in lines]

    def customer(self, order: Row | None = None) -> Row:
        """Return who placed an order, or anyone."""
        rows = self.rows["customers"]
        found: Row = self.rng.choice(rows)
        return found if order is None else next(r for r in rows if r["id"] == order["customer"])

    def stocked(self, least: int, count: int) -> list[Row]:
        """Return some products of which at least that many are in stock."""
        return self.rng.sample([r for r in self.products.values() if r["stock"] >= least], count)

    def variant(self, sku: str, in_stock: bool) -> str | None:
        """Return another variant of a product that is, or is not, in stock."""
        model = self.products[sku]["model"]
        others = [
            r["sku"] for r in self.products.values() if r["model"] == model and r["sku"] != sku
        ]
        fits = [other for other in others if bool(self.products[other]["stock"]) == in_stock]
        return self.rng.choice(fits) if fits else None

    def swap(self, *, in_stock: bool) -> tuple[Row, Row, str]:
        """Return a delivered order, a line of it and another variant of that product."""
        while True:
            choices = [
                (order, item, new)
                for order in self.rows["orders"]
                if order["status"] == "delivered" and order["placed"] >= LATE
                for item in self.items(order)
                if item["quantity"] == 1 and (new := self.variant(item["sku"], in_stock))
            ]
            if choices:
                return self.rng.choice(choices)
            self.enter_world()  # nothing of the kind in this one

    def category(self) -> str:
        """Return a department of the shop."""
        return str(self.rng.choice(self.rows["products"])["category"])

    def reason(self, reasons: dict[str, tuple[str, ...]]) -> tuple[str, str]:
        """Return a reason and how it is put."""
        found = self.rng.choice(list(reasons))
        return found, self.rng.choice(reasons[found])

    def new_address(self) -> Row:
        """Return an address nobody in the shop has."""
        city, postcode, country = self.rng.choice(TOWNS)
        street = f"{self.rng.choice(STREETS)} {self.rng.randint(1, 90)}"
        return {"street": street, "city": city, "postcode": postcode, "country": country}

    def facts(self) -> Row:
        """Return facts for requests that are not answered with a call."""
        item = self.rng.choice(self.rows["products"])
        return {
            "order": self.rng.choice(self.rows["orders"])["id"],
            "name": self.customer()["name"],
            "model": item["model"],
            "sku": item["sku"],
            "amount": money(self.rng.randint(3, 20), self.rng),
            "count": self.rng.randint(2, 9),
            "street": self.new_address()["street"],
        }

    def enter_world(self) -> None:
        """Move to a world drawn at random, and read its tables."""
        super().enter_world()
        self.rows = world.rows(self.seed)
        self.products = {row["sku"]: row for row in self.rows["products"]}


# --- values in words ------------------------------------------------------------------------


def name_of(row: Row) -> str:
    """Return a product as people call it."""
    return f"{row['model']} ({row['variant']})"


def money(value: float, rng: Random | None = None) -> str:
    """Return an amount of EUR; with `rng`, in one of several spellings."""
    text = f"{value:.2f}".removesuffix(".00")
    forms = ("{} EUR", "{} euros", "EUR {}")
    return (rng.choice(forms) if rng else forms[0]).format(text)


def basket(rng: Random, rows: list[Row]) -> str:
    """Return what is ordered or sent back as a list in a sentence."""
    parts = []
    for row in rows:
        one = rng.choice(("{sku}", "one {sku}", "1 x {sku}"))
        form = one if row["quantity"] == 1 else rng.choice(("{quantity} x {sku}", "{words} {sku}"))
        parts.append(form.format(**row, words=amount(rng, row["quantity"])))
    return listed(parts)


def lines(rows: list[Row]) -> list[Row]:
    """Return the `items` argument of a call."""
    return [{"sku": row["sku"], "quantity": row["quantity"]} for row in rows]


def on_day(rng: Random, moment: date) -> str:
    """Return a date as people write it."""
    return rng.choice(dates(moment))


def address_words(address: Row) -> str:
    """Return an address in one line."""
    where = "{street}, {postcode} {city}".format(**address)
    return f"{where}, {COUNTRIES[address['country']]}"
