"""What `benchmarks/serve_speed.py` computes, counts and writes."""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from distill.endpoint import bound_socket, listening
from distill.serve.address import Address
from distill.serve.server import Server

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        import serve_speed

        yield serve_speed


@pytest.fixture(scope="module")
def model(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("speed")
    script.write_model(folder / "model", script.SIZES_TOY)
    script.write_adapter(folder / "adapter", folder / "model")
    return folder


def empty_model(sizes):
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    with torch.device("meta"):
        return Qwen2ForCausalLM(Qwen2Config(**sizes, tie_word_embeddings=False))


def test_the_floor_counts_the_weights_that_a_model_of_this_shape_has(script):
    from torch.nn import Linear

    built = empty_model(script.SIZES_7B)
    linear = {n: m.weight.numel() for n, m in built.named_modules() if isinstance(m, Linear)}
    head = linear.pop("lm_head")
    of = script.bytes_of_step
    assert of(script.SIZES_7B, "bf16", False, 0) == 2 * (sum(linear.values()) + head)
    assert of(script.SIZES_7B, "fp8", False, 0) == sum(linear.values()) + 2 * head


def test_the_floor_counts_the_adapter_that_was_written(script, model):
    from safetensors.torch import load_file

    weights = load_file(model / "adapter" / "adapter_model.safetensors")
    written = sum(tensor.nbytes for tensor in weights.values())
    for precision in ("bf16", "fp8"):
        with_it, without = (
            script.bytes_of_step(script.SIZES_TOY, precision, adapter, 7)
            for adapter in (True, False)
        )
        assert with_it - without == written


def test_the_floor_counts_the_keys_and_values_that_a_model_keeps(script):
    import torch

    built = empty_model(script.SIZES_7B)
    with torch.device("meta"):
        kept = built(torch.zeros(1, 5, dtype=torch.long), use_cache=True).past_key_values
    values = sum(layer.keys.numel() + layer.values.numel() for layer in kept.layers)
    none, five = (script.bytes_of_step(script.SIZES_7B, "bf16", False, n) for n in (0, 5))
    assert five - none == 2 * values


def test_what_was_measured_stands_beside_the_floor(script, monkeypatch):
    monkeypatch.setattr(script, "vllm_version", lambda: "0")
    run = script.Run(Namespace(toy=False, in_flight=64, budget=1, out=None))
    arm = next(arm for arm in script.arms(("fp8",)) if arm.name == "merged")
    assert "datasheet_ms" not in run.floor(arm, 3.2)
    run.result["bytes_per_s"] = {"datasheet": 4.8e12, "failed": "no copy"}
    found = run.floor(arm, 3.2)
    assert found["datasheet_ms"] == pytest.approx(1.6, abs=0.03)  # 7.6 GB at 4.8 TB/s
    assert found["share_of_datasheet"] == pytest.approx(0.5, abs=0.01)
    step_s = found["bytes_together"] / 4.8e12
    assert found["datasheet_requests_per_s"] == pytest.approx(64 / (64 * step_s), abs=0.1)
    assert run.floor(arm, None)["datasheet_ms"] == found["datasheet_ms"]


def test_every_token_the_model_can_say_has_a_text(script, model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model / "model")
    size = script.SIZES_TOY["vocab_size"]
    assert len(tokenizer) == size
    assert tokenizer.decode([size - 1]) == f"_{size - 1}"
    asked = script.body(3)
    ids = tokenizer.apply_chat_template(
        asked["messages"], tools=asked["tools"], add_generation_prompt=True, return_dict=False
    )
    assert max(ids) < 6000, "text never becomes one of the tokens that only fill up"
    assert "tool_2" in tokenizer.decode(ids)
    assert ids[0] == tokenizer.convert_tokens_to_ids("<|im_start|>") == 1


def test_an_adapter_is_served_beside_its_base_and_a_merged_model_alone(script, tmp_path):
    settings = script.ServeConfig()
    served = {
        arm.title: script.target(arm.server, tmp_path, settings) for arm in script.arms(("bf16",))
    }
    assert served["base bf16"].names == served["adapter bf16"].names == ("base", "student")
    assert served["merged bf16"].names == ("student",)
    assert all(arm.model in served[arm.title].names for arm in script.arms(("bf16",)))


@contextmanager
def endpoint(answer):
    with bound_socket("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        app = Starlette(routes=[Route("/v1/completions", answer, methods=["POST"])])
        with listening(app, sock):
            yield f"http://127.0.0.1:{port}"


def session(script, url):
    return script.aiohttp.ClientSession(url)


def test_as_many_requests_are_in_flight_as_were_asked_for(script):
    now, seen = 0, []

    async def answer(request):
        nonlocal now
        now += 1
        while now < 5 and len(seen) < 5:  # nobody is answered before all have asked
            await asyncio.sleep(0.001)
        seen.append(now)
        await asyncio.sleep(0.01)
        now -= 1
        return JSONResponse({})

    async def measure(url):
        async with session(script, url) as client:
            bodies = iter(lambda: {}, None)
            return await script.in_flight(client, "/v1/completions", bodies, 5, 1.5)

    with endpoint(answer) as url:
        found = asyncio.run(measure(url))
    assert max(seen) == 5
    assert 0 < found["requests"] < len(seen), "the warm-up does not count"
    assert found["requests_per_s"] == pytest.approx(found["requests"] / 1.5, abs=0.01)


def test_a_refusal_is_no_measurement(script):
    async def answer(request):
        return JSONResponse({"error": "too long"}, status_code=400)

    async def measure(url):
        async with session(script, url) as client:
            return await script.in_flight(client, "/v1/completions", iter([{}] * 9), 1, 0.1)

    with endpoint(answer) as url, pytest.raises(RuntimeError, match="too long"):
        asyncio.run(measure(url))


@pytest.mark.parametrize(("counts", "right"), [([1, 1, 2, 0], True), ([1, 1], False)])
def test_tokens_are_counted_not_chunks(script, counts, right):
    async def answer(request):
        assert (await request.json())["return_token_ids"]

        async def events():
            for count in counts:
                yield "data: " + json.dumps({"choices": [{"token_ids": [7] * count}]}) + "\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    async def measure(url):
        async with session(script, url) as client:
            return await script.streamed(client, script.completion("base", [1], 4))

    with endpoint(answer) as url:
        if right:
            found = asyncio.run(measure(url))
            assert found["ttft_ms"] > 0 and found["tpot_ms"] >= 0
        else:
            with pytest.raises(RuntimeError, match="2 tokens came, not 4"):
                asyncio.run(measure(url))


def test_a_server_that_fails_is_recorded_with_the_end_of_its_log(script, tmp_path):
    fleet = script.Fleet.__new__(script.Fleet)
    fleet.addresses = {}
    address = Address(tmp_path / "none.sock", "key")
    command = [sys.executable, "-c", "print('loading'); raise ValueError('out of memory')"]
    what = script.target("lora-bf16", tmp_path, script.ServeConfig())
    with Server(command, {}, address, tmp_path / "serve.log") as server:
        found = fleet._waited("lora-bf16", server, what, 30)
    assert "out of memory" in found["failed"]
    assert "loading" in found["log"]
    assert not fleet.addresses
