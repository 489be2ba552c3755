"""The gateway in front of a model server that errs as told: over HTTP, with the real SDK."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time

import httpx2
import openai
import pytest
from starlette.responses import JSONResponse, Response, StreamingResponse

from distill.config import Prices, TeacherConfig, load_config
from distill.dataset import read_examples
from distill.endpoint import bound_socket, listening
from distill.filter import build_dataset
from distill.serve.gateway import app as app_module
from distill.serve.gateway.check import find_problem
from distill.serve.gateway.exchange import Ask
from distill.serve.gateway.keep import Budget, Keeper
from distill.teachers import create_teacher
from distill.traces import TraceStore
from distill.types import Outcome
from tests.unit.gateway_world import (
    LAMP,
    RIGHT,
    WRONG,
    Model,
    asked,
    calls,
    gateway,
    pieces,
    says,
    stream,
)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.INFO, "distill.gateway")


@pytest.fixture(scope="module")
def plain():
    """A gateway that only looks."""
    with gateway() as world:
        yield world


def called(name, arguments):
    return {"name": name, "arguments": arguments}


ROWS = [{"id": f"call_{n}", "type": "function", "function": called(*RIGHT)} for n in range(2)]


def post(world, body, **headers):
    with httpx2.Client(timeout=30) as client:
        return client.post(f"{world.url}/v1/chat/completions", json=body, headers=headers)


def events(reply):
    lines = [line for line in reply.text.splitlines() if line.startswith("data: ")]
    return [line.removeprefix("data: ") for line in lines]


def streamed_call(reply):
    """Put together what a stream said: (model, words, calls, last chunk's mark)."""
    chunks = [json.loads(item) for item in events(reply)[:-1]]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    words = "".join(delta.get("content") or "" for delta in deltas)
    made: dict[int, list[str]] = {}
    for delta in deltas:
        for piece in delta.get("tool_calls") or ():
            name_arguments = made.setdefault(piece["index"], ["", ""])
            name_arguments[0] += piece["function"].get("name") or ""
            name_arguments[1] += piece["function"].get("arguments") or ""
    assert events(reply)[-1] == "[DONE]"
    return chunks[-1]["model"], words, list(map(tuple, made.values())), chunks[-1].get("distill")


# --- passing through --------------------------------------------------------------------------


def test_a_fit_answer_leaves_as_it_came(plain):
    plain.model.answers = [calls(RIGHT)]
    reply = post(plain, asked(temperature=0))
    assert reply.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "set_lamp"
    assert reply.headers["x-distill-model"] == "student"
    assert reply.headers["x-distill-route"] == "direct"
    assert "x-distill-problem" not in reply.headers
    assert plain.model.bodies[-1] == asked(temperature=0)


def test_a_refusal_of_vllm_is_passed_on(plain):
    plain.model.answers = [lambda body: JSONResponse({"error": {"message": "too long"}}, 400)] * 2
    for stream_ in (False, True):
        reply = post(plain, asked(stream=stream_))
        assert (reply.status_code, reply.json()["error"]["message"]) == (400, "too long")


def test_a_fit_stream_leaves_as_it_came(plain):
    plain.model.answers = [calls(RIGHT, RIGHT, content="I dim it.")]
    reply = post(plain, asked(stream=True))
    sent = events(reply)
    message = {"content": "I dim it.", "tool_calls": ROWS}
    assert sent == pieces(message, "tool_calls", "student")
    assert reply.headers["content-type"].startswith("text/event-stream")


def test_the_observing_field_is_for_the_gateway_alone(plain):
    plain.model.answers = [calls(RIGHT)]
    post(plain, asked(distill_observe=True))
    assert plain.model.bodies[-1] == asked()


def test_a_client_that_leaves_stops_the_model(plain):
    with httpx2.Client(timeout=0.2) as client, pytest.raises(httpx2.ReadTimeout):
        client.post(f"{plain.url}/v1/completions", json={"model": "student", "prompt": "a"})
    deadline = time.monotonic() + 2
    while not plain.model.left and time.monotonic() < deadline:
        time.sleep(0.01)
    assert plain.model.left == 1


def test_a_client_that_leaves_a_call_that_is_held_back_stops_the_model(plain):
    left = threading.Event()

    def endless(body):
        async def chunks():
            head, call, *_ = pieces({"content": "", "tool_calls": ROWS[:1]}, "stop", "student")
            yield f"data: {head}\n\n"
            try:
                while True:
                    yield f"data: {call}\n\n"
                    await asyncio.sleep(0.01)
            finally:
                left.set()

        return StreamingResponse(chunks(), media_type="text/event-stream")

    plain.model.answers = [endless]
    with httpx2.Client(timeout=0.3) as client, pytest.raises(httpx2.ReadTimeout):
        client.post(f"{plain.url}/v1/chat/completions", json=asked(stream=True))
    assert left.wait(5)


def test_words_stream_unseen_where_no_tool_is_on_offer(plain):
    body = {"model": "student", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    plain.model.answers = [says("Hi there"), lambda body: stream(['{"choices": []}', "odd"])]
    assert streamed_call(post(plain, body))[1] == "Hi there "
    assert events(post(plain, body))[:2] == ['{"choices": []}', "odd"]


# --- what is wrong is named -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code", "detail"),
    [
        (calls(WRONG), "schema_violation", "'dim' is not of type 'integer'"),
        (calls(("set_lamb", "{}")), "unknown_tool", "no tool is called 'set_lamb'"),
        (calls(("set_lamp", '{"room": ')), "malformed_arguments", "set_lamp"),
        (calls(RIGHT, WRONG), "schema_violation", "level"),
        (says('<tool_call>{"name": "set_lamp"}'), "unparsed_call", "<tool_call>"),
        (says('<tool_call>{"na', finish="length"), "truncated_call", "token limit"),
        (says(None, finish="length"), "truncated_call", "before any word or call"),
        (says(None), "empty_answer", "neither a word nor a call"),
    ],
)
def test_an_unfit_answer_is_marked(plain, answer, code, detail):
    plain.model.answers = [answer] * 2
    reply = post(plain, asked())
    assert reply.headers["x-distill-problem"] == code
    assert reply.json()["distill"]["code"] == code
    assert detail in reply.json()["distill"]["detail"]
    mark = streamed_call(post(plain, asked(stream=True)))[3]
    assert mark["code"] == code


@pytest.mark.parametrize(
    ("choice", "answer", "code"),
    [
        ("required", says("No."), "missing_call"),
        ({"type": "function", "function": {"name": "other"}}, calls(RIGHT), "wrong_tool"),
        ("auto", says("No."), None),
    ],
)
def test_tool_choice_is_held_to(plain, choice, answer, code):
    plain.model.answers = [answer]
    reply = post(plain, asked(tool_choice=choice))
    assert reply.headers.get("x-distill-problem") == code


def test_words_are_not_calls_where_no_tool_is_on_offer(plain):
    plain.model.answers = [says("Write <tool_call> yourself")]
    body = {"model": "student", "messages": [{"role": "user", "content": "How?"}]}
    assert "x-distill-problem" not in post(plain, body).headers


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_schema_that_points_elsewhere_is_not_followed():
    elsewhere = Model()
    sock = bound_socket("127.0.0.1", 0)
    with listening(elsewhere.app(), sock):
        far = {"$ref": f"http://127.0.0.1:{sock.getsockname()[1]}/schema.json"}
        tool = {"type": "function", "function": {"name": "set_lamp", "parameters": far}}
        message = {"tool_calls": [{"id": "1", "function": called(*RIGHT)}]}
        answer = [{"message": message, "finish_reason": "stop"}]
        assert find_problem(Ask(asked(tools=[tool])), answer) is None
    assert elsewhere.paths == []


# --- what is done about it --------------------------------------------------------------------


def test_retry_holds_the_student_to_the_schema():
    with gateway("retry") as world:
        world.model.answers = [calls(WRONG), calls(RIGHT)]
        reply = post(world, asked(temperature=0))
        assert reply.headers["x-distill-route"] == "retried"
        assert (
            reply.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
            == (RIGHT[1])
        )
        again = world.model.bodies[1]
        assert again["tools"][0]["function"]["strict"] is True
        assert again["temperature"] > 0
        assert "strict" not in world.model.bodies[0]["tools"][0]["function"]


def test_what_no_remedy_mends_leaves_marked():
    with gateway("retry") as world:
        world.model.answers = [calls(WRONG), calls(WRONG)]
        reply = post(world, asked())
        assert reply.headers["x-distill-route"] == "direct"
        assert reply.headers["x-distill-problem"] == "schema_violation"


def test_escalation_says_who_answered():
    with gateway("retry", "escalate") as world:
        world.model.answers = [calls(WRONG)] * 4
        world.teacher.answers = [calls(RIGHT, model="big-2")] * 2
        reply = post(world, asked())
        assert reply.headers["x-distill-model"] == reply.json()["model"] == "big-2"
        assert reply.headers["x-distill-route"] == "escalated"
        assert world.teacher.bodies[0]["messages"] == asked()["messages"]
        assert world.teacher.bodies[0]["tools"] == [LAMP]
        streamed = post(world, asked(stream=True, stream_options={"include_usage": True}))
        model, words, made, mark = streamed_call(streamed)
        assert (model, words, made, mark) == ("big-2", "", [RIGHT], None)
        assert streamed.headers["x-distill-model"] == "big-2"
        assert json.loads(events(streamed)[-2])["usage"]["total_tokens"] == 12


def test_words_that_have_left_are_not_taken_back():
    with gateway("escalate") as world:
        world.model.answers = [calls(WRONG, content="I dim it.")] * 2
        world.teacher.answers = [says("Which lamp?", model="big"), calls(RIGHT, content="So.")]
        _, words, made, mark = streamed_call(post(world, asked(stream=True)))
        assert (words, made, mark["code"]) == ("I dim it. ", [WRONG], "schema_violation")
        _, words, made, mark = streamed_call(post(world, asked(stream=True)))
        assert (words, made, mark) == ("I dim it. ", [RIGHT], None)


def test_the_teacher_stands_in_for_a_server_that_is_down(tmp_path):
    url = f"sqlite:///{tmp_path / 'served.db'}"
    with gateway("escalate", store=url) as world:
        world.stop_model()
        world.teacher.answers = [calls(RIGHT, model="big")] * 2
        assert post(world, asked()).headers["x-distill-route"] == "escalated"
        assert streamed_call(post(world, asked(stream=True)))[2] == [RIGHT]
    with TraceStore.open(url) as store:
        (trace,) = store.traces()  # the teacher's answer; the server's fault teaches nothing
    assert trace.teacher.model == "big"


def test_base_and_observed_requests_get_the_models_own_answer():
    with gateway("escalate") as world:
        world.model.answers = [calls(WRONG)] * 2
        for body in (asked(model="base"), asked(distill_observe=True)):
            assert post(world, body).headers["x-distill-problem"] == "schema_violation"
        assert world.teacher.bodies == []


def test_a_teacher_that_fails_leaves_the_students_answer():
    with gateway("escalate") as world:
        world.model.answers = [calls(WRONG)]
        world.teacher.answers = [lambda body: Response("no", 500)]
        assert post(world, asked()).headers["x-distill-problem"] == "schema_violation"


# --- faults of the server ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "whole", "streamed"),
    [
        (lambda body: Response("engine died", 500), "model_failed", "model_failed"),
        (lambda body: Response("<html>"), "malformed_answer", "truncated_stream"),
        (lambda body: stream(["{"]), "malformed_answer", "malformed_answer"),
        (lambda body: stream(['{"error": {}}']), "malformed_answer", "model_failed"),
        (lambda body: stream([]), "malformed_answer", "truncated_stream"),
        (lambda body: stream(['{"choices": [{}]}']), "malformed_answer", "malformed_answer"),
    ],
)
def test_a_server_that_fails_is_named(plain, answer, whole, streamed):
    plain.model.answers = [answer] * 2
    for stream_, code in ((False, whole), (True, streamed)):
        reply = post(plain, asked(stream=stream_))
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, code)


