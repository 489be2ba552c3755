"""The desk behind the tools: what is planned and booked, and the rules of both.

The state is plain Python. Every episode starts from one of many worlds, picked by `seed`
(world.py). What the model may do with it is in tools.py.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.errors import ToolSetError
from distill.toolsets import Environment, ToolError, load_module

world = load_module(Path(__file__).with_name("world.py"), ToolSetError)

LAST_DAY = world.TODAY + dt.timedelta(days=180)
COMFORT = {"second": 1.0, "first": 1.6, "economy": 1.0}


@dataclass(frozen=True)
class Event:
    """Something in the calendar; `start` is local time."""

    title: str
    calendar: str
    start: dt.datetime
    minutes: int
    attendees: tuple[str, ...] = ()

    @property
    def end(self) -> dt.datetime:
        """The moment it is over."""
        return self.start + dt.timedelta(minutes=self.minutes)


@dataclass(frozen=True)
class Booking:
    """Seats on an offer, or a room in a hotel."""

    kind: str
    what: str
    about: str
    day: dt.date
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def refundable(self) -> bool:
        """Whether it can be cancelled."""
        return not self.what.endswith("economy")


class Desk(Environment):
    """Calendar, timetable and bookings of one person, as of 4 March 2026."""

    def __init__(self, seed: int = 1) -> None:
        self.seed = seed
        self.events = {name: Event(**row) for name, row in world.events(seed).items()}
        self.bookings = {name: Booking(**row) for name, row in world.bookings(seed).items()}

    def snapshot(self) -> dict[str, Any]:
        """Return events without their titles, and bookings."""
        return {
            "events": {
                event_id: {
                    "calendar": event.calendar,
                    "start": f"{event.start:%Y-%m-%d %H:%M}",
                    "minutes": event.minutes,
                    "attendees": sorted(event.attendees),
                }
                for event_id, event in self.events.items()
            },
            "bookings": {
                booking_id: {"what": one.what, "day": f"{one.day}", **one.details}
                for booking_id, one in self.bookings.items()
            },
        }

    def _sorted_events(self) -> list[tuple[str, Event]]:
        return sorted(self.events.items(), key=lambda entry: entry[1].start)

    def _event(self, event_id: str) -> Event:
        if event_id not in self.events:
            raise ToolError(f"there is no event {event_id!r}")
        return self.events[event_id]

    def _check_free(self, event: Event, ignore: str = "") -> None:
        check_day(event.start.date())
        for event_id, other in self._sorted_events():
            if event_id != ignore and other.start < event.end and event.start < other.end:
                times = f"{other.start:%H:%M} to {other.end:%H:%M}"
                raise ToolError(f"overlaps {other.title!r} ({event_id}), {times}")

    def _search(
        self, mode: str, origin: str, destination: str, day: dt.date, after: dt.time, comfort: str
    ) -> list[dict[str, Any]]:
        check_day(day)
        ends = (city(origin), city(destination))
        daily = world.departures(self.seed, mode)
        rows = [row for row in daily if (row["origin"], row["destination"]) == ends]
        if not rows:
            raise ToolError(f"there are no direct {mode} from {ends[0]} to {ends[1]}")
        return [
            {
                "offer_id": (offer_id := f"{row['number']}-{day:%m%d}-{comfort}"),
                "departs": f"{row['departs']:%H:%M}",
                "minutes": row["minutes"],
                "price": price(row, comfort),
                "seats": self._seats(offer_id),
            }
            for row in rows
            if row["departs"] >= after
        ]

    def _seats(self, offer_id: str) -> int:
        taken = sum(len(one.details) for one in self.bookings.values() if one.what == offer_id)
        return max(0, world.free_seats(self.seed, offer_id) - taken)

    def _is_full(self, hotel_id: str, check_in: dt.date, nights: int) -> bool:
        days = [check_in + dt.timedelta(days=n) for n in range(nights)]
        return any(world.is_full(self.seed, hotel_id, day) for day in days)

    def _book(self, booking: Booking) -> str:
        booking_id = next_id(self.bookings)
        self.bookings[booking_id] = booking
        return booking_id


def next_id(taken: dict[str, Any]) -> str:
    """Return the id of one more event or booking."""
    letter = next(iter(taken))[0]
    return f"{letter}{max(int(name[1:]) for name in taken) + 1}"


def price(departure: dict[str, Any], comfort: str) -> int:
    """Return what one seat costs, in EUR."""
    return round(departure["price"] * COMFORT[comfort])


def check_day(day: dt.date) -> None:
    """Refuse a day that is over, or for which nothing can be planned yet."""
    if day < world.TODAY:
        raise ToolError(f"{day} is in the past")
    if day > LAST_DAY:
        raise ToolError(f"{day} is too far ahead; the last day is {LAST_DAY}")


def city(name: str) -> str:
    """Return a city as the timetable spells it."""
    cities: dict[str, str] = {one.lower(): one for one in world.cities()}
    found = cities.get(name.strip().lower())
    if found is None:
        raise ToolError(f"no service in {name!r}, only in {', '.join(cities.values())}")
    return found
