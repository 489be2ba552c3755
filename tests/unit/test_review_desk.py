"""The sample, the laying out of a trace, and a fix with its calls executed again."""

import json
from collections import Counter

import pytest
from filter_world import make_workspace, store_traces
from review_world import copied, number_of, open_desk
from test_filter_dataset import right_trace, some_tasks

from distill.audit import Disputed
from distill.config import load_config
from distill.dataset import read_examples
from distill.errors import DatasetError
from distill.filter import build_dataset
from distill.review.marked import laid_out, pretty_text, read_arguments
from distill.review.mending import Edit
from distill.review.sample import Row, in_order
from distill.toolsets import load_toolset
from distill.traces import TraceStore
from distill.traces.reviews import Decision, ReviewStore
from distill.types import Kind, Tool, ToolCall

# --- the sample ---------------------------------------------------------------------------------

ROWS = [
    Row(f"{kind}-{n}", kind, "train")
    for kind, count in (("single", 600), ("parallel", 300), ("chat", 95), ("missing", 5))
    for n in range(count)
]


@pytest.mark.parametrize("size", [20, 50, 100, 500])
def test_every_beginning_of_the_order_is_a_stratified_sample(size):
    counts = Counter(row.kind for row in in_order(ROWS, 0)[:size])
    for kind, total in (("single", 600), ("parallel", 300), ("chat", 95), ("missing", 5)):
        assert counts[kind] >= 1
        assert abs(counts[kind] - size * total / 1000) <= 2


def test_the_order_is_random_within_a_kind_and_the_seed_decides():
    first, again, other = (in_order(ROWS, seed) for seed in (0, 0, 1))
    assert first == again != other
    numbers = [int(row.key.split("-")[1]) for row in first[:100] if row.kind == "single"]
    assert numbers != sorted(numbers) and 200 < sum(numbers) / len(numbers) < 400


def test_other_rows_of_other_kinds_do_not_change_the_order_within_one():
    fewer = [row for row in ROWS if row.kind != "parallel"]
    singles = [[r for r in in_order(rows, 0) if r.kind == "single"] for rows in (ROWS, fewer)]
    assert singles[0] == singles[1]


def agreement_of(row):
    return 0.667 if row.key.endswith("3") else None


def test_disputed_rows_come_first_and_then_keep_their_share():
    rows = [row._replace(agreement=agreement_of(row)) for row in ROWS]
    order = in_order(rows, 0, first=30)
    assert all(row.disputed for row in order[:30]) and not order[30].disputed
    assert in_order(rows, 0) == [
        row._replace(agreement=agreement_of(row)) for row in in_order(ROWS, 0)
    ]
    found = Disputed(rows=sum(row.disputed for row in rows), reviewed=0, wrong=0, first=30)
    for size in (10, 100, 500, 1000):
        among = sum(row.disputed for row in order[:size])
        assert abs(among - found.among(size, len(rows))) <= 3


# --- marks --------------------------------------------------------------------------------------

TOOL = Tool(
    name="book",
    description="Book.",
    parameters={
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date", "description": "When."},
            "seats": {"type": "array", "items": {"type": "integer"}},
            "class": {"enum": ["first", "second"]},
        },
        "required": ["day", "seats"],
        "additionalProperties": False,
    },
)


def marks(arguments):
    laid_out = read_arguments(ToolCall(id="1", name="book", arguments=json.dumps(arguments)), TOOL)
    return {row.name: row.problems for row in laid_out.rows if row.problems}, laid_out


def test_each_violation_is_marked_at_its_argument():
    found, laid_out = marks({"day": "soon", "seats": [1, "b"], "class": "third", "extra": 1})
    assert found.keys() == {"day", "seats", "class", "extra"}
    assert found["seats"] == ("1 'b' is not of type 'integer'",)
    assert found["extra"] == ("is not a parameter of the tool",)
    assert not laid_out.ok


def test_a_missing_argument_has_a_row_of_its_own():
    found, laid_out = marks({"day": "2026-03-02"})
    assert found == {"seats": ("is required, and missing",)}
    assert [(row.name, row.given) for row in laid_out.rows] == [("day", True), ("seats", False)]


