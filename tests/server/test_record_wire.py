"""What the recorder does to the bytes between an agent and its provider: nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from llmock_world import SECRET
from record_world import KEY, booked, recording, stored
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from typer.testing import CliRunner

from distill.cli.main import app as command
from distill.config import Config, load_config
from distill.endpoint import bound_socket, listening
from distill.errors import StoreError
from distill.traces import TraceStore

TOOL = {"name": "set_lamp", "description": "Set the lamp.", "parameters": {"type": "object"}}
MESSAGES = [{"role": "user", "content": "Dim it, \u00fcber-gently"}]
ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "big",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "How far?"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}
CHUNKS = [
    {"delta": {"role": "assistant", "content": "How "}, "finish_reason": None},
    {"delta": {"content": "far?"}, "finish_reason": None},
    {"delta": {}, "finish_reason": "stop"},
]


def event(choice):
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "big"}
    return f"data: {json.dumps(head | {'choices': [{'index': 0} | choice]})}\n\n".encode()


EVENTS = [*map(event, CHUNKS), b": a comment\r\n\r\n", b"data: [DONE]\n\n"]
BODY = json.dumps({"model": "big", "messages": MESSAGES, "tools": [{"function": TOOL}]}, indent=3)


@dataclass
class Provider:
    """A provider that answers as told and remembers what it was sent."""

    answer: Callable[[Request], Response] = lambda request: Response("{}")
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def app(self) -> Starlette:
        async def everything(request: Request) -> Response:
            target = request.url.path + ("?" + request.url.query if request.url.query else "")
            sent = (request.method, target, dict(request.headers), await request.body())
            self.requests.append(sent)
            return self.answer(request)

        methods = ["GET", "POST", "DELETE", "PUT"]
        return Starlette(routes=[Route("/{path:path}", everything, methods=methods)])


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    with bound_socket("127.0.0.1", 0) as sock, listening(made.app(), sock, log_level="critical"):
        made.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        yield made


@pytest.fixture
def config(provider: Provider, tmp_path: Path, monkeypatch) -> Config:
    monkeypatch.delenv("LAMPS_KEY", raising=False)
    return write_config(tmp_path, provider)


def write_config(folder: Path, behind: Provider, **teacher) -> Config:
    tools = folder / "tools" / "lamps"
    tools.mkdir(parents=True, exist_ok=True)
    (tools / "tools.json").write_text(json.dumps({"tools": [TOOL]}))
    (tools / "toolset.yaml").write_text("name: lamps\ndescription: Lamps.\nsource: tools.json\n")
    settings = {"provider": "openai_chat", "model": "big", "base_url": f"{behind.url}/v1"}
    settings |= {"api_key_env": "LAMPS_KEY"} | teacher
    path = folder / "lamps.yaml"
    path.write_text(json.dumps({"name": "lamps", "toolset": "tools/lamps", "teacher": settings}))
    return load_config(path)


def post(at, content=BODY, path="/v1/chat/completions", **headers):
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"} | headers
    with httpx2.Client(timeout=30) as client:
        return client.post(at.root + path, content=content, headers=headers)


@contextmanager
def streaming(at, content=BODY):
    with httpx2.Client(timeout=30) as client:
        headers = {"authorization": f"Bearer {KEY}"}
        url = f"{at.root}/v1/chat/completions"
        with client.stream("POST", url, content=content, headers=headers) as reply:
            yield reply


def whole(request):
    headers = {"x-request-id": "req-1", "x-ratelimit-remaining-requests": "7"}
    return Response(json.dumps(ANSWER, indent=1), 200, headers, media_type="application/json")


def streamed(*parts):
    async def body():
        for part in parts:
            yield part
            await asyncio.sleep(0)

    return StreamingResponse(body(), media_type="text/event-stream")


# --- bytes ------------------------------------------------------------------------------------


def test_requests_and_answers_are_not_touched(provider, config):
    provider.answer = whole
    with recording(config) as at:
        reply = post(at, **{"x-agent": "7", "connection": "x-hop", "x-hop": "1"})
    (method, target, headers, body), *_ = provider.requests
    assert (method, target, body) == ("POST", "/v1/chat/completions", BODY.encode())
    assert headers["authorization"] == f"Bearer {KEY}" and headers["x-agent"] == "7"
    assert "x-hop" not in headers
    assert reply.content == json.dumps(ANSWER, indent=1).encode()
    assert reply.headers["x-request-id"] == "req-1"
    assert reply.headers["x-ratelimit-remaining-requests"] == "7"
    assert len(reply.headers.get_list("date")) == len(reply.headers.get_list("server")) == 1
    (trace,), (line,) = stored(config), booked(config)
    assert trace.turns[0].request_id == line.request_id == "req-1"
    assert (line.usage.input_tokens, line.cost_usd) == (9, None)


def test_packed_answers_are_passed_on_packed_and_read(provider, config):
    packed = gzip.compress(json.dumps(ANSWER).encode())
    headers = {"content-encoding": "gzip"}
    provider.answer = lambda request: Response(packed, 200, headers, media_type="application/json")
    with recording(config) as at:
        with streaming(at) as reply:
            assert b"".join(reply.iter_raw()) == packed
        assert post(at, **{"accept-encoding": "br"}).json() == ANSWER
    assert [sent[2]["accept-encoding"] for sent in provider.requests] == ["gzip", "identity"]
    assert stored(config)[0].messages[-1].content == "How far?"


def test_a_stream_leaves_as_it_arrives(provider, config):
    go_on = asyncio.Event()
    loops = []

    async def body():
        loops.append(asyncio.get_running_loop())
        yield EVENTS[0]
        await go_on.wait()
        for part in EVENTS[1:]:
            yield part

    provider.answer = lambda request: StreamingResponse(body(), media_type="text/event-stream")
    with recording(config) as at:
        with streaming(at) as reply:
            parts = reply.iter_raw()
            first = next(parts)  # the provider has not sent the rest yet
            loops[0].call_soon_threadsafe(go_on.set)
            rest = b"".join(parts)
    assert first == EVENTS[0] and first + rest == b"".join(EVENTS)
    assert stored(config)[0].messages[-1].content == "How far?"
    assert booked(config)[0].cost_usd is None and at.counts.unpriced == 1


def test_other_paths_pass_and_are_not_recorded(provider, config):
    provider.answer = lambda request: Response(b"\x00\xff", 207, {"x-a": "b"})
    with recording(config) as at:
        reply = post(at, b"\x01", "/v1/audio%2Fspeech?a=%20b&c")
    assert (reply.status_code, reply.content, reply.headers["x-a"]) == (207, b"\x00\xff", "b")
    assert provider.requests[0][1].endswith("?a=%20b&c") and provider.requests[0][3] == b"\x01"
    assert at.counts.passed == 0


# --- ends -------------------------------------------------------------------------------------


def test_an_agent_that_leaves_ends_its_request(provider, config):
    left = threading.Event()

    async def body():
        try:
            while True:
                yield EVENTS[0]
                await asyncio.sleep(0.01)
        finally:
            left.set()

    provider.answer = lambda request: StreamingResponse(body(), media_type="text/event-stream")
    with recording(config) as at:
        with streaming(at) as reply:
            next(reply.iter_raw())
        assert left.wait(30)
        provider.answer = whole
        assert post(at).status_code == 200
    assert at.counts.kept == 1 and at.counts.skipped == {"the answer was cut off": 1}


def test_a_provider_that_breaks_off_breaks_off_here(provider, config):
    async def body():
        yield EVENTS[0]
        raise RuntimeError("gone")

    provider.answer = lambda request: StreamingResponse(body(), media_type="text/event-stream")
    with recording(config) as at:
        with streaming(at) as reply, pytest.raises(httpx2.RemoteProtocolError):
            list(reply.iter_raw())
    assert "broke off" in at.counts.fault and stored(config) == []


def test_a_provider_that_is_down(provider, config, tmp_path):
    with socket_of_nobody() as url:
        provider.url = url
        with recording(write_config(tmp_path, provider)) as at:
            reply = post(at)
    assert reply.status_code == 502 and f"{url}/v1 cannot be reached" in reply.text
    assert at.counts.unreached == 1


@contextmanager
def socket_of_nobody():
    with bound_socket("127.0.0.1", 0) as sock:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_a_store_that_fails_is_said_and_the_answer_goes_out(provider, config, monkeypatch):
    def fails(*_):
        raise StoreError("trace store 'x': the disk is full")

    monkeypatch.setattr(TraceStore, "grow", fails)
    provider.answer = whole
    with recording(config) as at:
        assert post(at).json() == ANSWER
    assert "the disk is full" in at.counts.fault
    assert at.counts.skipped == {"could not be stored": 1} and stored(config) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("[]", "not as the API has it (AttributeError)"),
        ("{", "not as the API has it (JSONDecodeError)"),
        (json.dumps({"messages": MESSAGES, "tools": []}), "no tools were offered"),
        (BODY.replace("big", 'big", "n": 2, "x": "', 1), "several answers"),
        (
            BODY.replace('"Dim', '[{"type": "image_url"}], "x": "Dim', 1),
            "a message holds something other than text",
        ),
    ],
)
def test_what_cannot_be_told_is_counted(provider, config, body, reason):
    provider.answer = whole
    with recording(config) as at:
        assert post(at, body).json() == ANSWER
    ((found, count),) = at.counts.skipped.items()
    assert found.startswith(reason) and count == 1


# --- keys -------------------------------------------------------------------------------------


def test_no_key_is_stored_or_logged(provider, config, caplog, capfd):
    caplog.set_level("DEBUG")
    provider.answer = whole
    with recording(config) as at:
        post(at)
        provider.answer = lambda request: Response("no", 401)
        post(at)
    assert at.counts.kept == 1
    files = b"".join(path.read_bytes() for path in (config.workspace / "traces").iterdir())
    said = "".join(capfd.readouterr()).encode() + caplog.text.encode()
    assert b"How far?" in files
    assert KEY.encode() not in files and KEY.encode() not in said


def test_a_key_of_the_config_takes_the_agents_place(provider, tmp_path, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("LAMPS_KEY", SECRET)
    provider.answer = whole
    for name, header in (("openai_chat", "authorization"), ("anthropic", "x-api-key")):
        config = write_config(tmp_path, provider, provider=name)
        with recording(config) as at:
            assert post(at, **{"x-api-key": KEY}).status_code == 200
            page = post(at, origin="https://elsewhere.example")
            assert page.status_code == 403
        sent = provider.requests.pop()[2]
        assert SECRET in sent[header] and KEY not in str(sent) and provider.requests == []
    files = b"".join(path.read_bytes() for path in (tmp_path / "traces").iterdir())
    assert SECRET.encode() not in files and SECRET not in caplog.text


def test_a_key_of_the_config_stays_on_this_machine(provider, config, monkeypatch):
    monkeypatch.setenv("LAMPS_KEY", SECRET)
    result = CliRunner().invoke(
        command, ["record", str(config.source), "--host", "0.0.0.0", "--port", "0"]
    )
    assert "spends the key in 'LAMPS_KEY'" in str(result.exception)
    assert SECRET not in result.output


# --- the tools --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "offered"), [("abc", None), ("cba", ("c", "b", "a")), ("b", ("b",))]
)
def test_tools_of_the_set_in_another_order_or_some_of_them(provider, config, names, offered):
    tools = {name: TOOL | {"name": name} for name in "abc"}
    folder = config.toolset_dir
    (folder / "tools.json").write_text(json.dumps({"tools": list(tools.values())}))
    provider.answer = whole
    with recording(config) as at:
        # As a client may write them: another order of keys, fields the set does not have.
        sent = [
            {"type": "function", "function": {**dict(reversed(tools[n].items())), "strict": False}}
            for n in names
        ]
        post(at, json.dumps({"model": "big", "messages": MESSAGES, "tools": sent}))
    (trace,) = stored(config)
    assert trace.toolset_hash == at.toolset.hash
    assert (trace.task.offer and trace.task.offer.names) == offered
    assert at.counts.changed_tools == at.counts.unknown_tools == {}


# --- the command ------------------------------------------------------------------------------


@pytest.mark.parametrize("twice", [False, True])
def test_the_command_drains_at_a_ctrl_c_and_drops_at_the_second(provider, config, twice):
    sent, go_on = threading.Event(), threading.Event()

    async def body():
        yield EVENTS[0]
        sent.set()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        for part in EVENTS[1:]:
            yield part

    provider.answer = lambda request: StreamingResponse(body(), media_type="text/event-stream")
    process = subprocess.Popen(
        [sys.executable, "-m", "distill", "record", str(config.source), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "COLUMNS": "200"},
    )
    try:
        told = [process.stdout.readline(), process.stdout.readline()]
        root = told[0].split()[2].removesuffix("/v1:")
        got: list[bytes] = []

        def ask():
            with httpx2.Client(timeout=30) as client:
                url = f"{root}/v1/chat/completions"
                with client.stream("POST", url, content=BODY) as reply:
                    with suppress(httpx2.RemoteProtocolError):
                        got.extend(reply.iter_raw())

        asking = threading.Thread(target=ask)
        asking.start()
        assert sent.wait(60)
        process.send_signal(signal.SIGINT)
        while "Waiting for the answers under way" not in (line := process.stdout.readline()):
            assert line, process.wait()
        while twice and process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)  # a second one that comes too soon after the first may get lost
        go_on.set()
        asking.join(60)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and "Traceback" not in said, said
    if twice:
        assert b"".join(got) == EVENTS[0] and "Stopped." in said
        return
    assert b"".join(got) == b"".join(EVENTS)
    assert f"Requests go to {provider.url}/v1" in told[1]
    assert "1 in 1 conversations" in said and "distill filter" in said
    assert stored(config)[0].messages[-1].content == "How far?"
