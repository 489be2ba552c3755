"""Every export holds the same conversation, in the shape the target's own library takes."""

import json

import pytest
import typer
from filter_world import calling, light, make_task, make_trace, make_workspace, store_traces
from pydantic import TypeAdapter
from typer.testing import CliRunner

from distill.cli.export_data import export_data as command
from distill.config import load_config
from distill.errors import ConfigError
from distill.export import TARGETS, export_data
from distill.filter import build_dataset
from distill.toolsets import load_toolset

SPLIT = "filter: {split: {train: 0.9, validation: 0.05, test: 0.05}}\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A data set with parallel calls, words beside calls, and one turn that is context only."""
    folder = tmp_path_factory.mktemp("world")
    tasks = [
        make_task(f"c{n}", f"Way {n} to dim", calling(light("hall", n), light("attic", n)))
        for n in range(60)
    ]
    config = make_workspace(folder, tasks, SPLIT)
    now = load_toolset(config.toolset_dir).toolset.hash
    traces = []
    for n, task in enumerate(tasks):
        calls = [("set_light", c.arguments) for c in task.turns[0].expectation.calls]
        refused = [[("set_light", {"percent": n}, "room is missing")]] if n % 2 else []
        traces.append(make_trace(task, now, [*refused, calls, "Done."], changes={}))
    store_traces(config, traces)
    build_dataset(config)
    return config


def rows(config, name):
    folder = export_data(config, name).folder
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def has_context(row):
    return any(m.get("weight") == 0 for m in row["messages"])


def test_openai_rows_are_requests_with_weights(config):
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

    found = rows(config, "openai")
    assert any(map(has_context, found)) and not all(map(has_context, found))
    for row in found:
        bare = [{k: v for k, v in m.items() if k != "weight"} for m in row["messages"]]
        TypeAdapter(list[ChatCompletionMessageParam]).validate_python(bare)
        TypeAdapter(list[ChatCompletionToolParam]).validate_python(row["tools"])


@pytest.mark.parametrize("name", ["together", "fireworks"])
def test_together_accepts_the_file(config, name):
    files = pytest.importorskip("together.lib.utils.files")
    done = export_data(config, name)
    report = files.check_file(done.folder / "train.jsonl")
    assert report["is_check_passed"], report["message"]
    assert report["num_samples"] == done.rows["train.jsonl"] > 0 < done.left_out


def test_mistral_accepts_every_row(config):
    messages = pytest.importorskip("mistral_common.protocol.instruct.messages")
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.protocol.instruct.validator import MistralRequestValidatorV3, ValidationMode

    validator = MistralRequestValidatorV3(mode=ValidationMode.finetuning)
    found = rows(config, "mistral")
    for row in found:
        for message in row["messages"]:
            message.pop("weight", None)  # a field of its own class in that package
        request = ChatCompletionRequest[messages.ChatMessage].model_validate(row)
        validator.validate_request(request)
    assert len(found) == len(rows(config, "openai"))


def test_gemini_puts_the_results_of_a_turn_into_one_content(config):
    row = rows(config, "gemini")[0]
    assert [c["role"] for c in row["contents"]] == ["user", "model", "user", "model"]
    results = row["contents"][2]["parts"]
    assert [part["functionResponse"]["name"] for part in results] == ["set_light", "set_light"]
    declared = row["tools"][0]["functionDeclarations"][0]["parameters"]
    assert declared["type"] == "OBJECT" and declared["properties"]["percent"]["type"] == "INTEGER"


def test_trl_rows_survive_arrow(config):
    """As the written README says; without `Json` the tools would gain keys of other tools."""
    datasets = pytest.importorskip("datasets")
    folder = export_data(config, "trl").folder
    assert "Json()" in (folder / "README.md").read_text()
    kind = datasets.List(datasets.Json())
    loaded = datasets.load_dataset(
        "json",
        data_files=str(folder / "train.jsonl"),
        features=datasets.Features({"messages": kind, "tools": kind}),
        cache_dir=str(folder / "cache"),
        split="train",
    )
    assert list(loaded) == rows(config, "trl")
    call = loaded[0]["messages"][2]["tool_calls"][0]
    assert call["function"]["arguments"].keys() == {"room", "percent"}


def test_axolotl_and_llama_factory_come_with_a_config(config):
    import yaml

    axolotl = export_data(config, "axolotl").folder
    settings = yaml.safe_load((axolotl / "config.yaml").read_text())
    assert (settings["lora_r"], settings["learning_rate"]) == (16, 3e-4)
    assert settings["datasets"][0]["message_field_training"] == "train"
    flags = [m["train"] for r in rows(config, "axolotl") for m in r["messages"] if "train" in m]
    assert {True, False} == set(flags)
    factory = export_data(config, "llama-factory").folder
    info = json.loads((factory / "dataset_info.json").read_text())
    assert yaml.safe_load((factory / "train.yaml").read_text())["dataset"] in info
    turns = rows(config, "llama-factory")[0]["conversations"]
    roles = [turn["from"] for turn in turns]
    assert roles == ["human", "function_call", "observation", "gpt"]
    assert len(json.loads(turns[1]["value"])) == 2


def test_parquet_holds_the_rows_as_text(config):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(export_data(config, "parquet").folder / "train.parquet")
    first = json.loads((config.dataset_dir / "train.jsonl").read_text().splitlines()[0])
    assert {name: json.loads(table[name][0].as_py()) for name in table.column_names} == first


def test_the_command_writes_every_target(config, tmp_path):
    app = typer.Typer()
    app.command()(command)
    for name in TARGETS:
        out = ["--to", name, "--out", str(tmp_path / name)]
        result = CliRunner().invoke(app, [str(config.source), *out], catch_exceptions=False)
        assert result.exit_code == 0 and "Exported to" in result.stdout
        assert any((tmp_path / name).iterdir())


def test_an_unknown_target_is_refused(config):
    with pytest.raises(ConfigError, match="--to 'csv': there is openai, together"):
        export_data(load_config(config.source), "csv")
