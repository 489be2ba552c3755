"""More columns, more trials, more suites: what is asked, in which disguise, and how it counts."""

from __future__ import annotations

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from distill.cli.main import app
from distill.cli.scoreboard import show
from distill.config import load_config
from distill.dataset import example_to_row, write_rows
from distill.errors import ConfigError
from distill.evaluate import runner
from distill.evaluate.runner import prepare
from distill.evaluate.suites import questions
from distill.evaluate.suites.disguise import CHANGES, Disguise, noisy
from distill.evaluate.suites.registry import chosen, prepared
from distill.evaluate.summary import summarise
from distill.report.text import markdown
from distill.types import (
    AssistantMessage,
    Example,
    Offer,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from tests.unit.evaluate_world import (
    ByHeart,
    call,
    called,
    lamp,
    right,
    said,
    toolset,
    workspace,
    wrong,
)

URL = "http://127.0.0.1:9/v1"


class Spy(ByHeart):
    """Answers rightly by what it is offered, whatever that is called; remembers what it saw."""

    def __init__(self):
        super().__init__(right)
        self.seen: list[tuple] = []

    async def complete(self, messages, tools):
        self.seen.append((messages, tools))
        return await super().complete(messages, tools)


@pytest.fixture
def asked(monkeypatch):
    """Every request config that was connected to, and the models by name."""
    configs = []
    models = {"base": Spy(), "student": Spy()}

    def create(config):
        configs.append(config)
        return models[config.model]

    for module in (runner, questions):
        monkeypatch.setattr(module, "create_teacher", create)
    monkeypatch.setattr("distill.teachers.pacing._backoff_s", lambda faults: 0.0)
    return configs, models


def quiet(*_):
    """A progress bar nobody looks at."""


def training(config, kinds=("single", "choose", "single")):
    for_one = [
        Example(
            messages=(
                SystemMessage(content="s"),
                UserMessage(content=f"{kind} {n}" + "!" * n),
                AssistantMessage(content="Done."),
            ),
            tools=(),
            weights=(1.0,),
            meta={"kind": kind},
        )
        for n, kind in enumerate(kinds)
    ]
    write_rows(config.dataset_dir / "train.jsonl", map(example_to_row, for_one))


async def test_the_cheaper_answers_are_columns(tmp_path, asked):
    configs, models = asked
    changes = ["eval.few_shot=2", "eval.constrained=true"]
    config = workspace(tmp_path, [lamp(1)], changes)
    training(config)
    evaluation = prepare(config)
    await evaluation.ask(URL, quiet)
    assert [one.name for one in evaluation.candidates] == [
        "base",
        "prompted",
        "constrained",
        "student",
    ]
    plain, prompted, constrained, _ = configs
    assert {one.model for one in (plain, prompted, constrained)} == {"base"}
    assert plain.extra == constrained.extra
    offered = [[t.as_function()["function"] for t in tools] for _, tools in models["base"].seen]
    assert [tool["name"] for tool in offered[4]] == ["set_lamp", "read_lamp"]
    strict = [[tool.get("strict", False) for tool in tools] for tools in offered]
    assert strict == [[False, False]] * 4 + [[True, True]] * 2, "the third column alone"
    shown = models["base"].seen[2][0]
    # One kind after the other, short ones first, between the system message and the user's.
    assert [m.content for m in shown] == [
        "choose 1!",
        "Done.",
        "single 0",
        "Done.",
        "please: lamp-1",
    ]
    report = summarise(evaluation)
    assert report.comparisons["student/prompted"].n == 1
    assert len({model.identity for model in report.models.values()}) == 4


class Held(ByHeart):
    """Answers rightly only where the decoder keeps it to the schemas."""

    async def complete(self, messages, tools):
        strict = all(tool.as_function()["function"].get("strict") for tool in tools)
        self.play = right if strict else wrong
        return await super().complete(messages, tools)


@pytest.mark.parametrize(
    ("setting", "base", "said_so"),
    [
        ("eval.few_shot=2", lambda rows: right(rows) if len(rows) > 3 else wrong(rows), "prompt"),
        ("eval.constrained=true", None, "constrained decoding"),
    ],
)
async def test_the_report_says_when_there_is_no_need_to_fine_tune(
    tmp_path, asked, setting, base, said_so
):
    models = asked[1]
    models["base"] = ByHeart(base) if base else Held(wrong)
    models["big"] = ByHeart(right)
    changes = [setting, "eval.teacher=live"]
    config = workspace(tmp_path, [lamp(n) for n in range(80)], changes)
    training(config)
    evaluation = prepare(config)
    await evaluation.ask(URL, quiet)
    report = summarise(evaluation)
    text = markdown(report)
    assert "| Call accuracy | 0.0% (0-5) | 100.0% (95-100) | 100.0% " in text
    reason = f"{said_so} already reaches the teacher: 100.0% against 100.0%"
    assert "\n**Do not fine-tune.** The base with " in text and reason in text
    console = Console(record=True, width=200)
    show(report, console)
    assert "Do not fine-tune. The base with" in console.export_text()


async def test_calls_are_held_to_the_tools_of_each_case(tmp_path, asked):
    _, models = asked
    offered = lamp(2).model_copy(update={"offer": Offer(names=("set_lamp",))})
    config = workspace(tmp_path, [lamp(1), offered], ["eval.constrained=true"])
    evaluation = prepare(config, only=["constrained"])
    (run,) = prepared(chosen(["robustness:renamed tools"]), evaluation)
    await run.ask(URL, quiet)
    seen = [[t.as_function()["function"] for t in tools] for _, tools in models["base"].seen]
    assert all(tool["strict"] for tools in seen for tool in tools)
    names = {tuple(tool["name"] for tool in tools) for tools in seen}
    assert {("set_lamp", "read_lamp"), ("set_lamp",)} < names, "no tool that the case lacks"
    assert len(names) == 4, "and the decoder knows the new names"


def test_columns_that_are_not_configured_are_refused(tmp_path):
    config = workspace(tmp_path, [lamp(1)])
    with pytest.raises(ConfigError, match=r"set eval.few_shot"):
        prepare(config, only=["prompted"])
    changed = load_config(config.source, ["eval.few_shot=9"])
    training(config)
    with pytest.raises(ConfigError, match="holds 3 examples, not 9"):
        prepare(changed)


async def test_trials_are_asked_and_counted_apart(tmp_path, asked):
    _, models = asked
    flip = iter([True, False] * 50)

    def sometimes(messages):
        if messages[-1].role == "tool":
            return said("Done.")
        return right(messages) if next(flip) else said("No.")

    models["student"].play = sometimes
    changes = ["eval.trials=2", "eval.temperature=0.5", "eval.concurrency=1"]
    config = workspace(tmp_path, [lamp(n) for n in range(4)], changes)
    evaluation = prepare(config, only=["student"])
    await evaluation.ask(URL, quiet)
    report = summarise(evaluation).models["student"]
    assert report.call_accuracy.n == 4, "only first answers are counted"
    assert [one.k for one in report.pass_k] == [2]
    assert report.agreement is not None
    before = models["student"].asked
    await prepare(config, only=["student"]).ask(URL, quiet)
    assert models["student"].asked == before


def test_greedy_trials_are_refused(tmp_path):
    config = workspace(tmp_path, [lamp(1)])
    with pytest.raises(ConfigError, match="need a temperature above 0"):
        load_config(config.source, ["eval.trials=3"])


async def test_asking_stops_when_the_interval_is_narrow(tmp_path, asked):
    _, models = asked
    models["base"].play = wrong
    config = workspace(tmp_path, [lamp(n) for n in range(90)])
    evaluation = prepare(config)
    await evaluation.ask_until(0.2, URL, quiet)
    assert len(evaluation.cases) == 50
    again = prepare(config)
    await again.ask_until(0.01, URL, quiet)
    assert len(again.cases) == 90
    assert summarise(again).complete


# --- robustness -------------------------------------------------------------------------------


def by_description(messages, tools):
    """Answer rightly from what the tools say, whatever they and their parameters are called."""
    if messages[-1].role == "tool":
        return said("Done.")
    tool = next(tool for tool in tools if tool.description.startswith("Set a lamp"))
    given = {
        name: "hall" if schema["description"] == "Where." else 30
        for name, schema in tool.parameters["properties"].items()
    }
    return called(call(tool.name, json.dumps(given)))


class Reader(Spy):
    """Reads descriptions."""

    async def complete(self, messages, tools):
        self.play = lambda said: by_description(said, tools)
        return await super().complete(messages, tools)


async def test_a_model_that_reads_is_robust_and_one_by_heart_is_not(tmp_path, asked):
    _, models = asked
    models["student"] = Reader()
    config = workspace(tmp_path, [lamp(n) for n in range(6)])
    evaluation = prepare(config)
    (run,) = prepared(chosen(["robustness"]), evaluation)
    assert run.needs_endpoint
    await run.ask(URL, quiet)
    report = run.report()
    assert list(report.parts) == ["unchanged", *CHANGES]
    assert {
        part: shares["student"].value for part, shares in report.parts.items()
    } == dict.fromkeys(report.parts, 1.0)
    base = {part: shares["base"].value for part, shares in report.parts.items()}
    assert base == {
        "unchanged": 1.0,
        "renamed tools": 0.0,
        "renamed parameters": 0.0,
        "shuffled tools": 1.0,
        "extra tools": 1.0,
        "noise": 1.0,
    }
    assert report.versus_base["renamed tools"].wins == 6
    assert report.changes["renamed tools"]["base"].difference == -1.0
    assert report.changes["renamed tools"]["student"].difference == 0.0
    assert report.notes == (), "the student loses nothing, and no teacher reworded anything"
    names = [tuple(tool.name for tool in tools) for _, tools in models["student"].seen]
    assert any("convert_currency" in seen for seen in names)
    again = prepared(chosen(["robustness"]), prepare(config))[0]
    assert not again.needs_endpoint, "its answers are kept like all others"


async def test_a_student_by_heart_is_told_what_would_help(tmp_path, asked):
    config = workspace(tmp_path, [lamp(n) for n in range(12)])
    evaluation = prepare(config, only=["student"])
    (run,) = prepared(chosen(["robustness"]), evaluation)
    await run.ask(URL, quiet)
    assert run.report().notes == (
        "filter.augment.mask_names would train the student on such changes.",
    ), "it keeps its tools by heart, not their order"


async def test_a_disguise_changes_the_whole_conversation_and_back(tmp_path):
    workspace(tmp_path, [lamp(1)])
    tools = toolset(tmp_path).toolset.tools
    spy = Reader()
    disguise = Disguise(spy, "renamed tools", tools)
    history = (
        SystemMessage(content="Use set_lamp, not set_lamps."),
        UserMessage(content="light"),
        called(call("set_lamp", "{}")),
        ToolMessage(tool_call_id="c0", name="set_lamp", content="{}"),
        UserMessage(content="again"),
    )
    turn = await disguise.complete(history, tools)
    assert turn.message.tool_calls[0].name == "set_lamp"
    seen, offered = spy.seen[0]
    name = disguise.names["set_lamp"]
    assert offered[0].name == name
    assert seen[0].content == f"Use {name}, not set_lamps."
    assert (seen[2].tool_calls[0].name, seen[3].name) == (name, name)


def test_noise_keeps_the_values():
    text = "Please set the lamp in the hall to 30 percent."
    assert noisy(text) == noisy(text) != text
    assert "30 percent" in noisy(text) and "hall" in noisy(text)
    assert noisy("Is it on?").endswith("?")


def test_suites_are_listed_and_unknown_ones_refused(tmp_path):
    listed = CliRunner().invoke(app, ["eval", "--suites"])
    assert listed.exit_code == 0
    assert "robustness" in listed.output and "bfcl" in listed.output
    with pytest.raises(ConfigError, match="--suite 'bfcI'"):
        chosen(["bfcI"])
    config = workspace(tmp_path, [lamp(1)])
    with pytest.raises(ConfigError, match="no such part"):
        prepared(chosen(["robustness:renamed"]), prepare(config))
