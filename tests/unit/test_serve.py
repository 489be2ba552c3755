"""The vLLM command, the process around it, and the checks, against stand-ins for vLLM."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
import yaml
from typer.testing import CliRunner

from distill.cli.serve import stoppable
from distill.config import ServeConfig, TeacherConfig
from distill.dataset import example_to_row, write_rows
from distill.endpoint import bound_socket
from distill.errors import ConfigError, ServeError, StudentError
from distill.serve import command as command_module
from distill.serve import launch
from distill.serve.address import Address, private_address
from distill.serve.checks import Taught, check_effect, check_parser, check_prompts
from distill.serve.command import release, vllm_version
from distill.serve.command import vllm_command as command_at
from distill.serve.command import vllm_environment as environment_at
from distill.serve.deployment import deployment
from distill.serve.files import Loaded, check_base, check_unchanged
from distill.serve.samples import NO_DATA, curl_line, prompt, sample_examples
from distill.serve.server import GUARD, Server, cause, phase
from distill.student.base import folder_hash
from distill.student.manifest import hash_template
from tests.unit.evaluate_world import adapter

FAKE = Path(__file__).with_name("fake_vllm.py")
ADDRESS = Address(Path("/run/vllm.sock"), "inner-key")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(command_module, "is_cpu_build", lambda: False)


def vllm_command(target):
    return command_at(target, ADDRESS)


def vllm_environment(target):
    return environment_at(target, ADDRESS)


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
    assert given["--chat-template"] == "/run/chat_template.jinja"
    assert given["--generation-config"] == "vllm"
    assert given["--uds"] == "/run/vllm.sock"
    assert "--port" not in given
    assert "inner-key" not in " ".join(command)
    assert "--block-size" not in given
    assert "--default-chat-template-kwargs" not in given
    assert target.url == "http://127.0.0.1:8123/v1"
    assert not target.exposed


def test_the_users_arguments_come_last(tmp_path, gpu):
    adapter(tmp_path)
    settings = ServeConfig(vllm_args=("--max-model-len", "64"), max_model_len=4096)
    assert vllm_command(deployment(tmp_path, "/b", settings))[-2:] == ["--max-model-len", "64"]
    for argument in ("--port", "--api-key=x", "--lora-modules"):
        settings = ServeConfig(vllm_args=(argument, "1"))
        with pytest.raises(ServeError, match=r"serve\.vllm_args holds '--.*distill sets itself"):
            vllm_command(deployment(tmp_path, "/b", settings))


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


def test_replicas_share_the_cores(tmp_path, monkeypatch):
    adapter(tmp_path)
    monkeypatch.setattr(command_module, "is_cpu_build", lambda: True)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(9)))
    for replicas, threads in ((1, "8"), (3, "2"), (12, "1")):
        settings = ServeConfig(replicas=replicas)
        environment = vllm_environment(deployment(tmp_path, None, settings))
        assert environment["OMP_NUM_THREADS"] == threads


def test_nothing_is_loaded_at_run_time_whatever_the_environment_says(tmp_path, monkeypatch):
    adapter(tmp_path)
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
    monkeypatch.setenv("VLLM_LORA_RESOLVER_CACHE_DIR", "/anywhere")
    monkeypatch.setenv("VLLM_API_KEY", "the-users")
    environment = vllm_environment(deployment(tmp_path, None, None))
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "0"
    assert "VLLM_LORA_RESOLVER_CACHE_DIR" not in environment
    assert environment["VLLM_API_KEY"] == "inner-key"


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 4096}, "4096"),
        ({"text_config": {"max_position_embeddings": 2048}}, "2048"),
        ({"max_position_embeddings": 32768}, "8192"),
        ({}, "8192"),
    ],
)
def test_the_context_is_no_longer_than_the_bases(tmp_path, gpu, config, length):
    adapter(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    given = flags(vllm_command(deployment(tmp_path, str(tmp_path), ServeConfig())))
    assert given["--max-model-len"] == length


def test_settings_become_flags(tmp_path, gpu):
    adapter(tmp_path)
    settings = ServeConfig(replicas=4, quantize="fp8", constrain=True)
    given = flags(vllm_command(deployment(tmp_path, None, settings)))
    assert given["--data-parallel-size"] == "4"
    assert given["--quantization"] == "fp8_per_tensor"
    assert given["--tool-strict-level"] == "parameter"
    plain = flags(vllm_command(deployment(tmp_path, None, ServeConfig())))
    assert not plain.keys() & {"--data-parallel-size", "--quantization", "--tool-strict-level"}


def test_fp8_is_refused_where_there_is_no_gpu(tmp_path, monkeypatch):
    adapter(tmp_path)
    monkeypatch.setattr(command_module, "is_cpu_build", lambda: True)
    with pytest.raises(ServeError, match=r"serve\.quantize 'fp8' needs a GPU"):
        vllm_command(deployment(tmp_path, None, ServeConfig(quantize="fp8")))


@pytest.mark.parametrize("version", ["0.25.1", "0.9.2+cpu"])
def test_a_vllm_that_is_too_old(monkeypatch, version):
    monkeypatch.setattr(command_module, "vllm_version", lambda: version)
    with pytest.raises(ServeError, match=rf"vLLM {version[:4]}.*too old.*vllm>=0\.26"):
        release()


def test_the_parsers_check_needs_a_vllm_that_can(tmp_path, gpu, monkeypatch):
    adapter(tmp_path)
    monkeypatch.setattr(command_module, "vllm_version", lambda: "0.31.0")
    assert "--enable-scale-out" not in vllm_command(deployment(tmp_path, None, None))
    monkeypatch.setattr(command_module, "vllm_version", lambda: "1.0.0")
    assert "--enable-scale-out" in vllm_command(deployment(tmp_path, None, None))


def test_constraining_needs_a_vllm_that_can(tmp_path, gpu, monkeypatch):
    adapter(tmp_path)
    monkeypatch.setattr(command_module, "vllm_version", lambda: "0.26.0")
    with pytest.raises(ServeError, match=r"serve\.constrain needs vLLM 0\.32"):
        vllm_command(deployment(tmp_path, None, ServeConfig(constrain=True)))


# --- several runs -----------------------------------------------------------------------------


def runs(tmp_path, **other):
    first, second = tmp_path / "one", tmp_path / "two"
    adapter(first, name="lamps")
    adapter(second, **({"name": "shop", "rank": 64} | other))
    return [first, second]


def test_several_runs_share_a_server(tmp_path, gpu):
    target = deployment(runs(tmp_path), None, None)
    assert target.names == ("base", "lamps", "shop")
    command = vllm_command(target)
    at = command.index("--lora-modules")
    assert command[at + 1 : at + 3] == [
        f"lamps={tmp_path / 'one' / 'adapter'}",
        f"shop={tmp_path / 'two' / 'adapter'}",
    ]
    assert flags(command)["--max-loras"] == "3"
    assert flags(command)["--max-lora-rank"] == "64"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"base_hash": "0ther"}, r"base_hash is '0ther', not 'b45e'"),
        ({"parser": "mistral"}, r"parser is 'mistral', not 'hermes'"),
        ({"template_kwargs": {"x": 1}}, r"template_kwargs"),
        ({"name": "lamps"}, r"two models would be served as 'lamps'"),
        ({"name": "base"}, r"two models would be served as 'base'"),
    ],
)
def test_runs_that_cannot_share_a_server(tmp_path, other, message):
    with pytest.raises(ServeError, match=message):
        deployment(runs(tmp_path, **other), None, None)


def test_runs_with_different_templates_cannot_share_a_server(tmp_path):
    folders = runs(tmp_path)
    (folders[1] / "adapter" / "chat_template.jinja").write_text("another")
    with pytest.raises(ServeError, match="different chat templates"):
        deployment(folders, None, None)


def test_a_template_that_was_changed_after_training_is_refused(tmp_path):
    folder = adapter(tmp_path, template_hash=hash_template(b"{{ messages }}"))
    deployment(tmp_path, None, None)
    (folder / "chat_template.jinja").write_text("{{ messages }} ")
    with pytest.raises(ServeError, match=r"chat_template.jinja' is not the template of training"):
        deployment(tmp_path, None, None)


def test_a_merged_model_is_served_alone(tmp_path, gpu):
    adapter(tmp_path, revision="abc")
    with pytest.raises(ServeError, match="no merged model"):
        deployment(tmp_path, "/b", None, merged=True)
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "config.json").write_text("{}")
    target = deployment(tmp_path, "/b", None, merged=True)
    command = vllm_command(target)
    assert command[4] == str(tmp_path / "merged")
    assert flags(command)["--served-model-name"] == "student"
    assert not {"--enable-lora", "--revision"} & set(command)
    assert (target.names, target.students) == (("student",), ("student",))


# --- who may ask ------------------------------------------------------------------------------


def test_an_exposed_endpoint_needs_a_key(tmp_path, monkeypatch):
    adapter(tmp_path)
    with pytest.raises(ServeError, match=r"serve\.host '0\.0\.0\.0'.*serve\.api_key_env"):
        _ = deployment(tmp_path, None, ServeConfig(host="0.0.0.0")).key
    locked = deployment(tmp_path, None, ServeConfig(host="0.0.0.0", api_key_env="DOOR"))
    monkeypatch.delenv("DOOR", raising=False)
    with pytest.raises(ConfigError, match="environment variable 'DOOR' is not set"):
        _ = locked.key
    monkeypatch.setenv("DOOR", "sesame")
    assert locked.key == "sesame"
    assert deployment(tmp_path, None, None).key is None


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


@contextmanager
def fake(tmp_path, *arguments: str):
    with private_address() as address:
        command = [sys.executable, str(FAKE), str(address.file), *arguments]
        log = tmp_path / "run" / "serve.log"
        with Server(command, dict(os.environ), address, log) as server:
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
    assert not running(child)


def test_one_that_ignores_sigterm_is_killed(tmp_path):
    with fake(tmp_path, "--deaf", "base") as server:
        server.wait(["base"])
        group = server.pid
        server.stop(grace_s=0.2)
        assert not alive(group)


@pytest.mark.parametrize("which", ["guard", "endpoint"])
def test_an_engine_that_outlives_the_endpoint_is_killed(tmp_path, which):
    with fake(tmp_path, "base") as server:
        server.wait(["base"])
        group = server.pid
        endpoint_pid = int(server.log.read_text().split(" of ")[1].split()[0])
        os.kill(group if which == "guard" else endpoint_pid, signal.SIGKILL)
        with pytest.raises(ServeError, match="ended with code -9"):
            server.join()
    assert not alive(group)


def test_one_that_dies_is_quoted(tmp_path):
    with pytest.raises(ServeError, match=r"ended with code 3: ValueError: rank 99 .*serve.log"):
        with fake(tmp_path, "--die") as server:
            server.wait(["base"])


def test_one_that_lacks_the_adapter(tmp_path):
    with pytest.raises(ServeError, match=r"lists \['base'\], but not 'student': it refused"):
        with fake(tmp_path, "base") as server:
            server.wait(["base", "student"])


def test_one_that_never_answers(tmp_path):
    with pytest.raises(ServeError, match=r"not ready after 0\.3 s"):
        with fake(tmp_path, "--mute") as server:
            server.wait(["base"], timeout_s=0.3)


@pytest.mark.parametrize("deaf", [(), ("--deaf",)])
def test_kill_9_of_the_owner_leaves_nobody(tmp_path, deaf):
    """The owner starts the server, as distill does, and is killed with no chance to stop it."""
    script = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-P', {str(GUARD)!r}, str(os.getpid()), *sys.argv[1:]],"
        " start_new_session=True)\n"
        "time.sleep(60)"
    )
    with private_address() as address:
        command = [sys.executable, str(FAKE), str(address.file), *deaf, "base"]
        owner = subprocess.Popen(
            [sys.executable, "-c", script, *command],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert owner.stdout is not None
        engine, endpoint_pid = map(int, re.findall(r"\d+", owner.stdout.readline()))
        assert running(engine) and running(endpoint_pid)
        owner.kill()
        owner.wait()
        owner.stdout.close()
        deadline = time.monotonic() + 15
        while (running(engine) or running(endpoint_pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not running(engine)
        assert not running(endpoint_pid)


def running(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"127.0.0.1:{port}: Address already in use"):
            bound_socket("127.0.0.1", port)


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


class Asks:
    """Asks distill to stop at a moment when Python drops what a signal raises."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_python_drops_still_ends_the_wait(tmp_path, monkeypatch):
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda it: dropped.append(it.exc_type))
    with fake(tmp_path, "base") as server, pytest.raises(KeyboardInterrupt):
        with stoppable() as look:
            look()
            Asks()
            assert dropped == [KeyboardInterrupt]
            server.join(look)


