from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from collect_world import make_task

from distill.errors import StoreError
from distill.traces import LedgerLine, Owed, TeacherRef, Trace, TraceStore, TurnRecord, episode_key
from distill.types import (
    AssistantMessage,
    Outcome,
    StopReason,
    Tool,
    ToolCall,
    ToolSet,
    Usage,
    UserMessage,
)

SETTINGS = {"teacher.model": "a", "collect.max_steps": 12}


def make_trace(key: str = "k1", number: int = 0, **fields: object) -> Trace:
    values = {
        "key": key,
        "task": make_task(number),
        "toolset_name": "lamps",
        "toolset_hash": "h",
        "teacher": TeacherRef(provider="anthropic", model="m", terms="mine"),
        "outcome": Outcome.COMPLETED,
        "messages": (
            UserMessage(content="hi"),
            AssistantMessage(
                tool_calls=(ToolCall(id="1", name="set_lamp", arguments="{not json"),),
                provider_state={"content": [{"type": "thinking", "signature": "xyz"}]},
            ),
        ),
        "turns": (
            TurnRecord(message=1, stop=StopReason.END, usage=Usage(input_tokens=5), cost_usd=0.5),
        ),
        "started_at": "2026-01-01T00:00:00+00:00",
        "finished_at": "2026-01-01T00:00:01+00:00",
    }
    return Trace(**(values | fields))


def line(key: str = "k1", cost: float | None = 0.5) -> LedgerLine:
    usage = Usage(input_tokens=7, cached_tokens=2, output_tokens=3)
    return LedgerLine(
        key=key, at="2026-01-01T00:00:00+00:00", provider="p", model="m", usage=usage, cost_usd=cost
    )


def add(store: TraceStore, *keys: str) -> None:
    store.add_episodes([Owed(key, f"t-{key}", 0) for key in keys])


@pytest.fixture
def store(tmp_path: Path):
    with TraceStore.open(f"sqlite:///{tmp_path}/deep/traces.db", create=True) as store:
        yield store


# --- the record --------------------------------------------------------------------------------


def test_trace_survives_its_json_unchanged():
    trace = make_trace(changes={"/a": None})
    assert Trace.model_validate_json(trace.model_dump_json()) == trace


def test_trace_sums_its_turns_and_does_not_invent_a_cost():
    turn = TurnRecord(message=1, stop=StopReason.END, usage=Usage(output_tokens=2), cost_usd=0.25)
    trace = make_trace(turns=(turn, turn))
    assert (trace.usage.output_tokens, trace.cost_usd) == (4, 0.5)
    unknown = turn.model_copy(update={"cost_usd": None})
    assert make_trace(turns=(turn, unknown)).cost_usd is None
    assert trace.calls[0].arguments == "{not json"


def test_episode_key_depends_on_everything_that_shapes_the_answer():
    base = (make_task(), "hash", {"model": "a", "temperature": None}, 0)
    others = [
        (make_task(1), *base[1:]),
        (base[0], "other", *base[2:]),
        (*base[:2], {"model": "b", "temperature": None}, 0),
        (*base[:3], 1),
    ]
    assert len({episode_key(*parts) for parts in [base, *others]}) == 5
    assert episode_key(*base) == episode_key(make_task(), "hash", dict(base[2]), 0)


# --- episodes ----------------------------------------------------------------------------------


def test_a_finished_trace_comes_back_with_its_ledger(store: TraceStore):
    add(store, "k1")
    store.finish(make_trace(), [line(), line(cost=None)])
    assert list(store.traces()) == [make_trace()]
    assert list(store.ledger()) == [line(), line(cost=None)]
    assert store.spent_usd() == 0.5
    assert store.counts().outcomes == {"completed": 1}
    assert store.done(["k1", "k2"]) == {"k1"}


def test_a_ledger_line_of_an_unknown_episode_takes_its_trace_down_with_it(store: TraceStore):
    add(store, "k1")
    with pytest.raises(StoreError):
        store.finish(make_trace(), [line("nobody")])
    assert list(store.traces()) == []
    assert list(store.ledger()) == []


def test_the_first_trace_of_an_episode_wins_but_every_call_is_booked(store: TraceStore):
    add(store, "k1")
    store.finish(make_trace(), [line()])
    store.finish(make_trace(outcome=Outcome.REFUSED), [line()])
    assert [trace.outcome for trace in store.traces()] == [Outcome.COMPLETED]
    assert store.spent_usd() == 1.0


def test_traces_come_in_the_order_of_their_tasks_whatever_finished_first(store: TraceStore):
    store.add_episodes([Owed(f"k{n}", f"t{n:04}", 0) for n in (3, 1, 2)])
    for n in (2, 3, 1):
        store.finish(make_trace(f"k{n}", n), [])
    assert [trace.key for trace in store.traces()] == ["k1", "k2", "k3"]


def test_traces_can_be_read_by_outcome_while_others_are_written(store: TraceStore):
    add(store, "k1", "k2", "k3")
    store.finish(make_trace("k1"), [])
    store.finish(make_trace("k2", outcome=Outcome.TRUNCATED), [])
    reading = store.traces(Outcome.TRUNCATED)
    assert next(reading).key == "k2"
    store.finish(make_trace("k3"), [])
    assert list(reading) == []


