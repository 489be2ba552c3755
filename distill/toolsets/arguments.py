"""Are a call's arguments valid under the tool's JSON Schema (Draft 2020-12, formats included)?

`date`, `time` and `date-time` mean ISO 8601 as Python reads it, `duration` and `uri` what pydantic
reads, so that what passes here is what a tool function can be given: "18:30" is a time, with or
without seconds and offset, and an address may have letters of any alphabet.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, cast

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema_specifications import REGISTRY
from pydantic import AnyUrl, TypeAdapter

from distill.types import Json, Tool, canonical_json

MOST_SCHEMAS = 1024
"""Schemas whose validators are kept."""

FORMATS = FormatChecker()
"""The checks of every known format, with ISO 8601 dates and times."""
_DURATION, _URI = TypeAdapter(datetime.timedelta), TypeAdapter(AnyUrl)


@FORMATS.checks("date", raises=ValueError)
def _is_date(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.date.fromisoformat(value))


@FORMATS.checks("time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.time.fromisoformat(value) is not None


@FORMATS.checks("date-time", raises=ValueError)
def _is_datetime(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.datetime.fromisoformat(value))


@FORMATS.checks("duration", raises=ValueError)
def _is_duration(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return value.lstrip("+-").startswith("P") and _DURATION.validate_python(value) is not None


@FORMATS.checks("uri", raises=ValueError)
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(_URI.validate_python(value))


class Violation(NamedTuple):
    """One thing the schema has against the arguments."""

    path: tuple[str | int, ...]
    """Where: keys and indices from the arguments' top; a missing parameter is named, too."""
    message: str


def validate_arguments(tool: Tool, arguments: dict[str, Json]) -> str | None:
    """Return the violation that explains most, as a short sentence; None when valid."""
    return violation(tool.parameters, arguments)


def violation(schema: Json, value: Json) -> str | None:
    """Return what a schema has against a value, as a short sentence; None when it is valid."""
    error = best_match(_validator(schema).iter_errors(value))
    return None if error is None else _sentence(error)


def violations(tool: Tool, arguments: dict[str, Json]) -> list[Violation]:
    """Return what the schema has against the arguments: one for each place, in their order."""
    errors = list(_validator(tool.parameters).iter_errors(arguments))
    errors.sort(
        key=lambda error: error.validator == "type"
    )  # says most, so it comes last and stays
    found = {one.path: one for error in errors for one in _violations(error)}
    return sorted(found.values(), key=lambda one: [str(part) for part in one.path])


def validate_schema(tool: Tool) -> str | None:
    """Return what makes `tool.parameters` an invalid schema of an arguments object, or None."""
    kind = tool.parameters.get("type")
    not_object = f"the type of the parameters is {kind!r}, not 'object'"
    return schema_fault(tool.parameters) or (None if kind == "object" else not_object)


def schema_fault(schema: Json) -> str | None:
    """Return what makes a JSON Schema invalid, or None."""
    try:
        Draft202012Validator.check_schema(
            schema, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
    except SchemaError as error:
        return _sentence(error)
    return None


def _validator(schema: Json) -> Draft202012Validator:
    """Return the validator of a schema; the same object is not serialised again to look it up."""
    known = _by_identity.get(id(schema))
    if known is not None and known[0] is schema:
        return known[1]
    if len(_by_identity) >= MOST_SCHEMAS:
        _by_identity.clear()
    validator = _compiled(canonical_json(schema))
    _by_identity[id(schema)] = (schema, validator)
    return validator


_by_identity: dict[int, tuple[Json, Draft202012Validator]] = {}
"""Identity of a schema -> the schema, which keeps the identity its own, and its validator."""


@lru_cache(maxsize=MOST_SCHEMAS)
def _compiled(schema: str) -> Draft202012Validator:
    # Without a registry of its own jsonschema fetches whatever address a $ref holds.
    return Draft202012Validator(json.loads(schema), format_checker=FORMATS, registry=REGISTRY)


def _violations(error: ValidationError) -> Iterator[Violation]:
    path, rule = tuple(error.absolute_path), cast(Any, error.validator_value)
    if error.validator == "required":
        missing = [name for name in rule if error.message.startswith(repr(name))]
        yield from (Violation((*path, name), "is required, and missing") for name in missing)
    elif error.validator == "additionalProperties" and rule is False:
        known = cast(Any, error.schema).get("properties", {})
        extra = [name for name in cast(Any, error.instance) if name not in known]
        yield from (Violation((*path, name), "is not a parameter of the tool") for name in extra)
    else:
        yield Violation(path, _shortened(error.message))


def _sentence(error: ValidationError | SchemaError) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    message = _shortened(error.message)
    return f"{where}: {message}" if where else message


def _shortened(message: str) -> str:
    return message if len(message) <= 200 else message[:197] + "..."