def test_a_signal_that_python_drops_ends_the_start(tmp_path, monkeypatch):
    """The server is never ready; only asking for the signal ends the waiting."""
    monkeypatch.setattr(sys, "unraisablehook", lambda it: None)

    def launched(deployed, examples, show):
        show("starting")
        Asks()
        show("starting")
        pytest.fail("nobody looked")

    monkeypatch.setattr(launch, "launched", launched)
    adapter(tmp_path)
    outcome = cli(tmp_path)
    assert outcome.exit_code == 0, outcome.output
    assert "Stopped." in outcome.output


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
        with httpx2.Client(base_url=f"http://127.0.0.1:{server.server_port}") as client:
            yield client
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chat(content: str, logprob: float = -0.5):
    top = {"content": [{"top_logprobs": [{"token": "a", "logprob": logprob}]}]}
    return 200, {"choices": [{"message": {"content": content}, "logprobs": top}]}


def test_an_adapter_that_changes_an_answer(tmp_path):
    with endpoint(lambda path, body: chat(body["model"])) as client:
        check_effect(client, "student", [prompt(NO_DATA)])


def test_an_adapter_that_moves_only_probabilities():
    moved = {"base": -0.5, "student": -0.501}
    with endpoint(lambda path, body: chat("same", moved[body["model"]])) as client:
        check_effect(client, "student", [prompt(NO_DATA)])