def test_a_valid_call_has_no_marks():
    found, laid_out = marks({"day": "2026-03-02", "seats": [3]})
    assert found == {} and laid_out.ok
    assert laid_out.rows[0].note == "When."


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (ToolCall(id="1", name="book", arguments="{day:"), "not a JSON object"),
        (ToolCall(id="1", name="book", arguments="[1]"), "not a JSON object"),
        (ToolCall(id="1", name="cook", arguments="{}"), "no tool is called 'cook'"),
    ],
)
def test_a_call_that_is_wrong_as_a_whole(call, problem):
    laid_out = read_arguments(call, TOOL if call.name == "book" else None)
    assert laid_out.problems[0].startswith(problem)


def test_pieces_put_together_are_the_text():
    value = {"a": [1, -2.5e3, None, True], 'quote " and \\': "x: <b>", "n": {}}
    pieces = pretty_text(json.dumps(value))
    assert json.loads("".join(piece.text for piece in pieces)) == value
    assert {piece.kind for piece in pieces} == {"", "key", "string", "number", "word"}
    assert laid_out(value, 20, 2).count("\n") == 4
    assert pretty_text("not <json>") == (("", "not <json>"),)


# --- a desk on real traces ----------------------------------------------------------------------


@pytest.fixture
def config(tmp_path):
    return copied(tmp_path)


@pytest.fixture
def store(config):
    with TraceStore.open(config.store_url) as store:
        yield store


@pytest.fixture
def desk(config, store):
    return open_desk(config, store)


def lamp(trace):
    """One call of set_light that went well, and nothing else."""
    return [call.name for call in trace.calls] == ["set_light"] and not trace.task.faults


@pytest.fixture
def lamp_row(config, store):
    desk = open_desk(load_config(config.source, ["review.sample=500"]), store)
    return desk, number_of(desk, store, lamp)


def test_a_view_has_the_conversation_and_what_surrounds_it(desk):
    for number in range(len(desk.rows)):
        shown = desk.view(number)
        assert [entry.role for entry in shown.entries][:2] == ["user", "assistant"]
        assert len(shown.tools) == 10 and shown.entries[0].expected
        assert all(call.result for entry in shown.entries for call in entry.calls)
        assert dict(shown.facts)["Key"] == desk.rows[number].key
        assert all(verdict.ok for verdict in (*shown.concerns, *shown.clean))


def test_a_fix_is_executed(lamp_row, store):
    desk, number = lamp_row
    trace = ReviewStore(store).trace(desk.rows[number].key)
    at = next(n for n, m in enumerate(trace.messages) if getattr(m, "tool_calls", ()))
    edit = Edit(message=at, call=0, text='{"rooms": ["hall", "office"], "percent": 7}')
    found = desk.check(number, [edit])
    assert found.problems == [] and found.failure.stage == "expectation"
    assert "".join(p.text for p in found.results[0].pieces) == '{"percent": 7}'
    assert found.correction.changes == {"/lights/hall": 7, "/lights/office": 7}
    assert found.correction.messages[at].tool_calls[0].parsed()["percent"] == 7
    assert ReviewStore(store).decisions() == {}, "looking stores nothing"


def test_a_fix_of_words_alone_leaves_results_as_they_were(lamp_row, store):
    desk, number = lamp_row
    trace = ReviewStore(store).trace(desk.rows[number].key)
    last = len(trace.messages) - 1
    found = desk.fix(number, [Edit(message=last, text="There is light.")])
    assert found.correction.messages[:-1] == trace.messages[:-1]
    assert found.correction.changes == trace.changes
    assert desk.view(number).entries[-1].was == trace.messages[-1].content


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"rooms": ["moon"]}', "rooms: 0 'moon' is not one of"),
        ('{"percent": 3}', "rooms: is required, and missing"),
        ('{"rooms": ["hall"], "percent": "much"}', "percent: 'much' is not of type 'integer'"),
        ('{"rooms": [', "not a JSON object"),
    ],
)
def test_an_invalid_fix_is_not_stored(lamp_row, store, text, problem):
    desk, number = lamp_row
    trace = ReviewStore(store).trace(desk.rows[number].key)
    at = next(n for n, m in enumerate(trace.messages) if getattr(m, "tool_calls", ()))
    found = desk.fix(number, [Edit(message=at, call=0, text=text)])
    assert found.problems[0].text.startswith(problem)
    assert ReviewStore(store).decisions() == {}


