"""The config: what is refused, and how the user is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.config import Config, load_config
from distill.errors import ConfigError

GOOD = """\
name: shop
toolset: tools/shop
teacher:
  provider: openai_chat
  model: m
  base_url: http://127.0.0.1:1/v1
train:
  epochs: 2
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "configs" / "shop.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text), list(overrides))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_paths_start_at_the_workspace_and_are_named_after_the_config(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    assert config.toolset_dir == tmp_path / "tools/shop"
    assert config.store_url == f"sqlite:///{tmp_path}/traces/shop.db"
    assert config.run_dir == tmp_path / "runs/shop"
    assert config.cases_path == tmp_path / "traces/shop/cases.jsonl"


def test_a_config_outside_configs_is_its_own_workspace(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(GOOD)
    assert load_config(path).workspace == tmp_path


def test_a_store_url_is_taken_as_it_is(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD), ["collect.store=postgresql://h/db"])
    assert config.store_url == "postgresql://h/db"


def test_base_is_a_folder_when_there_is_one_and_a_hub_id_otherwise(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, GOOD)).base_model == "Qwen/Qwen2.5-7B-Instruct"
    (tmp_path / "my-base").mkdir()
    config = load_config(write(tmp_path, GOOD), ["student.base=my-base"])
    assert config.base_model == str(tmp_path / "my-base")


def test_overrides_reach_nested_keys_and_are_typed(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path, GOOD), ["train.epochs=5", "filter.split.seed=3", "serve.vllm_args=[--x]"]
    )
    assert (config.train.epochs, config.filter.split.seed) == (5, 3)
    assert config.serve.vllm_args == ("--x",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD + "  epohcs: 3\n", ["shop.yaml:9", "'train.epohcs'", "did you mean 'epochs'"]),
        (GOOD + "zzz: 3\n", ["shop.yaml:9", "unknown key 'zzz'", "known: collect"]),
        (GOOD.replace("epochs: 2", "epochs: many"), ["shop.yaml:8", "train.epochs", "'many'"]),
        (GOOD.replace("name: shop\n", ""), ["'name' is missing"]),
        (GOOD.replace("  model: m\n", ""), ["shop.yaml:3", "'teacher.model' is missing"]),
        (GOOD + "name: two\n", ["shop.yaml:9", "twice"]),
        (GOOD + "  x: [1\n", ["shop.yaml:", "not valid YAML"]),
        ("- a\n", ["a config is a mapping"]),
        (GOOD + "filter: {split: {train: 0.5}}\n", ["shop.yaml:9", "must be 1"]),
        (GOOD + "filter: {drop_kinds: [chat, nope]}\n", ["shop.yaml:9", "drop_kinds", "'nope'"]),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, told: list[str]) -> None:
    message = refusal(tmp_path, text)
    for part in told:
        assert part in message


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.epochs", "section.key=value"),
        ("train.nope=1", "unknown key 'train.nope'"),
        ("name.x=1", "'name' has no keys below it"),
        ("train.epochs=-1", "--set train.epochs=-1"),
        ("train.epochs=[1", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, override: str, told: str) -> None:
    assert told in refusal(tmp_path, GOOD, override)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="distill init"):
        load_config(tmp_path / "none.yaml")


def test_every_key_is_described() -> None:
    def undescribed(model: type, prefix: str) -> list[str]:
        missing = []
        for name, field in model.model_fields.items():  # type: ignore[attr-defined]
            if not field.description and prefix:
                missing.append(f"{prefix}{name}")
            if hasattr(field.annotation, "model_fields"):
                missing += undescribed(field.annotation, f"{prefix}{name}.")
        return missing

    assert undescribed(Config, "") == []
