"""A calendar and travel desk: events, free slots, trains, flights, hotels, bookings, conversion.

Today is always 4 March 2026. The rules live here and in desk.py, not in the prompt: what cannot be
done is refused with a `ToolError` that says why.

It knows the calendar of one person and takes no payments.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from distill.errors import ToolSetError
from distill.toolsets import ToolError, load_module, tool

desk = load_module(Path(__file__).with_name("desk.py"), ToolSetError)
world = desk.world

DAY_END = dt.time(18)

Unit = Literal["EUR", "USD", "GBP", "CHF", "km", "mi", "kg", "lb", "C", "F"]
Positive = Annotated[int, Field(ge=1)]
UNORDERED: dict[str, Any] = {"uniqueItems": True}


class Passenger(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    seat: Literal["any", "window", "aisle"] = "any"


Names = Annotated[list[str], Field(json_schema_extra=UNORDERED)]
Passengers = Annotated[list[Passenger], Field(min_length=1, json_schema_extra=UNORDERED)]
Amenities = Annotated[
    list[Literal["breakfast", "gym", "parking", "pool", "wifi"]], Field(json_schema_extra=UNORDERED)
]


class TravelDesk(desk.Desk):
    """What an assistant of that person can do."""

    # --- calendar -------------------------------------------------------------------------

    @tool
    def list_events(
        self,
        start_date: dt.date,
        days: Positive = 1,
        calendar: Literal["all", "work", "personal"] = "all",
    ) -> list[dict[str, Any]]:
        """List what is in the calendar.

        Args:
            start_date: First day.
            days: How many days.
            calendar: Which calendar.
        """
        end = start_date + dt.timedelta(days=days)
        return [
            {
                "event_id": event_id,
                "title": event.title,
                "calendar": event.calendar,
                "start": f"{event.start:%Y-%m-%d %H:%M}",
                "minutes": event.minutes,
            }
            for event_id, event in self._sorted_events()
            if start_date <= event.start.date() < end and calendar in ("all", event.calendar)
        ]

    @tool
    def find_free_slots(
        self,
        date: dt.date,
        duration_minutes: Positive = 60,
        earliest: dt.time = dt.time(9),
    ) -> list[dict[str, str]]:
        """Find the free gaps of one day, until 18:00.

        Args:
            date: The day.
            duration_minutes: Length needed.
            earliest: Not before, HH:MM.
        """
        desk.check_day(date)
        free_from, close = (dt.datetime.combine(date, clock) for clock in (earliest, DAY_END))
        slots = []
        for start, end in [*((e.start, e.end) for _, e in self._sorted_events()), (close, close)]:
            until = min(start, close)
            if until - free_from >= dt.timedelta(minutes=duration_minutes):
                slots.append({"from": f"{free_from:%H:%M}", "to": f"{until:%H:%M}"})
            free_from = max(free_from, end)
        return slots

    @tool
    def create_event(
        self,
        title: str,
        date: dt.date,
        time: dt.time,
        duration_minutes: Positive = 60,
        calendar: Literal["work", "personal"] = "work",
        attendees: Names = [],  # noqa: B006
    ) -> dict[str, str]:
        """Put something new into the calendar.

        Args:
            title: What it is.
            date: The day.
            time: Start, HH:MM.
            duration_minutes: Length.
            calendar: Which calendar.
            attendees: Names of those invited.
        """
        start = dt.datetime.combine(date, time)
        event = desk.Event(title, calendar, start, duration_minutes, tuple(attendees))
        self._check_free(event)
        event_id = desk.next_id(self.events)
        self.events[event_id] = event
        return {"event_id": event_id, "ends": f"{event.end:%H:%M}"}

    @tool
    def move_event(self, event_id: str, date: dt.date, time: dt.time) -> dict[str, str]:
        """Move an event to another start; its length stays.

        Args:
            event_id: Such as E517.
            date: New day.
            time: New start, HH:MM.
        """
        event = replace(self._event(event_id), start=dt.datetime.combine(date, time))
        self._check_free(event, ignore=event_id)
        self.events[event_id] = event
        return {"event_id": event_id, "ends": f"{event.end:%H:%M}"}

    @tool
    def delete_event(self, event_id: str) -> dict[str, str]:
        """Remove an event from the calendar.

        Args:
            event_id: Such as E517.
        """
        event = self._event(event_id)
        desk.check_day(event.start.date())
        del self.events[event_id]
        return {"deleted": event.title}

    # --- travel ---------------------------------------------------------------------------

    @tool
    def search_trains(
        self,
        origin: str,
        destination: str,
        date: dt.date,
        depart_after: dt.time = dt.time(0),
        travel_class: Literal["second", "first"] = "second",
    ) -> list[dict[str, Any]]:
        """Search direct trains between two cities, earliest first.

        Args:
            origin: City.
            destination: City.
            date: The day.
            depart_after: Earliest departure, HH:MM.
            travel_class: Comfort.
        """
        return self._search("trains", origin, destination, date, depart_after, travel_class)

    @tool
    def search_flights(
        self,
        origin: str,
        destination: str,
        date: dt.date,
        depart_after: dt.time = dt.time(0),
    ) -> list[dict[str, Any]]:
        """Search direct flights between two cities, earliest first.

        Args:
            origin: City.
            destination: City.
            date: The day.
            depart_after: Earliest departure, HH:MM.
        """
        return self._search("flights", origin, destination, date, depart_after, "economy")

    @tool
    def search_hotels(
        self,
        city: str,
        check_in: dt.date,
        nights: Positive = 1,
        max_price: float | None = None,
        amenities: Amenities = [],  # noqa: B006
    ) -> list[dict[str, Any]]:
        """Search hotels with free rooms, cheapest first.

        Args:
            city: City.
            check_in: First night.
            nights: How many.
            max_price: EUR a night at most.
            amenities: Must all be there.
        """
        desk.check_day(check_in)
        city = desk.city(city)
        return [
            {
                "hotel_id": hotel_id,
                "name": hotel["name"],
                "price_per_night": hotel["price"],
                "amenities": hotel["amenities"],
            }
            for hotel_id, hotel in world.hotels(self.seed).items()
            if hotel["city"] == city
            and (max_price is None or hotel["price"] <= max_price)
            and set(amenities) <= set(hotel["amenities"])
            and not self._is_full(hotel_id, check_in, nights)
        ]

    @tool
    def book_transport(self, offer_id: str, passengers: Passengers) -> dict[str, Any]:
        """Book seats on a train or flight that a search found.

        Args:
            offer_id: Such as T412-0310-second.
            passengers: Everyone who travels.
        """
        if (offer := world.find_offer(self.seed, offer_id)) is None:
            raise ToolError(f"there is no offer {offer_id!r}")
        departure, day, comfort = offer
        desk.check_day(day)
        if (left := self._seats(offer_id)) < len(passengers):
            raise ToolError(f"only {left} seats are left on {offer_id}")
        kind = "train" if offer_id.startswith("T") else "flight"
        about = f"{departure['origin']} to {departure['destination']}"
        seats = {one.name: one.seat for one in passengers}
        booking_id = self._book(desk.Booking(kind, offer_id, about, day, seats))
        return {"booking_id": booking_id, "total": desk.price(departure, comfort) * len(passengers)}

    @tool
    def book_hotel(
        self,
        hotel_id: str,
        check_in: dt.date,
        nights: Positive = 1,
        room: Literal["single", "double", "suite"] = "double",
    ) -> dict[str, Any]:
        """Book a room in a hotel that a search found.

        Args:
            hotel_id: Such as H318.
            check_in: First night.
            nights: How many.
            room: Kind of room.
        """
        desk.check_day(check_in)
        hotel = world.hotels(self.seed).get(hotel_id)
        if hotel is None:
            raise ToolError(f"there is no hotel {hotel_id!r}")
        if self._is_full(hotel_id, check_in, nights):
            raise ToolError(f"{hotel['name']} is fully booked in these nights")
        about = f"{hotel['name']}, {hotel['city']}"
        details = {"nights": nights, "room": room}
        booking_id = self._book(desk.Booking("hotel", hotel_id, about, check_in, details))
        return {"booking_id": booking_id, "total": hotel["price"] * nights}

    @tool
    def list_bookings(
        self, kind: Literal["all", "train", "flight", "hotel"] = "all"
    ) -> list[dict[str, Any]]:
        """List the trains, flights and hotels that are booked.

        Args:
            kind: Keep only these.
        """
        return [
            {"booking_id": booking_id, "kind": one.kind, "about": one.about, "date": f"{one.day}"}
            for booking_id, one in sorted(self.bookings.items(), key=lambda entry: entry[1].day)
            if kind in ("all", one.kind)
        ]

    @tool
    def cancel_booking(self, booking_id: str) -> dict[str, str]:
        """Cancel a booked train, flight or hotel.

        Args:
            booking_id: Such as B203.
        """
        booking = self.bookings.get(booking_id)
        if booking is None:
            raise ToolError(f"there is no booking {booking_id!r}")
        if booking.day < world.TODAY:
            raise ToolError(f"{booking_id} was for {booking.day}; too late to cancel")
        if not booking.refundable:
            raise ToolError(f"{booking_id} is an economy fare, which cannot be cancelled")
        del self.bookings[booking_id]
        return {"cancelled": booking.about}

    @tool
    def convert(self, amount: float, source: Unit, target: Unit) -> dict[str, float]:
        """Convert money at today's rate, a distance, a weight or a temperature.

        Args:
            amount: How much.
            source: Its unit.
            target: Unit wanted.
        """
        units = world.timetable()["units"]
        (dimension, factor), (wanted, divisor) = units[source], units[target]
        if dimension != wanted:
            raise ToolError(f"{source} is a unit of {dimension}, {target} of {wanted}")
        base = (amount - 32 * (source == "F")) * factor
        return {"result": round(base / divisor + 32 * (target == "F"), 2)}