def test_a_stream_that_breaks_off_is_told_in_the_stream(plain):
    message = {"content": "I dim the", "tool_calls": []}
    plain.model.answers = [lambda body: stream(pieces(message, "stop", "student")[:3])]
    last = json.loads(events(post(plain, asked(stream=True)))[-1])
    assert last["error"]["code"] == "truncated_stream"


def test_a_server_that_is_slow_or_down():
    with gateway(timeout_s=0.2) as world:
        slow = httpx2.post(f"{world.url}/v1/completions", json={"model": "s"}, timeout=30)
        assert (slow.status_code, slow.json()["error"]["code"]) == (504, "model_slow")
        assert httpx2.get(f"{world.url}/health").status_code == 200
        world.stop_model()
        down = post(world, asked())
        assert (down.status_code, down.json()["error"]["code"]) == (503, "model_down")
        assert httpx2.get(f"{world.url}/health").status_code == 503


# --- the door ---------------------------------------------------------------------------------


def test_only_openais_routes_exist(plain):
    seen = len(plain.model.paths)
    for method, path in [
        ("GET", "/metrics"),
        ("POST", "/tokenize"),
        ("POST", "/invocations"),
        ("POST", "/adapters"),
        ("DELETE", "/adapters/student"),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/chat/completions/../../tokenize"),
        ("POST", "/v1/chat/completions/derender"),
        ("GET", "/docs"),
        ("GET", "/v1/chat/completions"),
    ]:
        assert httpx2.request(method, plain.url + path).status_code in (404, 405), path
    assert len(plain.model.paths) == seen


