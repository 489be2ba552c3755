"""The real vLLM (CPU build) with the shipped student and an adapter made on the spot.

One server for the whole module: starting it takes half a minute and 2.5 GB. The adapter has learnt
a single answer by heart, so that nothing here depends on how good the student is.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx2
import openai
import pytest

from distill.config import ServeConfig, TeacherConfig, load_config
from distill.errors import ServeError
from distill.serve.checks import check_effect, check_prompts
from distill.serve.command import deployment
from distill.serve.launch import NO_DATA, launched, prompt, rendered
from distill.student.base import base_hash, find_base, load_tokenizer
from distill.student.manifest import ADAPTER, TEMPLATE, Manifest, write_manifest
from distill.student.render import Sample, render
from distill.teachers import create_teacher
from distill.types import (
    AssistantMessage,
    Example,
    StopReason,
    SystemMessage,
    ToolMessage,
    UserMessage,
)

ROOT = Path(__file__).parents[2]
STUDENT = ROOT / "distill" / "demo" / "student" / "model"

STEPS = 400

CONFIG = f"""
name: tiny
toolset: tools/home
teacher: {{provider: openai_chat, model: big, base_url: "http://127.0.0.1:1/v1"}}
student: {{base: {STUDENT}}}
"""

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
    """A run folder with an adapter of the shipped student, made on the spot."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(CONFIG)
    base = find_base(load_config(folder / "config.yaml"))
    adapter = folder / ADAPTER
    make_adapter(adapter, render(NO_DATA, load_tokenizer(base), base.family)[0])
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
    """What is served: besides the student, an adapter that changes nothing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = deployment(run_dir, None, ServeConfig(port=port, max_model_len=2048))
    idle = run_dir / "idle"
    make_adapter(idle, None)
    return replace(made, adapters={**made.adapters, "idle": idle})


@pytest.fixture(scope="module")
def server(target):
    """vLLM, up and checked; stopped as a whole at the end."""
    with (
        pytest.MonkeyPatch.context() as patch,
        ExitStack() as stack,
    ):
        # trl, which other tests import into this process, asks vLLM to log errors alone.
        patch.delenv("VLLM_LOGGING_LEVEL", raising=False)
        log = target.run_dir / "serve.log"
        running = stack.enter_context(launched(target, log, [ROUND_TRIP], lambda doing: None))
        yield running
        group = running.pid
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_base_and_student_are_listed(server, target):
    with openai.OpenAI(base_url=target.url, api_key="none") as client:
        assert {model.id for model in client.models.list()} == {"base", "student", "idle"}


def test_the_call_that_was_learnt_comes_back_parsed(server, target):
    asked = prompt(NO_DATA).body("student")
    with openai.OpenAI(base_url=target.url, api_key="none") as client:
        answer = client.chat.completions.create(**asked, temperature=0, max_tokens=100)
    message = answer.choices[0].message
    assert [call.function.name for call in message.tool_calls or ()] == ["get_forecast"], message
    arguments = json.loads(message.tool_calls[0].function.arguments)
    assert arguments == {"place": "Oslo", "day": "Monday"}
    assert answer.choices[0].finish_reason == "tool_calls"


def test_the_evaluations_client_is_understood(server, target):
    config = TeacherConfig(
        provider="openai_chat", model="base", base_url=target.url, temperature=0, max_tokens=16
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


def test_prompts_are_rendered_as_in_training(server, target):
    trained = rendered(target, [ROUND_TRIP])
    assert len(trained) == 3
    check_prompts(target.url, trained)
    spoiled = [(asked, [*ids[:-1], ids[-1] + 1]) for asked, ids in trained]
    with pytest.raises(ServeError, match="different from token"):
        check_prompts(target.url, spoiled)


def test_an_adapter_without_effect_is_found_out(server, target, monkeypatch):
    check_effect(target.url, [prompt(ROUND_TRIP)])
    monkeypatch.setattr("distill.serve.checks.STUDENT", "idle")
    with pytest.raises(ServeError, match="the adapter has no effect"):
        check_effect(target.url, [prompt(ROUND_TRIP)])


def test_base_and_student_do_not_mix_in_one_batch(server, target):
    """vLLM's CPU kernels give the base the adapter's weights when slots are short."""

    (_, learnt), *_ = rendered(target, [NO_DATA])
    tokens = [int(token) for token in learnt]

    async def ask(client, model):
        body = {"model": model, "prompt": tokens, "max_tokens": 12, "temperature": 0}
        answer = await client.post(f"{target.url}/completions", json=body)
        return answer.json()["choices"][0]["text"]

    async def both():
        async with httpx2.AsyncClient(timeout=120) as client:
            alone = await ask(client, "base")
            models = ["base", "student"] * 6
            return alone, await asyncio.gather(*(ask(client, model) for model in models))

    alone, together = asyncio.run(both())
    assert set(together[::2]) == {alone}
    assert set(together[1::2]) != {alone}


def test_the_log_is_kept(server, target):
    assert "Starting vLLM server" in server.log.read_text()
    assert json.loads((target.run_dir / ADAPTER / "distill.json").read_text())["name"] == "tiny"


def test_a_config_vllm_refuses_is_quoted(run_dir, target):
    absurd = replace(
        target, settings=ServeConfig(port=target.settings.port + 1, max_model_len=99999)
    )
    with pytest.raises(ServeError, match=r"max_model_len \(99999\) is greater"):
        with launched(absurd, run_dir / "refused.log", [ROUND_TRIP], lambda doing: None):
            pytest.fail("it started")