def test_an_episode_is_leased_to_one_owner_at_a_time(store: TraceStore):
    add(store, "k1", "k2", "k3")
    assert store.lease("a", ["k2", "k1"], 60) == ["k2", "k1"]
    assert store.lease("b", ["k1", "k2", "k3"], 60) == ["k3"]
    assert sorted(store.owners()) == ["a", "b"]
    store.release("a")
    assert store.lease("b", ["k1", "k2", "k3"], 60) == ["k1", "k2"]


def test_a_lease_that_ran_out_is_free_and_a_renewed_one_is_not(store: TraceStore):
    add(store, "k1")
    store.lease("a", ["k1"], -1)
    assert store.lease("b", ["k1"], -1) == ["k1"]
    store.renew("b", 60)
    assert store.lease("c", ["k1"], 60) == []


def test_a_done_episode_is_never_leased(store: TraceStore):
    add(store, "k1")
    store.finish(make_trace(), [])
    add(store, "k1")
    assert store.lease("a", ["k1"], 60) == []


def test_a_given_up_episode_is_free_again_and_its_calls_are_booked(store: TraceStore):
    add(store, "k1")
    store.lease("a", ["k1"], 60)
    store.write([], ["k1"], [line()])
    assert store.lease("b", ["k1"], 60) == ["k1"]
    assert store.spent_usd() == 0.5


def test_an_episode_that_ended_as_an_error_can_be_owed_again(store: TraceStore):
    add(store, "k1", "k2")
    store.finish(make_trace("k1", outcome=Outcome.ERROR, error="no"), [line("k1")])
    store.finish(make_trace("k2"), [])
    assert store.done(["k1", "k2"]) == {"k2"}
    assert store.reopen(["k1", "k2"]) == {"k1"}
    assert (store.counts().pending, store.counts().done) == (1, 1)
    store.finish(make_trace("k1"), [])
    assert [trace.outcome for trace in store.traces()] == [Outcome.COMPLETED] * 2


def test_many_keys_do_not_exceed_what_one_statement_takes(store: TraceStore):
    keys = [f"k{n}" for n in range(3000)]
    add(store, *keys)
    assert store.lease("a", keys, 60) == keys
    assert store.done(keys) == set()


# --- what traces have in common ----------------------------------------------------------------


def test_changed_settings_are_refused_by_name_with_both_values(store: TraceStore):
    store.bind(SETTINGS)
    store.bind(dict(reversed(SETTINGS.items())))
    with pytest.raises(StoreError) as caught:
        store.bind({**SETTINGS, "teacher.model": "b"})
    message = str(caught.value)
    assert 'teacher.model was "a", is now "b"' in message
    assert "max_steps" not in message
    assert "collect.store" in message
    assert store.settings()["teacher.model"] == "a"


def test_a_tool_set_is_kept_by_its_hash(store: TraceStore):
    toolset = ToolSet(
        name="lamps", tools=(Tool(name="t", description="d", parameters={}),), system="s"
    )
    store.add_toolset(toolset)
    store.add_toolset(toolset)
    assert store.get_toolset(toolset.hash) == toolset
    with pytest.raises(StoreError, match="no tool set 'beef'"):
        store.get_toolset("beef")


# --- the file ----------------------------------------------------------------------------------


def test_sqlite_is_set_up_to_be_shared(store: TraceStore):
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_missing_store_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(StoreError, match=r"no trace store at .*none\.db.*distill collect"):
        TraceStore.open(f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, create: bool):
    path = tmp_path / "notes.db"
    path.write_text("shopping list\n" * 100)
    with pytest.raises(StoreError, match=r"notes\.db.*not a database.*collect\.store"):
        TraceStore.open(f"sqlite:///{path}", create=create)
    assert path.read_text().startswith("shopping list")


def test_another_programs_database_is_not_a_trace_store(tmp_path: Path):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(StoreError, match="is not a trace store"):
        TraceStore.open(f"sqlite:///{path}")


def test_a_store_of_another_schema_is_refused(tmp_path: Path, store: TraceStore):
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE meta SET value='99' WHERE key='schema'"))
    with pytest.raises(StoreError, match="has schema 99"):
        TraceStore.open(str(store.engine.url))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot make the folder.*collect\.store"):
        TraceStore.open(f"sqlite:///{tmp_path}/file/traces.db", create=True)


def test_a_url_without_a_driver_does_not_show_its_password():
    with pytest.raises(StoreError) as caught:
        TraceStore.open("nosuchdb://user:hunter2@host/db", create=True)
    assert "hunter2" not in str(caught.value)


def limit_pages(store: TraceStore, pages: int) -> None:
    """Make the database full, as a disk would: the engine refuses to grow the file."""
    store.engine.dispose()

    @sa.event.listens_for(store.engine, "connect")
    def _limit(connection, _):
        connection.execute(f"PRAGMA max_page_count={pages}")


def test_a_full_disk_is_one_line_and_loses_nothing_stored_before(store: TraceStore):
    keys = [f"k{n}" for n in range(50)]
    add(store, *keys)
    with store.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    limit_pages(store, pages + 10)
    stored = []
    with pytest.raises(StoreError, match=r"full; free some space.*resume") as caught:
        for key in keys:
            store.finish(make_trace(key), [line(key)])
            stored.append(key)
    assert "\n" not in str(caught.value)
    assert 0 < len(stored) < 50
    assert {trace.key for trace in store.traces()} == set(stored)
    assert {entry.key for entry in store.ledger()} == set(stored)
    limit_pages(store, 100_000)
    store.finish(make_trace(keys[-1]), [line(keys[-1])])
    assert store.counts().done == len(stored) + 1
