"""Tasks on the home: every idea of `phrases/` becomes families of tasks.

`WRITERS` says which wishes an idea is made of; they stand in `wishes.py` and `exchanges.py`, the
values that fill their sentences in `values.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from distill.toolsets import load_module
from distill.toolsets.generation import SHARES, Idea, Script, write_tasks
from distill.types import Task

exchanges = load_module(Path(__file__).with_name("exchanges.py"))
wishes = exchanges.wishes
FRAMES, TEXTS = wishes.values.FRAMES, wishes.values.TEXTS
Request = wishes.Request


def wish(*parts: Callable[[Request], Any]) -> Callable[[Request], None]:
    """Return a request with one turn for all parts."""

    def write(r: Request) -> None:
        r.grant(*parts)
        r.says()

    return write


def heating_fan_same(r: Request) -> None:
    room = r.draw("room")
    wishes.heating_in(r, room)
    wishes.fan_in(r, room)


def asking(*missing: str) -> Callable[[Request], None]:
    return lambda r: r.asks(*missing)


WRITERS: dict[str, Callable[[Request], None]] = {
    "light_percent": wish(wishes.light),
    "light_off": wish(wishes.light_off),
    "light_rooms": wish(wishes.light_rooms),
    "light_full": wish(wishes.light_full),
    "heating": wish(wishes.heating),
    "fan_level": wish(wishes.fan),
    "fan_off": wish(wishes.fan_off),
    "sensor": wish(wishes.sensor),
    "find": wish(wishes.find),
    "switch": wish(wishes.switch),
    "switch_on": wish(partial(wishes.switch_to, on=True)),
    "switch_off": wish(partial(wishes.switch_to, on=False)),
    "switch_minutes": wish(wishes.switch_minutes),
    "scene": wish(wishes.scene),
    "schedule": wish(wishes.schedule),
    "lock": wish(wishes.lock),
    "unlock": wish(wishes.unlock),
    "alarm": wish(wishes.alarm),
    "alarm_armed": wish(wishes.alarm_armed),
    "alarm_until": wish(wishes.alarm_until),
    "alarm_away": wish(partial(wishes.set_alarm, mode="away")),
    "alarm_away_until": wish(partial(wishes.alarm_until, mode="away")),
    "alarm_home": wish(partial(wishes.set_alarm, mode="home")),
    "alarm_off": wish(partial(wishes.set_alarm, mode="off")),
    "light_heating": wish(wishes.light, wishes.heating),
    "light_fan": wish(wishes.light, wishes.fan),
    "light_light": wish(wishes.light, wishes.light),
    "heating_heating": wish(wishes.heating, wishes.heating),
    "fan_fan": wish(wishes.fan, wishes.fan),
    "heating_fan_same": wish(heating_fan_same),
    "heating_fan": wish(wishes.heating, wishes.fan),
    "sensor_sensor": wish(wishes.sensor, wishes.sensor),
    "find_find": wish(wishes.find, wishes.find),
    "switch_switch": wish(wishes.switch_both),
    "switch_on_off": wish(partial(wishes.switch_to, on=True), partial(wishes.switch_to, on=False)),
    "lock_lock": wish(wishes.lock, wishes.lock),
    "lock_alarm": wish(wishes.lock, wishes.alarm_armed),
    "scene_lock": wish(wishes.scene, wishes.lock),
    "scene_heating": wish(wishes.scene, wishes.heating),
    "schedule_schedule": wish(partial(wishes.schedule_both, same_days=True)),
    "schedule_each": wish(partial(wishes.schedule_both, same_days=False)),
    "light_lock_alarm": wish(wishes.light_off, wishes.lock, wishes.alarm_armed),
    "find_switch": wish(wishes.find_switch),
    "find_switch_on": wish(partial(wishes.find_switch, on=True)),
    "find_switch_off": wish(partial(wishes.find_switch, on=False)),
    "find_switch_minutes": wish(wishes.find_switch_minutes),
    "find_switch_two": wish(wishes.find_switch_two),
    "sensor_heating": wish(wishes.sensor_heating),
    "sensor_heating_keep": wish(partial(wishes.sensor_heating, same_room=True)),
    "light_change": partial(exchanges.light_turns, then="change"),
    "light_same": partial(exchanges.light_turns, then="same"),
    "light_off_again": partial(exchanges.light_turns, then="off"),
    "light_thanks_off": partial(exchanges.light_turns, then="thanks"),
    "heating_change": partial(exchanges.heating_turns, then="change"),
    "heating_same": partial(exchanges.heating_turns, then="same"),
    "heating_more": partial(exchanges.heating_turns, then="more"),
    "sensor_then_heating": partial(exchanges.sensor_turns, act=wishes.heating_in),
    "sensor_fan": partial(exchanges.sensor_turns, act=wishes.fan_in),
    "sensor_other": exchanges.then(wishes.sensor, wishes.sensor),
    "find_then_switch": exchanges.find_turns,
    "find_then_minutes": partial(exchanges.find_turns, run=True),
    "switch_off_again": exchanges.switch_turns,
    "fan_change": partial(exchanges.fan_turns, stop=False),
    "fan_stop": partial(exchanges.fan_turns, stop=True),
    "lock_then_alarm": exchanges.then(wishes.lock, wishes.alarm_armed),
    "lock_alarm_until": exchanges.then(wishes.lock, wishes.alarm_until),
    "lock_other": exchanges.then(wishes.lock, wishes.lock),
    "ask_lock": lambda r: exchanges.ask_then(r, "door", wishes.lock),
    "ask_scene": lambda r: exchanges.ask_then(r, "scene", wishes.scene),
    "ask_heating": exchanges.ask_heating,
    "ask_heating_room": exchanges.ask_heating_room,
    "ask_light": exchanges.ask_light,
    "ask_switch": exchanges.ask_switch,
    "refused_light": partial(exchanges.refused_then, act=wishes.light_in),
    "refused_heating": partial(exchanges.refused_then, act=wishes.heating_in),
    "scene_then_lock": exchanges.then(wishes.scene, wishes.lock),
    "schedule_now": exchanges.schedule_now,
    "light_room": asking("room"),
    "heating_degrees": asking("degrees"),
    "heating_room": asking("room"),
    "fan_room": asking("room"),
    "fan_change_level": asking("level"),
    "sensor_room": asking("room"),
    "switch_room": asking("room"),
    "switch_device": asking("device"),
    "scene_which": asking("scene"),
    "schedule_times": asking("times"),
    "schedule_days": asking("days"),
    "lock_door": asking("door"),
    "alarm_mode": asking("mode"),
    "flaky_light": exchanges.flaky(wishes.light, "set_light"),
    "flaky_heating": exchanges.flaky(wishes.heating, "set_heating"),
    "flaky_fan": exchanges.flaky(wishes.fan, "set_fan"),
    "flaky_sensor": exchanges.flaky(wishes.sensor, "read_sensor"),
    "flaky_lock": exchanges.flaky(wishes.lock, "set_lock"),
    "flaky_scene": exchanges.flaky(wishes.scene, "start_scene"),
    "flaky_find": exchanges.flaky(wishes.find, "find_device"),
    "down_light": exchanges.down(wishes.light, "set_light"),
    "down_heating": exchanges.down(wishes.heating, "set_heating"),
    "down_alarm": exchanges.down(wishes.alarm_armed, "set_alarm"),
    "down_schedule": exchanges.down(wishes.schedule, "schedule_scene"),
    "offline": partial(exchanges.offline, found=False),
    "offline_found": partial(exchanges.offline, found=True),
    "unknown": exchanges.unknown,
    "nowhere": exchanges.nowhere,
    "nowhere_switch": exchanges.nowhere,
    "open_door": exchanges.open_door,
    "open_alarm": partial(exchanges.open_alarm, until=False),
    "open_alarm_until": partial(exchanges.open_alarm, until=True),
    **{name: partial(Request.refused, idea=name) for name in TEXTS["cannot"]},
    **{name: partial(Request.talk, idea=name) for name in TEXTS["talk"]},
}


def ideas() -> list[Idea]:
    """Return one idea for each family of `phrases/`; schedules, the hardest, come twice."""
    return [
        Idea(
            kind,
            f"{kind}/{name}/{family}",
            partial(write, name=name, frames=lines.splitlines()),
            weight=2 if name.startswith("schedule") else 1,
        )
        for kind in SHARES
        for name, families in FRAMES[kind].items()
        for family, lines in families.items()
    ]


def write(script: Script, name: str, frames: list[str]) -> None:
    """Write one task of an idea."""
    WRITERS[name](Request(script, frames))


def generate(seed: int, count: int) -> Iterator[Task]:
    """Yield tasks on the home; the same seed gives the same tasks."""
    yield from write_tasks(wishes.values.HOME, ideas(), SHARES, seed, count)
