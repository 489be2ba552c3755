"""The travel desk: its rules hold, and days in words mean the day they say."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from tools_world import TOOLS, episode

from distill.toolsets import load_module

WORLD = load_module(TOOLS / "travel" / "world.py")


@pytest.fixture
def desk():
    """A function that calls a tool in world 1, and its runner."""
    with episode("travel") as found:
        yield found


def coming_event() -> tuple[str, dict[str, Any]]:
    return next(e for e in WORLD.events(1).items() if e[1]["start"].date() > WORLD.TODAY)


def test_events_do_not_overlap(desk):
    use, runner = desk
    event_id, event = coming_event()
    day, clock = f"{event['start']:%Y-%m-%d}", f"{event['start']:%H:%M}"
    refused = use("create_event", title="Audit", date=day, time=clock, duration_minutes=15)
    assert refused["error"].startswith(f"overlaps {event['title']!r} ({event_id})")
    after = (event["start"] + timedelta(minutes=event["minutes"])).strftime("%H:%M")
    made = use("create_event", title="Audit", date=day, time=after, duration_minutes=15)
    assert list(runner.changes()) == [f"/events/{made['event_id']}"]
    assert "overlaps" in use("move_event", event_id=made["event_id"], date=day, time=clock)["error"]


def test_an_event_may_be_moved_into_its_own_time(desk):
    use, runner = desk
    event_id, event = coming_event()
    later = event["start"] + timedelta(minutes=5)
    use("move_event", event_id=event_id, date=f"{later:%Y-%m-%d}", time=f"{later:%H:%M}")
    assert runner.changes() == {f"/events/{event_id}/start": f"{later:%Y-%m-%d %H:%M}"}


def test_free_slots_are_what_events_leave(desk):
    use, _ = desk
    _, event = coming_event()
    day = f"{event['start']:%Y-%m-%d}"
    for gap in use("find_free_slots", date=day, duration_minutes=30):
        assert "event_id" in use(
            "create_event", title="x", date=day, time=gap["from"], duration_minutes=30
        )
    longest = use("find_free_slots", date=day, duration_minutes=480)
    assert longest == [] or longest[0]["from"] == "09:00"


def test_the_past_and_the_far_future_are_closed(desk):
    use, runner = desk
    for day, word in (("2026-03-03", "in the past"), ("2027-01-01", "too far ahead")):
        assert word in use("search_hotels", city="Vienna", check_in=day)["error"]
        ends = {"origin": "Berlin", "destination": "Hamburg", "date": day}
        assert word in use("search_trains", **ends)["error"]
        assert word in use("create_event", title="x", date=day, time="10:00")["error"]
    assert runner.changes() == {}


def test_seats_run_out(desk):
    use, _ = desk
    for day in (date(2026, 3, 10) + timedelta(days=n) for n in range(20)):
        ends = {"origin": "Berlin", "destination": "Hamburg", "date": f"{day}"}
        scarce = [o for o in use("search_trains", **ends) if o["seats"] == 2]
        if scarce:
            break
    book = {"offer_id": scarce[0]["offer_id"]}
    people = [{"name": "Ana", "seat": "window"}, {"name": "Luc"}, {"name": "Eve"}]
    assert "only 2 seats" in use("book_transport", **book, passengers=people)["error"]
    assert use("book_transport", **book, passengers=people[:2])["total"] == 2 * scarce[0]["price"]
    assert "only 0 seats" in use("book_transport", **book, passengers=people[2:])["error"]


def test_a_search_keeps_its_filters(desk):
    use, _ = desk
    stay = {"city": "paris", "check_in": "2026-03-20"}
    hotels = use("search_hotels", **stay)
    assert [h["price_per_night"] for h in hotels] == sorted(h["price_per_night"] for h in hotels)
    cheap = use("search_hotels", **stay, max_price=hotels[0]["price_per_night"])
    assert cheap == hotels[:1]
    pool = use("search_hotels", **stay, amenities=["pool"])
    assert pool == [h for h in hotels if "pool" in h["amenities"]]
    ends = {"origin": "Berlin", "destination": "Munich", "date": "2026-03-20"}
    trains = use("search_trains", **ends, depart_after="12:00", travel_class="first")
    assert trains and all(o["departs"] >= "12:00" and "first" in o["offer_id"] for o in trains)
    assert "no direct trains" in use("search_trains", **ends | {"destination": "London"})["error"]
    assert "no service" in use("search_flights", **ends | {"origin": "Madrid"})["error"]


def test_only_some_bookings_can_be_cancelled(desk):
    use, runner = desk
    rows = {row["booking_id"]: row for row in use("list_bookings")}
    for booking_id, row in rows.items():
        result = use("cancel_booking", booking_id=booking_id)
        past, economy = row["date"] < "2026-03-04", row["kind"] == "flight"
        assert ("error" in result) == (past or economy), row
    gone = [name for name, value in runner.changes().items() if value is None]
    assert len(gone) == len(rows) - 2


def test_conversion_keeps_to_one_dimension(desk):
    use, _ = desk
    assert use("convert", amount=100, source="C", target="F") == {"result": 212}
    assert use("convert", amount=-40, source="F", target="C") == {"result": -40}
    assert use("convert", amount=10, source="mi", target="km") == {"result": 16.09}
    assert use("convert", amount=46, source="EUR", target="USD") == {"result": 50}
    assert "error" in use("convert", amount=1, source="EUR", target="kg")


def test_days_in_words_mean_the_day_they_say():
    when = load_module(TOOLS / "travel" / "scene.py").when
    said: dict[str, set[int]] = {}
    for ahead in range(1, 31):
        for pick in range(12):
            words = when(Always(pick), WORLD.TODAY + timedelta(days=ahead))
            said.setdefault(words, set()).add(ahead)
    assert all(len(days) == 1 for days in said.values())
    meanings = {"tomorrow": 1, "this Sunday": 4, "next Tuesday": 6, "a week from today": 7}
    meanings |= {"on Friday of next week": 9, "on the 22nd of March": 18, "on 2026-04-03": 30}
    assert {words: said[words] for words in meanings} == {w: {n} for w, n in meanings.items()}


class Always:
    """A stand-in for `random.Random` that always picks the same place of a list."""

    def __init__(self, place: int) -> None:
        self.place = place

    def choice(self, options: Any) -> Any:
        return options[self.place % len(options)]

    def random(self) -> float:
        return 0.9
