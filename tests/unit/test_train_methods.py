"""Every way to tune, on the tiny student: trained, resumed, kept, served, merged, estimated."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from peft import get_peft_model
from rich.console import Console
from safetensors.torch import load_file
from train_world import byte_tokenizer, tiny_model, workspace
from transformers import AutoModelForCausalLM

from distill.cli.merge import merge as merge_command
from distill.config import Config, TrainConfig, load_config
from distill.dataset import TRAIN, read_examples
from distill.errors import ConfigError, TrainError
from distill.evaluate.candidates import candidates
from distill.serve.deployment import deployment
from distill.student.base import base_hash, find_base, folder_hash, load_tokenizer
from distill.student.manifest import read_manifest
from distill.student.render import render
from distill.train import merge, progress, runner
from distill.train.device import Device
from distill.train.lora import lora_config, packing, unpacked
from distill.train.model import load_student, prepare
from distill.train.sft import edge_log_probs, row_tensors
from distill.train.trie import pack

METHODS = ("qlora", "full")
RATE = {"qlora": 0.01, "full": 0.002}


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def settings(root: Path, method: str, *overrides: str) -> Config:
    fixed = [f"train.method={method}", f"train.learning_rate={RATE[method]}"]
    fixed += [f"train.output=runs/{method}", *overrides]
    return load_config(root / "configs/bells.yaml", fixed)


def wide() -> Any:
    """The tiny model with rows as long as the blocks that 4 bits are scaled by."""
    return tiny_model(width=128)


def weights(config: Config) -> dict[str, torch.Tensor]:
    whole = config.run_dir / "merged/model.safetensors"
    return load_file(
        whole if whole.exists() else config.run_dir / "adapter/adapter_model.safetensors"
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished run of each method."""
    root = tmp_path_factory.mktemp("work")
    workspace(root)
    wide().save_pretrained(root / "base")
    for method in METHODS:
        assert runner.train(settings(root, method), quiet()).manifest is not None
    return root


