"""A base that no rank holds whole: the student of one rank, by two that share it out."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from train_world import workspace

from distill.config import Config, load_config
from distill.errors import TrainError
from distill.student.base import Base, find_base
from distill.train import progress, runner
from distill.train.device import Device
from distill.train.plan import make_plan

RUNS = {
    "sft": [],
    "dpo": ["train.objective=dpo", "train.batch_size=1", "train.epochs=0.3"],  # one rank is idle
    "kto": ["train.objective=kto", "train.batch_size=1", "train.epochs=0.3"],
}
RANK = """
import json, os, signal, sys
from dataclasses import replace
import torch
from rich.console import Console
from torch._dynamo.utils import counters
from torch.distributed.tensor import DTensor
from torch.nn.attention import flex_attention
from distill.config import load_config
from distill.train import accuracy, attention, fit, model, progress, ranks, runner, sft
from distill.train.device import Device

config, root, killed, runs = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
runner.choose_device = lambda: Device("cpu", torch.float32)
accuracy._SLACK -= 20 * ranks.rank()  # one rank has answered before the other
load, make_plan, on_log = fit.load_student, runner.make_plan, progress.MetricsFile.on_log

def weighed(*args, **kwargs):
    student = load(*args, **kwargs)
    if name == "gpu":
        model.compile_layers(student, backend="aot_eager")
    layers = list(student.base_model.layers.parameters())
    assert all(isinstance(each, DTensor) for each in layers)
    held = sum(each.to_local().untyped_storage().nbytes() for each in layers)
    found = {"held": held, "whole": sum(each.nbytes for each in layers)}
    with open(f"{root}/rank{ranks.rank()}.json", "w") as file:
        json.dump(found, file)
    return student

def as_on_a_gpu():
    padded, tiles = sft.padded, attention.TrieMask.tiles
    flex_attention._validate_device = lambda *_: None
    attention.TrieMask.arguments = lambda self: {"attention_mask": tiles(self)}
    sft.padded = lambda row, _: padded(row, attention.ALIGNMENT)

def kill_at_five(self, args, state, control, **kwargs):
    on_log(self, args, state, control, **kwargs)
    if state.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

fit.load_student = weighed
for name, overrides in runs.items():
    runner.make_plan = lambda *args: replace(make_plan(*args), checkpointing=name == "gpu")
    if name == "gpu":
        as_on_a_gpu()
    if name == killed:
        progress.MetricsFile.on_log = kill_at_five
    given = [f"train.output=runs/two-{name}", "train.shard=true", *overrides]
    runner.train(load_config(config, given), Console(quiet=True))
    if name == "gpu":
        assert counters["stats"]["unique_graphs"] > 0 and not counters["graph_break"]
"""


def settings(root: Path, *overrides: str) -> Config:
    return load_config(root / "configs/bells.yaml", list(overrides))


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def two_ranks(root: Path, killed: str, runs: dict[str, list[str]]) -> tuple[int, str]:
    """Return the exit code and what was said; ranks out of step would wait for each other."""
    (root / "rank.py").write_text(RANK)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        str(root / "rank.py"), str(root / "configs/bells.yaml"), str(root), killed,
        json.dumps(runs),
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, said = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.terminate()  # and with it the ranks, which a kill would leave behind
            raise
    return process.returncode, said


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "adapter/adapter_model.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with every run on one rank and sharded on two, and one that was killed."""
    root = tmp_path_factory.mktemp("work")
    workspace(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "choose_device", lambda: Device("cpu", torch.float32))
        for name, overrides in RUNS.items():
            runner.train(settings(root, f"train.output=runs/one-{name}", *overrides), quiet())
    _, said = two_ranks(root, "killed", RUNS | {"killed": []})
    assert "SIGKILL" in said, said[-3000:]
    return root


@pytest.fixture(scope="module")
def resumed(trained: Path) -> Path:
    """The killed run taken up again, and one as on a GPU: layers compiled, and computed twice."""
    killed = trained / "runs/two-killed"
    assert not (killed / "adapter").exists()
    assert [path.name for path in (killed / "checkpoints").iterdir()] == ["checkpoint-3"]
    code, said = two_ranks(trained, "", {"killed": [], "gpu": []})
    assert code == 0, said[-3000:]
    return trained


