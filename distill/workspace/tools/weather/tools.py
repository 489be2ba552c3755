"""Tools of the example: two functions without state, over a fixed table."""

from __future__ import annotations

from datetime import date
from typing import Literal, TypedDict

from distill.toolsets import ToolError, tool

CELSIUS = {"Oslo": -2.0, "Lisbon": 17.0, "Cairo": 24.0}
"""City -> temperature at noon."""


class Forecast(TypedDict):
    """What `get_forecast` returns."""

    city: str
    day: str
    temperature: float
    unit: str


@tool
def get_forecast(
    city: str, day: date, unit: Literal["celsius", "fahrenheit"] = "celsius"
) -> Forecast:
    """Get the temperature forecast of a city for one day.

    Args:
        city: Name of the city.
        day: The day.
        unit: Unit of the temperature.
    """
    if city not in CELSIUS:
        raise ToolError(f"unknown city {city!r}; known: {', '.join(CELSIUS)}")
    celsius = CELSIUS[city]
    degrees = celsius if unit == "celsius" else celsius * 9 / 5 + 32
    return {"city": city, "day": day.isoformat(), "temperature": degrees, "unit": unit}


@tool
def get_warnings(city: str) -> list[str]:
    """List the weather warnings in force for a city.

    Args:
        city: Name of the city.
    """
    if city not in CELSIUS:
        raise ToolError(f"unknown city {city!r}; known: {', '.join(CELSIUS)}")
    return ["ice on roads"] if CELSIUS[city] < 0 else []