def test_an_adapter_without_effect():
    with endpoint(lambda path, body: chat("same")) as client:
        with pytest.raises(ServeError, match="the adapter 'student' has no effect"):
            check_effect(client, "student", [prompt(NO_DATA)])


def turn(prompt_ids, answer_ids=(7, 8)):
    return Taught(prompt(NO_DATA), prompt_ids, NO_DATA.messages[1], answer_ids)


def test_a_prompt_rendered_otherwise():
    def answers(path, body):
        assert path == "/tokenize"
        assert body["tools"] == [NO_DATA.tools[0].as_function()]
        return 200, {"tokens": [1, 2, 3, 4]}

    with endpoint(answers) as client:
        check_prompts(client, "student", [turn([1, 2, 3, 4])])
        with pytest.raises(
            ServeError, match=r"4 tokens where training had 3.*token 2 on: \[3, 4\]"
        ):
            check_prompts(client, "student", [turn([1, 2, 9])])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('{"day": "Monday", "place": "Oslo"}', None),
        ('{"day": "Monday"}', r"parser 'hermes' reads get_forecast.* where the student was taught"),
        (None, r"parser 'hermes' reads no call where"),
    ],
)
def test_calls_the_parser_reads_otherwise(arguments, message):
    function = {"name": "get_forecast", "arguments": arguments}
    calls = [{"function": function}] if arguments else []

    def answers(path, body):
        assert body["generate_response"]["choices"][0]["token_ids"] == [7, 8]
        return 200, {"choices": [{"message": {"content": None, "tool_calls": calls}}]}

    with endpoint(answers) as client:
        if message is None:
            check_parser(client, "student", "hermes", [turn([1])])
        else:
            with pytest.raises(ServeError, match=message):
                check_parser(client, "student", "hermes", [turn([1])])


