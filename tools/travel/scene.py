"""What a writer of tasks works with: one script in one world, and values put into words.

Which words stand around the values is in wording.yaml; what happens is in writers.py.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any

from distill.toolsets import load_module, scenes
from distill.toolsets.generation import amount, clock, dates, day, listed

PEOPLE = ("Priya Nair", "Tom Becker", "Elif Demir", "Luc Martin", "Hanna Koch", "Samuel Okoye")
WORK = ("Budget talk", "Pricing call", "Brand workshop", "Sprint review", "Audit prep")
PRIVATE = ("Eye test", "Tennis lesson", "Swimming lesson", "Dinner at home", "Flat viewing")
DURATIONS = {
    30: ("half an hour", "30 minutes", "30 min"),
    45: ("45 minutes", "three quarters of an hour"),
    60: ("an hour", "60 minutes", "one hour"),
    90: ("an hour and a half", "90 minutes", "1.5 hours"),
    120: ("two hours", "120 minutes", "2 h"),
}

UNITS = {
    "EUR": ("euros", "EUR"),
    "USD": ("US dollars", "USD"),
    "GBP": ("pounds sterling", "GBP"),
    "CHF": ("Swiss francs", "CHF"),
    "km": ("kilometres", "km"),
    "mi": ("miles",),
    "kg": ("kilograms", "kg"),
    "lb": ("pounds of weight", "lb"),
    "C": ("degrees Celsius",),
    "F": ("degrees Fahrenheit",),
}

world = load_module(Path(__file__).with_name("world.py"))

Row = dict[str, Any]


class Scene(scenes.Scene):
    """One script in one world of the desk."""

    def day(self, first: int = 1, last: int = 30) -> date:
        """Return a day that many days from today."""
        found: date = world.TODAY + timedelta(days=self.rng.randint(first, last))
        return found

    def events(self, count: int = 1) -> list[tuple[str, Row]]:
        """Return some events from tomorrow on, with their ids."""
        found = world.events(self.seed).items()
        return self.rng.sample([e for e in found if e[1]["start"].date() > world.TODAY], count)

    def event(self) -> tuple[str, Row]:
        """Return one event from tomorrow on, with its id."""
        return self.events()[0]

    def past_event(self) -> tuple[str, Row]:
        """Return an event before today, with its id."""
        while True:
            found = world.events(self.seed).items()
            if past := [one for one in found if one[1]["start"].date() < world.TODAY]:
                return self.rng.choice(past)
            self.enter_world()  # nothing of the kind in this one

    def free(self, minutes: int) -> tuple[date, time]:
        """Return a day and an hour at which nothing else is planned."""
        while True:
            start = datetime.combine(self.day(1, 20), time(self.rng.randint(8, 19)))
            start += timedelta(minutes=self.rng.choice((0, 0, 15, 30, 45)))
            end = start + timedelta(minutes=minutes)
            planned = world.events(self.seed).values()
            if not any(
                row["start"] < end and start < row["start"] + timedelta(minutes=row["minutes"])
                for row in planned
            ):
                return start.date(), start.time()

    def departure(self, mode: str) -> Row:
        """Return a train or a flight."""
        found: Row = self.rng.choice(world.departures(self.seed, mode))
        return found

    def offer(self, mode: str, least: int, most: int = 99) -> tuple[str, Row, date]:
        """Return an offer with that many free seats, its departure and its day."""
        while True:
            row, on = self.departure(mode), self.day()
            comfort = "economy" if mode == "flights" else self.rng.choice(("second", "first"))
            offer = f"{row['number']}-{on:%m%d}-{comfort}"
            taken = any(booking["what"] == offer for booking in self.bookings.values())
            if least <= world.free_seats(self.seed, offer) <= most and not taken:
                return offer, row, on

    @property
    def bookings(self) -> dict[str, Row]:
        """What is booked at the start, by booking id."""
        found: dict[str, Row] = world.bookings(self.seed)
        return found

    def booking(self, *kinds: str) -> tuple[str, Row]:
        """Return a booking of the days to come, with its id."""
        found = [entry for entry in self.bookings.items() if entry[1]["day"] > world.TODAY]
        return self.rng.choice([entry for entry in found if entry[1]["kind"] in kinds])

    def booking_by_place(self) -> tuple[str, Row, str]:
        """Return a train or hotel to come, its id, and words that fit no other booking."""
        while True:
            booking_id, row = self.booking("train", "hotel")
            place = row["about"].split(", ")[-1].split(" to ")[-1]
            same = [one for one in self.bookings.values() if one["kind"] == row["kind"]]
            if sum(one["about"].endswith(place) for one in same) == 1:
                word = "train to" if row["kind"] == "train" else "hotel in"
                return booking_id, row, f"{word} {place}"
            self.enter_world()  # two of the kind in this one

    def hotel(self, nights: int, *, full: bool = False) -> tuple[str, Row, date]:
        """Return a hotel that has a room in some nights, or is full in one, and the first."""
        while True:
            hotel_id, row = self.rng.choice(list(world.hotels(self.seed).items()))
            on = self.day()
            days = [on + timedelta(days=n) for n in range(nights)]
            if full == any(world.is_full(self.seed, hotel_id, one) for one in days):
                return hotel_id, row, on

    def people(self) -> list[Row]:
        """Return one to three travellers, some with a wish for a seat."""
        names = self.rng.sample((world.OWNER, *PEOPLE), self.rng.choice((1, 1, 2, 3)))
        seats = ("any", "any", "window", "aisle")
        return [{"name": name, "seat": self.rng.choice(seats)} for name in names]

    def new_event(self) -> tuple[Row, Row]:
        """Return the arguments of a new event, and how they are put."""
        rng, minutes = self.rng, self.rng.choice((30, 45, 60, 60, 90))
        day, start = self.free(minutes)
        private = rng.random() < 0.3
        title = rng.choice(PRIVATE if private else WORK)
        event: Row = {"title": title, "date": f"{day}", "time": f"{start:%H:%M}"}
        words = {"title": title, "when": when(rng, day), "clock": clock(rng, start)}
        words |= {"extra": "", "lasts": "", "people": ""}
        if minutes != 60 or rng.random() < 0.3:
            event["duration_minutes"] = minutes
            words["lasts"] = f", {length(rng, minutes)}"
        if private:
            event["calendar"] = "personal"
            words["extra"] = rng.choice((", in my personal calendar", ", personal calendar please"))
        elif rng.random() < 0.5:
            people = rng.sample(PEOPLE, rng.choice((1, 2)))
            event["attendees"] = people
            words["people"] = f", {rng.choice(('invite', 'and invite'))} {listed(people)}"
        return event, words

    def stay(self) -> tuple[Row, Row]:
        """Return the arguments of a hotel search that finds something, and how they are put."""
        rng, nights = self.rng, self.rng.choice((1, 1, 2, 3, 4))
        _, row, day = self.hotel(nights)
        wanted: Row = {"city": row["city"], "check_in": f"{day}"}
        words = {"city": row["city"], "when": when(rng, day), "nights": "one night", "wish": ""}
        if nights > 1:
            wanted["nights"] = nights
            words["nights"] = f"{amount(rng, nights)} nights"
        if rng.random() < 0.5:
            wanted["amenities"] = rng.sample(row["amenities"], rng.choice((1, 1, 2)))
            words["wish"] = f"with {listed(wanted['amenities'])}"
        if rng.random() < 0.4:
            wanted["max_price"] = row["price"] // 10 * 10 + 20
            words["wish"] += (
                f" for at most {wanted['max_price']} {rng.choice(('EUR', 'euros'))} a night"
            )
        return wanted, words

    def facts(self) -> Row:
        """Return facts for requests that are not answered with a call."""
        row, on = self.departure("trains"), self.day()
        return {
            "origin": row["origin"],
            "destination": row["destination"],
            "when": when(self.rng, on),
            "name": self.rng.choice(PEOPLE),
            "title": self.event()[1]["title"],
            "count": amount(self.rng, self.rng.randint(2, 9)),
            "value": self.rng.randint(2, 40) * 5,
        }


# --- values in words ------------------------------------------------------------------------


def when(rng: Random, moment: date) -> str:
    """Return a day as people put it, seen from Wednesday, 4 March 2026.

    Only forms that mean one day: "next Friday" could be two of them and is left out.
    """
    ahead, name = (moment - world.TODAY).days, f"{moment:%A}"
    forms = [f"on {form}" for form in dates(moment)]
    forms.append(f"on {name}, {day(moment)}")
    near = {1: "tomorrow", 2: "the day after tomorrow", 7: "a week from today"}
    if ahead in near:
        forms += [near[ahead]] * 3
    elif ahead <= 4:
        forms += [f"this {name}"] * 2
    elif ahead <= 6:
        forms += [f"next {name}"] * 2
    elif ahead <= 11:
        forms += [f"on {name} of next week", f"in {amount(rng, ahead)} days"]
    return rng.choice(forms)


def length(rng: Random, minutes: int) -> str:
    """Return a duration in words."""
    return rng.choice(DURATIONS[minutes])


def travellers(rng: Random, people: list[Row]) -> str:
    """Return who travels, and where they want to sit."""
    parts = []
    for one in people:
        name = rng.choice(("me", "myself")) if one["name"] == world.OWNER else one["name"]
        seat = rng.choice(("at the {}", "({} seat)", "({})")).format(one["seat"])
        parts.append(name if one["seat"] == "any" else f"{name} {seat}")
    return listed(parts)


def passengers(people: list[Row]) -> list[Row]:
    """Return the `passengers` argument of a call: a seat only where one is wished for."""
    return [
        {key: value for key, value in one.items() if (key, value) != ("seat", "any")}
        for one in people
    ]
