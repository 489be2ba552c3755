"""Whole conversations against tasks: a hand case for every code, and what is not a failure."""

import json

import pytest

from distill.matching import Code, call_markup, call_problem, match_task
from distill.types import (
    AssistantMessage,
    Expectation,
    ExpectedCall,
    Fault,
    Kind,
    SystemMessage,
    Task,
    Tool,
    ToolCall,
    ToolMessage,
    ToolSet,
    UserMessage,
    UserTurn,
)

ROOM = {"type": "string", "enum": ["hall", "office"]}
TOOLS = ToolSet(
    name="home",
    system="You run a home.",
    tools=(
        Tool(
            name="set_light",
            description="Dim a light.",
            parameters={
                "type": "object",
                "properties": {"room": ROOM, "percent": {"type": "integer", "default": 100}},
                "required": ["room"],
                "additionalProperties": False,
            },
        ),
        Tool(
            name="get_light",
            description="Read a light.",
            parameters={
                "type": "object",
                "properties": {"room": ROOM},
                "required": ["room"],
                "additionalProperties": False,
            },
        ),
    ),
)
HALL = ExpectedCall(name="set_light", arguments={"room": "hall", "percent": 30})
OFFICE = ExpectedCall(name="set_light", arguments={"room": "office", "percent": 30})


def light(room, percent=30):
    return "set_light", {"room": room, "percent": percent}


def talk(*turns):
    """A conversation; a turn is a list of steps: a text, or a list of calls (name, arguments[,
    error])."""
    messages = [SystemMessage(content="You run a home.")]
    number = 0
    for turn in turns:
        messages.append(UserMessage(content="please"))
        for step in turn:
            if isinstance(step, str):
                messages.append(AssistantMessage(content=step))
                continue
            calls, results = [], []
            for name, arguments, *error in step:
                number += 1
                raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
                calls.append(ToolCall(id=f"c{number}", name=name, arguments=raw))
                content = json.dumps({"error": error[0]} if error else {"done": True})
                results.append(
                    ToolMessage(
                        tool_call_id=f"c{number}", name=name, content=content, is_error=bool(error)
                    )
                )
            messages += [AssistantMessage(tool_calls=tuple(calls)), *results]
    return messages


def task(*expectations, **fields):
    turns = tuple(UserTurn(content="please", expectation=e) for e in expectations)
    return Task(
        **{"id": "t", "toolset": "home", "kind": Kind.SINGLE, "family": "f", "turns": turns}
        | fields
    )


def calls(*expected, **fields):
    return Expectation(action="call", calls=expected, **fields)


def verdict(task_, *turns, changes=None):
    return match_task(task_, talk(*turns), TOOLS, changes).verdict


ASK = Expectation(action="ask", mentions=(("room", "where"),))
ABSTAIN = Expectation(action="abstain")
CHAT = Expectation(action="answer")
DONE = "The hall light is at 30%."

RIGHT = {
    "one call": (calls(HALL), [[light("hall")], DONE]),
    "parallel in another order": (calls(HALL, OFFICE), [[light("office"), light("hall")], DONE]),
    "parallel in several messages": (
        calls(HALL, OFFICE),
        [[light("office")], [light("hall")], DONE],
    ),
    "default left out": (
        calls(ExpectedCall(name="set_light", arguments={"room": "hall", "percent": 100})),
        [[("set_light", {"room": "hall"})], DONE],
    ),
    "steps": (
        calls(
            ExpectedCall(name="get_light", arguments={"room": "hall"}),
            HALL.model_copy(update={"step": 1}),
        ),
        [[("get_light", {"room": "hall"})], [light("hall")], DONE],
    ),
    "a retry of a call listed once": (
        calls(HALL),
        [[(*light("hall"), "offline")], [light("hall")], DONE],
    ),
    "a retry of a call listed per attempt": (
        calls(HALL, HALL.model_copy(update={"step": 1})),
        [[(*light("hall"), "offline")], [light("hall")], DONE],
    ),
    "two retries": (
        calls(HALL),
        [[(*light("hall"), "offline")], [(*light("hall"), "offline")], [light("hall")], DONE],
    ),
    "a retry with other spelling of the same arguments": (
        calls(HALL),
        [
            [("set_light", '{"percent": 30, "room": "hall"}', "offline")],
            [("set_light", '{"room":"hall","percent":30}')],
            DONE,
        ],
    ),
    "a failure reported": (
        calls(HALL, mentions=(("offline", "unreachable"),)),
        [[(*light("hall"), "offline")], "The hall lamp is unreachable right now."],
    ),
    "words before the call": (calls(HALL), [[light("hall")], "30 percent it is."]),
    "a question": (ASK, ["Which ROOM do you mean?"]),
    "abstention": (ABSTAIN, ["I cannot book flights."]),
    "chat": (CHAT, ["You are welcome!"]),
    "mention with another apostrophe": (
        calls(HALL, mentions=(("it's done",),)),
        [[light("hall")], "It\u2019s  done."],
    ),
}