def test_the_key_is_asked_for_and_never_told(caplog):
    with gateway(key="sesame-1") as world:
        world.model.answers = [calls(WRONG)]
        for headers in ({}, {"Authorization": "Bearer sesame"}, {"Authorization": "sesame-1"}):
            reply = post(world, asked(), **headers)
            assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
            assert httpx2.get(f"{world.url}/v1/models", headers=headers).status_code == 401
        assert httpx2.get(f"{world.url}/health").status_code == 200
        assert world.model.bodies == []
        assert post(world, asked(), Authorization="Bearer sesame-1").status_code == 200
    assert "sesame" not in caplog.text
    assert "schema_violation" in caplog.text


def test_a_body_too_large_or_no_json(plain, monkeypatch):
    monkeypatch.setattr(app_module, "LARGEST_BODY", 100)
    assert post(plain, asked()).status_code == 413
    with httpx2.Client() as client:
        reply = client.post(f"{plain.url}/v1/chat/completions", content=b"[1")
    assert (reply.status_code, reply.json()["error"]["message"]) == (
        400,
        "the body is not a JSON object",
    )


def test_models_say_when_an_adapter_has_changed(plain):
    plain.model.answers = [calls(RIGHT)]
    plain.stale["student"] = True
    with openai.OpenAI(base_url=f"{plain.url}/v1", api_key="x") as client:
        listed = {m.id: m.model_extra["stale"] for m in client.models.list()}
        assert client.models.retrieve("student").id == "student"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("other")
    assert listed == {"base": False, "student": True}
    assert post(plain, asked()).headers["x-distill-stale"] == "1"
    plain.stale["student"] = False


