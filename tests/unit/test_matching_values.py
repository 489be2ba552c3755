"""Typed comparison: what counts as the same value under a schema, and what does not."""

import random

import pytest

from distill.matching import argument_difference, difference
from distill.types import ExpectedCall

STRING, NUMBER = {"type": "string"}, {"type": "number"}
CLOCK = {"type": "string", "format": "time"}
MOMENT = {"type": "string", "format": "date-time"}
ENUM = {"type": "string", "enum": ["Hall", "Office"]}
LIST = {"type": "array", "items": STRING}
SET = {"type": "array", "items": STRING, "uniqueItems": True}
NULLABLE = {"anyOf": [SET, {"type": "null"}]}
ADDRESS = {
    "type": "object",
    "properties": {"city": STRING, "zip": STRING, "country": {"type": "string", "default": "NL"}},
}

SAME = [
    (1, 1.0, NUMBER),
    (0.1 + 0.2, 0.3, NUMBER),
    (True, True, {}),
    (None, None, {}),
    ("  Hall lamp ", "hall LAMP", STRING),
    ("stra\u00dfe", "STRASSE", STRING),
    ("Hall", "Hall", ENUM),
    ("18:30", "18:30:00", CLOCK),
    ("2026-03-01T10:00", "2026-03-01T10:00:00", MOMENT),
    ("2026-03-01T10:00:00Z", "2026-03-01T11:00:00+01:00", MOMENT),
    (["a", "B"], ["A", "b"], LIST),
    (["a", "b"], ["b", "a"], SET),
    (["a", "b"], ["b", "a"], NULLABLE),
    ({"city": "Delft"}, {"city": "delft", "country": "nl"}, ADDRESS),
    ({"b": 1, "a": [1]}, {"a": [1.0], "b": 1}, {}),
]

DIFFERENT = [
    ("33", 33, {}),
    (True, 1, NUMBER),
    (0, False, NUMBER),
    (None, "", STRING),
    (10**17, 10**17 + 1, {"type": "integer"}),
    (1234567890, 1234567891, {"type": "integer"}),
    ("hall", "Hall", ENUM),
    ("hall lamp", "hall  lamp", STRING),
    ("18:30", "18:31", CLOCK),
    ("soon", "later", CLOCK),
    (["a", "b"], ["b", "a"], LIST),
    (["a", "a"], ["a", "b"], SET),
    (["a"], ["a", "a"], SET),
    ({"city": "Delft"}, {"city": "Delft", "country": "BE"}, ADDRESS),
    ({"city": "Delft", "planet": "Earth"}, {"city": "Delft"}, ADDRESS),
    ({"city": "Delft"}, {"city": "Delft", "zip": "2611"}, ADDRESS),
    ({}, [], {}),
]


@pytest.mark.parametrize(("actual", "expected", "schema"), SAME)
def test_same(actual, expected, schema):
    assert difference(actual, expected, schema) is None
    assert difference(expected, actual, schema) is None


@pytest.mark.parametrize(("actual", "expected", "schema"), DIFFERENT)
def test_different(actual, expected, schema):
    assert difference(actual, expected, schema)
    assert difference(expected, actual, schema)


def test_difference_names_the_place_and_both_values():
    schema = {"properties": {"to": ADDRESS}}
    found = difference({"to": {"city": "Delft"}}, {"to": {"city": "Ghent"}}, schema)
    assert found == "to.city: 'Delft' instead of 'Ghent'"
    assert difference([1, 2], [1, 3], {}, "ids") == "ids[1]: 2 instead of 3"


def test_sets_of_objects_need_more_than_first_come_first_served():
    """The first item fits both expected ones by its default; only one choice serves both."""
    item = {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}
    schema = {"type": "array", "items": item, "uniqueItems": True}
    assert difference([{}, {"n": 2}], [{"n": 2}, {"n": 1}], schema) is None


def test_any_shuffle_of_a_set_is_the_same_and_any_changed_value_is_not():
    rng = random.Random(7)
    for _ in range(100):
        values = [f"v{rng.randrange(50)}" for _ in range(rng.randrange(1, 6))]
        shuffled = rng.sample(values, len(values))
        assert difference(shuffled, values, SET) is None
        shuffled[rng.randrange(len(shuffled))] = "other"
        assert difference(shuffled, values, SET)


PARAMETERS = {
    "type": "object",
    "properties": {
        "room": STRING,
        "percent": {"type": "integer", "default": 100},
        "note": STRING,
        "fade": {"type": "integer"},
    },
    "required": ["room"],
}


def found(given, /, **expected):
    call = ExpectedCall(name="set_light", **expected)
    return argument_difference(given, call, PARAMETERS)


def test_a_parameter_left_out_equals_its_default():
    assert found({"room": "hall"}, arguments={"room": "hall", "percent": 100}) is None
    assert found({"room": "hall", "percent": 100}, arguments={"room": "hall"}) is None
    assert found({"room": "hall", "percent": 99}, arguments={"room": "hall"}) == (
        "percent: 99 instead of 100"
    )
    assert found({"room": "hall"}, arguments={"room": "hall", "percent": 30}) == (
        "percent: 100 instead of 30"
    )


def test_a_parameter_without_default_is_neither_dropped_nor_invented():
    assert found({"room": "hall"}, arguments={"room": "hall", "fade": 3}) == (
        "fade: nothing instead of 3"
    )
    assert found({"room": "hall", "fade": 3}, arguments={"room": "hall"}) == (
        "fade: 3 instead of nothing"
    )


def test_accept_lists_further_values_and_none_allows_omission():
    right = {"arguments": {"room": "hall", "fade": 3}, "accept": {"fade": (5, None)}}
    for fade in (3, 5, None):
        assert found({"room": "hall", "fade": fade}, **right) is None
    assert found({"room": "hall"}, **right) is None
    assert found({"room": "hall", "fade": 4}, **right) == "fade: 4 instead of 3"


def test_accept_without_none_does_not_allow_omission():
    right = {"arguments": {"room": "hall", "fade": 3}, "accept": {"fade": (5,)}}
    assert found({"room": "hall"}, **right) == "fade: nothing instead of 3"


def test_free_text_is_any_text_but_not_nothing():
    given = {"arguments": {"room": "hall", "note": "x"}, "free": ("note",)}
    assert found({"room": "hall", "note": "whatever"}, **given) is None
    assert found({"room": "hall", "note": "  "}, **given) == "note: '  ' instead of a text"
    assert found({"room": "hall", "note": 5}, **given)
    assert found({"room": "hall"}, **given) == "note: nothing instead of a text"
    assert found({"room": "hall"}, arguments={"room": "hall"}, free=("note",)) is None
