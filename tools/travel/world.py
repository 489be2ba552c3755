"""How a world of the travel desk starts: calendar, bookings, timetable and hotels of a seed.

Everything is a function of the seed, so that a search tells the same story every time. Plain rows
only; the rules are in tools.py.
"""

from __future__ import annotations

import random
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TODAY = date(2026, 3, 4)
OWNER = "Jonas Keller"

Row = dict[str, Any]


@cache
def timetable() -> Row:
    """Return routes, hotel names and usual events, as they stand in `timetable.yaml`."""
    text = Path(__file__).with_name("timetable.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


@cache
def cities() -> tuple[str, ...]:
    """Return every city that has a train or a flight."""
    routes = timetable()["trains"] + timetable()["flights"]
    return tuple(sorted({city for route in routes for city in route[:2]}))


@cache
def departures(seed: int, mode: str) -> tuple[Row, ...]:
    """Return the daily departures of a mode (trains, flights), earliest first."""
    rng = random.Random(f"{mode} {seed}")
    routes = [*timetable()[mode], *((b, a, *rest) for a, b, *rest in timetable()[mode])]
    numbers = iter(rng.sample(range(100, 1000), 4 * len(routes)))
    found = [
        {
            "number": f"{mode[0].upper()}{next(numbers)}",
            "origin": origin,
            "destination": destination,
            "departs": time(hour + rng.randint(0, 2), rng.randrange(0, 60, 5)),
            "minutes": minutes,
            "price": price + rng.randrange(-15, 30),
        }
        for origin, destination, minutes, price in routes
        for hour in (6, 10, 14, 18)
    ]
    return tuple(sorted(found, key=lambda row: row["departs"]))


def find_offer(seed: int, offer_id: str) -> tuple[Row, date, str] | None:
    """Return departure, day and comfort of an offer such as T412-0310-second."""
    number, _, rest = offer_id.partition("-")
    monthday, _, comfort = rest.partition("-")
    daily = (*departures(seed, "trains"), *departures(seed, "flights"))
    departure = next((row for row in daily if row["number"] == number), None)
    comforts = ("economy",) if number.startswith("F") else ("second", "first")
    if departure is None or comfort not in comforts:
        return None
    try:
        return departure, datetime.strptime(f"{TODAY.year}{monthday}", "%Y%m%d").date(), comfort
    except ValueError:
        return None


def free_seats(seed: int, offer_id: str) -> int:
    """Return how many seats of an offer were free before the episode."""
    return random.Random(f"seats {seed} {offer_id}").choice((0, 1, 2, 4, 9, 17, 30))


@cache
def hotels(seed: int) -> dict[str, Row]:
    """Return every hotel by its id, cheapest first."""
    rng = random.Random(f"hotels {seed}")
    prices = iter(rng.sample(range(58, 240), 4 * len(cities())))
    found = [
        {
            "city": city,
            "name": name,
            "price": next(prices),
            "amenities": sorted(rng.sample(timetable()["amenities"], 3)),
        }
        for city in cities()
        for name in rng.sample(timetable()["hotels"], 4)
    ]
    numbers = rng.sample(range(100, 1000), len(found))
    by_price = sorted(zip(numbers, found, strict=True), key=lambda entry: entry[1]["price"])
    return {f"H{number}": row for number, row in by_price}


def is_full(seed: int, hotel_id: str, night: date) -> bool:
    """Whether a hotel has no room left on a night."""
    return random.Random(f"rooms {seed} {hotel_id} {night}").random() < 0.15


@cache
def events(seed: int) -> dict[str, Row]:
    """Return the calendar by event id: Monday of this week to Friday in two weeks."""
    rng = random.Random(f"calendar {seed}")
    days = [TODAY + timedelta(days=n) for n in range(-2, 17)]
    slots = [(day, hour) for day in days if day.weekday() < 5 for hour in (9, 11, 14, 16)]
    titles = timetable()["events"]
    starts = sorted(rng.sample(slots, len(titles)))
    numbers = rng.sample(range(100, 1000), len(titles))
    return {
        f"E{number}": {
            "title": title,
            "calendar": calendar,
            "start": datetime.combine(day, time(hour, rng.choice((0, 15, 30)))),
            "minutes": minutes,
        }
        for number, (day, hour), (title, calendar, minutes) in zip(
            numbers, starts, rng.sample(titles, len(titles)), strict=True
        )
    }


@cache
def bookings(seed: int) -> dict[str, Row]:
    """Return what is booked, by booking id: one trip that has begun, and five to come."""
    rng = random.Random(f"bookings {seed}")
    numbers = rng.sample(range(100, 1000), 6)
    days = [TODAY + timedelta(days=n) for n in (-1, *rng.sample(range(2, 30), 5))]
    trains = rng.sample(departures(seed, "trains"), 3)
    flights = rng.sample(departures(seed, "flights"), 1)
    rooms = rng.sample(list(hotels(seed)), 2)
    seats = [_seat(row, day) for row, day in zip(trains + flights, days, strict=False)]
    nights = [_room(seed, hotel_id, day) for hotel_id, day in zip(rooms, days[4:], strict=True)]
    return {f"B{number}": row for number, row in zip(numbers, seats + nights, strict=True)}


def _seat(departure: Row, day: date) -> Row:
    train = departure["number"].startswith("T")
    return {
        "kind": "train" if train else "flight",
        "what": f"{departure['number']}-{day:%m%d}-{'second' if train else 'economy'}",
        "about": f"{departure['origin']} to {departure['destination']}",
        "day": day,
        "details": {OWNER: "any"},
    }


def _room(seed: int, hotel_id: str, day: date) -> Row:
    hotel = hotels(seed)[hotel_id]
    about = f"{hotel['name']}, {hotel['city']}"
    details = {"nights": 2, "room": "double"}
    return {"kind": "hotel", "what": hotel_id, "about": about, "day": day, "details": details}