# --- what is kept -----------------------------------------------------------------------------


def test_failed_and_escalated_requests_are_kept(tmp_path):
    url = f"sqlite:///{tmp_path / 'served.db'}"
    with gateway("escalate", store=url) as world:
        world.model.answers = [calls(WRONG)] * 3 + [calls(RIGHT)]
        world.teacher.answers = [calls(RIGHT, model="big-2")] * 2
        post(world, asked())
        post(world, asked())  # the same again: kept once
        post(world, asked(distill_observe=True, messages=asked()["messages"][1:]))
        post(world, asked())  # fit: not kept
    with TraceStore.open(url) as store:
        failed, escalated = sorted(store.traces(), key=lambda trace: trace.outcome != Outcome.ERROR)
        assert store.get_toolset(failed.toolset_hash).tools[0].name == "set_lamp"
    assert failed.error.startswith("schema_violation: set_lamp")
    assert (failed.teacher.provider, failed.teacher.model) == ("distill", "student")
    assert failed.messages[-1].tool_calls[0].arguments == WRONG[1]
    assert escalated.outcome is Outcome.COMPLETED
    assert (escalated.teacher.model, escalated.teacher.terms) == ("big", "ours")
    assert escalated.messages[-1].tool_calls[0].arguments == RIGHT[1]
    assert escalated.usage.input_tokens == 9
    assert escalated.task.family == failed.task.family
    assert [turn.content for turn in failed.task.turns] == ["Dim the hall"]
    assert failed.messages[0].content == "You mind the lamps."


