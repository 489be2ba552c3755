"""What depends on more than one trace, and what is done to a trace before it is judged."""

import importlib.util
import json
import random
import re

import numpy as np
import pytest
from filter_world import calling, light, make_task, make_trace, make_workspace, store_traces
from review_world import disagreeing

from distill.config import AugmentConfig, FilterConfig, RenamesConfig, load_config
from distill.dataset import DatasetInfo, read_examples, read_info, read_rows
from distill.errors import ConfigError
from distill.filter import Rules, Sieve, build_dataset, explain, judge_for, reverify
from distill.filter.assembly import Assembly
from distill.filter.assembly import Decision as Fate
from distill.filter.augment import augmented
from distill.filter.balance import balanced, quotas
from distill.filter.card import warnings
from distill.filter.contamination import Suite, Suites, leaks, suites
from distill.filter.drift import Drift
from distill.filter.privacy import PERSONAL, SECRET, found_in, masked
from distill.filter.screening import screen
from distill.review import Desk
from distill.similarity import Nearby, request_words, sketch_of
from distill.toolsets import load_toolset, validate_arguments
from distill.traces import TraceStore
from distill.traces.reviews import Correction, Decision, Review, ReviewStore
from distill.types import (
    AssistantMessage,
    Example,
    Expectation,
    Offer,
    Tool,
    ToolCall,
    ToolSet,
    UserMessage,
)

ROOM = {"type": "string", "enum": ["hall", "office"]}
LIGHT = Tool(
    name="set_light",
    description="Dim.",
    parameters={
        "type": "object",
        "properties": {"room": ROOM, "percent": {"type": "integer", "description": "How much."}},
        "required": ["room"],
    },
)
TOOLS = ToolSet(name="lamps", tools=(LIGHT,))
RULES = Rules(TOOLS)
OPEN = make_task("o", "Dim the hall to 30% or the office to 40%", None)
HALL = ("set_light", {"room": "hall", "percent": 30})
OFFICE = ("set_light", {"room": "office", "percent": 40})
TASK = make_task("t", "Dim the hall", calling(light("hall", 30)))


def trace(*turns, task=TASK, key="k", rules=RULES, **fields):
    return make_trace(task, rules.toolset.hash, *turns, key=key, **fields)


def fates(traces, suite=None, rules=RULES, **settings):
    """Key -> `kept` or the code it was dropped for, of traces that are all for training."""
    with Assembly(FilterConfig(**settings), [], Suites([suite] if suite else [])) as assembly:
        assembly.take(screen((one.model_dump_json() for one in traces), rules, [], {}))
        decisions = assembly.decide(dict.fromkeys((one.task.family for one in traces), "train"))
        failures = [
            next((v.code for v in (*one.verdicts, *made.verdicts) if not v.ok), "kept")
            for one, made in zip(assembly.screened(), decisions, strict=True)
        ]
        return dict(zip((one.key for one in traces), failures, strict=True))


# --- duplicates -----------------------------------------------------------------------------------


def test_exact_duplicates_differ_only_in_ids_and_spelling_of_arguments():
    again = [("set_light", '{"percent":30,   "room":"hall"}')]
    found = fates(
        [
            trace([[OFFICE], "Done."], key="bad"),
            trace([[HALL], "Done."], key="first"),
            trace([again, "Done."], key="again"),
            trace([[HALL], "Finished."], key="other words"),
        ]
    )
    assert found == {
        "bad": "wrong_arguments",
        "first": "kept",
        "again": "exact_duplicate",
        "other words": "kept",
    }


def test_near_duplicates_share_almost_all_they_say():
    words = " ".join(f"word{n}" for n in range(60))
    traces = [
        trace([[HALL], f"Done. {words}"], key="first"),
        trace([[HALL], f"Done! {words} indeed"], key="near"),
        trace([[HALL], f"Done. {words[::-1]}"], key="far"),
    ]
    assert fates(traces) == {"first": "kept", "near": "near_duplicate", "far": "kept"}
    assert set(fates(traces, near_duplicates=None).values()) == {"kept"}


# --- agreement ------------------------------------------------------------------------------------


def samples(*steps, task=OPEN):
    return [
        trace([[one], " ".join(f"w{n}{i}" for i in range(30))], task=task, key=f"s{n}", sample=n)
        for n, one in enumerate(steps)
    ]


