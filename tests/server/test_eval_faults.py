"""Faults of an endpoint, over HTTP with the real SDK: each is named, none is scored.

Down, slow, 500s, no JSON, no answer in it, no such model: the run is incomplete and says why.
Cut-off answers, malformed calls, calls that arrive as text, an adapter without effect: counted for
what they are and named as such. A wrong template, a wrong parser, an adapter of another base are
found before anything is asked: `test_vllm_serve.py`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

import pytest
from typer.testing import CliRunner

from distill.cli.main import app
from distill.evaluate.runner import prepare
from distill.evaluate.suites.registry import chosen, prepared
from distill.evaluate.summary import summarise
from tests.unit.evaluate_world import lamp, no_tool, workspace

RIGHT = {"room": "hall", "level": 30}
TEXT = '<tool_call>\n{"name": "set_lamp", "arguments": {"room": "hall"}}\n</tool_call>'

TOO_LONG = json.dumps(
    {"error": {"message": "This model's maximum context length is 4096 tokens. However, ..."}}
).encode()


def body(message: dict[str, Any], finish: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": finish}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
    return json.dumps(whole | {"choices": [choice], "usage": usage}).encode()


def called(**arguments: Any) -> bytes:
    function = {"name": "set_lamp", "arguments": json.dumps(arguments)}
    calls = [{"id": "c0", "type": "function", "function": function}]
    return body({"content": None, "tool_calls": calls}, "tool_calls")


def play(fault: str, model: str, asked: dict[str, Any]) -> tuple[int, bytes]:
    """Return status and body: right for the student, no call for the base, but for the fault."""
    if fault == "500":
        return 500, b'{"error": {"message": "engine died"}}'
    if fault == "no JSON":
        return 200, b"<html>proxy</html>"
    if fault == "no choice":
        return 200, b'{"id": "x", "object": "chat.completion", "choices": []}'
    if fault == "no model":
        return 404, b'{"error": {"message": "The model does not exist."}}'
    if fault == "too long" and "lamp-5" not in str(asked["messages"]):
        return 400, TOO_LONG
    if fault == "some" and any(f"lamp-{n}" in asked["messages"][-1]["content"] for n in (2, 4)):
        return 500, b'{"error": {"message": "engine died"}}'
    if fault == "malformed" and model == "student":
        function = {"name": "set_lamp", "arguments": '{"room": "hall", "lev'}
        calls = [{"id": "c0", "type": "function", "function": function}]
        return 200, body({"content": None, "tool_calls": calls}, "tool_calls")
    if fault == "slow" and model == "student":
        time.sleep(1.5)
    if fault == "truncated" and model == "student":
        return 200, body({"content": "The lamp and the lamp and the"}, "length")
    if fault == "as text" and model == "student":
        return 200, body({"content": TEXT}, "stop")
    if fault == "no effect" or model == "base":
        return 200, body({"content": "I cannot do that."}, "stop")
    if asked["messages"][-1]["role"] == "tool":
        return 200, body({"content": "Done."}, "stop")
    return 200, called(**RIGHT)


@contextmanager
def server(fault: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(404, b"{}")

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.reply(*play(fault, asked["model"], asked))

        def reply(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                pass  # the client has given up

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/v1"
        running.shutdown()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("distill.teachers.pacing._backoff_s", lambda faults: 0.0)


async def evaluated(tmp_path, fault: str, timeout_s: float = 30.0):
    config = workspace(tmp_path, [*(lamp(n) for n in range(6)), no_tool(1)])
    with server(fault) as url:
        endpoint = "http://127.0.0.1:9/v1" if fault == "down" else url
        evaluation = prepare(config, endpoint)
        evaluation.candidates = [
            replace(one, model=one.model.model_copy(update={"timeout_s": timeout_s}))
            for one in evaluation.candidates
        ]
        await evaluation.ask(endpoint, lambda *_: None)
    return summarise(evaluation)


async def test_nothing_wrong_is_nothing_named(tmp_path):
    report = await evaluated(tmp_path, "none")
    assert report.complete and report.warnings == ()
    assert report.models["student"].failures == {"called_instead_of_abstaining": 1}


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("down", "onnect"),
        ("500", "500"),
        ("no JSON", "is not JSON"),
        ("no choice", "no choice"),
        ("no model", "does not exist"),
    ],
)
async def test_an_endpoint_that_cannot_answer_has_no_score(tmp_path, fault, named):
    report = await evaluated(tmp_path, fault)
    assert not report.complete
    assert report.models == {}, "nothing was answered: nothing is scored, abstentions included"
    assert report.gaps["student"].startswith("7 of 7 cases without an answer: ")
    assert named in report.gaps["student"]
    assert report.decision.action == "undecided"
    assert not next(check for check in report.gate if check.name == "complete").ok


async def test_cases_longer_than_the_context_are_counted_apart_and_stop_nothing(tmp_path):
    report = await evaluated(tmp_path, "too long")
    assert not report.complete, "never silently dropped"
    gap = "6 of 7 cases without an answer: 6 longer than the model's context ("
    assert report.gaps["student"].startswith(gap)
    assert "4096 tokens" in report.gaps["student"]
    assert report.models["student"].call_accuracy.n == 1, "what fits was asked all the same"


async def test_a_slow_endpoint_has_no_score_either(tmp_path, monkeypatch):
    monkeypatch.setattr("distill.teachers.pacing.TRANSIENT_ATTEMPTS", 2)
    report = await evaluated(tmp_path, "slow", timeout_s=0.3)
    assert list(report.models) == ["base"]
    assert "no answer within 0.3 s" in report.gaps["student"]


async def test_failed_requests_are_left_out_of_every_share(tmp_path):
    report = await evaluated(tmp_path, "some")
    student = report.models["student"]
    assert not report.complete
    assert student.call_accuracy.n == student.answered == 5, "not 7 with two of them wrong"
    assert student.abstention.recall.n == 1
    assert report.gaps["student"].startswith("2 of 7 cases without an answer: ")
    assert report.decision.action == "undecided"
    assert not next(check for check in report.gate if check.name == "complete").ok


async def test_malformed_calls_are_no_abstentions(tmp_path):
    report = await evaluated(tmp_path, "malformed")
    student = report.models["student"]
    assert student.parse_failure.value == 1.0
    assert student.call_accuracy.value == student.abstention.recall.value == 0.0
    assert any("Does its tool parser fit" in warning for warning in report.warnings)


@pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")
@pytest.mark.parametrize("fault", ["down", "500"])
async def test_an_endpoint_that_cannot_answer_does_not_abstain_in_suites(tmp_path, fault):
    """The leaderboard's runner gives such an endpoint 100% of irrelevance."""
    config = workspace(tmp_path, [lamp(1)], ["eval.limit=4"])
    with server(fault) as url:
        endpoint = "http://127.0.0.1:9/v1" if fault == "down" else url
        (run,) = prepared(chosen(["bfcl:irrelevance"]), prepare(config, endpoint))
        await run.ask(endpoint, lambda *_: None)
    report = run.report()
    assert report.parts == {} and report.headline == {}
    assert report.gaps["student"].startswith("4 of 4 questions without an answer: ")