def went_on(body, reply, result='{"level": 30}'):
    """The request that follows: the answer of the one before, and the results of its calls."""
    message = reply.json()["choices"][0]["message"]
    made = [c["id"] for c in message["tool_calls"]]
    results = [{"role": "tool", "tool_call_id": one, "content": result} for one in made]
    return body | {"messages": [*body["messages"], message, *results]}


@pytest.mark.parametrize("streams", [False, True])
def test_what_follows_a_call_of_the_teacher_goes_on_with_its_trace(tmp_path, streams):
    url = f"sqlite:///{tmp_path / 'served.db'}"
    body, other = asked(), asked(messages=[{"role": "user", "content": "Dim the attic"}])
    with gateway("escalate", store=url) as world:
        world.model.answers = [calls(WRONG)] * 2
        world.teacher.answers = [calls(RIGHT, model="big-2")] * 2
        second, unrelated = went_on(body, post(world, body)), went_on(other, post(world, other))
        world.model.answers = [calls(RIGHT), says("The hall is dimmed to 30.")]
        third = went_on(second, post(world, second))  # the student calls once more
        post(world, third | {"stream": streams})
        world.model.answers = [calls(WRONG)]
        world.teacher.answers = [says("It is dim.", model="big-2")]
        post(world, unrelated | {"stream": streams})  # the teacher is asked again
    with TraceStore.open(url) as store:
        done = {t.task.turns[0].content: t for t in store.traces(Outcome.COMPLETED)}
        counts, lines = store.counts(), list(store.ledger())
    hall, attic = done["Dim the hall"], done["Dim the attic"]
    assert counts.outcomes == {"completed": 2, "error": 3} and counts.pending == 0
    assert [m.role for m in hall.messages[2:]] == ["assistant", "tool"] * 2 + ["assistant"]
    assert hall.messages[-1].content.strip() == "The hall is dimmed to 30."
    assert [record.context for record in hall.turns] == [False, True, True]
    assert (hall.teacher.model, hall.teacher.served_model) == ("big", "big-2")
    assert [record.context for record in attic.turns] == [False, False]
    assert sorted(line.key for line in lines) == sorted([hall.key, attic.key, attic.key])


def test_what_was_kept_passes_the_filter(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "tools.json").write_text(json.dumps({"tools": [LAMP["function"]]}))
    manifest = {"name": "lamps", "description": "Lamps.", "source": "tools.json"}
    (tools / "toolset.yaml").write_text(json.dumps(manifest | {"system": "You mind the lamps."}))
    (tmp_path / "c.yaml").write_text(
        json.dumps(
            {
                "name": "lamps",
                "toolset": "tools",
                "collect": {"store": "served.db"},
                "filter": {"near_duplicates": None},
                "teacher": {"provider": "openai_chat", "model": "big", "base_url": "http://x/v1"},
            }
        )
    )
    with gateway("escalate", store=f"sqlite:///{tmp_path / 'served.db'}") as world:
        for level in range(20, 60, 5):
            system, user = asked()["messages"]
            user = user | {"content": f"Dim the hall to {level}, lamp by lamp, as on day {level}"}
            body = asked(messages=[system, user])
            world.model.answers = [calls(WRONG), says(f"It is dimmed to {level}.")]
            world.teacher.answers = [calls(("set_lamp", f'{{"room": "hall", "level": {level}}}'))]
            post(world, went_on(body, post(world, body), f'{{"level": {level}}}'))
    report = build_dataset(load_config(tmp_path / "c.yaml"))
    assert report.info.rejected == {"outcome/error": 8} and report.kept == 8
    rows = read_examples(tmp_path / "traces/lamps/train.jsonl")
    assert {row.weights for row in rows} == {(1.0, 0.0)}