@pytest.mark.parametrize("method", METHODS)
def test_the_student_learns_and_is_recorded(trained: Path, method: str) -> None:
    config = settings(trained, method)
    rows = [r for r in progress.read_metrics(config.run_dir / "metrics.jsonl") if "loss" in r]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[0]["logical_tokens"] > 4 * rows[0]["executed_tokens"]  # on tries
    manifest = read_manifest(config.run_dir)
    assert (manifest.method, manifest.rank) == (method, 4 if method == "qlora" else 0)
    card = (config.run_dir / "adapter/README.md").read_text()
    assert ("held in 4 bits" if method == "qlora" else "all of whose weights") in card
    assert runner.train(config, quiet()).already


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_goes_on_to_the_same_weights(
    trained: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    config = settings(trained, method, f"train.output=runs/{method}-stopped")
    original = progress.MetricsFile.on_log

    def stop_at_four(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(self, args, state, control, **kwargs)
        if state.global_step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(progress.MetricsFile, "on_log", stop_at_four)
    assert runner.train(config, quiet()).manifest is None
    monkeypatch.undo()
    assert runner.train(config, quiet()).manifest is not None
    once, twice = weights(settings(trained, method)), weights(config)
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_a_fully_tuned_student_is_a_checkpoint_that_is_served_alone(trained: Path) -> None:
    config = settings(trained, "full")
    folder = config.run_dir / "merged"
    before = load_file(trained / "base/model.safetensors")
    after = load_file(folder / "model.safetensors")
    assert {n: t.dtype for n, t in after.items()} == {n: t.dtype for n, t in before.items()}
    assert all(not torch.equal(before[name], after[name]) for name in before)
    again = AutoModelForCausalLM.from_pretrained(folder)
    assert again.config.use_cache
    assert not (config.run_dir / "adapter/adapter_model.safetensors").exists()
    reused = find_base(load_config(trained / "configs/bells.yaml", [f"student.base={folder}"]))
    assert load_tokenizer(reused).chat_template == find_base(config).template
    served = deployment(config.run_dir, None, None)
    assert (served.base, served.names, served.base_hash) == (str(folder), ("student",), None)
    compared = {one.name: one for one in candidates(config, None, ())}
    assert {name for name, one in compared.items() if one.bare} == {"base"}
    assert set(compared) == {"base", "student", "teacher"}
    assert compared["student"].label.endswith(f"(all weights of {trained.name}/base tuned)")
    url = "http://127.0.0.1:9/v1"
    assert {one.name for one in candidates(config, url, ())} == {"student", "teacher"}
    with pytest.raises(ConfigError, match=r"'base': .* served without its base; leave out --end"):
        candidates(config, url, ("base",))
    beside = deployment(config.run_dir, config.base_model, None, bare=True)
    assert (beside.base, beside.names, beside.students) == (config.base_model, ("base",), ())
    assert beside.base_hash == base_hash(find_base(config))
    with pytest.raises(TrainError, match=r"is the whole model already: .* 'full'"):
        merge.merge(config)
    method = ["train.method=full", "train.output=runs/full"]
    with pytest.raises(TrainError, match="is the whole model already"):
        merge_command(trained / "configs/bells.yaml", trained / "elsewhere", True, method)
    kept = folder_hash(folder)
    (folder / "model.safetensors").write_bytes(b"")
    changed = {one.name: one for one in candidates(config, None, ())}
    assert folder_hash(folder) != kept
    assert changed["student"].identity != compared["student"].identity


def test_an_adapter_trained_on_four_bits_merges_into_the_base(trained: Path) -> None:
    merged = merge.merge(settings(trained, "qlora"))
    assert merged.mean < merge.BOUND
    served = deployment(settings(trained, "qlora").run_dir, None, None)
    assert served.names == ("base", "student") and served.rank == 4


def test_the_gradient_through_four_bits_is_that_of_the_unpacked_base(trained: Path) -> None:
    """Against the same adapter on a base that holds what the 4 bits unpack to."""
    config = settings(trained, "qlora")
    device = Device("cpu", torch.float32)
    packed = load_student(find_base(config), device, "qlora")
    layer = packed.get_submodule("model.layers.0.mlp.up_proj")
    assert isinstance(layer, bitsandbytes.nn.Linear4bit)
    assert layer.weight.quant_type == "nf4" and layer.weight.dtype == torch.uint8
    plain = prepare(wide(), compiled=False)
    for name, module in packed.named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            target = plain.get_submodule(name).weight
            before = target.data
            ours = unpacked(module.weight, *packing(module.weight))
            theirs = dequantize_4bit(module.weight, module.weight.quant_state)
            assert torch.equal(ours, theirs)
            target.data = ours.float()
            assert 0.05 < (target.data - before).norm() / before.norm() < 0.15
    found = [adapter_gradient(model, config) for model in (packed, plain)]
    for key, value in found[1].items():
        torch.testing.assert_close(found[0][key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore::DeprecationWarning:torch")
def test_an_adapter_on_four_bits_compiles_to_one_graph(trained: Path) -> None:
    config = settings(trained, "qlora")
    plain, compiled = (
        load_student(find_base(config), Device("cpu", torch.float32), "qlora") for _ in range(2)
    )
    for layer in compiled.base_model.layers:
        layer.mlp.compile(backend="aot_eager", fullgraph=True)  # attention needs a GPU to compile
    found = [adapter_gradient(model, config) for model in (compiled, plain)]
    for key, value in found[1].items():
        torch.testing.assert_close(found[0][key], value, rtol=1e-4, atol=1e-6)


def adapter_gradient(base: Any, config: Config) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    model: Any = get_peft_model(base, lora_config(4, 8.0))
    for name, parameter in sorted(model.named_parameters()):
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    material = runner.load_material(
        config, runner.Renderer(byte_tokenizer(), find_base(config).family)
    )
    (row,) = pack([sample for samples in material.train[:4] for sample in samples], 100_000)
    (-edge_log_probs(model, row_tensors(row)).mean()).backward()
    return {
        n.replace("_orig_mod.", ""): p.grad.clone()
        for n, p in model.named_parameters()
        if p.grad is not None
    }


def test_the_estimate_knows_the_method(trained: Path) -> None:
    shapes = {
        method: runner.plan(load_config(trained / "configs/bells.yaml", [f"train.method={method}"]))
        for method in ("lora", "qlora", "full")
    }
    lora, qlora, full = (shapes[name][0] for name in ("lora", "qlora", "full"))
    assert full.recipe.rank == 0 and full.flop > 1.4 * lora.flop
    stored = (trained / "base/model.safetensors").stat().st_size
    assert full.memory_bytes - lora.memory_bytes > 2 * stored
    assert qlora.memory_bytes < lora.memory_bytes


def test_what_is_left_out_follows_the_number_of_examples() -> None:
    def chosen(examples: int, **given: Any) -> tuple[int, float, float]:
        rank, epochs, rate, _ = TrainConfig(**given).recipe(examples)
        return rank, epochs, round(rate, 9)

    assert chosen(200) == (16, 4, 3e-4)  # 52 steps
    assert chosen(2_000) == (32, 3, 2e-4)
    assert chosen(15_000) == (64, 2, 2e-4)
    assert chosen(50_000) == (64, 1, 2e-4)
    assert chosen(2_000, method="full") == (0, 3, 2e-5)
    assert chosen(2_000, objective="kto") == (32, 3, 2e-5)
    assert chosen(200, rank=8, epochs=1, learning_rate=1e-3) == (8, 1, 1e-3)
    words = TrainConfig(method="qlora").recipe(200).in_words("qlora")
    assert words == "qlora, rank 16, 4 epochs in 52 steps, learning rate 0.0003"


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_full_fine_tuning_has_no_reference(trained: Path, objective: str) -> None:
    with pytest.raises(ConfigError, match=rf"{objective}.* without its adapter.* set method to"):
        settings(trained, "full", f"train.objective={objective}")


def test_four_bits_need_bitsandbytes(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.train.model.find_spec", lambda name: None)
    config = settings(trained, "qlora", "train.output=runs/none")
    with pytest.raises(TrainError, match=r"needs bitsandbytes; pip install"):
        runner.train(config, quiet())


def test_the_rendered_turns_are_the_same_whatever_is_tuned(trained: Path) -> None:
    folder = settings(trained, "full").run_dir / "merged"
    reused = find_base(load_config(trained / "configs/bells.yaml", [f"student.base={folder}"]))
    base = find_base(settings(trained, "full"))
    config = settings(trained, "full")
    row = read_examples(config.dataset_dir / TRAIN)[0]
    mine = [render(row, load_tokenizer(one), one.family)[0].ids.tolist() for one in (base, reused)]
    assert mine[0] == mine[1]
