"""The vLLM command, the process around it, and the checks, against stand-ins for vLLM."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill.config import ServeConfig
from distill.dataset import example_to_row, write_rows
from distill.errors import ServeError, StudentError
from distill.serve import command as command_module
from distill.serve.checks import Prompt, check_effect, check_prompts
from distill.serve.command import deployment, vllm_command, vllm_environment, vllm_version
from distill.serve.launch import NO_DATA, curl_line, prompt, sample_examples
from distill.serve.server import Server, cause, check_port, phase
from tests.unit.evaluate_world import adapter

FAKE = Path(__file__).with_name("fake_vllm.py")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(command_module, "is_cpu_build", lambda: False)


def flags(command: list[str]) -> dict[str, str]:
    return {a: b for a, b in zip(command, [*command[1:], ""], strict=True) if a.startswith("--")}


# --- command ----------------------------------------------------------------------------------


def test_the_command_follows_the_manifest(tmp_path, gpu):
    folder = adapter(tmp_path)
    target = deployment(tmp_path, None, None)
    command = vllm_command(target)
    assert command[:4] == [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve"]
    assert command[4] == "some/base"
    given = flags(command)
    assert given["--served-model-name"] == "base"
    assert given["--lora-modules"] == f"student={folder}"
    assert given["--max-lora-rank"] == "16", "12 is not a rank vLLM takes"
    assert given["--max-loras"] == "2"
    assert given["--tool-call-parser"] == "hermes"
    assert given["--chat-template"] == str(folder / "chat_template.jinja")
    assert given["--generation-config"] == "vllm"
    assert (given["--host"], given["--port"]) == ("127.0.0.1", "8123")
    assert "--block-size" not in given
    assert "--default-chat-template-kwargs" not in given
    assert target.url == "http://127.0.0.1:8123/v1"
    assert not target.exposed


def test_the_users_arguments_come_last(tmp_path, gpu):
    adapter(tmp_path)
    settings = ServeConfig(vllm_args=("--max-model-len", "64"), max_model_len=4096)
    assert vllm_command(deployment(tmp_path, "/b", settings))[-2:] == ["--max-model-len", "64"]


def test_template_variables_and_revision_are_those_of_training(tmp_path, gpu):
    adapter(tmp_path, template_kwargs={"enable_thinking": False}, revision="abc")
    given = flags(vllm_command(deployment(tmp_path, None, None)))
    assert json.loads(given["--default-chat-template-kwargs"]) == {"enable_thinking": False}
    assert given["--revision"] == given["--tokenizer-revision"] == "abc"


def test_a_rank_vllm_cannot_serve(tmp_path, gpu):
    adapter(tmp_path, rank=600)
    with pytest.raises(ServeError, match=r"rank 600.*at most 512"):
        vllm_command(deployment(tmp_path, None, None))


def test_the_environment_keeps_what_the_user_set(tmp_path, monkeypatch):
    adapter(tmp_path)
    monkeypatch.setattr(command_module, "is_cpu_build", lambda: True)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    hub = vllm_environment(deployment(tmp_path, None, None))
    assert hub["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert hub["VLLM_NO_USAGE_STATS"] == "1"
    assert "HF_HUB_OFFLINE" not in hub
    assert vllm_environment(deployment(tmp_path, str(tmp_path), None))["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    ("host", "url", "exposed"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000/v1", True),
        ("::1", "http://[::1]:8000/v1", False),
        ("192.0.2.7", "http://192.0.2.7:8000/v1", True),
    ],
)
def test_where_it_listens(tmp_path, host, url, exposed):
    adapter(tmp_path)
    target = deployment(tmp_path, None, ServeConfig(host=host))
    assert (target.url, target.exposed) == (url, exposed)


def test_no_student_or_half_a_one(tmp_path):
    with pytest.raises(StudentError, match="distill train"):
        deployment(tmp_path, None, None)
    (adapter(tmp_path) / "adapter_model.safetensors").unlink()
    with pytest.raises(ServeError, match=r"no adapter_model.safetensors"):
        deployment(tmp_path, None, None)


def test_vllm_not_installed(monkeypatch):
    def missing(name):
        raise command_module.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(command_module.metadata, "version", missing)
    with pytest.raises(ServeError, match=r"pip install 'tool-distill\[serve\]'"):
        vllm_version()


# --- process ----------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def fake(tmp_path, *arguments: str):
    port = free_port()
    command = [sys.executable, str(FAKE), str(port), *arguments]
    url, log = f"http://127.0.0.1:{port}/v1", tmp_path / "run" / "serve.log"
    with Server(command, dict(os.environ), url, log) as server:
        yield server


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_start_wait_stop_leaves_nobody(tmp_path):
    with fake(tmp_path, "base", "student") as server:
        server.wait(["base", "student"])
        group = server.pid
        child = int(server.log.read_text().split("child ")[1].split()[0])
        assert alive(group)
    assert not alive(group)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_one_that_ignores_sigterm_is_killed(tmp_path):
    with fake(tmp_path, "--deaf", "base") as server:
        server.wait(["base"])
        group = server.pid
        server.stop(grace_s=0.2)
        assert not alive(group)


def test_an_engine_that_outlives_the_endpoint_is_killed(tmp_path):
    with fake(tmp_path, "base") as server:
        server.wait(["base"])
        group = server.pid
        os.kill(group, signal.SIGKILL)
        with pytest.raises(ServeError, match="ended with code -9"):
            server.join()
    assert not alive(group)


def test_one_that_dies_is_quoted(tmp_path):
    with pytest.raises(ServeError, match=r"ended with code 3: ValueError: rank 99 .*serve.log"):
        with fake(tmp_path, "--die") as server:
            server.wait(["base"])


def test_one_that_lacks_the_adapter(tmp_path):
    with pytest.raises(ServeError, match=r"lists \['base'\], but not 'student'"):
        with fake(tmp_path, "base") as server:
            server.wait(["base", "student"])


def test_one_that_never_answers(tmp_path):
    with pytest.raises(ServeError, match=r"not ready after 0\.3 s"):
        with fake(tmp_path, "--mute") as server:
            server.wait(["base"], timeout_s=0.3)


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"127.0.0.1:{port}: Address already in use"):
            check_port("127.0.0.1", port)


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (
            "(EngineCore pid=1) ERROR 11-22 [core.py:15] ValueError: No common block size\n"
            "RuntimeError: Engine core initialization failed. See root cause above.\n",
            "ValueError: No common block size",
        ),
        (
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
            "  Value error, max_model_len (8192) is greater than 4096\n    For further\n",
            "ValidationError: Value error, max_model_len (8192) is greater than 4096",
        ),
        ("usage: vllm\nvllm serve: error: unrecognized arguments: --x\n", "arguments: --x"),
        ("loading\nKilled\n", "Killed"),
        ("", "it wrote nothing"),
    ],
)
def test_the_telling_line_of_a_log(tmp_path, log, line):
    (tmp_path / "log").write_text(log)
    assert cause(tmp_path / "log").endswith(line)


def test_the_phase_is_the_last_one_reached(tmp_path):
    log = tmp_path / "log"
    log.write_text("")
    assert phase(log) == "importing vLLM"
    log.write_text("x Initializing a V1 LLM engine\ny Loading weights took 3 s\n")
    assert phase(log) == "preparing the cache"


# --- checks -----------------------------------------------------------------------------------


@contextmanager
def endpoint(answers):
    """An endpoint that answers with `answers(path, body)`: (status, JSON)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, value = answers(self.path, body)
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chat(content: str, logprob: float = -0.5):
    top = {"content": [{"top_logprobs": [{"token": "a", "logprob": logprob}]}]}
    return 200, {"choices": [{"message": {"content": content}, "logprobs": top}]}


