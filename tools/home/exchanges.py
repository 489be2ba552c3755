"""Exchanges that are more than one wish granted: several turns of the user, and calls that fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.toolsets import load_module

wishes = load_module(Path(__file__).with_name("wishes.py"))
Request = wishes.Request
FAILED = ("not", "n't", "fail", "error", "unable", "unavailable", "problem")
BUSY = ("hub is busy, try again", "no answer from the hub, try again", "lost connection, try again")
DOWN = ("service unavailable", "hub has no power", "controller is broken")


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
    wishes.set_light(r, [room], percent)
    r.says()
    match then:
        case "change":
            wishes.set_light(r, [room], r.draw("percent"))
        case "same":
            wishes.set_light(r, [r.draw("room")], percent)
        case "off":
            wishes.set_light(r, [room], 0)
        case "thanks":
            r.talk("thanks")
            wishes.set_light(r, [room], 0)
    r.says()


def heating_turns(r: Request, then: str) -> None:
    room, celsius = r.draw("room"), r.draw("whole" if then == "more" else "degrees")
    wishes.set_heating(r, room, celsius)
    r.says()
    match then:
        case "change":
            wishes.set_heating(r, room, r.draw("degrees"))
        case "same":
            wishes.set_heating(r, r.draw("room"), celsius)
        case "more":
            wishes.set_heating(r, room, celsius + r.draw("step"))
    r.says()


def fan_turns(r: Request, stop: bool) -> None:
    room = r.draw("room")
    wishes.set_fan(r, room, r.draw("level"))
    r.says()
    wishes.set_fan(r, room, 0 if stop else r.draw("level"))
    r.says()


def sensor_turns(r: Request, act: Callable[[Request, str], None]) -> None:
    room = r.draw("room")
    wishes.read_sensor(r, room)
    r.says()
    act(r, room)
    r.says()


def find_turns(r: Request, run: bool = False) -> None:
    found = wishes.find(r)
    r.says()
    if run:
        wishes.run_device(r, found["id"])
    else:
        on = not found["on"]
        r.fill("power", on, wishes.on_off(on))
        wishes.set_device(r, found["id"], on)
    r.says()


def switch_turns(r: Request) -> None:
    name = wishes.known_id(r)
    for on in (True, False):
        wishes.set_device(r, name, on)
        r.says()


def ask_then(r: Request, missing: str, *parts: Callable[[Request], Any]) -> None:
    r.asks(missing)
    for part in parts:
        part(r)
    r.says()


def ask_heating(r: Request) -> None:
    room = r.draw("room")
    r.asks("degrees")
    wishes.set_heating(r, room, r.draw("degrees"))
    r.says()


def ask_heating_room(r: Request) -> None:
    celsius = r.draw("degrees")
    r.asks("room")
    wishes.set_heating(r, r.draw("room"), celsius)
    r.says()


def ask_light(r: Request) -> None:
    percent = r.draw("percent")
    r.asks("room")
    wishes.set_light(r, [r.draw("room")], percent)
    r.says()


def ask_switch(r: Request) -> None:
    kind, room = r.place()
    r.asks("room")
    found = r.call("find_device", type=kind, room=room)
    wishes.set_device(r, found["id"], True, step=1)
    r.says()


def refused_then(r: Request, act: Callable[[Request, str], None]) -> None:
    room = r.draw("room")
    r.refused("that")
    act(r, room)
    r.says()


def schedule_now(r: Request) -> None:
    name = r.draw("scene")
    wishes.plan_scene(r, name, r.draw("days"), r.draw("start"), r.draw("end"))
    r.says()
    wishes.start_scene(r, name)
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
    wishes.set_device(r, name, r.draw("power"), step=int(found))
    r.says(("offline", "not reach", "unreachable"))


def unknown(r: Request) -> None:
    name = f"{r.draw('device')}-{r.rng.randint(100, 199)}"
    r.fill("id", name, name)
    r.failing = "switch_device"
    wishes.set_device(r, name, r.draw("power"))
    r.says(("no device", "not", "unknown", "n't"))


def nowhere(r: Request) -> None:
    r.failing = "find_device"
    wishes.find(r, wishes.values.NOWHERE)
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
        wishes.alarm_until(r, "away")
    else:
        wishes.set_alarm(r, "away")
    r.says(("open",))