def test_without_expectations_the_majority_is_right():
    found = fates(samples(HALL, OFFICE, HALL))
    assert found == {"s0": "kept", "s1": "minority", "s2": "kept"}


def test_where_there_is_no_majority_nothing_is_kept():
    assert set(fates(samples(HALL, OFFICE)).values()) == {"minority"}
    assert set(fates(samples(HALL, OFFICE), agreement=0.5).values()) == {"kept"}


def test_an_expectation_outweighs_the_majority():
    found = fates(samples(OFFICE, OFFICE, HALL, task=TASK))
    assert found["s2"] == "kept"


def test_rows_weigh_as_much_as_their_share(tmp_path):
    tasks = [make_task(f"o{n}", f"{OPEN.turns[0].content}, {n}", None) for n in range(12)]
    config = make_workspace(tmp_path, tasks)
    now = load_toolset(config.toolset_dir).toolset.hash
    store_traces(
        config,
        [
            make_trace(t, now, [[step], f"Done {n}."], key=f"{t.id}/{n}", sample=n, changes={})
            for t in tasks
            for n, step in enumerate((HALL, HALL, OFFICE))
        ],
    )
    build_dataset(config)
    rows = read_examples(config.dataset_dir / "train.jsonl")
    assert rows and all(row.weights == (0.667, 0.667) for row in rows)
    assert rows[0].meta["agreement"] == 0.667


def test_disputed_rows_are_reviewed_first_and_an_approved_one_weighs_in_full(tmp_path):
    config = disagreeing(tmp_path)
    with TraceStore.open(config.store_url) as store:
        desk = Desk(config, store, "ann", judge_for(config))
        assert [row.disputed for row in desk.rows[:4]] == [True, True, True, False]
        assert desk.view(0).agreement == 0.667
        desk.decide(0, Decision.APPROVE)
        desk.decide(1, Decision.REJECT, "wrong_tool")
        desk.decide(3, Decision.APPROVE)
        status = desk.status()
        info = build_dataset(config).info
        assert info.audit == status.audit and info.audit.disputed.wrong == 1
        again = Desk(config, store, "ann", judge_for(config))
        assert [row.key for row in again.rows] == [row.key for row in desk.rows]
        assert again.status() == status
    rows = [
        row
        for name in ("train.jsonl", "validation.jsonl")
        for row in read_examples(config.dataset_dir / name)
    ]
    weights = {row.meta["key"]: row.weights for row in rows}
    assert weights[desk.rows[0].key] == (1, 1) and weights[desk.rows[2].key] == (0.667, 0.667)
    card = (config.dataset_dir / "README.md").read_text()
    assert f"Of the {info.audit.disputed.rows} rows whose samples disagree 2 were reviewed" in card


def test_a_mended_sample_still_counts_as_what_the_teacher_did(tmp_path):
    tasks = [make_task(f"o{n}", f"{OPEN.turns[0].content}, {n}", None) for n in range(12)]
    config = make_workspace(tmp_path, tasks)
    now = load_toolset(config.toolset_dir).toolset.hash
    traces = [
        make_trace(t, now, [[HALL], f"Done {n}."], key=f"{t.id}/{n}", sample=n, changes={})
        for t in tasks
        for n in range(2)
    ]
    store_traces(config, traces)
    build_dataset(config)
    key = read_examples(config.dataset_dir / "train.jsonl")[0].meta["key"]
    mended = make_trace(tasks[0], now, [[OFFICE], "Done."], key=key, changes={})
    original = next(trace for trace in traces if trace.key == key)
    messages = (*original.messages[:2], *mended.messages[2:])
    with TraceStore.open(config.store_url) as store:
        reviews = ReviewStore(store)
        reviews.create()
        fix = Correction(messages=messages, changes={})
        reviews.decide(Review(key=key, reviewer="ann", verdict=Decision.FIX, correction=fix))
    build_dataset(config)
    row = next(
        row for row in read_examples(config.dataset_dir / "train.jsonl") if row.meta["key"] == key
    )
    assert row.weights == (1, 1) and "agreement" not in row.meta
    assert "office" in row.messages[2].tool_calls[0].arguments


# --- mix ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("available", "wanted", "kept"),
    [
        ({"single": 90, "chat": 10}, {"chat": 0.2}, {"single": 40, "chat": 10}),
        ({"single": 90, "chat": 10}, {"chat": 0.1}, {"single": 90, "chat": 10}),
        ({"single": 99, "chat": 1}, {"chat": 0.5}, {"single": 25, "chat": 1}),
        ({"single": 50, "chat": 50}, {"chat": 0.0}, {"single": 50, "chat": 0}),
        ({"a": 60, "b": 30, "c": 10}, {"a": 0.5}, {"a": 40, "b": 30, "c": 10}),
    ],
)
def test_quotas(available, wanted, kept):
    assert quotas(available, wanted) == kept


