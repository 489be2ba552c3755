"""A home and devices hub: the tool set of the demo.

The house is the same in every episode but for what `Task.setup` says: `seed` numbers the devices
and draws the sensor readings, `offline` names devices that do not answer (as "lounge tv"),
`open_doors` doors that cannot be locked. Descriptions are short on purpose: a student reads them
with every prompt.
"""

from __future__ import annotations

import random
from datetime import date, time
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from distill.toolsets import Environment, ToolError, tool

ROOMS = ("kitchen", "lounge", "bedroom", "office", "hall")
PLACES = {
    "tv": ("lounge", "bedroom", "kitchen"),
    "speaker": ("kitchen", "lounge", "office", "bedroom"),
    "heater": ("bedroom", "office", "hall"),
    "camera": ("hall", "office", "lounge", "kitchen"),
}
"""Which rooms have a device of each type."""


Room = Literal["kitchen", "lounge", "bedroom", "office", "hall"]
Scene = Literal["movie", "dinner", "night", "morning"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Schedule(TypedDict):
    start: time
    end: time
    days: set[Day]


class Home(Environment):
    """One house."""

    rooms, places = ROOMS, PLACES

    def __init__(
        self,
        seed: int = 0,
        offline: list[str] | None = None,
        open_doors: list[str] | None = None,
    ) -> None:
        rng = random.Random(seed)
        self.offline = set(offline or [])
        self.open_doors = set(open_doors or [])
        self.climate = {
            room: {"celsius": rng.randint(32, 52) / 2, "humidity": rng.randint(30, 75)}
            for room in ROOMS
        }
        places = [(kind, room) for kind, rooms in PLACES.items() for room in rooms]
        numbers = rng.sample(range(10, 100), len(places))
        self.devices = {
            f"{kind}-{number}": {"type": kind, "room": room, "on": rng.random() < 0.5}
            for (kind, room), number in zip(places, numbers, strict=True)
        }
        self.lights = dict.fromkeys(ROOMS, 0)
        self.targets: dict[str, float] = dict.fromkeys(ROOMS, 18.0)
        self.fans = dict.fromkeys(ROOMS, 0)
        self.scene: str | None = None
        self.schedules: dict[str, dict[str, Any]] = {}
        self.locked = dict.fromkeys(("front", "back", "garage"), False)
        self.alarm: dict[str, Any] = {"mode": "off"}

    def snapshot(self) -> dict[str, Any]:
        """Return everything a tool can change."""
        return {
            "lights": self.lights,
            "heating": self.targets,
            "fans": self.fans,
            "devices": self.devices,
            "scene": self.scene,
            "schedules": self.schedules,
            "locked": self.locked,
            "alarm": self.alarm,
        }

    @tool
    def set_light(
        self,
        rooms: set[Room],
        percent: Annotated[int, Field(ge=0, le=100)] = 100,
    ) -> dict[str, Any]:
        """Set the lights of rooms: lamps, bulbs, brightness, dim, dark, glow.

        Args:
            rooms: Which.
            percent: 0: off, out, dark, no light; 100: on, full, bright.
        """
        for room in rooms:
            self.lights[room] = percent
        return {"percent": percent}

    @tool
    def set_heating(
        self, room: Room, celsius: Annotated[float, Field(ge=5, le=30)]
    ) -> dict[str, Any]:
        """Set the temperature of a room: heat, radiator, thermostat, warm, cold, degrees.

        Args:
            room: Where.
            celsius: Degrees.
        """
        self.targets[room] = celsius
        return {"celsius": celsius}

    @tool
    def set_fan(self, room: Room, level: Annotated[int, Field(ge=0, le=5)]) -> dict[str, Any]:
        """Move air with a ceiling fan: ventilation, breeze, blades, airflow, wind, stuffy, smoke.

        Args:
            room: Where.
            level: 0 off, 1 low, 3 medium, 5 full.
        """
        self.fans[room] = level
        return {"level": level}

    @tool
    def read_sensor(self, room: Room) -> dict[str, Any]:
        """Measure a room's temperature and humidity: how warm, how cold, how damp.

        Args:
            room: Where.
        """
        return self.climate[room]

    @tool
    def find_device(
        self, type: Literal["tv", "speaker", "heater", "camera"], room: Room
    ) -> dict[str, Any]:
        """Look up a device in a room: its id, its number, is it on or off, does it run.

        Args:
            type: What.
            room: Where.
        """
        for name, device in self.devices.items():
            if device["type"] == type and device["room"] == room:
                return {"id": name, "on": device["on"]}
        raise ToolError(f"there is no {type} in the {room}")

    @tool
    def switch_device(
        self, id: str, on: bool, minutes: Annotated[int, Field(ge=1)] | None = None
    ) -> dict[str, Any]:
        """Turn a device on or off: power, run, stop, enough.

        Args:
            id: From find_device.
            on: True: run, start, use; false: stop, enough, quiet.
            minutes: For how long.
        """
        if id not in self.devices:
            raise ToolError(f"there is no device {id}")
        device = self.devices[id]
        if f"{device['room']} {device['type']}" in self.offline:
            raise ToolError(f"{id} is offline")
        device["on"] = on
        if minutes is not None:
            device["minutes"] = minutes
        return {"id": id, "on": on}

    @tool
    def start_scene(self, scene: Scene) -> dict[str, Any]:
        """Start a scene of the house now: mood, mode, setting, ready, begin.

        Args:
            scene: movie: film; dinner: supper, eat; night: bedtime, sleep; morning: wake.
        """
        self.scene = scene
        return {"scene": scene}

    @tool
    def schedule_scene(self, scene: Scene, schedule: Schedule) -> dict[str, Any]:
        """Plan a scene for later: remember, always, every week, days, from, until.

        Args:
            scene: Which.
            schedule: When, as HH:MM and days.
        """
        self.schedules[scene] = {
            "start": f"{schedule['start']:%H:%M}",
            "end": f"{schedule['end']:%H:%M}",
            "days": sorted(schedule["days"]),
        }
        return {"scene": scene, "start": self.schedules[scene]["start"]}

    @tool
    def set_lock(
        self, door: Literal["front", "back", "garage"], locked: bool = True
    ) -> dict[str, Any]:
        """Lock or unlock a door: bolt, key, entrance, safe, nobody gets in, let in, guest.

        Args:
            door: Which.
            locked: True: shut, secure, bolt; false: open, in, enter, visit.
        """
        if locked and door in self.open_doors:
            raise ToolError(f"the {door} door is open")
        self.locked[door] = locked
        return {"door": door, "locked": locked}

    @tool
    def set_alarm(
        self, mode: Literal["off", "home", "away"], until: date | None = None
    ) -> dict[str, Any]:
        """Set the burglar alarm: security, siren, protect, guard, watch.

        Args:
            mode: off: back, over, end; home: in, inside, evening; away: out, gone, empty, trip.
            until: Last day.
        """
        if mode == "away" and self.open_doors:
            raise ToolError(f"the {min(self.open_doors)} door is open")
        self.alarm = {"mode": mode} | ({"until": until.isoformat()} if until else {})
        return {"mode": mode}