def test_an_adapter_that_changes_an_answer(tmp_path):
    with endpoint(lambda path, body: chat(body["model"])) as url:
        check_effect(url, [prompt(NO_DATA)])


def test_an_adapter_that_moves_only_probabilities():
    moved = {"base": -0.5, "student": -0.501}
    with endpoint(lambda path, body: chat("same", moved[body["model"]])) as url:
        check_effect(url, [prompt(NO_DATA)])


def test_an_adapter_without_effect():
    with endpoint(lambda path, body: chat("same")) as url:
        with pytest.raises(ServeError, match="the adapter has no effect"):
            check_effect(url, [prompt(NO_DATA)])


def test_a_prompt_rendered_otherwise():
    asked = Prompt(NO_DATA.messages[:1], NO_DATA.tools)

    def answers(path, body):
        assert path == "/tokenize"
        assert body["tools"] == [NO_DATA.tools[0].as_function()]
        return 200, {"tokens": [1, 2, 3, 4]}

    with endpoint(answers) as url:
        check_prompts(url, [(asked, [1, 2, 3, 4])])
        with pytest.raises(
            ServeError, match=r"4 tokens where training had 3.*token 2 on: \[3, 4\]"
        ):
            check_prompts(url, [(asked, [1, 2, 9])])


def test_an_endpoint_that_refuses():
    with endpoint(lambda path, body: (400, {"error": "no parser"})) as url:
        with pytest.raises(ServeError, match=r"HTTP 400.*no parser"):
            check_effect(url, [prompt(NO_DATA)])


# --- what is printed --------------------------------------------------------------------------


def test_the_curl_line_is_a_request():
    words = shlex.split(curl_line("http://h/v1", NO_DATA))
    body = json.loads(words[-1])
    assert words[:2] == ["curl", "http://h/v1/chat/completions"]
    assert body["model"] == "student"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["get_forecast"]
    assert [message["role"] for message in body["messages"]] == ["user"]


def test_samples_are_of_different_kinds(tmp_path):
    quiet = (
        NO_DATA.messages[:1],
        NO_DATA.messages[1].model_copy(update={"tool_calls": (), "content": "?"}),
    )
    rows = [
        replace_kind(NO_DATA, "missing_parameter", (*quiet[0], quiet[1])),
        replace_kind(NO_DATA, "single", NO_DATA.messages),
        replace_kind(NO_DATA, "single", NO_DATA.messages),
    ]
    write_rows(tmp_path / "validation.jsonl", rows)
    kinds = [example.meta["kind"] for example in sample_examples(tmp_path)]
    assert kinds == ["single", "missing_parameter"]
    assert sample_examples(None) == [NO_DATA]


def replace_kind(example, kind, messages):
    changed = example.model_copy(update={"meta": {"kind": kind}, "messages": messages})
    return example_to_row(changed)


def test_set_needs_a_config(tmp_path):
    from distill.cli.main import app
    from distill.errors import ConfigError

    adapter(tmp_path)
    outcome = CliRunner().invoke(app, ["serve", str(tmp_path), "--set", "serve.port=1"])
    assert isinstance(outcome.exception, ConfigError)
    assert "use --port" in str(outcome.exception)