WRONG = {
    "no call": (calls(HALL), ["Done!"], Code.MISSING_CALL, "set_light(room='hall', percent=30)"),
    "one of two": (calls(HALL, OFFICE), [[light("hall")], DONE], Code.MISSING_CALL, "office"),
    "one call too many": (
        calls(HALL),
        [[light("hall"), light("office")], DONE],
        Code.EXTRA_CALL,
        "office",
    ),
    "a read too many": (
        calls(HALL),
        [[("get_light", {"room": "hall"})], [light("hall")], DONE],
        Code.EXTRA_CALL,
        "get_light",
    ),
    "the same call again after success": (
        calls(HALL),
        [[light("hall")], [light("hall")], DONE],
        Code.EXTRA_CALL,
        "set_light",
    ),
    "a changed call after an error": (
        calls(HALL),
        [[(*light("hall", 31), "offline")], [light("hall")], DONE],
        Code.EXTRA_CALL,
        "31",
    ),
    "listed per attempt, tried once": (
        calls(HALL, HALL.model_copy(update={"step": 1})),
        [[(*light("hall"), "offline")], "Offline, sorry."],
        Code.MISSING_CALL,
        "hall",
    ),
    "another tool": (
        calls(HALL),
        [[("get_light", {"room": "hall"})], DONE],
        Code.WRONG_TOOL,
        "instead of set_light",
    ),
    "another value": (
        calls(HALL),
        [[light("hall", 33)], DONE],
        Code.WRONG_ARGUMENTS,
        "percent: 33 instead of 30",
    ),
    "an argument dropped": (
        calls(HALL),
        [[("set_light", {"room": "hall"})], DONE],
        Code.WRONG_ARGUMENTS,
        "percent: 100 instead of 30",
    ),
    "both steps at once": (
        calls(
            ExpectedCall(name="get_light", arguments={"room": "hall"}),
            HALL.model_copy(update={"step": 1}),
        ),
        [[("get_light", {"room": "hall"}), light("hall")], DONE],
        Code.WRONG_ORDER,
        "before the results",
    ),
    "a later step before the retry succeeded": (
        calls(HALL, OFFICE.model_copy(update={"step": 1})),
        [[(*light("hall"), "offline")], [light("office")], [light("hall")], DONE],
        Code.WRONG_ORDER,
        "before the results",
    ),
    "an invented tool": (
        calls(HALL),
        [[("dim", {"room": "hall"}, "unknown")], DONE],
        Code.UNKNOWN_TOOL,
        "'dim'",
    ),
    "broken JSON": (
        calls(HALL),
        [[("set_light", '{"room": "hall"', "malformed")], DONE],
        Code.MALFORMED_ARGUMENTS,
        "set_light",
    ),
    "arguments that are no object": (
        calls(HALL),
        [[("set_light", "[1]", "malformed")], DONE],
        Code.MALFORMED_ARGUMENTS,
        "list",
    ),
    "a value out of the enum": (
        calls(HALL),
        [[("set_light", {"room": "Hall", "percent": 30}, "invalid")], DONE],
        Code.SCHEMA_VIOLATION,
        "room",
    ),
    "an invalid call, then the right one": (
        calls(HALL),
        [[("set_light", {"percent": 30}, "invalid")], [light("hall")], DONE],
        Code.SCHEMA_VIOLATION,
        "'room' is a required property",
    ),
    "a call instead of a question": (
        ASK,
        [[light("hall")], "Done, which room next?"],
        Code.CALLED_INSTEAD_OF_ASKING,
        "set_light",
    ),
    "a call instead of abstention": (
        ABSTAIN,
        [[light("hall")], DONE],
        Code.CALLED_INSTEAD_OF_ABSTAINING,
        "set_light",
    ),
    "a call in chat": (CHAT, [[light("hall")], DONE], Code.CALLED_IN_CHAT, "set_light"),
    "a statement instead of a question": (
        ASK,
        ["Tell me the room."],
        Code.NO_QUESTION,
        "Tell me the room.",
    ),
    "a question about something else": (
        ASK,
        ["How bright?"],
        Code.MISSING_MENTION,
        "'room' or 'where'",
    ),
    "a failure not reported": (
        calls(HALL, mentions=(("offline", "unreachable"),)),
        [[(*light("hall"), "offline")], "All done!"],
        Code.MISSING_MENTION,
        "'offline'",
    ),
    "a number inside another": (
        calls(HALL, mentions=(("30",),)),
        [[light("hall")], "It is at 130, or 30.5, or 305."],
        Code.MISSING_MENTION,
        "'30'",
    ),
    "nothing said after the call": (calls(HALL), [[light("hall")], " "], Code.EMPTY_ANSWER, ""),
    "nothing said at all": (ABSTAIN, [""], Code.EMPTY_ANSWER, ""),
    "a call as text": (
        calls(HALL),
        ['<tool_call>\n{"name": "set_light"}\n</tool_call>'],
        Code.UNPARSED_CALL,
        "<tool_call>",
    ),
    "a call as text is no abstention": (
        ABSTAIN,
        ['{"name": "set_light", "arguments": {}}'],
        Code.UNPARSED_CALL,
        "name",
    ),
    "no answer": (calls(HALL), [], Code.INCOMPLETE, "not answered"),
    "the right call and then nothing": (calls(HALL), [[light("hall")]], Code.INCOMPLETE, "call"),
    "cut off between the calls": (
        calls(HALL, OFFICE.model_copy(update={"step": 1})),
        [[light("hall")]],
        Code.INCOMPLETE,
        "office",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name):
    expectation, turn = RIGHT[name]
    found = match_task(task(expectation), talk(turn), TOOLS, None)
    assert found.ok and found.verdict.code == Code.OK, found.verdict
    assert all(call.ok for call in found.turns[0].calls) and not found.turns[0].missing


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name):
    expectation, turn, code, evidence = WRONG[name]
    found = verdict(task(expectation), turn)
    assert (found.ok, found.stage, found.code) == (False, "expectation", code)
    assert evidence in found.detail and "\n" not in found.detail


