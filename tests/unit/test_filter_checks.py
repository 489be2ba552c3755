"""Each check against a trace with exactly its fault, and the good traces that pass them all."""

import json

import pytest
from filter_world import calling, light, make_task, make_trace

from distill.filter import CHECKS, Rules, Sieve, Subject
from distill.filter.examples import to_example
from distill.filter.screening import Screen
from distill.types import (
    AssistantMessage,
    Expectation,
    Kind,
    Outcome,
    Tool,
    ToolMessage,
    ToolSet,
    UserMessage,
)

ROOM = {"type": "string", "enum": ["hall", "office"]}
TOOLS = ToolSet(
    name="lamps",
    tools=(
        Tool(
            name="set_light",
            description="Dim.",
            parameters={
                "type": "object",
                "properties": {"room": ROOM, "percent": {"type": "integer", "default": 100}},
                "required": ["room"],
                "additionalProperties": False,
            },
        ),
        Tool(
            name="get_light",
            description="Read.",
            parameters={"type": "object", "properties": {"room": ROOM}, "required": ["room"]},
        ),
    ),
)
HALL = ("set_light", {"room": "hall", "percent": 30})
READ = ("get_light", {"room": "hall"})
READ_OFFICE = ("get_light", {"room": "office"})
TASK = make_task("t", "Dim the hall", calling(light("hall", 30)), end_state={"/levels/hall": 30})
SAYS_BUSY = make_task(
    "b",
    "Dim the hall",
    Expectation(action="call", calls=(light("hall", 30),), mentions=(("bezet",),)),
    end_state={},
)
OPEN = make_task("o", "Dim the hall to 30%, then tell me how bright it is", None)
RULES = Rules(TOOLS, drop_kinds=(Kind.CHAT,))


def trace(*turns, task=TASK, **fields):
    return make_trace(task, TOOLS.hash, *turns, **fields)


def judge(one):
    return Sieve(RULES).judge(one)


def failure(one):
    found = judge(one).failure
    return found and (found.stage, found.code)


def changed(one, at, message):
    """The trace with one message replaced, or removed (None)."""
    messages = list(one.messages)
    messages[at : at + 1] = [] if message is None else [message]
    return one.model_copy(update={"messages": tuple(messages)})


def returning(one, content):
    """The trace with what `get_light` returned."""
    messages = (
        m.model_copy(update={"content": content}) if getattr(m, "name", "") == "get_light" else m
        for m in one.messages
    )
    return one.model_copy(update={"messages": tuple(messages)})


GOOD = trace([[HALL], "Done."])

KEPT = {
    "right": GOOD,
    "retried after a failure": trace([[(*HALL, "busy")], [HALL], "Done."]),
    "retried twice": trace([[(*HALL, "busy")], [(*HALL, "busy")], [HALL], "Done."]),
    "as many calls as the task expects": trace(
        [[HALL], [HALL], [HALL], "Done."],
        task=make_task("l", "Blink", calling(*[light("hall", 30)] * 3)),
        changes=None,
    ),
    "a failure reported": trace([[(*HALL, "offline")], "I could not reach the hall."]),
    "a failure reported in its own words": trace(
        [[(*HALL, "Keine Verbindung")], "Die Verbindung ..."]
    ),
    "a failure reported in a short word of the error": trace(
        [[(*HALL, "the last lamp is gone")], "That one is gone."]
    ),
    "a failure reported by what did not happen": trace(
        [[(*HALL, "out of reach")], "There is none there; nothing was dimmed."]
    ),
    "a failure reported as the task demands, in any language": trace(
        [[(*HALL, "offline")], "De lamp is bezet."], task=SAYS_BUSY
    ),
    "no expectation": trace([[READ], [HALL], [READ], "Done."], task=OPEN),
    "read again after a call that may have changed it": returning(
        trace([[READ], [HALL], [READ], "It is at 30%."], task=OPEN), '{"percent": 30}'
    ),
    "something else is read in between": returning(
        trace([[READ], [READ_OFFICE], [HALL], "Hall 73%, office 73%."], task=OPEN),
        '{"percent": 73}',
    ),
    "a result that the answer uses": returning(
        trace([[READ_OFFICE], [HALL], "The other one is at 73%."], task=OPEN), '{"percent": 73}'
    ),
    "a result that a later call uses": returning(
        trace([[READ_OFFICE], [HALL], "Done."], task=OPEN), '{"percent": 30}'
    ),
    "nothing found": returning(trace([[READ_OFFICE], [HALL], "Done."], task=OPEN), "[]"),
}

