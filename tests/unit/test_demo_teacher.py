"""The embedded teacher's script: where an episode stands, what comes next, how it goes wrong."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from distill.demo.teacher import mistakes
from distill.demo.teacher.anthropic_wire import readable_object
from distill.demo.teacher.busy import MOST_REJECTIONS, Busy
from distill.demo.teacher.script import Script
from distill.types import (
    AssistantMessage,
    Expectation,
    ExpectedCall,
    Fault,
    Kind,
    Task,
    Tool,
    ToolMessage,
    ToolSet,
    UserMessage,
    UserTurn,
)


def _tool(name, description, required, **properties):
    schema = {"type": "object", "properties": properties, "required": required}
    return Tool(name=name, description=description, parameters=schema)


BED = {"type": "string", "enum": ["roses", "herbs", "lawn"]}
GARDEN = ToolSet(
    name="garden",
    tools=(
        _tool(
            "water_bed",
            "Water one bed.",
            ["bed", "litres"],
            bed=BED,
            litres={"type": "integer", "minimum": 1},
            gentle={"type": "boolean", "default": False},
        ),
        _tool("mist_bed", "Mist one bed finely.", ["bed"], bed=BED, litres={"type": "integer"}),
        _tool("read_soil", "Read how moist a bed is.", ["bed"], bed=BED),
        _tool(
            "leave_note",
            "Leave a note for the gardener.",
            ["text"],
            text={"type": "string"},
            due={"type": "string", "format": "date", "default": "2026-03-02"},
        ),
    ),
)
ALL = frozenset(tool.name for tool in GARDEN.tools)


def _task(content, expectation, id="t", kind=Kind.SINGLE, **fields):
    turns = fields.pop("turns", (UserTurn(content=content, expectation=expectation),))
    return Task(id=id, toolset="garden", kind=kind, family=id, turns=turns, **fields)


def _water(bed="roses", litres=5, step=0, **fields):
    return ExpectedCall(
        name="water_bed", arguments={"bed": bed, "litres": litres}, step=step, **fields
    )


def _calls(*calls, **fields):
    return Expectation(action="call", calls=calls, **fields)


def _script(*tasks, seed=0, error_rate=0.0):
    return Script(GARDEN, tasks, seed, error_rate)


def _forced(monkeypatch, kind, task, seed=0):
    """A script that makes a mistake of `kind` in `task`."""
    monkeypatch.setattr(mistakes, "WEIGHTS", {kind: 1})
    script = _script(task, seed=seed, error_rate=1.0)
    assert script.mistake(task).name == kind.__name__
    return script


def _play(script, task, tool=lambda call: {"ok": True}, most=12):
    """Play the episode; return all messages. `tool` gives a result, or raises ValueError."""
    messages = []
    for turn in task.turns:
        messages.append(UserMessage(content=turn.content))
        for _ in range(most):
            answer = script.answer(messages, ALL)
            messages.append(answer)
            if not answer.tool_calls:
                break
            messages += [_result(call, tool) for call in answer.tool_calls]
        else:
            raise AssertionError("never came to an end")
    return messages


def _result(call, tool):
    try:
        value = tool(call)
    except ValueError as error:
        value = {"error": str(error)}
    return ToolMessage(tool_call_id=call.id, name=call.name, content=json.dumps(value))


def _made(messages):
    """The calls of each assistant message, as (name, arguments)."""
    return [
        [(call.name, json.loads(call.arguments)) for call in m.tool_calls]
        for m in messages
        if isinstance(m, AssistantMessage) and m.tool_calls
    ]


def _last(messages):
    return messages[-1].content


# --- right answers ----------------------------------------------------------------------------


def test_single_call_then_a_text():
    task = _task("Five litres for the roses", _calls(_water()))
    messages = _play(_script(task), task)
    ((name, arguments),) = _made(messages)[0]
    assert name == "water_bed"
    assert arguments.items() >= {"bed": "roses", "litres": 5}.items()
    assert len(_made(messages)) == 1 and _last(messages)


def test_parallel_calls_go_out_together_and_steps_one_after_the_other():
    calls = (_water("herbs", 2, step=1), _water("roses"), _water("lawn", 9))
    task = _task("Roses and lawn, then the herbs", _calls(*calls))
    beds = [{a["bed"] for _, a in made} for made in _made(_play(_script(task), task))]
    assert beds == [{"roses", "lawn"}, {"herbs"}]


def test_user_turns_are_followed():
    turns = (
        UserTurn(content="How moist are the herbs?", expectation=_calls(
            ExpectedCall(name="read_soil", arguments={"bed": "herbs"}))),
        UserTurn(content="Then three litres", expectation=_calls(_water("herbs", 3))),
        UserTurn(content="Thanks", expectation=Expectation(action="answer")),
    )  # fmt: skip
    task = _task("", None, kind=Kind.MULTI_TURN, turns=turns)
    messages = _play(_script(task), task)
    assert [made[0][0] for made in _made(messages)] == ["read_soil", "water_bed"]
    assert isinstance(messages[-1], AssistantMessage) and not messages[-1].tool_calls


def test_wording_differs_between_tasks_and_repeats_for_the_same_seed():
    tasks = [_task(f"Roses, take {n}", _calls(_water()), id=f"t{n}") for n in range(20)]
    said = [_last(_play(_script(*tasks), task)) for task in tasks]
    assert len(set(said)) > 5
    assert said == [_last(_play(_script(*tasks), task)) for task in tasks]


def test_answer_and_mentions_are_said():
    expectation = _calls(_water(), answer="The roses got 5 litres.", mentions=(("drip", "hose"),))
    text = _last(_play(_script(task := _task("Roses!", expectation)), task))
    assert "The roses got 5 litres." in text and "drip" in text


def test_values_of_the_result_are_said_where_there_is_no_reference_answer():
    task = _task("Moisture?", _calls(ExpectedCall(name="read_soil", arguments={"bed": "herbs"})))
    assert "41" in _last(_play(_script(task), task, tool=lambda call: {"moisture": 41}))


@pytest.mark.parametrize("seed", range(8))
def test_question_and_abstention(seed):
    ask = _task("Water the roses", Expectation(action="ask", mentions=(("litres", "much"),)))
    no = _task("Mow it", Expectation(action="abstain"), kind=Kind.NO_TOOL)
    asked = _play(_script(ask, seed=seed), ask)
    assert len(asked) == 2 and "?" in _last(asked) and "litres" in _last(asked)
    declined = _play(_script(no, seed=seed), no)
    assert len(declined) == 2 and "?" not in _last(declined)


def test_free_text_is_taken_from_what_was_said():
    call = ExpectedCall(name="leave_note", free=("text",))
    task = _task('Tell the gardener "prune the vine" please', _calls(call))
    assert _made(_play(_script(task), task))[0][0][1]["text"] == "prune the vine"


def test_defaults_are_sometimes_written_out_and_accepted_values_sometimes_used():
    call = _water(accept={"litres": (6,)})
    tasks = [_task(f"Roses {n}", _calls(call), id=f"t{n}") for n in range(80)]
    script = _script(*tasks)
    arguments = [_made(_play(script, task))[0][0][1] for task in tasks]
    assert 0 < sum("gentle" in a for a in arguments) < 40
    assert {a["litres"] for a in arguments} == {5, 6}


def test_unknown_conversation_and_missing_tools_are_answered_in_words():
    task = _task("Five for the roses", _calls(_water()))
    script = _script(task)
    assert script.answer([UserMessage(content="Who are you?")], ALL).content
    assert not script.answer([UserMessage(content="Who are you?")], ALL).tool_calls
    answer = script.answer([UserMessage(content="Five for the roses")], frozenset({"read_soil"}))
    assert answer.content and not answer.tool_calls
    assert script.answer([], ALL).content


def test_a_conversation_begun_by_another_model_is_continued():
    task = _task("Roses and lawn", _calls(_water("roses", 5), _water("lawn", 9)))
    first = AssistantMessage(tool_calls=_play(_script(task), task)[1].tool_calls[:1])
    result = ToolMessage(tool_call_id=first.tool_calls[0].id, name="water_bed", content="{}")
    answer = _script(task, seed=5).answer(
        [UserMessage(content="Roses and lawn"), first, result], ALL
    )
    assert [call.parsed()["bed"] for call in answer.tool_calls] == ["lawn"]


# --- failing tools ----------------------------------------------------------------------------


def _failing(times, message="pump is jammed"):
    seen = Counter()

    def tool(call):
        seen[call.name] += 1
        if times is None or seen[call.name] <= times:
            raise ValueError(message)
        return {"ok": True}

    return tool


def test_a_passing_failure_is_retried_once():
    fault = Fault(tool="water_bed", message="pump is jammed")
    task = _task("Roses", _calls(_water()), kind=Kind.TOOL_FAILED, faults=(fault,))
    messages = _play(_script(task), task, tool=_failing(1))
    assert [made[0][0] for made in _made(messages)] == ["water_bed"] * 2
    assert "jammed" not in _last(messages)


def test_a_lasting_failure_is_reported():
    fault = Fault(tool="water_bed", message="pump is jammed", times=None)
    expectation = _calls(_water(), mentions=(("jammed",),))
    task = _task("Roses", expectation, kind=Kind.TOOL_FAILED, faults=(fault,))
    messages = _play(_script(task), task, tool=_failing(None))
    assert len(_made(messages)) == 1 and "jammed" in _last(messages)


def test_a_failure_the_task_foresees_is_followed_by_the_way_out():
    mist = ExpectedCall(name="mist_bed", arguments={"bed": "roses"}, step=1)
    task = _task("Roses, mist them if the pump is down", _calls(_water(), mist))
    tool = lambda call: {"ok": True} if call.name == "mist_bed" else _failing(None)(call)  # noqa: E731
    names = [made[0][0] for made in _made(_play(_script(task), task, tool=tool))]
    assert names == ["water_bed", "mist_bed"]


# --- mistakes ---------------------------------------------------------------------------------


def _tasks(count):
    kinds = [
        lambda n: _task(f"Roses {n}", _calls(_water()), id=f"t{n}"),
        lambda n: _task(f"Both {n}", _calls(_water(), _water("lawn", 9)), id=f"t{n}"),
        lambda n: _task(f"How {n}", Expectation(action="ask"), id=f"t{n}"),
        lambda n: _task(f"Mow {n}", Expectation(action="abstain"), id=f"t{n}"),
        lambda n: _task(f"Hi {n}", Expectation(action="answer"), id=f"t{n}"),
        lambda n: _task(
            f"Jam {n}", _calls(_water()), id=f"t{n}", faults=(Fault(tool="water_bed", message="x"),)
        ),
    ]
    return [kinds[n % len(kinds)](n) for n in range(count)]


def test_the_share_of_mistakes_is_the_rate_and_every_kind_occurs():
    tasks = _tasks(3000)
    script = _script(*tasks, error_rate=0.25)
    made = Counter(m.name for task in tasks if (m := script.mistake(task)))
    assert 0.22 < made.total() / len(tasks) < 0.28
    assert set(made) == {kind.__name__ for kind in mistakes.WEIGHTS}


def test_mistakes_depend_on_seed_and_task_alone():
    tasks = _tasks(200)
    first, second = _script(*tasks, error_rate=0.3), _script(*tasks[::-1], error_rate=0.3)
    assert [first.mistake(t) for t in tasks] == [second.mistake(t) for t in tasks]
    other = _script(*tasks, error_rate=0.3, seed=1)
    assert [first.mistake(t) for t in tasks] != [other.mistake(t) for t in tasks]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", list(mistakes.WEIGHTS), ids=lambda kind: kind.__name__)
def test_a_mistaken_episode_differs_from_the_right_one_and_ends(monkeypatch, kind, seed):
    for task in _tasks(6):
        monkeypatch.setattr(mistakes, "WEIGHTS", {kind: 1})
        script = _script(task, seed=seed, error_rate=1.0)
        try:
            script.mistake(task)
        except LookupError:
            continue
        tool = _failing(1) if task.faults else _strict
        right, wrong = (
            _play(_script(task, seed=seed), task, tool=_fresh(tool, task)),
            _play(script, task, tool=_fresh(tool, task)),
        )
        assert [m.model_dump(exclude={"tool_calls"}) for m in right] != [
            m.model_dump(exclude={"tool_calls"}) for m in wrong
        ] or _raw(right) != _raw(wrong)
        return
    raise AssertionError("applies to nothing")


def _fresh(tool, task):
    return _failing(1) if task.faults else tool


def _raw(messages):
    return [
        [(c.name, c.arguments) for c in m.tool_calls]
        for m in messages
        if isinstance(m, AssistantMessage)
    ]


def _strict(call):
    if call.name != "water_bed" or set(call.parsed()) - {"bed", "litres", "gentle"}:
        raise ValueError("invalid arguments")
    return {"ok": True}


def test_wrong_tool_is_a_near_miss_with_the_arguments_it_can_take(monkeypatch):
    task = _task("Roses", _calls(_water()))
    made = set()
    for seed in range(12):
        script = _forced(monkeypatch, mistakes.wrong_tool, task, seed)
        ((name, arguments),) = _made(_play(script, task))[0]
        made.add((name, *arguments.items()))
    assert made == {
        ("mist_bed", ("bed", "roses"), ("litres", 5)),
        ("read_soil", ("bed", "roses")),
    }


def test_malformed_json_is_malformed_and_corrected_by_some(monkeypatch):
    task = _task("Roses", _calls(_water()))
    endings = set()
    for seed in range(12):
        script = _forced(monkeypatch, mistakes.malformed_json, task, seed)
        messages = _play(script, task, tool=lambda call: call.parsed())
        with pytest.raises(ValueError):
            json.loads(messages[1].tool_calls[0].arguments)
        endings.add(len(messages))
    assert endings == {4, 6}


def test_wrong_value_keeps_the_type(monkeypatch):
    task = _task("Roses", _calls(_water()))
    for seed in range(6):
        script = _forced(monkeypatch, mistakes.wrong_value, task, seed)
        (_, arguments) = _made(_play(script, task))[0][0]
        assert isinstance(arguments["litres"], int) and arguments["bed"] in BED["enum"]
        assert (arguments["bed"], arguments["litres"]) != ("roses", 5)


def test_uncalled_for_call_uses_what_was_said(monkeypatch):
    task = _task("Water the herbs", Expectation(action="ask", mentions=(("litres",),)))
    script = _forced(monkeypatch, mistakes.called_instead_of_asking, task)
    assert _made(_play(script, task))[0][0][1].get("bed") == "herbs"


def test_ignored_error_claims_success(monkeypatch):
    fault = Fault(tool="water_bed", message="pump is jammed")
    task = _task("Roses", _calls(_water()), kind=Kind.TOOL_FAILED, faults=(fault,))
    script = _forced(monkeypatch, mistakes.ignored_error, task)
    messages = _play(script, task, tool=_failing(1))
    assert len(_made(messages)) == 1 and "jammed" not in _last(messages)


def test_split_and_duplicated_calls(monkeypatch):
    task = _task("Both", _calls(_water(), _water("lawn", 9)))
    split = _made(_play(_forced(monkeypatch, mistakes.split_parallel, task), task))
    assert [len(made) for made in split] == [1, 1]
    doubled = _made(_play(_forced(monkeypatch, mistakes.duplicated_call, task), task))
    assert [len(made) for made in doubled] == [3]


# --- parts ------------------------------------------------------------------------------------


def test_a_busy_server_rejects_its_share_and_every_request_gets_through():
    busy = Busy(rate=0.2, seed=0)
    requests = [f"request {n}" for n in range(1000)]
    tries = Counter()
    for request in requests:
        while busy.reject(request):
            tries[request] += 1
    assert 150 < len(tries) < 250
    assert set(tries.values()) == set(range(1, MOST_REJECTIONS + 1))
    assert not any(Busy(rate=0, seed=0).reject(request) for request in requests)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": 1, "b": "x, y"}', {"a": 1, "b": "x, y"}),
        ('{"a": 1, "b": "x, y"', {"a": 1, "b": "x, y"}),
        ('{"a": 1, "b": "x, ', {"a": 1}),
        ('{"a": 1,}', {"a": 1}),
        ("{'a': 1}", {}),
        ("[1]", {}),
    ],
)
def test_malformed_arguments_become_the_longest_readable_object(arguments, expected):
    assert readable_object(arguments) == expected
