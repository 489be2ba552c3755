"""What a value can have come from, and what it cannot."""

import pytest
from filter_world import make_task, make_trace

from distill.filter import Rules, Sieve
from distill.filter.sources import Sources
from distill.types import Expectation, ExpectedCall, Tool, ToolSet

SYSTEM = "Today is Wednesday, 4 March 2026."
DATE, TIME = {"type": "string", "format": "date"}, {"type": "string", "format": "time"}
TEXT, NUMBER = {"type": "string"}, {"type": "number"}
ROOM = {"type": "string", "enum": ["hall", "office", "living_room"]}

DERIVABLE = [
    ("Dim the hall to 30%", 30, NUMBER),
    ("to thirty-five percent", 35, NUMBER),
    ("to a third", 33, NUMBER),
    ("half as bright", 50, NUMBER),
    ("for two hours", 120, NUMBER),
    ("an hour and 20 minutes", 80, NUMBER),
    ("1,200 euros", 1200, NUMBER),
    ("1.5 kg", 1500, NUMBER),
    ("10% of 84.50", 8.45, NUMBER),
    ("dim it by 30%", 70, NUMBER),
    ("whatever", 100, {"type": "integer", "maximum": 100}),
    ("whatever", 7, {"type": "integer", "default": 7}),
    ("a room", 1, NUMBER),
    ("from Berlin", "Berlin", TEXT),
    ("the dentist at three", "Dentist appointment", TEXT),
    ("mail jo@shop.io", "jo@shop.io", TEXT),
    ("order R6193 please", "R6193", TEXT),
    ("speaker 81 in the lounge", "speaker-81", TEXT),
    ("from 9 to 17", "09:00-17:00", TEXT),
    ("in US dollars", "USD", TEXT),
    ("in US dollars", "usd", {"type": "string", "description": "Currency, as an ISO code."}),
    ("somewhere in Germany", "de", TEXT),
    ("tell Ann I am late", "Running late, sorry, see you soon", TEXT),
    ("on 10 March", "2026-03-10", DATE),
    ("March 10th", "2026-03-10", DATE),
    ("on the 10th", "2026-03-10", DATE),
    ("10.3.", "2026-03-10", DATE),
    ("next Tuesday", "2026-03-10", DATE),
    ("tomorrow", "2026-03-05", DATE),
    ("in six days", "2026-03-10", DATE),
    ("in two weeks", "2026-03-18", DATE),
    ("at 6:30 pm", "18:30", TIME),
    ("at half past six", "18:30:00", TIME),
    ("quarter to seven in the evening", "18:45", TIME),
    ("not before nine in the morning", "09:00", TIME),
    ("at noon", "12:00", TIME),
    ("from 9:00, an hour later", "10:00", TIME),
    ("somewhere comfortable", "living_room", ROOM),
    ("in the living room", "living_room", ROOM),
]
INVENTED = [
    ("Dim the hall to 30%", 37, NUMBER),
    ("for two hours", 45, NUMBER),
    ("from Berlin", "Hamburg", TEXT),
    ("mail jo@shop.io", "joe@shop.io", TEXT),
    ("order R6193 please", "R6194", TEXT),
    ("speaker 81 to level 3", "speaker-84", TEXT),
    ("tell Ann I am late", "I am 45 minutes late, sorry", TEXT),
    ("on 10 March", "2026-03-11", DATE),
    ("tomorrow", "2026-03-06", DATE),
    ("next Tuesday", "2026-03-12", DATE),
    ("at half past six", "19:30", TIME),
    ("dim the hall", "office", ROOM),
    ("tell my brother", "bob", TEXT),
    ("call the unicode desk", "qq", {"type": "string", "description": "Unicode name."}),
]


@pytest.mark.parametrize(("said", "value", "schema"), DERIVABLE)
def test_derivable(said, value, schema):
    assert Sources([SYSTEM, said], []).lead_to(value, schema)


@pytest.mark.parametrize(("said", "value", "schema"), INVENTED)
def test_invented(said, value, schema):
    assert not Sources([SYSTEM, said], []).lead_to(value, schema)


def test_results_are_sources_and_another_choice_may_be_used_elsewhere():
    assert Sources(["Book it"], ['{"offer_id": "T412-0310"}']).lead_to("T412-0310", TEXT)
    assert Sources(["Make it 2 degrees warmer"], ['{"celsius": 19}']).lead_to(21, NUMBER)
    both = Sources(["Warm the study, dim the hall"], [], {"hall", "office"})
    assert both.lead_to("office", ROOM)


NOTE = Tool(
    name="leave_note",
    description="Leave a note.",
    parameters={"type": "object", "properties": {"to": TEXT, "text": TEXT}},
)
RULES = Rules(ToolSet(name="notes", tools=(NOTE,)))


def judge(task, *turns):
    verdict = Sieve(RULES).judge(make_trace(task, RULES.toolset.hash, *turns)).failure
    return verdict and (verdict.code, verdict.detail)


def test_only_what_is_left_free_is_judged_where_an_expectation_stands():
    expected = ExpectedCall(name="leave_note", arguments={"to": "Zoe"}, free=("text",))
    task = make_task("n", "Tell her I am late", Expectation(action="call", calls=(expected,)))
    fine = {"to": "Zoe", "text": "Running late"}
    assert judge(task, [[("leave_note", fine)], "Done."]) is None
    bad = fine | {"text": "Call me on 0171 555"}
    code, detail = judge(task, [[("leave_note", bad)], "Done."])
    assert code == "ungrounded" and detail.startswith("leave_note.text: 'Call me")


def test_what_the_assistant_said_counts_once_the_user_has_answered():
    task = make_task("n", "Leave a note", None, None)
    note = [("leave_note", {"to": "Quendale"})]
    assert judge(task, ["For Quendale?"], [note, "Done."]) is None
    alone = make_task("n", "Leave a note", None)
    assert judge(alone, [note, "Done."])[0] == "ungrounded"


def test_grounding_can_be_switched_off():
    task = make_task("n", "Leave a note", None)
    one = make_trace(task, RULES.toolset.hash, [[("leave_note", {"to": "Quendale"})], "Done."])
    assert Sieve(Rules(RULES.toolset, grounding=False)).judge(one).failure is None