DROPPED = {
    "truncated": (trace([[HALL]], outcome=Outcome.TRUNCATED), "outcome/truncated", ""),
    "failed": (
        trace([], outcome=Outcome.ERROR, error="the server said 500"),
        "outcome/error",
        "the server said 500",
    ),
    "other tools": (make_trace(TASK, "0" * 16, [[HALL], "Done."]), "toolset/drift", "0" * 16),
    "unwanted kind": (
        trace(["Hi!"], task=make_task("c", "Hello", Expectation(action="answer"), kind="chat")),
        "kind/dropped_kind",
        "chat",
    ),
    "ends with a result": (trace([[HALL]]), "format/role_order", "does not end"),
    "two answers in a row": (
        trace(["One.", [HALL], "Two."]),
        "format/role_order",
        "assistant after",
    ),
    "a user who interrupts": (
        changed(GOOD, 4, UserMessage(content="Wait")),
        "format/role_order",
        "user after tool",
    ),
    "a user instead of the result": (
        changed(GOOD, 3, UserMessage(content="Wait")),
        "format/unpaired",
        "has no result",
    ),
    "a result without its call": (
        changed(GOOD, 3, ToolMessage(tool_call_id="x", name="set_light", content="{}")),
        "format/unpaired",
        "'x'",
    ),
    "a call without its result": (changed(GOOD, 3, None), "format/unpaired", "key-t-2-0"),
    "one id for two calls": (
        changed(
            GOOD,
            2,
            AssistantMessage(tool_calls=GOOD.messages[2].tool_calls * 2),
        ),
        "format/unpaired",
        "used twice",
    ),
    "broken JSON": (
        trace([[("set_light", '{"room": ', "malformed")], [HALL], "Done."]),
        "format/malformed_arguments",
        "set_light",
    ),
    "an invented tool": (
        trace([[("dim", {}, "unknown tool")], [HALL], "Done."]),
        "format/unknown_tool",
        "'dim'",
    ),
    "a call as text": (
        trace(["<tool_call>{}</tool_call>"], task=OPEN),
        "format/unparsed_call",
        "<tool_call>",
    ),
    "an invalid call": (
        trace([[("set_light", {"percent": 30}, "invalid")], "I could not."]),
        "schema/schema_violation",
        "'room' is a required property",
    ),
    "an invalid call where nothing says what is right": (
        trace([[("set_light", {"percent": 3}, "invalid")], [HALL], "Done."], task=OPEN),
        "schema/schema_violation",
        "'room'",
    ),
    "an error passed over": (
        trace([[(*HALL, "offline")], "The hall glows at 30%."]),
        "execution/ignored_error",
        "offline",
    ),
    "an error passed over in words that any answer has": (
        trace([[(*HALL, "done with this lamp")], "Done with your hall."]),
        "execution/ignored_error",
        "done with this lamp",
    ),
    "a pointless repetition": (
        trace([[READ], [READ], "It is 30."], task=OPEN),
        "execution/repeated_call",
        "get_light",
    ),
    "what was read before": (
        trace([[READ], [READ_OFFICE], [READ], "It is 30, the office is dark."], task=OPEN),
        "execution/known_result",
        "get_light read again",
    ),
    "what nobody asked for": (
        returning(trace([[READ_OFFICE], [HALL], "Done."], task=OPEN), '{"percent": 73}'),
        "execution/unused_result",
        'nobody asked for {"percent": 73}',
    ),
    "a result of another tool": (
        changed(GOOD, 3, GOOD.messages[3].model_copy(update={"name": "get_light"})),
        "execution/foreign_result",
        "set_light got a result of get_light",
    ),
    "the same over and over": (
        trace([[(*READ, "busy")], [(*READ, "busy")], [(*READ, "busy")], "That failed."], task=OPEN),
        "execution/loop",
        "get_light again and again",
    ),
    "retried over and over though the task says what is right": (
        trace([[(*HALL, "busy")], [(*HALL, "busy")], [(*HALL, "busy")], [HALL], "Done."]),
        "execution/loop",
        "set_light again and again",
    ),
    "an invented value": (
        trace([[("set_light", {"room": "hall", "percent": 37})], "Done."], task=OPEN),
        "grounding/ungrounded",
        "set_light.percent: 37 comes from nowhere",
    ),
    "another choice than the one that was named": (
        trace([[("set_light", {"room": "office", "percent": 30})], "Done."], task=OPEN),
        "grounding/ungrounded",
        "set_light.room: 'office' comes from nowhere",
    ),
    "a key": (
        trace([[HALL], "Done with ghp_0123456789abcdefghijABCDEFGHIJ012345."]),
        "privacy/secret",
        "ghp_...",
    ),
    "the wrong value": (
        trace([[("set_light", {"room": "hall", "percent": 33})], "Done."]),
        "expectation/wrong_arguments",
        "33 instead of 30",
    ),
    "the wrong end state": (
        trace([[HALL], "Done."], changes={"/levels/hall": 30, "/levels/office": 1}),
        "expectation/wrong_end_state",
        "/levels/office",
    ),
    "no end state": (
        trace([[HALL], "Done."], changes=None),
        "expectation/wrong_end_state",
        "does not hold",
    ),
    "a wrong call that went through, then the right one": (
        trace([[("set_light", {"room": "office", "percent": 30})], [HALL], "Done."]),
        "expectation/extra_call",
        "office",
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_kept(name):
    assert judge(KEPT[name]).failure is None


@pytest.mark.parametrize("name", DROPPED)
def test_dropped(name):
    one, code, evidence = DROPPED[name]
    judgement = judge(one)
    found = judgement.failure
    assert found and f"{found.stage}/{found.code}" == code
    row = judgement.reject_row(found)
    assert evidence in row["evidence"] and "\n" not in row["evidence"]
    assert (row["key"], row["task"]) == (one.key, one.task.id)


def test_every_check_drops_something():
    """A check no case trips over could be deleted without a test failing."""
    tripped = {
        check.name
        for one, _, _ in DROPPED.values()
        for check in CHECKS
        if any(not v.ok for v in check.verdicts(Subject(one, RULES)))
    }
    assert tripped == {check.name for check in CHECKS} - {"replayed"}  # tested with real tools


@pytest.mark.parametrize("name", DROPPED)
def test_judging_fully_goes_on_after_a_failure_and_never_raises(name):
    verdicts = Sieve(RULES).judge(DROPPED[name][0], fully=True).verdicts
    assert {v.stage for v in verdicts} == {c.stage for c in CHECKS}
    assert any(not v.ok for v in verdicts)


RECOVERED = trace(
    [[("set_light", {"percent": 30}, "room is missing")], [(*HALL, "busy")], [HALL], "Done."]
)


def test_a_refused_call_made_right_keeps_the_trace_and_is_not_learnt():
    judgement = judge(RECOVERED)
    assert judgement.failure is None
    assert [v.code for v in judgement.verdicts if v.detail.startswith("recovered: ")] == [
        "schema_violation",
        "schema_violation",
    ]
    # the refused call is context; the right one that failed, its retry and the answer are learnt
    assert to_example(judgement).weights == (0.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "steps",
    [
        [[("set_light", {"percent": 30}, "room is missing")], "Which room did you not mean?"],
        [[("set_light", {"percent": 30}, "missing")], [("set_light", {"room": "hall"})], "Done."],
        [[("set_light", {"percent": 30}, "missing")], [HALL], [READ], "Done."],
    ],
    ids=["given up", "made wrong", "made right with an extra call"],
)
def test_a_refused_call_is_not_forgiven_when_the_rest_is_not_right(steps):
    assert failure(trace(steps)) == ("schema", "schema_violation")


def test_a_refused_call_is_not_forgiven_when_the_state_is_wrong():
    steps = [[("set_light", {"percent": 30}, "missing")], [HALL], "Done."]
    assert failure(trace(steps, changes={})) == ("schema", "schema_violation")


def test_a_refused_call_is_not_forgiven_where_none_was_to_be_made():
    task = make_task("n", "Book a flight", Expectation(action="abstain"), end_state={})
    steps = [[("set_light", {"room": "Rome"}, "invalid")], "I cannot do that."]
    assert failure(trace(steps, task=task)) == ("schema", "schema_violation")
    refused = [[("get_light", {"room": "hall"}, "there is no lamp")], "I cannot do that."]
    assert failure(trace(refused, task=task)) == ("expectation", "called_instead_of_abstaining")


def test_a_refused_repetition_after_success_is_not_recovery():
    again = [[HALL], [("set_light", {"room": "hall", "percent": 31}, "it is on already")], "Sorry."]
    assert failure(trace(again)) == ("expectation", "extra_call")


def test_ids_that_start_anew_in_every_answer_are_understood():
    """Some servers number the calls of each answer from 0."""
    same = []
    for message in RECOVERED.messages:
        if isinstance(message, AssistantMessage):
            calls = tuple(c.model_copy(update={"id": "call_0"}) for c in message.tool_calls)
            message = message.model_copy(update={"tool_calls": calls})
        elif isinstance(message, ToolMessage):
            message = message.model_copy(update={"tool_call_id": "call_0"})
        same.append(message)
    judgement = judge(RECOVERED.model_copy(update={"messages": tuple(same)}))
    assert judgement.failure is None
    assert to_example(judgement).weights == (0.0, 1.0, 1.0, 1.0)


def test_examples_keep_words_results_and_errors_and_rewrite_only_arguments():
    spoken = trace(
        [[("set_light", '{"room":"hall" ,"percent":30}', "b\u00fcsy")], [HALL], "  D\u00f6ne. \n"],
        key="k",
    )
    example = to_example(judge(spoken))
    assert example.messages[-1].content == "  D\u00f6ne. \n"
    assert example.messages[3] == spoken.messages[3] and example.messages[3].is_error
    call = example.messages[2].tool_calls[0]
    assert call.arguments == '{"room": "hall", "percent": 30}'
    assert json.loads(call.arguments) == {"room": "hall", "percent": 30}
    assert example.tools == TOOLS.tools
    assert example.meta == {"task": "t", "kind": "single", "family": "t", "key": "k"}


def test_tools_of_turns_that_are_only_context_are_not_counted():
    wrong = trace([[("get_light", {}, "room is missing")], [HALL], "Done."])
    assert Screen(RULES, [TASK], {})(wrong.model_dump_json()).row.tools == ("set_light",)


def test_provider_state_is_not_written():
    thinking = GOOD.messages[2].model_copy(update={"provider_state": [{"signature": "x"}]})
    example = to_example(judge(changed(GOOD, 2, thinking)))
    assert example.messages[2].provider_state is None