@pytest.mark.parametrize("name", list(RUNS))
def test_the_student_is_that_of_a_rank_with_the_whole_base(trained: Path, name: str) -> None:
    same(trained / f"runs/one-{name}", trained / f"runs/two-{name}")


def test_compiled_layers_that_are_computed_twice_give_the_same(resumed: Path) -> None:
    same(resumed / "runs/one-sft", resumed / "runs/two-gpu")


def same(one: Path, two: Path) -> None:
    before, after = (progress.read_metrics(run / "metrics.jsonl") for run in (one, two))
    assert len(before) == len(after) == 8
    for left, right in zip(before, after, strict=True):
        for key in {"loss", "eval_loss", "grad_norm", "pair_accuracy", "eval_score"} & set(left):
            assert right[key] == pytest.approx(left[key], rel=2e-4), key
        assert left.get("logical_tokens") == right.get("logical_tokens")
    once, twice = weights(one), weights(two)
    assert set(once) == set(twice)
    for key in once:
        torch.testing.assert_close(twice[key], once[key], rtol=1e-3, atol=1e-4)


def test_a_rank_holds_its_part_of_the_layers(trained: Path) -> None:
    found = [json.loads((trained / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert [each["held"] / each["whole"] for each in found] == [0.5, 0.5]


def test_a_killed_run_goes_on_to_the_same_weights(resumed: Path) -> None:
    once, twice = (weights(resumed / f"runs/two-{name}") for name in ("sft", "killed"))
    assert all(torch.equal(once[name], twice[name]) for name in once)


@dataclass(frozen=True)
class Gpu(Device):
    """A GPU of so many GiB."""

    gib: int = 16

    @property
    def memory_bytes(self) -> int:
        return self.gib * 2**30


@pytest.fixture
def large(trained: Path, tmp_path: Path) -> Base:
    """Qwen2.5-7B by its shape and the size of its files."""
    shape = {
        "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "dtype": "bfloat16",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(shape))
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(15_231_000_000)
    base = find_base(settings(trained))
    return type(base)(**(vars(base) | {"folder": tmp_path}))


def sharded(root: Path, base: Base, gib: int, *overrides: str) -> tuple[bool, float]:
    """Return whether a base would be sharded, and the GiB a rank would need."""
    config = settings(root, *overrides)
    _, material, _ = runner.prepared(config)
    plan = make_plan(config, base, material, Gpu("cuda", torch.bfloat16, gib))
    return plan.sharded, plan.memory_bytes / 2**30


def test_a_base_is_sharded_where_it_does_not_fit(
    trained: Path, large: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainError, match=r"16 GiB; start `torchrun --nproc-per-node=2 .*lower"):
        sharded(trained, large, 16)
    with pytest.raises(TrainError, match=r"16 GiB; lower .*'full' cannot be sharded over more"):
        sharded(trained, large, 16, "train.method=full")
    monkeypatch.setenv("WORLD_SIZE", "2")
    alone, whole = sharded(trained, large, 24)
    shared, part = sharded(trained, large, 24, "train.shard=true")
    assert (alone, shared) == (False, True)
    layers = 28 * 0.434  # GiB; half of them less what is gathered
    assert whole - part == pytest.approx(layers / 2 - 3 * 0.434, rel=0.01)
    assert sharded(trained, large, 16)[0]
    with pytest.raises(TrainError, match=r"16 GiB; leave train\.shard out"):
        sharded(trained, large, 16, "train.shard=false")
    with pytest.raises(TrainError, match=r"8 GiB; start `torchrun --nproc-per-node=16 "):
        sharded(trained, large, 8)


@pytest.mark.parametrize("method", ["full", "qlora"])
def test_only_an_adapter_is_trained_on_a_sharded_base(
    trained: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = settings(trained, "train.shard=true", f"train.method={method}")
    with pytest.raises(TrainError, match=rf"'{method}' cannot be sharded; set .* to 'lora', or"):
        runner.plan(config)


def test_one_rank_has_nobody_to_share_with(trained: Path) -> None:
    with pytest.raises(TrainError, match=r"train\.shard is true, but .* one rank; .*torchrun"):
        runner.plan(settings(trained, "train.shard=true"))
