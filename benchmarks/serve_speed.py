"""Claim: how near vLLM, as `distill serve` starts it, comes to what the memory's bandwidth allows.

Qwen2.5-7B's shape with random weights that vLLM makes while loading, and a LoRA adapter of rank 32
on all linear layers. Four servers start together on one GPU, with the flags of `distill serve` and
those in `PER_SERVER`; once all are up, one at a time is measured while the others idle:

    base, adapter    one server with both, as `distill serve RUN` has it
    merged           a server without LoRA; its weights have the base's shape, so what it takes is
                     also what a base without an adapter beside it takes

each in bf16 and with `--quantize fp8`. Batch 1: the median time per output token of streamed
requests, from the first token to the last. In flight: `--in-flight` clients that ask again as
soon as they are answered; what is finished within a window counts. Their prompts share
all but the end, as those of one tool set do. Both over the socket file that the gateway uses.

The floor is the bytes that a step cannot but read (weights, adapter, keys and values; the
embedding is looked up, so not counted) over the bandwidth: by the data sheet, and as a copy
reaches it here, reading and writing counted. The gateway's cost: the same request with tools sent
to vLLM and through the gateway in turn, and what is added taken pair by pair.

    python benchmarks/serve_speed.py --budget 520 --out serve.json
    python benchmarks/serve_speed.py --toy        a small model on the CPU: does the script work

After every measurement --out is rewritten, and none is begun after --budget seconds; a server
that does not come up in time is given up on, and the end of its log kept. Logs go beside --out.
Prints a table; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
from gateway_overhead import body, median_interval, play_gateway, quantile, running, wait
from shapes import SIZES_7B

from distill.config import ServeConfig
from distill.endpoint import bound_socket
from distill.serve.address import HOST, Address, private_address
from distill.serve.command import vllm_command, vllm_environment, vllm_version
from distill.serve.deployment import Deployment
from distill.serve.server import Server

RANK = 32
SIZES_TOY = SIZES_7B | {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
DATASHEET = 4.8e12
"""Bytes per second of an H200's memory, by its data sheet."""