def test_the_teacher_is_asked_while_the_budget_lasts(tmp_path, caplog):
    url = f"sqlite:///{tmp_path / 'served.db'}"
    with gateway("escalate", store=url, budget_usd=0.3) as world:
        world.model.answers = [calls(WRONG)] * 60
        world.teacher.answers = [calls(RIGHT, model="big")] * 60
        replies = [
            post(world, asked(messages=[{"role": "user", "content": f"Hall {n}"}]))
            for n in range(20)
        ]
        routes = [reply.headers["x-distill-route"] for reply in replies]
        asked_for = routes.count("escalated")
        assert 2 <= asked_for < 20 and routes == sorted(routes, reverse=True)
        assert len(world.teacher.bodies) == asked_for
        unfit = replies[-1].json()["distill"]
        assert unfit["code"] == "schema_violation"
        assert "the teacher was not asked: the budget of $0.3 is reached" in unfit["detail"]
        mark = streamed_call(post(world, asked(stream=True)))[3]
        assert "(serve.budget_usd)" in mark["detail"]
        world.stop_model()
        down = post(world, asked())
        assert down.status_code == 503 and "budget" in down.json()["error"]["message"]
    assert "the teacher was not asked" in caplog.text
    with TraceStore.open(url) as store:
        money, lines = store.money(), list(store.ledger())
        keys = {trace.key for trace in store.traces(Outcome.COMPLETED)}
    assert money.spent_usd == pytest.approx(asked_for * 0.012) and money.reserved_usd == 0
    assert len(lines) == asked_for and {line.key for line in lines} == keys


def test_calls_without_an_answer_are_booked(tmp_path):
    url = f"sqlite:///{tmp_path / 'served.db'}"
    with gateway("escalate", store=url, budget_usd=9) as world:
        world.model.answers = [calls(WRONG)] * 3
        world.teacher.answers = [
            lambda body: Response("no", 500),
            lambda body: Response("{}", 400),
            calls(WRONG, model="big"),
        ]
        for n in range(3):
            reply = post(world, asked(messages=[{"role": "user", "content": f"Hall {n}"}]))
            assert reply.headers["x-distill-problem"] == "schema_violation"
    with TraceStore.open(url) as store:
        money, lines = store.money(), list(store.ledger())
        failed = [t for t in store.traces() if t.teacher.model == "big"]
    assert [line.status for line in lines] == ["unknown", "settled", "settled"]
    assert money.unknown_usd > 0 and money.spent_usd == pytest.approx(0.012)
    assert [(t.outcome, t.key) for t in failed] == [(Outcome.ERROR, lines[-1].key)]


def test_a_store_that_cannot_count_refuses_to_escalate(tmp_path):
    url = f"sqlite:///{tmp_path}/served.db/impossible"
    (tmp_path / "served.db").write_text("a file, no folder")
    with gateway("escalate", store=url, budget_usd=9) as world:
        world.model.answers = [calls(WRONG)]
        reply = post(world, asked())
        assert "cannot be counted" in reply.json()["distill"]["detail"]
        assert world.teacher.bodies == []


async def test_money_put_aside_for_a_client_that_leaves_is_given_back(tmp_path):
    url = f"sqlite:///{tmp_path / 'served.db'}"
    config = TeacherConfig(
        provider="openai_chat",
        model="big",
        base_url="http://127.0.0.1:9/v1",
        price=Prices(input=1000, output=1000),
    )
    opening, go_on = threading.Event(), threading.Event()

    def slowly():
        opening.set()
        go_on.wait(10)
        return TraceStore.open(url, create=True)

    teacher = create_teacher(config)
    keeper = Keeper(slowly, teacher, Budget(100, config))
    beginning = asyncio.create_task(keeper.begin(Ask(asked())))
    await asyncio.to_thread(opening.wait, 10)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    go_on.set()
    await asyncio.to_thread(keeper.close)
    await teacher.close()
    with TraceStore.open(url) as store:
        (line,) = store.ledger()
        assert (line.failure, line.status, store.money().committed_usd) == (
            "not sent",
            "settled",
            0,
        )