def test_a_mix_above_one_is_refused(tmp_path):
    config = make_workspace(tmp_path, [TASK])
    with pytest.raises(ConfigError, match="sum to more than 1"):
        load_config(config.source, ["filter.mix={single: 0.8, chat: 0.4}"])


def test_the_mix_is_reached_and_shown(tmp_path):
    tasks = [make_task(f"c{n}", f"Dim {n}", calling(light("hall", n))) for n in range(30)]
    chat = Expectation(action="answer")
    tasks += [make_task(f"h{n}", f"Hello {n}", chat, kind="chat") for n in range(10)]
    config = make_workspace(tmp_path, tasks, "filter: {mix: {chat: 0.5}}\n")
    now = load_toolset(config.toolset_dir).toolset.hash
    store_traces(
        config,
        [
            make_trace(
                t,
                now,
                [[("set_light", c.arguments) for c in t.turns[0].expectation.calls], "Done."]
                if t.kind != "chat"
                else ["Hi."],
                changes={},
            )
            for t in tasks
        ],
    )
    kinds = build_dataset(config).info.kinds["train"]
    assert kinds["single"] - kinds["chat"] <= 4  # thinned, to half of all rows at most
    card = (config.dataset_dir / "README.md").read_text()
    assert "| chat | 50% |" in card
    dropped = {row["code"] for _, row in read_rows(config.dataset_dir / "rejects.jsonl")}
    assert dropped == {"in_excess"}


def test_tools_that_too_many_rows_call_are_thinned():
    def row(key, *tools, fate="train"):
        return Fate(key, "single", fate, (), None, tools)

    common = [row(f"common-{n}", "set_light") for n in range(50)]
    rare = [row(f"rare-{n}", "get_light") for n in range(5)]
    both = [row(f"both-{n}", "get_light", "set_light") for n in range(3)]
    words = [row(f"words-{n}") for n in range(40)]
    held = [row(f"held-{n}", "set_light", fate="test") for n in range(20)]
    rows = [*common, *rare, *both, *words, *held]
    found = balanced(rows, FilterConfig(tool_rows=10))
    assert [one.key for one in found] == [one.key for one in rows]
    dropped = [one for one in found if one.fate == "dropped"]
    assert {one.failure.code for one in dropped} == {"tool_in_excess"}
    assert all(one.key.startswith("common") for one in dropped)
    kept = [one for one in found if one.fate == "train" and "set_light" in one.tools]
    assert 10 <= len(kept) <= 13  # rows that also call the rare tool stay
    assert balanced(list(reversed(rows)), FilterConfig(tool_rows=10)) == list(reversed(found))
    assert balanced(rows, FilterConfig()) == rows


@pytest.mark.parametrize(
    ("rows", "mix", "told"),
    [
        (
            {"single": 90, "chat": 10},
            {"chat": 0.2},
            "10% .* kind chat, 20% were wanted; it takes 13",
        ),
        ({"single": 100}, {"chat": 0.01}, "0% .* kind chat, 1% were wanted; it takes 2 rows more"),
        ({"single": 40, "chat": 60}, {"chat": 0.2}, "60% .* 20% were wanted; kinds are thinned to"),
        ({"single": 40, "chat": 60}, {"chat": 1.0}, "60% .* kinds that filter.mix does not name"),
        ({"single": 81, "chat": 19}, {"chat": 0.2}, None),
    ],
)
def test_what_the_mix_cannot_reach_is_said(rows, mix, told):
    counts = {"train": sum(rows.values()), "validation": 0, "cases": 1, "rejects": 0}
    info = DatasetInfo(
        name="lamps", toolset="lamps", toolset_hash="", teacher="big", terms=None, traces=100,
        counts=counts, kinds={"train": rows}, rejected={}, mix=mix, hash="",
    )  # fmt: skip
    found = [text for text in warnings(info, []) if "wanted" in text]
    assert bool(found) == bool(told)
    assert not told or re.search(told, found[0])


# --- near-duplicates ------------------------------------------------------------------------------


