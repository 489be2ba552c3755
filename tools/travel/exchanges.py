"""Writers of what is more than one request granted: several turns, and calls that fail."""

from __future__ import annotations

from datetime import time
from pathlib import Path

from distill.toolsets import load_module
from distill.toolsets.generation import amount, clock, listed

writers = load_module(Path(__file__).with_name("writers.py"))
scene, world, Scene = writers.scene, writers.world, writers.Scene
length, when = scene.length, scene.when
passengers, travellers = scene.passengers, scene.travellers


# --- several turns --------------------------------------------------------------------------


def search_then_book(s: Scene) -> None:
    while True:
        _, row, day = s.offer("trains", 2)
        ends = {"origin": row["origin"], "destination": row["destination"]}
        rows = world.departures(s.seed, "trains")
        first = next(r for r in rows if {k: r[k] for k in ends} == ends)
        if world.free_seats(s.seed, f"{first['number']}-{day:%m%d}-second") > 2:
            break
    found = s.call("search_trains", **ends, date=f"{day}")[0]
    s.says(**ends, when=when(s.rng, day), departs=found["departs"], price=f"{found['price']:g}")
    people = [{"name": s.rng.choice(scene.PEOPLE), "seat": s.rng.choice(("window", "aisle"))}]
    result = s.call("book_transport", offer_id=found["offer_id"], passengers=people)
    s.says(people=travellers(s.rng, people), departs=found["departs"], **result)


def hotel_then_book(s: Scene) -> None:
    wanted, words = s.stay()
    found = s.call("search_hotels", **wanted)[0]
    s.says(**words, hotel=found["name"], price=found["price_per_night"])
    stay = {key: wanted[key] for key in ("check_in", "nights") if key in wanted}
    result = s.call("book_hotel", hotel_id=found["hotel_id"], **stay)
    s.says(hotel=found["name"], **result)
    s.chats()


def list_then_delete(s: Scene) -> None:
    event_id, event = s.event()
    day = event["start"].date()
    found = s.call("list_events", start_date=f"{day}")
    titles = listed([row["title"] for row in found])
    s.says(when=when(s.rng, day), found=titles)
    s.call("delete_event", event_id=event_id)
    s.says(title=event["title"])


def ask_then_create(s: Scene) -> None:
    event, words = s.new_event()
    s.asks(**words)
    s.call("create_event", **event, free=["title"])
    s.says(**words)


def gap_then_create(s: Scene) -> None:
    rng, day, minutes = s.rng, s.day(1, 16), s.rng.choice((30, 45, 90))
    gap = s.call("find_free_slots", date=f"{day}", duration_minutes=minutes)[0]
    s.says(when=when(rng, day), length=length(rng, minutes), gap=gap["from"])
    title, start = rng.choice(scene.WORK), time.fromisoformat(gap["from"])
    event = {"title": title, "date": f"{day}", "time": gap["from"], "duration_minutes": minutes}
    s.call("create_event", **event, free=["title"])
    words = {"clock": clock(rng, start), "length": length(rng, minutes)}
    s.says(title=title, gap=gap["from"], **words)


def trips_then_cancel(s: Scene) -> None:
    booking_id, row = s.booking("train")
    found = s.call("list_bookings", kind="train")
    trips = listed([f"{one['about']} on {one['date']}" for one in found])
    s.says(found=trips, asker=s.rng.choice(scene.PEOPLE))
    s.call("cancel_booking", booking_id=booking_id)
    s.says(about=row["about"], when=when(s.rng, row["day"]))


# --- failures -------------------------------------------------------------------------------


def overlap(s: Scene) -> None:
    (_, event), title = s.event(), s.rng.choice(scene.WORK)
    day, start = event["start"].date(), event["start"].time()
    s.failing("create_event", title=title, date=f"{day}", time=f"{start:%H:%M}")
    words = {"when": when(s.rng, day), "clock": clock(s.rng, start), "other": event["title"]}
    s.says(title=title, **words)


def overlap_or_else(s: Scene) -> None:
    (event_id, event), (_, other) = s.events(2)
    taken = other["start"]
    day, start = s.free(event["minutes"])
    s.failing("move_event", event_id=event_id, date=f"{taken:%Y-%m-%d}", time=f"{taken:%H:%M}")
    s.call("move_event", step=1, event_id=event_id, date=f"{day}", time=f"{start:%H:%M}")
    first = f"{when(s.rng, taken.date())} at {clock(s.rng, taken.time())}"
    second = f"{when(s.rng, day)} at {clock(s.rng, start)}"
    s.says(event=event_id, first=first, second=second, other=other["title"])


def sold_out(s: Scene) -> None:
    people = s.people()
    offer, _, _ = s.offer(s.rng.choice(("trains", "flights")), 0, len(people) - 1)
    s.failing("book_transport", offer_id=offer, passengers=passengers(people))
    s.says(offer=offer, people=travellers(s.rng, people))


def no_train(s: Scene) -> None:
    row, day = s.departure("flights"), s.day()
    ends = {"origin": row["origin"], "destination": row["destination"]}
    if any({k: r[k] for k in ends} == ends for r in world.departures(s.seed, "trains")):
        no_train(s)
        return
    s.failing("search_trains", **ends, date=f"{day}")
    found = s.call("search_flights", step=1, **ends, date=f"{day}")[0]
    s.says(**ends, when=when(s.rng, day), departs=found["departs"])


def hotel_full(s: Scene) -> None:
    nights = s.rng.choice((2, 3))
    hotel_id, row, day = s.hotel(nights, full=True)
    s.failing("book_hotel", hotel_id=hotel_id, check_in=f"{day}", nights=nights)
    stay = f"{amount(s.rng, nights)} nights"
    s.says(hotel=hotel_id, name=row["name"], when=when(s.rng, day), nights=stay)


def unknown_city(s: Scene) -> None:
    city, day = s.rng.choice(("Madrid", "Lisbon", "Oslo", "Athens", "Dublin", "Rome")), s.day()
    s.failing("search_hotels", city=city, check_in=f"{day}")
    s.says(city=city, when=when(s.rng, day))


def economy(s: Scene) -> None:
    booking_id, row = s.booking("flight")
    s.failing("cancel_booking", booking_id=booking_id)
    s.says(booking=booking_id, about=row["about"], asker=s.rng.choice(scene.PEOPLE))


def past(s: Scene) -> None:
    event_id, event = s.past_event()
    s.failing("delete_event", event_id=event_id)
    s.says(event=event_id, title=event["title"])


def busy_once(s: Scene) -> None:
    s.fault("search_flights", "the airline's system is busy, try again", times=1)
    row, day = s.departure("flights"), s.day()
    wanted = {"origin": row["origin"], "destination": row["destination"], "date": f"{day}"}
    s.failing("search_flights", **wanted)
    found = s.call("search_flights", step=1, **wanted)[0]
    s.says(**wanted, when=when(s.rng, day), departs=found["departs"])


def booking_down(s: Scene) -> None:
    s.fault("book_hotel", "hotel booking is down for maintenance until tomorrow", times=None)
    hotel_id, row, day = s.hotel(1)
    s.failing("book_hotel", hotel_id=hotel_id, check_in=f"{day}")
    s.says(hotel=hotel_id, name=row["name"], when=when(s.rng, day))
