"""The demo driver: what it starts, refuses, removes, and that nothing is left running."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from distill.config import load_config
from distill.demo.children import Child, processes
from distill.demo.run import Demo, _leftovers
from distill.errors import ConfigError, DistillError

TOOLS = '''
from distill.toolsets import tool

@tool
def ring() -> str:
    """Ring the bell."""
    return "ding"
'''
TASK = (
    '{"id": "t", "toolset": "bell", "kind": "single", "family": "f", "turns": [{"content": "Ring", '
    '"expectation": {"action": "call", "calls": [{"name": "ring"}]}}]}\n'
)
SERVER = "import sys, time; print(f'at http://127.0.0.1:{sys.argv[1]}/v1'); time.sleep(60)"


@pytest.fixture
def workspace(tmp_path) -> Path:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/tools.py").write_text(TOOLS)
    (tmp_path / "tools/tasks.jsonl").write_text(TASK)
    manifest = "name: bell\ndescription: A bell.\nsource: tools.py\ntasks: tasks.jsonl\n"
    (tmp_path / "tools/toolset.yaml").write_text(manifest)
    (tmp_path / "bell.yaml").write_text(
        f"name: bell\ntoolset: tools\nserve: {{port: {_port()}}}\n"
        "teacher: {provider: openai_chat, model: demo-teacher, "
        f"base_url: 'http://127.0.0.1:{_port()}/v1'}}\n"
    )
    return tmp_path


def _port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class FakeStages(Demo):
    """The demo with stages that only say their name; `serve` prints its address."""

    scripts = {"serve": SERVER}

    def _command(self, name, *more):
        super()._command(name, *more)
        port = str(load_config(self.source, self.overrides).serve.port)
        return [sys.executable, "-c", self.scripts.get(name, "pass"), port, "MARK"]


def _demo(workspace, *overrides, kind=FakeStages):
    console = Console(file=io.StringIO(), width=200)
    demo = kind(workspace / "bell.yaml", list(overrides), console)
    demo.said = console.file.getvalue
    return demo


def _left():
    """Commands of this test run's children that are still alive."""
    mine = [pid for pid, p in processes().items() if p.parent == os.getpid()]
    return [pid for pid in mine if b"MARK" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_every_command_is_shown_before_it_runs_and_nothing_is_left(workspace):
    demo = _demo(workspace)
    demo.run()
    said = demo.said()
    places = [
        said.index(f"$ distill {name}")
        for name in ("check", "collect", "filter", "train", "serve", "eval")
    ]
    assert places == sorted(places)
    assert "--endpoint http://127.0.0.1:" in said and "report.html" in said
    assert [step.name for step in demo.steps][-2:] == ["serve", "eval"]
    assert all(step.child.peak_bytes for step in demo.steps)
    assert not _left()


def test_the_endpoint_stays_up_until_ctrl_c(workspace, monkeypatch):
    up = []

    def ctrl_c(seconds):
        up.append(len(_left()))
        raise KeyboardInterrupt

    monkeypatch.setattr("distill.demo.run.time", SimpleNamespace(sleep=ctrl_c))
    demo = _demo(workspace)
    demo.run(keep_serving=True)
    assert up == [1] and not _left()
    assert "until Ctrl-C" in demo.said() and "peak memory" in demo.said()


def test_taken_ports_are_replaced_in_sight(workspace):
    config = load_config(workspace / "bell.yaml")
    taken = [int(config.teacher.base_url.split(":")[2].split("/")[0]), config.serve.port]
    listeners = [socket.create_server(("127.0.0.1", port)) for port in taken]
    demo = _demo(workspace)
    demo.run()
    for listener in listeners:
        listener.close()
    assert "--set teacher.base_url=http://127.0.0.1:" in demo.said()
    assert "--set serve.port=" in demo.said()
    assert f"http://127.0.0.1:{taken[0]}/v1" not in demo.said()


def _own_children():
    return {pid for pid, process in processes().items() if process.parent == os.getpid()}


def _wait_until(true, seconds=10):
    """A killed process goes when the kernel gets to it; one that was not killed stays."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_failing_stage_ends_the_demo_and_the_teacher(workspace):
    class Failing(FakeStages):
        scripts = {"filter": "raise SystemExit(2)"}

    before = _own_children()
    with pytest.raises(DistillError, match=r"distill filter.*exit code 2"):
        _demo(workspace, kind=Failing).run()
    assert _own_children() <= before


def test_a_server_that_dies_is_reported(workspace):
    class Dying(FakeStages):
        scripts = {"serve": "raise SystemExit(3)"}

    with pytest.raises(DistillError, match="server ended with exit code 3"):
        _demo(workspace, kind=Dying).run()


def test_only_configs_of_the_embedded_teacher_are_played(workspace):
    for override in ("teacher.model=gpt", "teacher.base_url=https://example.com/v1"):
        with pytest.raises(ConfigError, match="embedded teacher"):
            _demo(workspace, override).run()


def test_fresh_removes_what_a_run_left_and_nothing_else(workspace):
    (workspace / "traces/bell").mkdir(parents=True)
    (workspace / "traces/bell.db").write_text("x")
    (workspace / "traces/other.db").write_text("x")
    config = load_config(workspace / "bell.yaml")
    assert {p.name for p in _leftovers(config)} == {"bell", "bell.db"}
    _demo(workspace)._remove(config)
    assert [p.name for p in (workspace / "traces").iterdir()] == ["other.db"]


@pytest.mark.parametrize(
    "override", ["filter.output=.", "train.output=tools", "collect.store=a.db"]
)
def test_fresh_refuses_to_remove_anything_else(workspace, override):
    with pytest.raises(ConfigError, match="remove that yourself"):
        _leftovers(load_config(workspace / "bell.yaml", [override]))


# --- children ---------------------------------------------------------------------------------

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                         start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_stubborn_child_is_killed_with_all_it_started(monkeypatch, capfd):
    monkeypatch.setattr("distill.demo.children.GRACE_S", 0.3)
    child = Child([sys.executable, "-c", STUBBORN], os.environ)
    while not (text := capfd.readouterr().out):
        time.sleep(0.05)
    grandchild = int(text)
    child.stop()
    assert child.exit_code == -signal.SIGKILL
    _wait_until(lambda: grandchild not in processes())


def test_memory_is_that_of_the_whole_tree():
    hold = "x = bytearray(60_000_000); import time; time.sleep(0.8)"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    child = Child([sys.executable, "-c", nested], os.environ)
    assert child.wait() == 0
    assert 60_000_000 < child.peak_bytes < 160_000_000


def test_ctrl_c_stops_everything(workspace):
    script = (
        "import sys; sys.path.insert(0, sys.argv[2]); import test_demo_run as t\n"
        "t.FakeStages.scripts = {'collect': 'import time; time.sleep(60)'}\n"
        "demo = t.FakeStages(t.Path(sys.argv[1]), [], t.Console())\n"
        "demo.run()\n"
    )
    command = [
        sys.executable,
        "-c",
        script,
        str(workspace / "bell.yaml"),
        str(Path(__file__).parent),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if "$ distill collect" in line:
                break
        time.sleep(0.3)
        family = [pid for pid, p in processes().items() if p.parent == process.pid]
        assert len(family) == 2  # the teacher and the stage
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode != 0
        assert not set(family) & set(processes())