def test_an_endpoint_that_refuses():
    with endpoint(lambda path, body: (400, {"error": "no parser"})) as client:
        with pytest.raises(ServeError, match=r"HTTP 400.*no parser"):
            check_effect(client, "student", [prompt(NO_DATA)])


# --- files --------------------------------------------------------------------------------------


def test_an_adapter_of_another_base(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_bytes(b"weights")
    run = tmp_path / "run"
    adapter(run, base_hash=folder_hash(base))
    check_base(deployment(run, str(base), None))
    (base / "model.safetensors").write_bytes(b"others")
    with pytest.raises(ServeError, match=r"trained on another base: .*base' has hash"):
        check_base(deployment(run, str(base), None))


def test_an_adapter_that_was_trained_again_is_stale(tmp_path):
    folder = adapter(tmp_path)
    weights = folder / "adapter_model.safetensors"
    loaded = Loaded({"student": folder})
    check_unchanged(loaded)
    assert loaded.stale() == {"student": False}
    weights.write_bytes(weights.read_bytes())  # touched, not changed
    assert loaded.stale() == {"student": False}
    weights.write_bytes(b"others!")
    assert loaded.stale() == {"student": True}
    with pytest.raises(
        ServeError, match=r"'student' was written while vLLM loaded it; start again"
    ):
        check_unchanged(loaded)
    weights.unlink()
    assert loaded.stale() == {"student": True}
    weights.write_bytes(b"weights")
    assert loaded.stale() == {"student": False}


# --- what is printed --------------------------------------------------------------------------


def test_the_curl_line_is_a_request():
    words = shlex.split(curl_line("http://h/v1", NO_DATA, "student", None))
    body = json.loads(words[-1])
    assert words[:2] == ["curl", "http://h/v1/chat/completions"]
    assert body["model"] == "student"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["get_forecast"]
    assert [message["role"] for message in body["messages"]] == ["user"]
    locked = shlex.split(curl_line("http://h/v1", NO_DATA, "shop", "DOOR"))
    assert "Authorization: Bearer $DOOR" in locked


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


def cli(*arguments):
    from distill.cli.main import app

    return CliRunner().invoke(app, ["serve", *map(str, arguments)])


def test_a_target_that_is_not_there(tmp_path):
    done = cli(tmp_path / "runs" / "typo", "--check")
    assert "typo' is neither a config nor the folder of a run" in str(done.exception)


def test_set_needs_a_config(tmp_path):
    adapter(tmp_path)
    outcome = cli(tmp_path, "--set", "serve.port=1")
    assert isinstance(outcome.exception, ConfigError)
    assert "use --port" in str(outcome.exception)


def test_print_shows_the_command_and_starts_nothing(tmp_path, gpu):
    adapter(tmp_path)
    outcome = cli(tmp_path, "--print", "--replicas", 2, "--vllm-arg=--max-num-seqs=8")
    words = shlex.split(outcome.stdout)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=0" in words
    assert words[words.index("serve") + 1] == "some/base"
    assert words[words.index("--data-parallel-size") + 1] == "2"
    assert words[-1] == "--max-num-seqs=8"
    assert "VLLM_API_KEY" not in outcome.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_an_option_that_is_no_setting(tmp_path):
    adapter(tmp_path)
    outcome = cli(tmp_path, "--print", "--quantize", "fp4")
    assert isinstance(outcome.exception, ConfigError)
    assert "--quantize" in str(outcome.exception) and "'fp4'" in str(outcome.exception)


def test_a_systemd_unit(tmp_path):
    adapter(tmp_path / "run")
    outcome = cli(tmp_path / "run", "--port", 9001, "--write", tmp_path / "shop.service")
    assert outcome.exit_code == 0, outcome.output
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read(tmp_path / "shop.service")
    command = shlex.split(unit["Service"]["ExecStart"])
    assert command[1:] == ["-m", "distill", "serve", str(tmp_path / "run"), "--port=9001"]
    assert unit["Service"]["EnvironmentFile"] == "-/etc/distill/shop.env"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path):
    adapter(tmp_path / "run")
    file = tmp_path / "shop.service"
    outcome = cli(tmp_path / "run", "--vllm-arg=--a=50%", "--vllm-arg=--b=$HOME", "--write", file)
    assert outcome.exit_code == 0, outcome.output
    assert "--a=50%%" in file.read_text() and "--b=$$HOME" in file.read_text()
    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True)
    assert file.name not in done.stderr, done.stderr
    file.write_text(file.read_text().replace("Restart=on-failure", "Restart=sometimes"))
    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True)
    assert "ignoring: sometimes" in done.stderr, "it does look"