def test_every_code_has_a_case():
    covered = {code for _, _, code, _ in WRONG.values()} | {Code.OK, Code.WRONG_END_STATE}
    assert covered == set(Code)


def test_each_call_is_judged_on_its_own():
    """Metrics per call: names, arguments and schemas of the same wrong turn."""
    turn = [
        [light("hall"), light("office", 31), ("set_light", {"room": "attic"}), ("dim", {})],
        DONE,
    ]
    match = match_task(task(calls(HALL, OFFICE)), talk(turn), TOOLS, None).turns[0]
    assert [c.code for c in match.calls] == [
        Code.OK,
        Code.WRONG_ARGUMENTS,
        Code.SCHEMA_VIOLATION,
        Code.UNKNOWN_TOOL,
    ]
    assert [c.name_ok for c in match.calls] == [True, True, False, False]
    assert [c.arguments_ok for c in match.calls] == [True, False, False, False]
    assert [c.schema_ok for c in match.calls] == [True, True, False, False]
    assert match.missing == (OFFICE,)


def test_a_retried_attempt_is_marked_and_shares_the_finding_of_its_repetition():
    turn = [[(*light("hall"), "offline")], [light("hall")], [light("hall")], DONE]
    match = match_task(task(calls(HALL)), talk(turn), TOOLS, None).turns[0]
    assert [(c.code, c.retried) for c in match.calls] == [
        (Code.OK, True),
        (Code.OK, False),
        (Code.EXTRA_CALL, False),
    ]


