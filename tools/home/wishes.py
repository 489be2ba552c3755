"""What people wish of the home, and the calls that grant it.

First single wishes (a light to set, a door to lock), then what takes several steps or several
turns of the user, then what goes wrong. Each draws its values from a `Request`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.toolsets import load_module
from distill.toolsets.generation import listed

request = load_module(Path(__file__).with_name("request.py"))
Request, values = request.Request, request.values
PLACES = values.PLACES
FAILED = ("not", "n't", "fail", "error", "unable", "unavailable", "problem")
BUSY = ("hub is busy, try again", "no answer from the hub, try again", "lost connection, try again")
DOWN = ("service unavailable", "hub has no power", "controller is broken")


# --- parts: one wish of the user each ------------------------------------------------------------


def light(r: Request) -> None:
    set_light(r, [r.draw("room")], r.draw("percent"))


def set_light(r: Request, rooms: list[str], percent: int) -> None:
    r.call("set_light", rooms=rooms, percent=percent)
    r.answer("set_light", rooms=listed(rooms), percent=percent)


def light_off(r: Request) -> None:
    set_light(r, [r.draw("room")], 0)


def light_rooms(r: Request) -> None:
    set_light(r, r.draw("rooms"), r.draw("percent"))


def light_full(r: Request) -> None:
    rooms = r.draw("rooms")
    result = r.call("set_light", rooms=rooms)
    r.answer("set_light", rooms=listed(rooms), percent=result["percent"])


def heating(r: Request) -> None:
    set_heating(r, r.draw("room"), r.draw("degrees"))


def set_heating(r: Request, room: str, celsius: float, step: int = 0) -> None:
    r.call("set_heating", step=step, room=room, celsius=celsius)
    r.answer("set_heating", room=room, celsius=celsius)


def fan(r: Request) -> None:
    set_fan(r, r.draw("room"), r.draw("level"))


def set_fan(r: Request, room: str, level: int) -> None:
    r.call("set_fan", room=room, level=level)
    r.answer("set_fan", room=room, level=level)


def fan_off(r: Request) -> None:
    set_fan(r, r.draw("room"), 0)


def sensor(r: Request) -> None:
    read_sensor(r, r.draw("room"))


def read_sensor(r: Request, room: str) -> float:
    result = r.call("read_sensor", room=room)
    r.answer("read_sensor", room=room, **result)
    return result["celsius"]


def find(r: Request, places: list[tuple[str, str]] = PLACES) -> dict[str, Any] | None:
    kind, room = r.place(places)
    found = r.call("find_device", type=kind, room=room)
    if found:
        r.answer("find_device", room=room, device=kind, id=found["id"], state=on_off(found["on"]))
    return found


def on_off(on: bool) -> str:
    return "on" if on else "off"


def known_id(r: Request) -> str:
    """Draw a device the user knows by its id."""
    kind, room = r.place()
    name = r.script.look("find_device", type=kind, room=room)["id"]
    r.fill("id", name, name)
    return name


def set_device(r: Request, name: str, on: bool, step: int = 0) -> None:
    r.call("switch_device", step=step, id=name, on=on)
    r.answer("switch_device", id=name, state=on_off(on))


def run_device(r: Request, name: str, step: int = 0) -> None:
    minutes = r.draw("minutes")
    r.call("switch_device", step=step, id=name, on=True, minutes=minutes)
    r.answer("switch_device_minutes", id=name, minutes=minutes)


def switch(r: Request) -> None:
    set_device(r, known_id(r), r.draw("power"))


def switch_to(r: Request, on: bool) -> None:
    set_device(r, known_id(r), on)


def switch_both(r: Request) -> None:
    on = r.draw("power")
    set_device(r, known_id(r), on)
    set_device(r, known_id(r), on)


def switch_minutes(r: Request) -> None:
    run_device(r, known_id(r))


def scene(r: Request) -> None:
    start_scene(r, r.draw("scene"))


def start_scene(r: Request, name: str) -> None:
    r.call("start_scene", scene=name)
    r.answer("start_scene", scene=name)


def schedule(r: Request) -> None:
    plan_scene(r, r.draw("scene"), r.draw("days"), r.draw("start"), r.draw("end"))


def plan_scene(r: Request, name: str, days: list[str], start: str, end: str) -> None:
    r.call("schedule_scene", scene=name, schedule={"start": start, "end": end, "days": days})
    r.answer("schedule_scene", scene=name, start=start, end=end, days=listed(days))


def schedule_both(r: Request, same_days: bool) -> None:
    start, end, days = r.draw("start"), r.draw("end"), r.draw("days")
    plan_scene(r, r.draw("scene"), days, start, end)
    plan_scene(r, r.draw("scene"), days if same_days else r.draw("days"), start, end)


def lock(r: Request) -> None:
    door = r.draw("door")
    r.call("set_lock", door=door)
    r.answer("set_lock", door=door, state="locked")


def unlock(r: Request) -> None:
    door = r.draw("door")
    r.call("set_lock", door=door, locked=False)
    r.answer("set_lock", door=door, state="unlocked")


def alarm(r: Request) -> None:
    set_alarm(r, r.draw("mode"))


def set_alarm(r: Request, mode: str) -> None:
    r.call("set_alarm", mode=mode)
    r.answer("set_alarm", mode=mode)


def alarm_armed(r: Request) -> None:
    set_alarm(r, armed(r))


def armed(r: Request) -> str:
    """Draw a mode that guards the house."""
    mode = r.rng.choice(("home", "away"))
    r.fill("mode", mode, mode)
    return mode


def alarm_until(r: Request, mode: str | None = None) -> None:
    mode, until = mode or armed(r), r.draw("date")
    r.call("set_alarm", mode=mode, until=until)
    r.answer("set_alarm_until", mode=mode, date=until)


# --- several steps -------------------------------------------------------------------------------


def find_switch(r: Request, on: bool | None = None) -> None:
    kind, room = r.place()
    found = r.call("find_device", type=kind, room=room)
    set_device(r, found["id"], r.draw("power") if on is None else on, step=1)


def find_switch_minutes(r: Request) -> None:
    kind, room = r.place()
    run_device(r, r.call("find_device", type=kind, room=room)["id"], step=1)


def find_switch_two(r: Request) -> None:
    on = r.draw("power")
    places = [r.place(), r.place()]
    found = [r.call("find_device", type=kind, room=room) for kind, room in places]
    for device in found:
        set_device(r, device["id"], on, step=1)


def sensor_heating(r: Request, same_room: bool = False) -> None:
    room = r.draw("room")
    measured = r.call("read_sensor", room=room)["celsius"]
    set_heating(r, room if same_room else r.draw("room"), measured, step=1)


# --- several turns -------------------------------------------------------------------------------


def then(*parts: Callable[[Request], Any]) -> Callable[[Request], None]:
    """Return a conversation with one turn for each part."""

    def write(r: Request) -> None:
        for part in parts:
            part(r)
            r.says()

    return write


def light_turns(r: Request, then: str) -> None:
    room, percent = r.draw("room"), r.draw("percent")
    set_light(r, [room], percent)
    r.says()
    match then:
        case "change":
            set_light(r, [room], r.draw("percent"))
        case "same":
            set_light(r, [r.draw("room")], percent)
        case "off":
            set_light(r, [room], 0)
        case "thanks":
            r.talk("thanks")
            set_light(r, [room], 0)
    r.says()


def heating_turns(r: Request, then: str) -> None:
    room, celsius = r.draw("room"), r.draw("whole" if then == "more" else "degrees")
    set_heating(r, room, celsius)
    r.says()
    match then:
        case "change":
            set_heating(r, room, r.draw("degrees"))
        case "same":
            set_heating(r, r.draw("room"), celsius)
        case "more":
            set_heating(r, room, celsius + r.draw("step"))
    r.says()


def fan_turns(r: Request, stop: bool) -> None:
    room = r.draw("room")
    set_fan(r, room, r.draw("level"))
    r.says()
    set_fan(r, room, 0 if stop else r.draw("level"))
    r.says()


def sensor_turns(r: Request, act: Callable[[Request, str], None]) -> None:
    room = r.draw("room")
    read_sensor(r, room)
    r.says()
    act(r, room)
    r.says()


def find_turns(r: Request, run: bool = False) -> None:
    found = find(r)
    r.says()
    if run:
        run_device(r, found["id"])
    else:
        on = not found["on"]
        r.fill("power", on, on_off(on))
        set_device(r, found["id"], on)
    r.says()


def switch_turns(r: Request) -> None:
    name = known_id(r)
    for on in (True, False):
        set_device(r, name, on)
        r.says()


def ask_then(r: Request, missing: str, *parts: Callable[[Request], Any]) -> None:
    r.asks(missing)
    for part in parts:
        part(r)
    r.says()


def ask_heating(r: Request) -> None:
    room = r.draw("room")
    r.asks("degrees")
    set_heating(r, room, r.draw("degrees"))
    r.says()


def ask_heating_room(r: Request) -> None:
    celsius = r.draw("degrees")
    r.asks("room")
    set_heating(r, r.draw("room"), celsius)
    r.says()


def ask_light(r: Request) -> None:
    percent = r.draw("percent")
    r.asks("room")
    set_light(r, [r.draw("room")], percent)
    r.says()


def ask_switch(r: Request) -> None:
    kind, room = r.place()
    r.asks("room")
    found = r.call("find_device", type=kind, room=room)
    set_device(r, found["id"], True, step=1)
    r.says()


def refused_then(r: Request, act: Callable[[Request, str], None]) -> None:
    room = r.draw("room")
    r.refused("that")
    act(r, room)
    r.says()


def light_in(r: Request, room: str) -> None:
    set_light(r, [room], r.draw("percent"))


def heating_in(r: Request, room: str) -> None:
    set_heating(r, room, r.draw("degrees"))


def fan_in(r: Request, room: str) -> None:
    set_fan(r, room, r.draw("level"))


def schedule_now(r: Request) -> None:
    name = r.draw("scene")
    plan_scene(r, name, r.draw("days"), r.draw("start"), r.draw("end"))
    r.says()
    start_scene(r, name)
    r.says()


# --- failures ------------------------------------------------------------------------------------


def flaky(part: Callable[[Request], Any], tool: str) -> Callable[[Request], None]:
    """The tool fails once; the same call again works."""

    def write(r: Request) -> None:
        r.script.fault(tool, r.rng.choice(BUSY))
        r.flaky = tool
        part(r)
        r.says()

    return write


def down(part: Callable[[Request], Any], tool: str) -> Callable[[Request], None]:
    """The tool fails every time; that is to be reported."""

    def write(r: Request) -> None:
        r.script.fault(tool, r.rng.choice(DOWN), times=None)
        r.failing = tool
        part(r)
        r.says(FAILED)

    return write


def offline(r: Request, found: bool) -> None:
    kind, room = r.place()
    r.arrange(offline=[f"{room} {kind}"])
    r.failing = "switch_device"
    look = r.call if found else r.script.look
    name = look("find_device", type=kind, room=room)["id"]
    r.fill("id", name, name)
    set_device(r, name, r.draw("power"), step=int(found))
    r.says(("offline", "not reach", "unreachable"))


def unknown(r: Request) -> None:
    name = f"{r.draw('device')}-{r.rng.randint(100, 199)}"
    r.fill("id", name, name)
    r.failing = "switch_device"
    set_device(r, name, r.draw("power"))
    r.says(("no device", "not", "unknown", "n't"))


def nowhere(r: Request) -> None:
    r.failing = "find_device"
    find(r, values.NOWHERE)
    r.says(("no ", "not", "n't"))


def open_door(r: Request) -> None:
    r.failing = "set_lock"
    door = r.draw("door")
    r.arrange(open_doors=[door])
    r.call("set_lock", door=door)
    r.says(("open",))


def open_alarm(r: Request, until: bool) -> None:
    r.failing = "set_alarm"
    r.arrange(open_doors=[r.rng.choice(("front", "back", "garage"))])
    if until:
        alarm_until(r, "away")
    else:
        set_alarm(r, "away")
    r.says(("open",))