PER_SERVER = (
    "--load-format", "dummy", "--gpu-memory-utilization", "0.2",
    "--kv-cache-memory-bytes", str(10 * 2**30), "--no-enable-flashinfer-autotune",
    "--compilation-config",
    json.dumps({"cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 512]}),
)  # fmt: skip
"""What lets four servers share one GPU and start sooner. Fewer sizes of CUDA graphs are captured
than by default; what is measured (1, 64, and steps with a prefill in them) is among them."""
PER_SERVER_TOY = ("--load-format", "dummy", "--max-num-seqs", "8")

ENVIRONMENT = {"VLLM_USE_FLASHINFER_SAMPLER": "0"}
"""Without it a sampler is compiled at start, which answers at temperature 0 never use."""

TEMPLATES = Path(__file__).parents[1] / "distill" / "demo" / "student" / "model"
"""Tokenizer and chat template; the vocabulary is filled up to the model's."""

HEADERS_S = 300.0
TOOLS = 20


@dataclass(frozen=True)
class Load:
    """How much is asked for."""

    alone_prompt: int
    alone_output: int
    alone_rounds: int
    shared: int
    own: int
    output: int
    window_s: float
    measuring_s: float
    """What is left of the budget for measuring, whatever the servers do."""


LOAD = Load(1000, 256, 5, 1400, 100, 64, 6.0, 150.0)
LOAD_TOY = Load(100, 24, 2, 140, 10, 8, 2.0, 60.0)


@dataclass(frozen=True)
class Arm:
    """One thing to ask."""

    name: str
    """base, adapter or merged."""
    precision: str
    model: str
    """As the server calls it."""
    server: str

    @property
    def title(self) -> str:
        return f"{self.name} {self.precision}"


def arms(precisions: tuple[str, ...]) -> list[Arm]:
    return [
        Arm(name, precision, model, f"{server}-{precision}")
        for precision in precisions
        for name, model, server in (
            ("base", "base", "lora"), ("adapter", "student", "lora"), ("merged", "student", "plain")
        )
    ]  # fmt: skip


# --- the floor --------------------------------------------------------------------------------


def linear_shapes(sizes: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the inputs and outputs of a layer's seven products."""
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    kept = hidden // sizes["num_attention_heads"] * sizes["num_key_value_heads"]
    attention = [(hidden, hidden), (hidden, kept), (hidden, kept), (hidden, hidden)]
    return [*attention, (hidden, inner), (hidden, inner), (inner, hidden)]


def bytes_of_step(sizes: dict[str, Any], precision: str, adapter: bool, cached: float) -> float:
    """Return the least bytes that a decoding step reads.

    Args:
        sizes: The model's.
        precision: bf16 or fp8; the head and the adapter are in bf16 with both.
        adapter: Whether an adapter of rank `RANK` is applied.
        cached: Tokens whose keys and values are read, those of a shared prefix once.
    """
    layers, shapes = sizes["num_hidden_layers"], linear_shapes(sizes)
    linear = layers * sum(inputs * outputs for inputs, outputs in shapes)
    weights = linear * (1 if precision == "fp8" else 2)
    weights += 2 * sizes["vocab_size"] * sizes["hidden_size"]
    if adapter:
        weights += 2 * layers * RANK * sum(inputs + outputs for inputs, outputs in shapes)
    kept = shapes[1][1]
    return weights + cached * 2 * 2 * layers * kept


def copy_bandwidth() -> float:
    """Return the bytes per second that a large copy on the device reads and writes."""
    import torch

    source = torch.randn(2**31, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(source)
    taken = []
    for _ in range(15):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        taken.append(begin.elapsed_time(end) / 1000)
    return 2 * source.nbytes / statistics.median(taken[5:])


def device_name() -> str:
    import torch

    return torch.cuda.get_device_name(0)


# --- the servers ------------------------------------------------------------------------------


def write_model(folder: Path, sizes: dict[str, Any]) -> None:
    """Write a model's folder without weights."""
    from transformers import Qwen2Config

    config = Qwen2Config(
        **sizes,
        max_position_embeddings=32768,
        tie_word_embeddings=False,
        dtype="bfloat16",
        eos_token_id=2,
        architectures=["Qwen2ForCausalLM"],
    )
    config.save_pretrained(folder)
    tokenizer = json.loads((TEMPLATES / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    taken = set(vocabulary.values())
    vocabulary |= {f"_{n}": n for n in range(sizes["vocab_size"]) if n not in taken}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((TEMPLATES / name).read_bytes())


def write_adapter(folder: Path, base: Path) -> None:
    """Write an adapter with random weights for all linear layers."""
    import torch
    from peft import get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    from distill.train.lora import lora_config

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
        tuned = get_peft_model(model, lora_config(RANK, RANK))
    shapes = {name: weight.shape for name, weight in get_peft_model_state_dict(tuned).items()}
    folder.mkdir()
    save_file(
        {n: 0.01 * torch.randn(s, dtype=torch.bfloat16) for n, s in shapes.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    tuned.peft_config["default"].save_pretrained(str(folder))


def target(server: str, folder: Path, settings: ServeConfig) -> Deployment:
    """Return what `distill serve` would serve."""
    lora = server.startswith("lora")
    return Deployment(
        run_dir=folder,
        base=str(folder / "model"),
        revision=None,
        base_hash=None,
        adapters={"student": folder / "adapter"} if lora else {},
        rank=RANK,
        family="qwen2",
        parser="hermes",
        template=folder / "model" / "chat_template.jinja",
        template_kwargs={},
        settings=settings,
        teacher=None,
    )


class Fleet:
    """The servers, started together."""

    def __init__(self, options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
        self.toy = options.toy
        self.folder = folder
        self.logs = options.out.resolve().parent if options.out else folder
        self.extra = (*(PER_SERVER_TOY if self.toy else PER_SERVER), *options.vllm_arg)
        self.stack = stack
        self.addresses: dict[str, Address] = {}

    def start(self, names: list[str], deadline_s: float) -> dict[str, Any]:
        """Start servers and wait for all; return what became of each."""
        servers = {name: self._started(name) for name in names}
        with ThreadPoolExecutor(len(names)) as pool:
            waits = [pool.submit(self._waited, n, *s, deadline_s) for n, s in servers.items()]
        return {name: found.result() for name, found in zip(names, waits, strict=True)}

    def _started(self, name: str) -> tuple[Server, Deployment]:
        quantize = "fp8" if name.endswith("fp8") else None
        settings = ServeConfig(
            max_model_len=4096, quantize=quantize, vllm_args=(*self.extra,), keep=False
        )
        what = target(name, self.folder, settings)
        address = self.stack.enter_context(private_address())
        environment = vllm_environment(what, address)
        log = self.logs / f"serve_speed_{name}.log"
        server = Server(vllm_command(what, address), environment, address, log)
        return self.stack.enter_context(server), what

    def _waited(
        self, name: str, server: Server, what: Deployment, deadline_s: float
    ) -> dict[str, Any]:
        began = time.perf_counter()
        try:
            server.wait(what.names, timeout_s=deadline_s)
        except Exception as error:
            server.stop()  # what still compiles would disturb the others
            tail = server.log.read_text(errors="replace")[-1500:]
            return {"failed": str(error)[:300], "log": tail}
        self.addresses[name] = server.address
        return {"ready_s": round(time.perf_counter() - began, 1)}


# --- what is measured -------------------------------------------------------------------------


def prompts(shared: int, own: int, seed: str) -> Iterator[list[int]]:
    """Yield prompts of random tokens that are alike but for their ends."""
    numbers = random.Random(seed)
    same = numbers.choices(range(6000, 150_000), k=shared)
    while True:
        yield same + numbers.choices(range(6000, 150_000), k=own)


def completion(model: str, prompt: list[int], output: int) -> dict[str, Any]:
    """Return a request for exactly so many tokens."""
    exact = {"max_tokens": output, "min_tokens": output, "ignore_eos": True, "temperature": 0}
    return {"model": model, "prompt": prompt, **exact}


def client(address: Address) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        HOST,
        connector=aiohttp.UnixConnector(str(address.file), limit=0),
        headers=address.headers,
        timeout=aiohttp.ClientTimeout(total=HEADERS_S),
    )


async def streamed(session: aiohttp.ClientSession, request: dict[str, Any]) -> dict[str, float]:
    """Return the milliseconds to the first token, and of each token after it."""
    started = time.perf_counter()
    arrivals: list[tuple[float, int]] = []
    more = {"stream": True, "return_token_ids": True}
    async with session.post("/v1/completions", json=request | more) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            now = time.perf_counter()
            event = json.loads(line[6:])
            if "choices" not in event:
                raise RuntimeError(f"vLLM broke off: {line[:300]!r}")
            count = sum(len(choice.get("token_ids") or ()) for choice in event["choices"])
            if count:
                arrivals.append((now, count))
    total = sum(count for _, count in arrivals)
    if total != request["max_tokens"]:
        raise RuntimeError(f"{total} tokens came, not {request['max_tokens']}")
    (first, early), (last, _) = arrivals[0], arrivals[-1]
    return {
        "ttft_ms": 1000 * (first - started),
        "tpot_ms": 1000 * (last - first) / (total - early),
    }


async def alone(address: Address, model: str, load: Load) -> dict[str, Any]:
    """Ask one at a time."""
    found = []
    async with client(address) as session:
        for number in range(load.alone_rounds + 1):
            prompt = next(prompts(load.alone_prompt, 0, seed=f"{model} {number}"))
            found.append(await streamed(session, completion(model, prompt, load.alone_output)))
    counted = found[1:]
    tpot = [each["tpot_ms"] for each in counted]
    return {
        "tpot_ms": round(statistics.median(tpot), 3),
        "tpot_ms_range": [round(min(tpot), 3), round(max(tpot), 3)],
        "ttft_ms": round(statistics.median(each["ttft_ms"] for each in counted), 1),
    }


async def in_flight(
    session: aiohttp.ClientSession,
    path: str,
    bodies: Iterator[dict[str, Any]],
    clients: int,
    window_s: float,
) -> dict[str, float]:
    """Keep so many requests in flight; return what was finished in a window, after a warm-up.

    The warm-up is a third of the window, but never shorter than every client's first answer.
    """
    ends: list[tuple[float, float]] = []
    warm: set[int] = set()
    state: dict[str, float] = {}
    started = time.perf_counter()

    async def ask(number: int) -> None:
        while time.perf_counter() < state.get("until", float("inf")):
            sent = time.perf_counter()
            async with session.post(path, json=next(bodies)) as answer:
                content = await answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"HTTP {answer.status}: {content[:300]!r}")
            now = time.perf_counter()
            if "until" in state:
                ends.append((now, now - sent))
                continue
            warm.add(number)
            if len(warm) == clients and now - started > window_s / 3:
                state["from"], state["until"] = now, now + window_s

    await asyncio.gather(*(ask(number) for number in range(clients)))
    counted = [taken for end, taken in ends if end <= state["until"]]
    return {
        "requests_per_s": round(len(counted) / window_s, 2),
        "latency_ms_p50": round(1000 * statistics.median(counted), 1),
        "latency_ms_p99": round(1000 * quantile(counted, 0.99), 1),
        "requests": len(counted),
    }


async def together(address: Address, model: str, load: Load, clients: int) -> dict[str, Any]:
    """Ask many at once, with prompts that share their beginning."""
    bodies = (
        completion(model, prompt, load.output)
        for prompt in prompts(load.shared, load.own, seed="together")
    )
    async with client(address) as session:
        found = await in_flight(session, "/v1/completions", bodies, clients, load.window_s)
    return found | {"output_tokens_per_s": round(found["requests_per_s"] * load.output)}


def gateway_cost(address: Address, options: argparse.Namespace, load: Load) -> dict[str, Any]:
    """Compare asking vLLM with asking it through the gateway."""
    output = 8
    asked = completion("student", [], output) | body(TOOLS)
    del asked["prompt"]
    door = bound_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{door.getsockname()[1]}"
    with running(play_gateway, address, [door]):
        wait(f"{url}/health")
        direct, through = alternating(address, url, asked, options.pairs, 5 * load.window_s)
        rates = {
            "direct": asyncio.run(many_chats(address, None, asked, options.in_flight, load)),
            "through": asyncio.run(many_chats(address, url, asked, options.in_flight, load)),
        }
    added = [b - a for a, b in zip(direct, through, strict=True)]
    return {
        "pairs": len(added),
        "tools": TOOLS,
        "output_tokens": output,
        "request_bytes": len(json.dumps(asked)),
        "added_ms_p50": round(statistics.median(added), 3),
        "added_ms_p50_95": [round(value, 3) for value in median_interval(added)],
        "added_ms_p99": round(quantile(added, 0.99), 3),
        "direct_ms": {"p50": round(statistics.median(direct), 2),
                      "p99": round(quantile(direct, 0.99), 2)},
        "through_ms": {"p50": round(statistics.median(through), 2),
                       "p99": round(quantile(through, 0.99), 2)},
        "in_flight": rates,
    }  # fmt: skip


def alternating(
    address: Address, url: str, asked: dict[str, Any], pairs: int, limit_s: float
) -> tuple[list[float], list[float]]:
    """Return the milliseconds of requests to vLLM, and of those beside them through the gateway."""
    content = json.dumps(asked).encode()
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
    taken: tuple[list[float], list[float]] = ([], [])
    warm, began = 5, time.perf_counter()
    through = httpx2.Client(base_url=url, headers=headers, timeout=HEADERS_S)
    with address.client(HEADERS_S) as direct, through:
        for number in range(warm + pairs):
            if time.perf_counter() - began > limit_s:
                break
            for way in (0, 1) if number % 2 else (1, 0):
                started = time.perf_counter()
                reply = (direct, through)[way].post("/v1/chat/completions", content=content)
                taken[way].append(1000 * (time.perf_counter() - started))
                reply.raise_for_status()
    return taken[0][warm:], taken[1][warm:]


async def many_chats(
    address: Address, url: str | None, asked: dict[str, Any], clients: int, load: Load
) -> dict[str, float]:
    headers = {"Authorization": "Bearer k"}
    limit = aiohttp.TCPConnector(limit=0)
    made = aiohttp.ClientSession(url, connector=limit, headers=headers) if url else client(address)
    async with made as session:
        bodies = iter(lambda: asked, None)
        return await in_flight(session, "/v1/chat/completions", bodies, clients, load.window_s)


# --- the run ----------------------------------------------------------------------------------


class Run:
    """What is known so far, on disk after every step."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.began = time.perf_counter()
        self.sizes = SIZES_TOY if options.toy else SIZES_7B
        self.load = LOAD_TOY if options.toy else LOAD
        self.result: dict[str, Any] = {
            "device": "cpu",
            "shape": "toy" if options.toy else "Qwen2.5-7B",
            "vllm": vllm_version(),
            "torch": metadata.version("torch"),
            "load": {k: v for k, v in vars(self.load).items() if k != "measuring_s"},
            "in_flight": options.in_flight,
            "servers": {},
            "arms": {},
        }

    @property
    def left_s(self) -> float:
        return self.options.budget - (time.perf_counter() - self.began)

    def keep(self) -> None:
        self.result["seconds"] = round(time.perf_counter() - self.began, 1)
        if self.options.out:
            self.options.out.write_text(json.dumps(self.result, indent=1) + "\n")

    def attempt(self, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what was measured, or why it was not."""
        if self.left_s < 0:
            return {"skipped": "time"}
        try:
            return measure()
        except Exception as error:
            traceback.print_exc()
            return {"failed": repr(error)[:500]}

    def bandwidth(self) -> None:
        """Measure the memory, in a process that leaves nothing on the device."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            self.result["device"] = pool.submit(device_name).result()
            found = self.attempt(lambda: {"copy": pool.submit(copy_bandwidth).result()})
        self.result["bytes_per_s"] = {"datasheet": DATASHEET} | found

    def arm(self, arm: Arm, address: Address) -> dict[str, Any]:
        """Measure one thing, and put it beside its floor."""
        entry: dict[str, Any] = {}
        entry["alone"] = self.attempt(lambda: asyncio.run(alone(address, arm.model, self.load)))
        entry["together"] = self.attempt(
            lambda: asyncio.run(together(address, arm.model, self.load, self.options.in_flight))
        )
        entry["floor"] = self.floor(arm, entry["alone"].get("tpot_ms"))
        return entry

    def floor(self, arm: Arm, tpot_ms: float | None) -> dict[str, Any]:
        """Return what the memory's bandwidth allows, whatever computes."""
        load, clients, adapter = self.load, self.options.in_flight, arm.name == "adapter"
        cached = load.alone_prompt + load.alone_output / 2
        one = bytes_of_step(self.sizes, arm.precision, adapter, cached)
        cached = load.shared + clients * (load.own + load.output / 2)
        many = bytes_of_step(self.sizes, arm.precision, adapter, cached)
        found: dict[str, Any] = {"bytes": round(one), "bytes_together": round(many)}
        for name in ("datasheet", "copy"):
            if bandwidth := self.result.get("bytes_per_s", {}).get(name):
                least_ms = 1000 * one / bandwidth
                most = clients / load.output * bandwidth / many
                found |= {f"{name}_ms": round(least_ms, 3)}
                found |= {f"{name}_requests_per_s": round(most, 1)}
                if tpot_ms:
                    found[f"share_of_{name}"] = round(least_ms / tpot_ms, 3)
        return found

    def show(self, arm: Arm, entry: dict[str, Any]) -> None:
        alone_, both, floor = entry["alone"], entry["together"], entry["floor"]
        print(
            f"{arm.title:14}{alone_.get('tpot_ms', float('nan')):10.3f}"
            f"{floor.get('datasheet_ms', float('nan')):10.3f}"
            f"{floor.get('copy_ms', float('nan')):10.3f}"
            f"{both.get('requests_per_s', float('nan')):12.1f}"
            f"{both.get('output_tokens_per_s', float('nan')):12,.0f}",
            flush=True,
        )

    def ratios(self) -> None:
        """Say how each arm does beside its base in bf16."""
        base = self.result["arms"].get("base bf16", {})
        for entry in self.result["arms"].values():
            for what, key in (("alone", "tpot_ms"), ("together", "requests_per_s")):
                if key in base.get(what, {}) and key in entry[what]:
                    ratio = entry[what][key] / base[what][key]
                    entry[what][f"{key}_over_base_bf16"] = round(ratio, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=520, help="seconds")
    parser.add_argument("--out", type=Path, help="file to keep the results in as they come")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=300, help="of requests, for the gateway")
    parser.add_argument("--precisions", default="bf16,fp8")
    parser.add_argument("--vllm-arg", action="append", default=[], help="one more for every server")
    parser.add_argument("--toy", action="store_true", help="a small model on the CPU")
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    run = Run(options)
    plan = arms(("bf16",) if options.toy else tuple(options.precisions.split(",")))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not options.toy:
            run.bandwidth()
        write_model(folder / "model", run.sizes)
        write_adapter(folder / "adapter", folder / "model")
        fleet = Fleet(options, folder, stack)
        run.result |= {"vllm_args": list(fleet.extra), "environment": ENVIRONMENT}
        names = list(dict.fromkeys(arm.server for arm in plan))
        print(f"{run.left_s:.0f} s left; starting {', '.join(names)}", flush=True)
        run.result["servers"] = fleet.start(names, run.left_s - run.load.measuring_s)
        print(json.dumps(run.result["servers"]), flush=True)
        run.keep()
        print(
            f"{'':14}{'ms/token':>10}{'floor':>10}{'by copy':>10}{'requests/s':>12}{'tokens/s':>12}"
        )
        for arm in plan:
            if arm.server in fleet.addresses:
                entry = run.arm(arm, fleet.addresses[arm.server])
                run.result["arms"][arm.title] = entry
                run.show(arm, entry)
                run.ratios()
                run.keep()
        if address := fleet.addresses.get("lora-bf16"):
            run.result["gateway"] = run.attempt(lambda: gateway_cost(address, options, run.load))
            print("gateway:", json.dumps(run.result["gateway"]), flush=True)
            run.keep()
    run.keep()
    print(json.dumps(run.result))


if __name__ == "__main__":
    main()
