"""What happens in a task of the travel desk: one writer for each idea in wording.yaml.

A writer draws facts from the world of its scene, makes the calls a right answer makes, and ends
each turn; the words come from the family it is written for. What takes several turns, and what goes
wrong, is in exchanges.py.
"""

from __future__ import annotations

from datetime import date, time, timedelta
from pathlib import Path

from distill.toolsets import load_module
from distill.toolsets.generation import amount, clock, listed

scene = load_module(Path(__file__).with_name("scene.py"))
world, Scene, Row = scene.world, scene.Scene, scene.Row
length, when = scene.length, scene.when
passengers, travellers = scene.passengers, scene.travellers


# --- one call -------------------------------------------------------------------------------


def list_events(s: Scene) -> None:
    rng, day, days = s.rng, s.day(1, 16), s.rng.choice((1, 1, 2, 3, 4))
    calendar = rng.choice(("all", "all", "work", "personal"))
    wanted = {"start_date": f"{day}"} | ({"days": days} if days > 1 else {})
    wanted |= {"calendar": calendar} if calendar != "all" else {}
    found = s.call("list_events", **wanted)
    span = when(rng, day) if days == 1 else f"in the {amount(rng, days)} days {_starting(s, day)}"
    titles = listed([row["title"] for row in found]) if found else "nothing"
    s.says(span=span, calendar="" if calendar == "all" else calendar, found=titles)


def _starting(s: Scene, day: date) -> str:
    words = when(s.rng, day).removeprefix("on ")
    return f"{s.rng.choice(('starting', 'beginning'))} {words}"


def find_free_slots(s: Scene) -> None:
    rng, day, minutes = s.rng, s.day(1, 16), s.rng.choice((30, 45, 60, 90, 120))
    wanted: Row = {"date": f"{day}", "duration_minutes": minutes}
    after = ""
    if rng.random() < 0.4:
        earliest = time(rng.randint(10, 15))
        wanted["earliest"] = f"{earliest:%H:%M}"
        after = f"{rng.choice(('not before', 'from'))} {clock(rng, earliest)}"
    found = s.call("find_free_slots", **wanted)
    gaps = listed([f"{gap['from']} to {gap['to']}" for gap in found]) if found else "no gap"
    s.says(when=when(rng, day), length=length(rng, minutes), after=after, found=gaps)


def create_event(s: Scene) -> None:
    event, words = s.new_event()
    result = s.call("create_event", **event, free=["title"])
    s.says(**words, **result)


def move_event(s: Scene) -> None:
    (event_id, event), rng = s.event(), s.rng
    day, start = s.free(event["minutes"])
    s.call("move_event", event_id=event_id, date=f"{day}", time=f"{start:%H:%M}")
    s.says(event=event_id, when=when(rng, day), clock=clock(rng, start))


def delete_event(s: Scene) -> None:
    event_id, event = s.event()
    s.call("delete_event", event_id=event_id)
    s.says(event=event_id, title=event["title"])


def _search_transport(s: Scene, mode: str) -> None:
    rng, row, day = s.rng, s.departure(mode), s.day()
    wanted = {"origin": row["origin"], "destination": row["destination"], "date": f"{day}"}
    extra = ""
    if rng.random() < 0.4:
        after = time(rng.randint(7, 13), rng.choice((0, 0, 30)))
        wanted["depart_after"] = f"{after:%H:%M}"
        extra = f"{rng.choice(('after', 'not before'))} {clock(rng, after)}"
    if mode == "trains" and rng.random() < 0.3:
        wanted["travel_class"] = "first"
        extra += rng.choice((", first class", ", in first class"))
    found = s.call(f"search_{mode}", **wanted)
    s.says(**wanted, when=when(rng, day), extra=extra, departs=found[0]["departs"])


def search_trains(s: Scene) -> None:
    _search_transport(s, "trains")


def search_flights(s: Scene) -> None:
    _search_transport(s, "flights")


def search_hotels(s: Scene) -> None:
    wanted, words = s.stay()
    found = s.call("search_hotels", **wanted)
    s.says(**words, hotel=found[0]["name"], price=found[0]["price_per_night"])


def book_transport(s: Scene) -> None:
    people = s.people()
    offer, row, _ = s.offer(s.rng.choice(("trains", "flights")), len(people))
    result = s.call("book_transport", offer_id=offer, passengers=passengers(people))
    s.says(offer=offer, people=travellers(s.rng, people), **row | result)