def test_a_retry_does_not_reach_into_the_next_user_turn():
    failing = task(calls(HALL), ABSTAIN, faults=(Fault(tool="set_light", message="offline"),))
    found = verdict(failing, [[(*light("hall"), "offline")], "Offline."], [[light("hall")], DONE])
    assert found.code == Code.CALLED_INSTEAD_OF_ABSTAINING


def test_every_user_turn_is_judged_and_the_finding_points_at_its_message():
    both = task(calls(HALL), calls(OFFICE), kind=Kind.MULTI_TURN)
    match = match_task(both, talk([[light("hall")], DONE], [[light("hall")], DONE]), TOOLS, None)
    assert [turn.ok for turn in match.turns] == [True, False]
    assert match.verdict.detail == "turn 2: set_light: room: 'hall' instead of 'office'"
    assert match.verdict.turn == 6  # system, user, call, result, answer, user, call


def test_a_turn_never_reached_is_incomplete():
    both = task(calls(HALL), calls(OFFICE))
    found = verdict(both, [[light("hall")], DONE])
    assert (found.code, found.detail) == (Code.INCOMPLETE, "turn 2: the user was not answered")


def test_a_turn_without_expectation_needs_valid_calls_and_an_answer():
    open_ = task(None)
    assert verdict(open_, [[light("hall")], DONE]).ok
    assert verdict(open_, [[light("attic")], DONE]).code == Code.SCHEMA_VIOLATION
    assert verdict(open_, [[light("hall")]]).code == Code.INCOMPLETE


STATE = {"/lights/hall": 30, "/alarm": None}


@pytest.mark.parametrize(
    ("changes", "evidence"),
    [
        ({"/lights/hall": 31, "/alarm": None}, "/lights/hall: 31 instead of 30"),
        ({"/lights/hall": 30}, "/alarm: nothing instead of None"),
        ({**STATE, "/lights/office": 1}, "/lights/office: 1 instead of nothing"),
    ],
)
def test_wrong_end_state(changes, evidence):
    stateful = task(calls(HALL), end_state=STATE)
    found = verdict(stateful, [[light("hall")], DONE], changes=changes)
    assert (found.code, found.detail) == (Code.WRONG_END_STATE, evidence)


def test_end_state_right_expected_empty_or_unjudged():
    stateful, turn = task(calls(HALL), end_state=STATE), [[light("hall")], DONE]
    assert match_task(stateful, talk(turn), TOOLS, {**STATE, "/lights/hall": 30.0}).end_state.ok
    assert match_task(stateful, talk(turn), TOOLS, None).end_state is None
    unchanged = task(ABSTAIN, end_state={})
    assert verdict(unchanged, ["I cannot."], changes={}).ok
    assert verdict(unchanged, ["I cannot."], changes={"/a": 1}).code == Code.WRONG_END_STATE


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>",
        "ok [TOOL_CALLS] [{}]",
        "<|python_tag|>set_light",
        "<function=set_light>",
        '```json\n{"name": "set_light", "parameters": {"room": "hall"}}\n```',
    ],
)
def test_call_markup_is_found(text):
    assert call_markup(text)


@pytest.mark.parametrize("text", ["I made a tool call.", 'Her {"name": "Ann"} badge', "a < b > c"])
def test_plain_words_are_no_markup(text):
    assert call_markup(text) is None


def test_a_finding_is_about_one_tool_not_about_its_name():
    narrow = {"type": "object", "properties": {"n": {"type": "integer"}}}
    wide = {"type": "object", "properties": {"n": {}}}
    made = ToolCall(id="1", name="t", arguments='{"n": "3"}')
    for schema, code in ((narrow, Code.SCHEMA_VIOLATION), (wide, None)):
        tools = ToolSet(name="s", tools=(Tool(name="t", description="", parameters=schema),))
        found = call_problem(made, tools)
        assert (found and found[0]) == code