async def test_answers_cut_off_are_no_abstentions(tmp_path):
    report = await evaluated(tmp_path, "truncated")
    student = report.models["student"]
    assert report.complete
    assert student.truncation.value == 1.0
    assert student.call_accuracy.value == 0.0
    assert student.abstention.recall.value == 0.0
    assert any("7 of 7 cases were cut off" in warning for warning in report.warnings)


async def test_calls_that_arrive_as_text_are_no_abstentions(tmp_path):
    report = await evaluated(tmp_path, "as text")
    student = report.models["student"]
    assert student.parse_failure.value == 1.0
    assert student.abstention.recall.value == 0.0
    assert student.failures == {"unparsed_call": 7}
    assert any("Does its tool parser fit" in warning for warning in report.warnings)


async def test_an_adapter_without_effect_is_named(tmp_path):
    report = await evaluated(tmp_path, "no effect")
    assert any("the adapter has no effect" in warning for warning in report.warnings)


def test_the_command_exits_with_one_and_says_why(tmp_path):
    config = workspace(tmp_path, [lamp(n) for n in range(4)])
    with server("500") as url:
        found = CliRunner().invoke(app, ["eval", str(config.source), "--endpoint", url])
    assert found.exit_code == 1
    assert "4 of 4 cases without an answer" in " ".join(found.output.split())


def test_the_gate_decides_the_exit_code(tmp_path):
    config = workspace(tmp_path, [lamp(n) for n in range(8)])
    with server("none") as url:
        passes = CliRunner().invoke(app, ["eval", str(config.source), "--endpoint", url, "--gate"])
        strict = ["--set", "eval.gate.p95_s=0.000001", "--gate"]
        fails = CliRunner().invoke(app, ["eval", str(config.source), "--endpoint", url, *strict])
    assert passes.exit_code == 0, passes.output
    assert fails.exit_code == 1
    assert "FAIL" in fails.output and "p95_s" in fails.output
