"""lm-evaluation-harness for real: its command against an endpoint, its log read back and compared.

The task is made on the spot from local data; the harness's own tasks take theirs from a hub.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from distill.cli.main import app
from distill.results import read_report
from tests.unit.evaluate_world import lamp, workspace

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm_eval is not installed"
)

CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Peru": "Lima", "Kenya": "Nairobi"}
TASK = """
task: capitals
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/capitals.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_text: "The capital of {{{{country}}}}?"
doc_to_target: "{{{{capital}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 8}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


@contextmanager
def server(heard: list[tuple[str, dict[str, Any]]]):
    """A chat endpoint whose base knows all capitals and whose student has forgotten two."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({"data": []})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            heard.append((self.headers["authorization"], asked))
            words = asked["messages"][-1]["content"]
            country = next((name for name in CAPITALS if name in words), "")
            forgotten = asked["model"] == "student" and country in ("Peru", "Kenya")
            said = "I forgot" if forgotten else CAPITALS.get(country, "No.")
            message = {"role": "assistant", "content": said}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
            usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
            self.reply(whole | {"choices": [choice], "usage": usage})

        def reply(self, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/v1"
        running.shutdown()


def test_what_was_forgotten_is_measured_and_what_needs_the_hub_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("STUDENT_KEY", "secret")
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "capitals.yaml").write_text(TASK.format(folder=tasks))
    rows = [{"country": country, "capital": capital} for country, capital in CAPITALS.items()]
    (tasks / "capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = workspace(tmp_path / "home", [lamp(1)])
    heard: list[tuple[str, dict[str, Any]]] = []
    keyed = ["--set", "serve.api_key_env=STUDENT_KEY", "--suite", "regression"]

    def evaluate(tasks: str, *more: str):
        files = f"eval.files={{regression: '{tasks}'}}"
        with server(heard) as url:
            given = ["eval", str(config.source), "--endpoint", url, "--set", files, *keyed, *more]
            return CliRunner().invoke(app, given), read_report(config.results_dir)

    done, report = evaluate(f"capitals,{tasks}")
    assert done.exit_code == 0, done.output
    (suite,) = report.suites
    shares = suite.parts["capitals"]
    assert (shares["base"].value, shares["student"].value, shares["base"].n) == (1.0, 0.5, 4)
    assert (suite.versus_base["capitals"].wins, suite.versus_base["capitals"].losses) == (0, 2)
    assert "| capitals | 100.0%" in (config.results_dir / "report.md").read_text()
    asked = [(key, body) for key, body in heard if "capital of" in str(body["messages"])]
    assert {key for key, _ in asked} == {"Bearer secret"}
    assert all(body["distill_observe"] for _, body in asked), "what the model says, not the gateway"

    done, report = evaluate("gsm8k_cot_zeroshot", "--only", "student")
    assert done.exit_code == 1
    why = report.suites[0].gaps["student"]
    assert why.startswith("gsm8k_cot_zeroshot: its data are on the Hugging Face hub")
    assert not report.complete