def test_an_answer_needs_words(lamp_row, store):
    desk, number = lamp_row
    last = len(ReviewStore(store).trace(desk.rows[number].key).messages) - 1
    [problem] = desk.check(number, [Edit(message=last, text="  ")]).problems
    assert problem.text == "an answer needs words"


@pytest.mark.parametrize("edit", [{"message": 1}, {"message": 99}, {"message": 2, "call": 5}])
def test_an_edit_of_something_else_is_refused(lamp_row, edit):
    desk, number = lamp_row
    with pytest.raises(ValueError, match="message"):
        desk.check(number, [Edit(text="{}", **edit)])


def test_two_reviewers_share_the_sample_and_repeat_nothing(config, store):
    ann, ben = open_desk(config, store, "ann"), open_desk(config, store, "ben")
    assert ann.rows == ben.rows
    ann.look(0)
    assert not ben.look(0) and ben.status().slots[0].by == "ann"
    ann.decide(0, Decision.APPROVE)
    ben.decide(1, Decision.REJECT, "wrong_tool")
    assert ann.status() == ben.status()
    assert (ann.status().audit.reviewed, ann.status().audit.wrong) == (2, 1)
    assert (ben.undo(), ben.undo(), ann.undo()) == (1, None, 0)


def test_the_sample_stays_the_same_after_the_reviews_are_applied(config, store):
    desk = open_desk(config, store)
    before = [row.key for row in desk.rows]
    desk.decide(0, Decision.REJECT, "wrong_answer")
    desk.decide(1, Decision.APPROVE)
    desk.fix(2, [Edit(message=last_of(store, before[2]), text="Mended words.")])
    build_dataset(config)
    after = open_desk(config, store)
    assert [row.key for row in after.rows] == before
    assert after.status() == desk.status()
    rows = {e.meta["key"]: e for e in read_examples(config.dataset_dir / "train.jsonl")}
    rows |= {e.meta["key"]: e for e in read_examples(config.dataset_dir / "validation.jsonl")}
    assert before[0] not in rows and before[1] in rows


def last_of(store, key):
    return len(ReviewStore(store).trace(key).messages) - 1


def test_going_on_beyond_the_sample(config, store):
    desk = open_desk(config, store)
    for number in range(12):
        desk.decide(number, Decision.APPROVE)
    assert desk.status().more == desk.population - 12
    desk.extend()
    assert len(desk.rows) == 62
    desk.decide(40, Decision.APPROVE)
    again = open_desk(config, store)
    assert len(again.rows) == 13, "what was decided beyond the sample is shown again"
    assert again.status().audit == desk.status().audit


def test_a_changed_tool_set_is_refused(config, store):
    source = config.toolset_dir / "tools.py"
    source.write_text(source.read_text().replace("Set the lights of rooms:", "Light rooms:"))
    with pytest.raises(DatasetError, match="is now"):
        open_desk(config, store)


def test_a_context_turn_says_so_and_does_not_hinder_a_fix(config, store):
    desk = open_desk(load_config(config.source, ["review.sample=500"]), store)
    number = next(n for n, row in enumerate(desk.rows) if row.context)
    shown = desk.view(number)
    assert [entry.context_only for entry in shown.entries].count(True) == 1
    assert any("recovered" in verdict.detail for verdict in shown.concerns)
    last = last_of(store, desk.rows[number].key)
    words = shown.entries[-1].text + " Anything else?"
    assert desk.check(number, [Edit(message=last, text=words)]).problems == []


def test_no_data_set(tmp_path):
    tasks = [task for task in some_tasks() if task.kind is Kind.SINGLE]
    config = make_workspace(tmp_path, tasks)
    now = load_toolset(config.toolset_dir).toolset.hash
    store_traces(config, [right_trace(task, now) for task in tasks])
    with TraceStore.open(config.store_url) as store:
        with pytest.raises(DatasetError, match="distill filter"):
            open_desk(config, store)