def test_a_compose_file(tmp_path, monkeypatch):
    adapter(tmp_path / "run", config={"serve": {"api_key_env": "DOOR", "port": 9002}})
    monkeypatch.setenv("DOOR", "sesame")
    option = "--vllm-arg=--b=$HOME"
    assert cli(tmp_path / "run", option, "--write", tmp_path / "compose.yaml").exit_code == 0
    text = (tmp_path / "compose.yaml").read_text()
    service = yaml.safe_load(text)["services"]["student"]
    assert service["entrypoint"][-2:] == ["--host", "0.0.0.0"]
    assert service["ports"] == ["127.0.0.1:9002:9002"]
    assert service["environment"] == ["DOOR"]
    assert f"{tmp_path / 'run'}:{tmp_path / 'run'}" in service["volumes"]
    assert "--vllm-arg=--b=$$HOME" in service["entrypoint"], "Compose would put a variable there"
    assert "sesame" not in text
    adapter(tmp_path / "run", config={})
    outcome = cli(tmp_path / "run", "--write", tmp_path / "compose.yaml")
    assert "needs a key" in str(outcome.exception)
    assert ".service (systemd)" in str(cli(tmp_path / "run", "--write", "x.toml").exception)


@pytest.mark.parametrize(
    ("settings", "price", "message"),
    [
        ({"keep": False}, {"input": 1, "output": 1}, "set serve.keep to true"),
        ({}, None, "no price is known for 'big'; set teacher.price"),
        ({}, {"input": 1, "output": 1}, None),
        ({"on_invalid": ("retry",), "keep": False}, None, None),
    ],
)
def test_a_budget_of_the_teacher_can_be_counted_or_is_refused(tmp_path, settings, price, message):
    adapter(tmp_path)
    teacher = TeacherConfig(
        provider="openai_chat", model="big", base_url="http://127.0.0.1:9/v1", price=price
    )
    serving = ServeConfig(**({"on_invalid": ("escalate",), "budget_usd": 5} | settings))
    target = deployment(tmp_path, None, serving, teacher=teacher)
    if message:
        with pytest.raises(ConfigError, match=message):
            launch._keeper(target, None)
    elif (keeper := launch._keeper(target, None)) is not None:
        keeper.close()