def test_nearby_finds_what_comparing_all_would():
    rng = random.Random(0)
    texts = []
    for _ in range(60):
        words = [f"w{rng.randrange(5000)}" for _ in range(80)]
        for _ in range(rng.randrange(1, 12)):
            texts.append(" ".join(w if rng.random() > 0.01 else "x" for w in words))
    near, seen = Nearby(0.9), {}
    hits = 0
    for number, text in enumerate(texts):
        sketch = sketch_of([text])
        values = np.frombuffer(sketch, dtype=np.uint32)
        alike = [n for n, other in seen.items() if (other == values).mean() >= 0.9]
        assert near.find(sketch) == min(alike, default=None)
        hits += bool(alike)
        near.add(f"{number:04}", sketch)
        seen[f"{number:04}"] = values
    assert 50 < hits < len(texts) and len(texts) > 256  # the table of sketches has grown


# --- contamination --------------------------------------------------------------------------------


def test_rows_that_ask_what_a_suite_asks_are_dropped():
    suite = Suite("mine")
    long = "Please dim the lights in the hall to thirty percent before our guests arrive"
    for n, text in enumerate(("Dim the hall", long)):
        suite.add_task(make_task(f"c{n}", text, calling(light("hall", 30))))
    near = make_task("n", f"{long} tonight", calling(light("hall", 30)))
    other = make_task("f", "Light in the hall", calling(light("hall", 30)))
    found = fates(
        [
            trace([[HALL], "Done."], key="same"),
            trace([[HALL], "Done."], key="near", task=near),
            trace([[HALL], "Done."], key="other", task=other),
        ],
        suite,
    )
    assert found == {"same": "shared_request", "near": "shared_request", "other": "kept"}


def test_suites_are_the_case_files_of_the_workspace(tmp_path):
    cases = tmp_path / "eval" / "mine" / "cases.jsonl"
    results = tmp_path / "eval" / "results" / "x" / "answers.jsonl"
    for path in (cases, results):
        path.parent.mkdir(parents=True)
        path.write_text(TASK.model_dump_json() + "\nnot json\n")
    found = [
        s for s in suites(tmp_path / "eval", None, tmp_path / "own").suites if s.name != "bfcl"
    ]
    assert [(suite.name, suite.requests) for suite in found] == [("mine", {"dim the hall"})]
    assert len(found[0].calls) == 1


def test_bfcl_is_read_where_it_is_installed(tmp_path):
    if importlib.util.find_spec("bfcl_eval") is None:  # its import makes folders
        pytest.skip("bfcl-eval is not installed")
    found = suites(tmp_path, None, tmp_path).suites[-1]
    assert found.name == "bfcl" and len(found.requests) > 3000 and len(found.calls) > 1000
    question = "Find the area of a triangle with a base of 10 units and height of 5 units."
    assert found.find(*_request(question))


def _request(text):
    return request_words(text), sketch_of([text])


def test_leaks_are_counted():
    said = "Please dim the lights in the hall to thirty percent for the evening"
    cases = [make_task("a", said + " now", None), make_task("b", "Something else", None)]
    assert leaks(cases, [_request(said)]) == 1


# --- drift ----------------------------------------------------------------------------------------


def older(**changes):
    """The tools as they were: `dim` with `where`, and whatever else is changed."""
    properties = {"where": ROOM, "percent": {"type": "integer", "description": "Otherwise worded"}}
    parameters = {"type": "object", "properties": properties, "required": ["where"]} | changes
    return ToolSet(name="lamps", tools=(Tool(name="dim", description="D", parameters=parameters),))


RENAMES = RenamesConfig(tools={"dim": "set_light"}, parameters={"set_light": {"where": "room"}})


def old_trace(toolset):
    task = make_task(
        "t",
        "Dim the hall to 30",
        calling(light("hall", 30).model_copy(
            update={"name": "dim", "arguments": {"where": "hall", "percent": 30}}
        )),
    )  # fmt: skip
    calls = [("dim", {"where": "hall", "percent": 30})]
    return make_trace(task, toolset.hash, [calls, "Done."])


def test_traces_from_before_a_mapped_rename_are_migrated():
    rules = Rules(TOOLS, drift=Drift(TOOLS, [older()], RENAMES))
    judgement = Sieve(rules).judge(old_trace(older()))
    assert judgement.failure is None
    call = judgement.subject.trace.calls[0]
    assert (call.name, call.parsed()) == HALL
    assert judgement.subject.trace.task.turns[0].expectation.calls[0].name == "set_light"


