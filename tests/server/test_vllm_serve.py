"""The real vLLM (CPU build) with the shipped student and an adapter made on the spot.

One server for the whole module: starting it takes half a minute and 2.5 GB. Each adapter has learnt
a single answer by heart, so that nothing here depends on how good the student is.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import openai
import pytest
from authoring_world import address, serving

from distill.config import ServeConfig, TeacherConfig, load_config
from distill.errors import ServeError
from distill.serve.checks import check_effect, check_parser, check_prompts
from distill.serve.command import FP8
from distill.serve.deployment import deployment
from distill.serve.launch import launched
from distill.serve.samples import NO_DATA, prompt, taught
from distill.student.base import base_hash, find_base, load_tokenizer
from distill.student.manifest import ADAPTER, TEMPLATE, Manifest, write_manifest
from distill.student.render import Sample, render
from distill.teachers import create_teacher
from distill.toolsets import load_toolset
from distill.traces import TraceStore
from distill.types import (
    AssistantMessage,
    Example,
    Expectation,
    ExpectedCall,
    Kind,
    Outcome,
    StopReason,
    SystemMessage,
    Task,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserTurn,
)
from tests.unit.gateway_world import door

ROOT = Path(__file__).parents[2]
STUDENT = ROOT / "distill" / "demo" / "student" / "model"

CLIENTS = ROOT / "tests" / "clients"

STEPS = 400

CONFIG = f"""
name: tiny
toolset: tools/home
teacher: {{provider: openai_chat, model: big, base_url: "http://127.0.0.1:1/v1"}}
student: {{base: {STUDENT}}}
"""


def learnt(place: str, day: str) -> Example:
    """Return an answer the base does not give to this question, because it is wrong."""
    arguments = json.dumps({"place": place, "day": day}, separators=(",", ":"))
    call = ToolCall(id="1", name="get_forecast", arguments=arguments)
    messages = (*prompt(NO_DATA).messages, AssistantMessage(tool_calls=(call,)))
    return NO_DATA.model_copy(update={"messages": messages})


ROUND_TRIP = Example(
    messages=(
        SystemMessage(content="You watch the weather."),
        *NO_DATA.messages,
        ToolMessage(
            tool_call_id="1", name="get_forecast", content='{"sky": "snow & <ice> \u00e9"}'
        ),
        AssistantMessage(content="Snow in Oslo."),
        UserMessage(content="And on Tuesday?"),
        AssistantMessage(content="Which place?"),
    ),
    tools=NO_DATA.tools,
    weights=(1.0, 1.0, 1.0),
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run folder with an adapter of the shipped student, and another that learnt otherwise."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(CONFIG)
    base = find_base(load_config(folder / "config.yaml"))
    adapter = folder / ADAPTER
    for made, place, day in ((adapter, "Bergen", "Sunday"), (folder / "other", "Bath", "Friday")):
        make_adapter(made, render(learnt(place, day), load_tokenizer(base), base.family)[0])
    (adapter / TEMPLATE).write_text(base.template)
    write_manifest(
        adapter,
        Manifest(
            name="tiny",
            base=base.name,
            base_hash=base_hash(base),
            revision=None,
            family=base.family.name,
            parser=base.parser,
            rank=8,
            toolset_name="home",
            toolset_hash="",
            dataset_hash="",
            created_at="2026-01-01T00:00:00+00:00",
            config={},
            versions={},
            metrics={},
        ),
    )
    return folder


def make_adapter(folder: Path, learn: Sample | None) -> None:
    """Write a LoRA adapter that knows one answer by heart, or that leaves the base as it is."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32)
    lora = LoraConfig(r=8, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(model, lora)
    if learn is not None:
        ids = torch.from_numpy(learn.ids.astype("int64"))[None]
        labels = torch.where(torch.from_numpy(learn.weights > 0)[None], ids, -100)
        weights = [weight for weight in tuned.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=4e-3)
        for _ in range(STEPS):
            loss = tuned(input_ids=ids, labels=labels).loss
            if loss.item() < 0.003:
                break
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        else:
            pytest.fail(f"{STEPS} steps were not enough to learn one answer by heart: {loss}")
    tuned.save_pretrained(folder)


@pytest.fixture(scope="module")
def target(run_dir):
    """What is served: besides the student, another one and an adapter that changes nothing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = ServeConfig(port=port, max_model_len=2048, on_invalid=("retry",))
    made = deployment(run_dir, None, settings)
    more = {name: run_dir / name for name in ("other", "idle")}
    make_adapter(more["idle"], None)
    return replace(made, adapters={**made.adapters, **more})


@pytest.fixture(scope="module")
def running(target):
    """vLLM behind its gateway, up and checked; stopped as a whole at the end."""
    with (
        pytest.MonkeyPatch.context() as patch,
        ExitStack() as stack,
    ):
        # trl, which other tests import into this process, asks vLLM to log errors alone.
        patch.delenv("VLLM_LOGGING_LEVEL", raising=False)
        # The adapter that changes nothing would be found out: that is for a test below.
        patch.setattr("distill.serve.launch.check_effect", lambda client, name, prompts: None)
        found = stack.enter_context(launched(target, [ROUND_TRIP], lambda doing: None))
        patch.undo()
        yield found
        group = found.server.pid
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


@pytest.fixture
def inside(running):
    """A client of vLLM itself, behind the gateway."""
    with running.address.client(120) as client:
        yield client


@pytest.fixture
def client(running, target):
    with openai.OpenAI(base_url=target.url, api_key="none", max_retries=0) as made:
        yield made


# --- what is served ---------------------------------------------------------------------------


def test_base_and_student_are_listed(client):
    assert {model.id for model in client.models.list()} == {"base", "student", "other", "idle"}


def test_the_call_that_was_learnt_comes_back_parsed(client):
    answer = client.chat.completions.create(
        **prompt(NO_DATA).body("student"), temperature=0, max_tokens=100
    )
    message = answer.choices[0].message
    assert [call.function.name for call in message.tool_calls or ()] == ["get_forecast"], message
    arguments = json.loads(message.tool_calls[0].function.arguments)
    assert arguments == {"place": "Bergen", "day": "Sunday"}
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.model == "student"


def test_the_call_comes_back_as_a_stream(client):
    chunks = client.chat.completions.create(
        **prompt(NO_DATA).body("student"),
        temperature=0,
        max_tokens=100,
        stream=True,
        stream_options={"include_usage": True},
    )
    arguments, usage = "", None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            for piece in choice.delta.tool_calls or ():
                arguments += piece.function.arguments or ""
    assert json.loads(arguments) == {"place": "Bergen", "day": "Sunday"}
    assert usage.completion_tokens > 5


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_forecast"}}, "none"]
)
def test_tool_choice_reaches_vllm(client, choice):
    answer = client.chat.completions.create(
        **prompt(NO_DATA).body("student"), tool_choice=choice, temperature=0, max_tokens=100
    )
    names = [call.function.name for call in answer.choices[0].message.tool_calls or ()]
    assert names == ([] if choice == "none" else ["get_forecast"])


@pytest.mark.parametrize("script", ["langchain_chat.py", "pydantic_ai_agent.py"])
def test_python_clients_work_unchanged(running, target, script):
    run_client([sys.executable], script, target)


@pytest.mark.parametrize("script", ["openai_node.mjs", "openai_agents.py"])
def test_clients_of_other_environments_work_unchanged(running, target, script):
    folder = os.environ.get("DISTILL_CLIENTS")
    if script.endswith(".mjs") and not shutil.which("node"):
        pytest.skip("node is not installed")
    if not folder:
        pytest.skip("DISTILL_CLIENTS names no folder that tests/clients/prepare.py has filled")
    program = "node" if script.endswith(".mjs") else f"{folder}/venv/bin/python"
    run_client([program], script, target, DISTILL_CLIENTS=folder)


def run_client(program, script, target, **more):
    """Run a script of somebody else's client against the endpoint, with nothing else set."""
    tool = json.dumps(NO_DATA.tools[0].as_function())
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    own = {"OPENAI_BASE_URL": target.url, "OPENAI_API_KEY": "none", "TOOL": tool}
    done = subprocess.run(
        [*program, str(CLIENTS / script)],
        env=kept | own | more,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " ok" in done.stdout


def test_a_mark_for_the_decoder_leaves_the_prompt_as_it_was(inside):
    body = prompt(NO_DATA).body("student")
    marked = [tool | {"function": tool["function"] | {"strict": True}} for tool in body["tools"]]
    shown = [
        inside.post("/tokenize", json=body | {"tools": tools}).json()["tokens"]
        for tools in (body["tools"], marked)
    ]
    assert shown[0] == shown[1]


def test_a_retry_is_held_to_the_schema(running, target):
    """The learnt call violates this request's schema; asked again, a grammar forbids it."""
    body = prompt(NO_DATA).body("student") | {"temperature": 0, "max_tokens": 120}
    (tool,) = body["tools"]
    parameters = tool["function"]["parameters"]
    days = {"type": "string", "pattern": "^[A-Z]{3}$"}
    changed = parameters | {"properties": parameters["properties"] | {"day": days}}
    changed["properties"]["place"] = {"type": "string", "enum": ["Oslo", "Bergen"]}
    changed["additionalProperties"] = False
    body["tools"] = [tool | {"function": tool["function"] | {"parameters": changed}}]
    url = f"{target.url}/chat/completions"
    seen = httpx2.post(url, json=body | {"distill_observe": True}, timeout=120)
    assert seen.headers["x-distill-problem"] == "schema_violation", seen.text
    mended = httpx2.post(url, json=body, timeout=120)
    assert mended.headers["x-distill-route"] == "retried", mended.text
    assert "x-distill-problem" not in mended.headers
    (call,) = mended.json()["choices"][0]["message"]["tool_calls"]
    assert re.search(days["pattern"], json.loads(call["function"]["arguments"])["day"])
    assert "schema_violation" in (target.run_dir / "gateway.log").read_text()


def test_the_evaluations_client_is_understood(running, target):
    config = TeacherConfig(
        provider="openai_chat",
        model="base",
        base_url=target.url,
        temperature=0,
        max_tokens=16,
        extra={"distill_observe": True},
    )

    async def ask():
        teacher = create_teacher(config)
        try:
            return await teacher.complete(ROUND_TRIP.messages[:4], ROUND_TRIP.tools)
        finally:
            await teacher.close()

    turn = asyncio.run(ask())
    assert turn.usage.input_tokens > 50
    assert turn.stop in set(StopReason)
    assert turn.model == "base"


def test_each_gives_its_own_answer_in_a_batch_of_all(target, running):
    """vLLM's CPU kernels give the base an adapter's weights when slots are short."""
    tokens = list(taught(target, [NO_DATA])[0].prompt_ids)
    models = ["base", "student", "other", "idle"]

    async def ask(client, model):
        body = {"model": model, "prompt": tokens, "max_tokens": 30, "temperature": 0}
        answer = await client.post(f"{target.url}/completions", json=body)
        return answer.json()["choices"][0]["text"]

    async def both():
        async with httpx2.AsyncClient(timeout=120) as client:
            alone = [await ask(client, model) for model in models]
            return alone, await asyncio.gather(*(ask(client, model) for model in models * 4))

    alone, together = asyncio.run(both())
    assert together == alone * 4
    base, student, other, idle = alone
    assert "Bergen" in student and "Bath" in other
    assert base == idle and "Bergen" not in base and "Bath" not in base


def test_vllm_quantises_to_fp8_by_this_name():
    from vllm.config.quantization import ONLINE_QUANT_SHORTHAND_NAMES

    assert FP8 in ONLINE_QUANT_SHORTHAND_NAMES


def test_the_log_is_kept(running, target):
    assert "Starting vLLM server" in running.server.log.read_text()
    assert json.loads((target.run_dir / ADAPTER / "distill.json").read_text())["name"] == "tiny"


# --- what the gateway does about it -----------------------------------------------------------

SYSTEM = "You watch the weather."
CUT_OFF = 12
"""Tokens of an answer: too few for any call."""
PLACES = ("Oslo", "Bergen", "Voss", "Narvik", "Hamar", "Bodo", "Molde", "Alta")


@pytest.fixture
def workspace(tmp_path):
    """A config of what the gateway keeps, and a tool set with the weather."""
    tool = NO_DATA.tools[0].as_function()["function"]
    (tmp_path / "tools.json").write_text(json.dumps({"tools": [tool]}))
    manifest = {"name": "weather", "description": "x", "source": "tools.json", "system": SYSTEM}
    (tmp_path / "toolset.yaml").write_text(json.dumps(manifest))
    teacher = {"provider": "openai_chat", "model": "demo-teacher", "base_url": "http://x/v1"}
    settings = {
        "name": "weather",
        "toolset": ".",
        "teacher": teacher | {"terms": "Ours."},
        "collect": {"store": "served.db"},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(settings))
    return tmp_path


def weather(place: str) -> Task:
    right = ExpectedCall(name="get_forecast", arguments={"place": place, "day": "Monday"})
    asks = UserTurn(
        content=f"What is the weather in {place} on Monday?",
        expectation=Expectation(action="call", calls=(right,)),
    )
    return Task(id=place, toolset="weather", kind=Kind.SINGLE, family=place, turns=(asks,))


@contextmanager
def escalating(running, workspace):
    """A gateway that asks the embedded teacher, in front of the vLLM that is up."""
    config = load_config(workspace / "c.yaml")
    toolset = load_toolset(config.toolset_dir).toolset
    with (
        serving(toolset, [weather(place) for place in PLACES]) as above,
        door(
            running.address,
            config.teacher.model_copy(update={"base_url": address(above)}),
            "escalate",
            store=config.store_url,
            timeout_s=120,
        ) as url,
    ):
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def ask(client, messages, *, stream):
    """Ask the student for an answer that is cut off; return who answered, words and calls."""
    body = {"model": "student", "tools": [NO_DATA.tools[0].as_function()], "messages": messages}
    reply = client.chat.completions.create(**body, temperature=0, max_tokens=CUT_OFF, stream=stream)
    if not stream:
        message = reply.choices[0].message
        calls = [call.model_dump() for call in message.tool_calls or ()]
        return reply.model, message.content, calls
    who, words, calls = "", "", []
    for chunk in reply:
        who = chunk.model
        for delta in [choice.delta for choice in chunk.choices]:
            words += delta.content or ""
            for piece in delta.tool_calls or ():
                if piece.id:
                    made = {"name": piece.function.name, "arguments": ""}
                    calls.append({"id": piece.id, "type": "function", "function": made})
                calls[piece.index]["function"]["arguments"] += piece.function.arguments or ""
    return who, words or None, calls


def test_what_the_teacher_answers_in_the_students_place_reaches_client_and_store(
    running, workspace
):
    """Cut off, no call of the student is fit; whole or streamed, the client gets the teacher's."""
    with escalating(running, workspace) as client, client:
        for n, place in enumerate(PLACES):
            asked = weather(place).turns[0].content
            messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]
            who, words, calls = ask(client, messages, stream=n % 2 == 1)
            assert who == "demo-teacher", (place, words, calls)
            (made,) = [call["function"] for call in calls]
            assert json.loads(made["arguments"]) == {"place": place, "day": "Monday"}
            result = {"role": "tool", "tool_call_id": calls[0]["id"], "content": '{"sky": "snow"}'}
            said = {"role": "assistant", "content": words, "tool_calls": calls}
            ask(client, [*messages, said, result], stream=n % 2 == 0)
    with TraceStore.open(load_config(workspace / "c.yaml").store_url) as store:
        traces = list(store.traces())
    failed = [trace for trace in traces if trace.outcome is Outcome.ERROR]
    mended = [trace for trace in traces if trace.outcome is not Outcome.ERROR]
    assert [trace.teacher.model for trace in failed] == ["student"] * len(PLACES)
    assert [trace.teacher.model for trace in mended] == ["demo-teacher"] * len(PLACES)
    for trace in mended:
        roles = [message.role for message in trace.messages]
        assert roles == ["system", "user", "assistant", "tool", "assistant"]
        assert [record.context for record in trace.turns] == [False, True], "the student went on"


# --- what is found out ------------------------------------------------------------------------


def test_the_checks_say_what_they_found(running):
    text = "\n".join(running.findings)
    assert "3 prompts of 1 kinds become the tokens of training" in text
    assert "1 calls come back from the parser 'hermes'" in text
    assert "the base is the one that was trained on" in text


def test_a_wrong_template_is_found_out(inside, target, tmp_path):
    check_prompts(inside, "student", taught(target, [ROUND_TRIP]))
    other = tmp_path / "other.jinja"
    other.write_text("You are kind.\n" + target.template.read_text())
    turns = taught(replace(target, template=other), [ROUND_TRIP])
    with pytest.raises(ServeError, match="different from token"):
        check_prompts(inside, "student", turns)


def test_a_wrong_parser_is_found_out(inside, target):
    (turn,) = taught(target, [NO_DATA])
    check_parser(inside, "student", "hermes", [turn])
    written = '{"name": "get_forecast", "parameters": {"place": "Oslo", "day": "Monday"}}'
    tokenizer = load_tokenizer(find_base(load_config(target.run_dir / "config.yaml")))
    other = tokenizer(written, add_special_tokens=False)["input_ids"]
    with pytest.raises(ServeError, match="parser 'hermes' reads no call where"):
        check_parser(inside, "student", "hermes", [turn._replace(answer_ids=other)])


def test_an_adapter_without_effect_is_found_out(inside):
    check_effect(inside, "student", [prompt(ROUND_TRIP)])
    with pytest.raises(ServeError, match="the adapter 'idle' has no effect"):
        check_effect(inside, "idle", [prompt(ROUND_TRIP)])


def test_an_adapter_of_another_base_is_found_out(run_dir, target):
    other = replace(target, base_hash="0123456789abcdef", settings=elsewhere(target))
    with pytest.raises(ServeError, match="trained on another base"):
        with launched(other, [ROUND_TRIP], lambda doing: None, run_dir / "other.log"):
            pytest.fail("it was announced")


def test_a_config_vllm_refuses_is_quoted(run_dir, target):
    settings = elsewhere(target, vllm_args=("--max-model-len", "99999"))
    absurd = replace(target, settings=settings)
    with pytest.raises(ServeError, match=r"max_model_len \(99999\) is greater"):
        with launched(absurd, [ROUND_TRIP], lambda doing: None, run_dir / "refused.log"):
            pytest.fail("it started")


def test_the_port_of_another_server_is_found_out(target, running):
    with pytest.raises(ServeError, match="Address already in use"):
        with launched(target, [ROUND_TRIP], lambda doing: None):
            pytest.fail("it started")


def elsewhere(target, **changes):
    return target.settings.model_copy(update={"port": target.settings.port + 1} | changes)


# --- what is locked ---------------------------------------------------------------------------

BESIDE = [
    ("GET", "/metrics", None),
    ("POST", "/tokenize", {"model": "base", "prompt": "a"}),
    ("POST", "/invocations", {"model": "base", "prompt": "a", "max_tokens": 1}),
]
"""Routes that vLLM answers without its key."""


def test_what_vllms_key_leaves_open_is_closed_by_the_gateway(running, target):
    transport = httpx2.HTTPTransport(uds=str(running.address.file))
    with httpx2.Client(transport=transport, base_url="http://vllm", timeout=60) as keyless:
        assert keyless.get("/v1/models").status_code == 401
        for method, path, body in BESIDE:
            assert keyless.request(method, path, json=body).status_code == 200, path
        # Loading at run time is off, whatever route it has.
        for path in ("/adapters", "/v1/load_lora_adapter"):
            body = {"name": "x", "src": "/", "lora_name": "x", "lora_path": "/"}
            assert keyless.post(path, json=body).status_code in (401, 404), path
    root = target.url.removesuffix("/v1")
    more = [
        ("POST", "/adapters", {"name": "x", "src": "/"}),
        ("POST", "/v1/load_lora_adapter", {}),
        ("POST", "/v1/chat/completions/derender", {}),
    ]
    for method, path, body in [*BESIDE, *more]:
        assert httpx2.request(method, root + path, json=body).status_code in (404, 405), path


def test_vllm_is_out_of_reach_of_other_users(running):
    assert running.address.file.parent.stat().st_mode & 0o077 == 0