def book_hotel(s: Scene) -> None:
    rng, nights = s.rng, s.rng.choice((1, 2, 2, 3))
    hotel_id, row, day = s.hotel(nights)
    wanted = {"hotel_id": hotel_id, "check_in": f"{day}", "nights": nights}
    room = rng.choice(("double", "double", "single", "suite"))
    wanted |= {"room": room} if room != "double" else {}
    result = s.call("book_hotel", **wanted)
    stay = "one night" if nights == 1 else f"{amount(rng, nights)} nights"
    kind = f", a {room} room" if room != "double" or rng.random() < 0.5 else ""
    words = {"when": when(rng, day), "nights": stay, "room": kind.replace("suite room", "suite")}
    s.says(hotel=hotel_id, name=row["name"], **words, **result)


def list_bookings(s: Scene) -> None:
    kind = s.rng.choice(("all", "train", "flight", "hotel"))
    found = s.call("list_bookings", **({"kind": kind} if kind != "all" else {}))
    what = {"all": "trips and hotels", "train": "trains", "flight": "flights", "hotel": "hotels"}
    found_words = listed([f"{row['about']} ({row['date']})" for row in found])
    s.says(what=what[kind], found=found_words, asker=s.rng.choice(scene.PEOPLE))


def cancel_booking(s: Scene) -> None:
    booking_id, row = s.booking("train", "hotel")
    s.call("cancel_booking", booking_id=booking_id)
    s.says(booking=booking_id, about=row["about"])


def convert(s: Scene) -> None:
    pairs = [("EUR", "USD"), ("GBP", "EUR"), ("CHF", "EUR"), ("USD", "GBP"), ("EUR", "CHF")]
    _convert_pair(s, s.rng.choice(pairs))


def convert_units(s: Scene) -> None:
    pairs = [("km", "mi"), ("mi", "km"), ("kg", "lb"), ("lb", "kg"), ("C", "F"), ("F", "C")]
    _convert_pair(s, s.rng.choice(pairs))


def _convert_pair(s: Scene, pair: tuple[str, str]) -> None:
    source, target = pair
    value = s.rng.randint(10, 99) if source in "CF" else s.rng.randint(3, 480)
    result = s.call("convert", amount=value, source=source, target=target)["result"]
    one, other = s.rng.choice(scene.UNITS[source]), s.rng.choice(scene.UNITS[target])
    s.says(value=f"{value} {one}", target=other, result=f"{result:g} {scene.UNITS[target][0]}")


# --- several calls --------------------------------------------------------------------------


def there_and_back(s: Scene) -> None:
    row, out = s.departure("trains"), s.day(1, 20)
    back = out + timedelta(days=s.rng.randint(1, 5))
    ends = {"origin": row["origin"], "destination": row["destination"]}
    home = {"origin": row["destination"], "destination": row["origin"]}
    first = s.call("search_trains", **ends, date=f"{out}")[0]["departs"]
    second = s.call("search_trains", **home, date=f"{back}")[0]["departs"]
    s.says(**ends, out=when(s.rng, out), back=when(s.rng, back), first=first, second=second)


def train_or_flight(s: Scene) -> None:
    ends = {"origin": "Berlin", "destination": "Munich"}
    if s.rng.random() < 0.5:
        ends = {"origin": "Munich", "destination": "Berlin"}
    day = s.day()
    train = s.call("search_trains", **ends, date=f"{day}")[0]["departs"]
    flight = s.call("search_flights", **ends, date=f"{day}")[0]["departs"]
    s.says(**ends, when=when(s.rng, day), train=train, flight=flight)


def convert_two(s: Scene) -> None:
    targets, value = s.rng.sample(("USD", "GBP", "CHF"), 2), s.rng.randint(20, 900)
    results = [
        s.call("convert", amount=value, source="EUR", target=target)["result"] for target in targets
    ]
    found = listed([f"{r:g} {t}" for r, t in zip(results, targets, strict=True)])
    s.says(
        value=f"{value} EUR",
        one=scene.UNITS[targets[0]][0],
        other=scene.UNITS[targets[1]][0],
        found=found,
    )


def train_and_hotel(s: Scene) -> None:
    _, row, day = s.hotel(1)
    lines = [r for r in world.departures(s.seed, "trains") if r["destination"] == row["city"]]
    if not lines:  # nothing but planes goes there
        train_and_hotel(s)
        return
    ends = {"origin": s.rng.choice(lines)["origin"], "destination": row["city"]}
    departs = s.call("search_trains", **ends, date=f"{day}")[0]["departs"]
    hotel = s.call("search_hotels", city=row["city"], check_in=f"{day}")[0]["name"]
    s.says(**ends, when=when(s.rng, day), departs=departs, hotel=hotel)