def test_what_a_task_offers_is_renamed_too():
    old = old_trace(older())
    offer = Offer(names=("dim", "lock"), extra=(LIGHT.model_copy(update={"name": "lock"}),))
    old = old.model_copy(update={"task": old.task.model_copy(update={"offer": offer})})
    judgement = Sieve(Rules(TOOLS, drift=Drift(TOOLS, [older()], RENAMES))).judge(old)
    assert judgement.failure is None
    assert [tool.name for tool in judgement.subject.toolset.tools] == ["set_light", "lock"]


@pytest.mark.parametrize(
    ("before", "renames", "reason"),
    [
        (older(), None, "filter.renames maps nothing"),
        (older(), RenamesConfig(), "tool 'dim' is gone"),
        (older(required=[]), RENAMES, "the parameters of 'set_light' changed"),
    ],
)
def test_traces_of_other_tools_are_dropped_with_the_reason(before, renames, reason):
    rules = Rules(TOOLS, drift=Drift(TOOLS, [before], renames))
    failure = Sieve(rules).judge(old_trace(before)).failure
    assert failure.code == "drift" and failure.detail.endswith(reason)


# --- privacy --------------------------------------------------------------------------------------

PRIVATE = {
    "email": "jo.doe@shop.io",
    "phone": "+49 30 901820",
    "card": "4111 1111 1111 1111",
    "secret": "ghp_0123456789abcdefghijABCDEFGHIJ012345",
}


@pytest.mark.parametrize("kind", PRIVATE)
def test_private_data_is_masked_the_same_everywhere(kind):
    value = PRIVATE[kind]
    task = make_task("p", f"Note {value}", calling(light("hall", 30)))
    one = trace([[("set_light", {"room": value})], f"Noted {value}."], task=task)
    kinds = frozenset({*PERSONAL, SECRET})
    assert {found.kind for _, found in found_in(one, kinds)} == {kind}
    safe = masked(one, kinds)
    assert value not in safe.model_dump_json()
    stand_in = safe.calls[0].parsed()["room"]
    assert safe.messages[-1].content == f"Noted {stand_in}."
    assert safe.task.turns[0].content == f"Note {stand_in}"
    assert safe == masked(one, kinds)


def test_private_data_does_not_hide_behind_escapes():
    arguments = json.dumps({"room": "jo.doe@shop.io"}).replace("@", "\\u0040")
    one = trace([[("set_light", arguments)], "Noted."])
    assert "@" not in one.calls[0].arguments
    assert [found.value for _, found in found_in(one, frozenset(PERSONAL))] == ["jo.doe@shop.io"]
    assert masked(one, frozenset(PERSONAL)).calls[0].parsed()["room"].endswith("@example.com")


def test_private_data_is_dropped_or_kept_as_the_config_says():
    one = trace([[HALL], f"Write to {PRIVATE['email']}."])
    assert Sieve(RULES).judge(one).failure is None
    assert Sieve(Rules(TOOLS, personal="drop")).judge(one).failure.code == "email"
    assert Sieve(Rules(TOOLS, personal="mask")).judge(one).failure is None


# --- turns before a fault -------------------------------------------------------------------------

TWO = make_task("two", "Dim the hall", calling(light("hall", 30)), calling(light("office", 40)))


@pytest.mark.parametrize(
    ("second", "code"),
    [
        ([[HALL], "Done."], "wrong_arguments"),
        ([[("set_light", {"percent": 40})], "Done."], "schema_violation"),
        ([[("dim", {})], "Done."], "unknown_tool"),
    ],
)
def test_user_turns_before_a_fault_are_kept(second, code):
    judgement = Sieve(RULES).judge(trace([[HALL], "Done."], second, task=TWO))
    assert judgement.failure is None and judgement.cut.code == code
    assert len(judgement.subject.messages) == 5
    assert judgement.subject.messages[-1].content == "Done."


def test_a_fault_in_the_first_turn_or_in_the_end_state_drops_the_trace():
    first = trace([[OFFICE], "Done."], [[OFFICE], "Done."], task=TWO)
    assert Sieve(RULES).judge(first).failure.code == "wrong_arguments"
    state = TWO.model_copy(update={"end_state": {"/levels/hall": 30}})
    wrong = trace([[HALL], "Done."], [[OFFICE], "Done."], task=state, changes={})
    assert Sieve(RULES).judge(wrong).failure.code == "wrong_end_state"


