"""Preference pairs: the right answer is verified, the wrong one is wrong, real ones come first."""

import random

import pytest
from filter_world import calling, light, make_task, make_trace, make_workspace, store_traces

from distill.dataset import read_pairs
from distill.filter import Rules, Sieve, build_dataset
from distill.filter.mistakes import CALLING, Situation, mistaken
from distill.filter.pairs import pair_of, wrong_answer
from distill.matching import call_problem, made_calls, match_calls
from distill.toolsets import load_toolset
from distill.types import AssistantMessage, Expectation, ExpectedCall, Tool, ToolCall, ToolSet

ROOM = {"type": "string", "enum": ["hall", "office"]}
PERCENT = {"type": "integer", "default": 100}
TOOLS = ToolSet(
    name="lamps",
    tools=(
        Tool(
            name="set_light",
            description="Dim a light.",
            parameters={
                "type": "object",
                "properties": {"room": ROOM, "percent": PERCENT},
                "required": ["room"],
                "additionalProperties": False,
            },
        ),
        Tool(
            name="set_fan",
            description="Run a fan.",
            parameters={
                "type": "object",
                "properties": {"room": ROOM, "speed": {"type": "integer", "minimum": 1}},
                "required": ["room", "speed"],
                "additionalProperties": False,
            },
        ),
    ),
)
HALL = ("set_light", {"room": "hall", "percent": 30})
TASK = make_task("t", "Dim the hall to 30", calling(light("hall", 30)))


def judged(*turns, task=TASK, key="k"):
    return Sieve(Rules(TOOLS)).judge(make_trace(task, TOOLS.hash, *turns, key=key))


def chosen(*calls):
    made = tuple(ToolCall(id=f"c{n}", name=name, arguments=a) for n, (name, a) in enumerate(calls))
    return AssistantMessage(tool_calls=made)


ONE = chosen(("set_light", '{"room": "hall", "percent": 30}'))


@pytest.mark.parametrize("kind", CALLING)
def test_every_mechanical_mistake_is_one(kind):
    fan = ("set_fan", '{"room": "hall", "speed": 2}')
    two = chosen(*[(call.name, call.arguments) for call in ONE.tool_calls], fan)
    answer = two if kind == "split_parallel" else ONE
    wrong = CALLING[kind](Situation(answer, "Dim the hall", None, TOOLS, random.Random(1)))
    assert wrong is not None and wrong != answer
    if kind == "wrong_tool":
        assert wrong.tool_calls[0].name == "set_fan"
        assert call_problem(wrong.tool_calls[0], TOOLS) is None
    if kind in ("mistyped_argument", "invented_argument"):
        assert call_problem(wrong.tool_calls[0], TOOLS) is not None
    if kind == "split_parallel":
        assert wrong.tool_calls == two.tool_calls[:1]
    if kind == "asked_instead_of_calling":
        assert not wrong.tool_calls and "?" in wrong.content


def test_what_is_as_right_is_no_mistake():
    """Leaving the default out, which an edit may do, changes nothing."""
    answer = chosen(("set_light", '{"room": "hall", "percent": 100}'))
    expected = Expectation(action="call", calls=(light("hall", 100),))
    for seed in range(40):
        situation = Situation(answer, "Light the hall", expected, TOOLS, random.Random(seed))
        kind, wrong = mistaken(situation, None)
        match = match_calls(made_calls((wrong,), 0, 1, TOOLS), expected.calls, TOOLS)
        assert not wrong.tool_calls or not all(call.ok for call in match.calls), kind


@pytest.mark.parametrize(
    ("action", "kind"),
    [("ask", "called_instead_of_asking"), ("abstain", "called_instead_of_abstaining")],
)
def test_where_no_call_was_right_the_wrong_answer_calls(action, kind):
    task = make_task("n", "Dim something", Expectation(action=action))
    pair = pair_of(judged(["Which one?"], task=task).subject)
    assert pair.kind == kind and pair.chosen.content == "Which one?"
    assert pair.rejected.tool_calls and call_problem(pair.rejected.tool_calls[0], TOOLS) is None
    assert pair.messages[-1].content == "Dim something"


def test_the_teachers_own_corrected_mistake_is_preferred():
    steps = [[("set_light", {"percent": 30}, "room is missing")], [HALL], "Done."]
    pair = pair_of(judged(steps).subject)
    assert pair.kind == "schema_violation"
    assert pair.rejected.tool_calls[0].parsed() == {"percent": 30}
    assert pair.chosen.tool_calls[0].parsed() == HALL[1]
    assert [message.role for message in pair.messages] == ["system", "user"]


def test_a_failed_episode_is_paired_with_the_expected_calls():
    judgement = judged([[("set_light", {"room": "office", "percent": 30})], "Done."])
    wrong = wrong_answer(judgement.whole, judgement.failure)
    assert wrong.kind == "wrong_arguments" == wrong.pair.kind
    assert wrong.pair.chosen.tool_calls[0].parsed() == HALL[1]
    assert wrong.pair.rejected.tool_calls[0].parsed()["room"] == "office"


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ([("dim", {"room": "hall"}, "unknown tool")], "unknown_tool"),
        ('<tool_call>{"name": "set_light"}</tool_call>', "unparsed_call"),
    ],
)
def test_an_invented_tool_and_a_call_as_text_are_real_mistakes(step, kind):
    judgement = judged([step, "Done."] if isinstance(step, list) else [step])
    wrong = wrong_answer(judgement.whole, judgement.failure, "student")
    assert (wrong.kind, wrong.pair.kind, wrong.pair.by) == (kind, kind, "student")
    assert wrong.pair.chosen.tool_calls[0].parsed() == HALL[1]


def test_nothing_of_a_trace_with_a_key_goes_into_a_pair():
    key = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
    judgement = judged([[("set_light", {"room": "office", "percent": 30})], f"Done with {key}."])
    assert judgement.failure.stage == "expectation"
    assert wrong_answer(judgement.whole, judgement.failure) is None


def test_free_text_and_unreadable_calls_give_no_pair():
    free = ExpectedCall(name="set_light", arguments={"room": "hall"}, free=("percent",))
    task = make_task("f", "Dim", Expectation(action="call", calls=(free,)))
    judgement = judged(["I will not."], task=task)
    assert wrong_answer(judgement.whole, judgement.failure).pair is None
    broken = judged([[("set_light", "{room")], "Done."])
    assert wrong_answer(broken.whole, broken.failure) is None


def test_samples_of_one_task_are_paired_and_held_out_families_are_not(tmp_path):
    tasks = [make_task(f"c{n}", f"Way {n} to dim", calling(light("hall", n))) for n in range(1, 25)]
    config = make_workspace(tmp_path, tasks)
    now = load_toolset(config.toolset_dir).toolset.hash
    traces = []
    for task in tasks:
        right = [("set_light", c.arguments) for c in task.turns[0].expectation.calls]
        wrong = [("get_light", {"room": "hall"})]
        for n, calls in enumerate((right, wrong)):
            key = f"{task.id}/{n}"
            traces.append(make_trace(task, now, [calls, "Done."], key=key, sample=n, changes={}))
    store_traces(config, traces)
    info = build_dataset(config).info
    pairs = read_pairs(config.dataset_dir / "pairs.jsonl")
    assert info.pairs == {"wrong_tool": info.counts["train"]} and len(pairs) == info.counts["train"]
    assert {pair.key.split("/")[1] for pair in pairs} == {"0"}
    assert all(pair.rejected.tool_calls[0].name == "get_light" for pair in pairs)