def delete_events(s: Scene) -> None:
    found = s.events(s.rng.choice((2, 2, 3)))
    for event_id, _ in found:
        s.call("delete_event", event_id=event_id)
    s.says(events=listed([event_id for event_id, _ in found]))


def events_and_trips(s: Scene) -> None:
    day = s.day(1, 16)
    events = s.call("list_events", start_date=f"{day}")
    flights = s.call("list_bookings", kind="flight")
    titles = listed([row["title"] for row in events]) if events else "nothing"
    s.says(when=when(s.rng, day), found=titles, flight=listed([r["about"] for r in flights]))


# --- calls that need earlier results --------------------------------------------------------


def move_by_title(s: Scene) -> None:
    (event_id, event), rng = s.event(), s.rng
    day, start = s.free(event["minutes"])
    old = event["start"].date()
    calendar = {"accept": {"calendar": (event["calendar"],)}}
    s.call("list_events", start_date=f"{old}", **calendar)
    s.call("move_event", step=1, event_id=event_id, date=f"{day}", time=f"{start:%H:%M}")
    words = {"old": when(rng, old), "when": when(rng, day), "clock": clock(rng, start)}
    s.says(title=event["title"], **words)


def delete_by_title(s: Scene) -> None:
    event_id, event = s.event()
    day = event["start"].date()
    calendar = {"accept": {"calendar": (event["calendar"],)}}
    s.call("list_events", start_date=f"{day}", **calendar)
    s.call("delete_event", step=1, event_id=event_id)
    s.says(title=event["title"], when=when(s.rng, day))


def _book_first(s: Scene, mode: str) -> None:
    people = s.people()
    while True:
        _, row, day = s.offer(mode, len(people))
        after = row["departs"].replace(minute=0)
        rows = [r for r in world.departures(s.seed, mode) if r["departs"] >= after]
        ends = (row["origin"], row["destination"])
        first = next(r for r in rows if (r["origin"], r["destination"]) == ends)
        offer = f"{first['number']}-{day:%m%d}-{'second' if mode == 'trains' else 'economy'}"
        if world.free_seats(s.seed, offer) >= len(people) + 1:
            break
    wanted = {"origin": ends[0], "destination": ends[1], "date": f"{day}"}
    found = s.call(
        f"search_{mode}", **wanted, depart_after=f"{after:%H:%M}", accept={"depart_after": (None,)}
    )
    offer = found[0]["offer_id"]
    result = s.call("book_transport", step=1, offer_id=offer, passengers=passengers(people))
    words = {"when": when(s.rng, day), "clock": clock(s.rng, after), "departs": found[0]["departs"]}
    s.says(**wanted, **words, people=travellers(s.rng, people), **result)


def book_first_train(s: Scene) -> None:
    _book_first(s, "trains")


def book_first_flight(s: Scene) -> None:
    _book_first(s, "flights")


def book_cheapest(s: Scene) -> None:
    wanted, words = s.stay()
    found = s.call("search_hotels", **wanted)[0]
    stay = {key: wanted[key] for key in ("check_in", "nights") if key in wanted}
    result = s.call("book_hotel", step=1, hotel_id=found["hotel_id"], **stay)
    s.says(**words, hotel=found["name"], **result)


def first_gap(s: Scene) -> None:
    rng, day, minutes = s.rng, s.day(1, 16), s.rng.choice((30, 45, 60, 90))
    title = rng.choice(scene.WORK)
    gap = s.call("find_free_slots", date=f"{day}", duration_minutes=minutes)[0]["from"]
    event = {"title": title, "date": f"{day}", "time": gap, "duration_minutes": minutes}
    s.call("create_event", step=1, **event, free=["title"])
    s.says(title=title, when=when(rng, day), length=length(rng, minutes), gap=gap)


def cancel_by_place(s: Scene) -> None:
    booking_id, row, what = s.booking_by_place()
    s.call("list_bookings", kind=row["kind"], accept={"kind": ("all",)})
    s.call("cancel_booking", step=1, booking_id=booking_id)
    s.says(what=what, about=row["about"])


def price_abroad(s: Scene) -> None:
    _, row, day = s.hotel(1)
    target = s.rng.choice(("USD", "GBP", "CHF"))
    found = s.call("search_hotels", city=row["city"], check_in=f"{day}")[0]
    price = {"amount": found["price_per_night"], "source": "EUR", "target": target}
    result = s.call("convert", step=1, **price)["result"]
    words = {
        "target": s.rng.choice(scene.UNITS[target]),
        "result": f"{result:g} {scene.UNITS[target][0]}",
    }
    s.says(city=row["city"], when=when(s.rng, day), hotel=found["name"], **words)