# --- runs on a workspace --------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path):
    tasks = [
        make_task(
            f"c{n}",
            f"Way {n} to dim",
            calling(light("hall", n)),
            end_state={"/levels/hall": n},
        )
        for n in range(1, 13)
    ]
    config = make_workspace(tmp_path, tasks)
    now = load_toolset(config.toolset_dir).toolset.hash
    results = {t.id: {"percent": n} for n, t in enumerate(tasks, 1)}
    traces = []
    for task in tasks:
        calls = [("set_light", c.arguments) for c in task.turns[0].expectation.calls]
        one = make_trace(task, now, [calls, "Done."])
        content = json.dumps(results[task.id])
        result = one.messages[3].model_copy(update={"content": content})
        traces.append(
            one.model_copy(update={"messages": (*one.messages[:3], result, one.messages[4])})
        )
    wrong = traces[0].messages[3].model_copy(update={"content": '{"percent": 99}'})
    spoilt = (*traces[0].messages[:3], wrong, traces[0].messages[4])
    traces[0] = traces[0].model_copy(update={"messages": spoilt})
    store_traces(config, traces)
    return config


def test_replay_finds_results_the_tools_do_not_give(config):
    assert build_dataset(config).info.rejected == {}
    replaying = load_config(config.source, ["filter.replay=true"])
    assert build_dataset(replaying).info.rejected == {"execution/other_result": 1}
    verdict = explain(replaying, "c1")[0].failure
    assert '{"percent": 99} then, {"percent": 1} now' in verdict.detail


def test_reverify_says_what_is_judged_otherwise_and_writes_nothing(config):
    build_dataset(config)
    before = (config.dataset_dir / "train.jsonl").read_bytes()
    assert reverify(config) == []
    stricter = load_config(config.source, ["filter.replay=true"])
    changes = reverify(stricter)
    assert [(one.task, one.before, one.now) for one in changes] == [
        ("c1", "kept", "execution/other_result")
    ]
    assert (config.dataset_dir / "train.jsonl").read_bytes() == before


def test_augmented_rows_hide_names_and_stay_consistent(config):
    settings = ["filter.augment.mask_names=1", "filter.augment.shuffle_tools=true"]
    build_dataset(load_config(config.source, settings))
    rows = read_examples(config.dataset_dir / "train.jsonl")
    orders = set()
    for row in rows:
        tools = {tool.name: tool for tool in row.tools}
        orders.add(tuple(tool.description for tool in row.tools))
        calls = [c for m in row.messages if m.role == "assistant" for c in m.tool_calls]
        assert row.meta["masked"] and not tools.keys() & {"set_light", "get_light"}
        for call in calls:
            assert call.parsed().keys() <= tools[call.name].parameters["properties"].keys()
            assert next(iter(call.parsed().values())) == "hall"
    assert len(orders) > 1
    first = (config.dataset_dir / "train.jsonl").read_bytes()
    build_dataset(load_config(config.source, settings))
    assert (config.dataset_dir / "train.jsonl").read_bytes() == first
    plain = read_examples(config.dataset_dir / "validation.jsonl")
    assert all(row.tools[0].name == "set_light" for row in plain)


def test_names_are_masked_where_a_parameter_is_required_but_not_described():
    loose = {"type": "object", "properties": {"room": ROOM}, "required": ["room", "why"]}
    tool = Tool(name="set_light", description="Dim.", parameters=loose)
    call = ToolCall(id="c", name="set_light", arguments='{"room": "hall", "why": "dusk"}')
    row = Example(
        messages=(UserMessage(content="Dim"), AssistantMessage(tool_calls=(call,))),
        tools=(tool,),
        weights=(1.0,),
        meta={"key": "k"},
    )
    found = augmented(row, AugmentConfig(mask_names=1), [])
    (made,) = found.messages[1].tool_calls
    assert validate_arguments(found.tools[0], made.parsed()) is None
    assert "room" not in made.arguments and made.parsed()["why"] == "dusk"


def test_several_processes_write_the_same_bytes(config, monkeypatch):
    build_dataset(config)
    first = {p.name: p.read_bytes() for p in config.dataset_dir.iterdir()}
    monkeypatch.setattr("distill.filter.screening.ALONE", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    build_dataset(config)
    assert {p.name: p.read_bytes() for p in config.dataset_dir.iterdir()} == first
    assert read_info(config.dataset_dir).traces == 12
