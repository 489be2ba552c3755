"""What people wish of the home, and the calls that grant it: in one step, or in several.

Each wish draws its values from a `Request`. What takes several turns of the user, and what goes
wrong, is in exchanges.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.toolsets import load_module
from distill.toolsets.generation import listed

request = load_module(Path(__file__).with_name("request.py"))
Request, values = request.Request, request.values
PLACES = values.PLACES


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


def light_in(r: Request, room: str) -> None:
    set_light(r, [room], r.draw("percent"))


def heating_in(r: Request, room: str) -> None:
    set_heating(r, room, r.draw("degrees"))


def fan_in(r: Request, room: str) -> None:
    set_fan(r, room, r.draw("level"))


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
