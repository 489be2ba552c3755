"""The second stage of the embedded student: disguised names, and rows that share a tool list."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from transformers import AutoTokenizer, Qwen2ForCausalLM

from distill.demo.student import MODEL
from distill.demo.student.disguise import requests
from distill.demo.student.tune import Settings, loss_of, rows
from distill.toolsets import load_toolset

LISTS = [requests(f"test/{number}", 6) for number in range(60)]


def functions(script: dict[str, Any]) -> list[dict[str, Any]]:
    return [tool["function"] for tool in script["tools"]]


def test_a_seed_gives_one_list() -> None:
    assert requests("test/5", 6) == LISTS[5]


def test_all_requests_are_made_of_one_list() -> None:
    for scripts in LISTS:
        assert all(script["tools"] == scripts[0]["tools"] for script in scripts)
        assert len({str(script["messages"]) for script in scripts}) > 1


def test_disguised_calls_fit_the_disguised_schemas() -> None:
    calls = 0
    for script in itertools.chain.from_iterable(LISTS):
        schemas = {f["name"]: f["parameters"] for f in functions(script)}
        for message in script["messages"]:
            for call in message.get("tool_calls", ()):
                function = call["function"]
                Draft202012Validator(schemas[function["name"]]).validate(function["arguments"])
                calls += 1
    assert calls > 100


def test_most_names_say_nothing_of_what_the_tool_does() -> None:
    telling = [
        any(len(word) > 3 and word in f["description"].lower() for word in f["name"].split("_"))
        for scripts in LISTS
        for f in functions(scripts[0])
    ]
    assert sum(telling) / len(telling) < 0.3


@pytest.mark.parametrize("folder", sorted(Path("tools").glob("*/toolset.yaml")), ids=str)
def test_no_name_is_one_of_a_shipped_tool_set(folder: Path) -> None:
    tools = load_toolset(folder.parent).toolset.tools
    theirs = {tool.name for tool in tools} | {k for t in tools for k in t.parameters["properties"]}
    drawn = {f["name"] for scripts in LISTS for f in functions(scripts[0])}
    keys = set(re.findall(r"'(\w+)': \{", str([s[0]["tools"] for s in LISTS])))
    assert not theirs & (drawn | keys - {"parameters", "function", "properties", "items"})


def test_a_request_in_a_row_sees_the_list_and_no_other_request() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    row = next(rows(tokenizer, Settings(row=1024)))
    model = Qwen2ForCausalLM.from_pretrained(
        MODEL, dtype=torch.float32, attn_implementation="shared_list"
    )
    apart = Qwen2ForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    later = [i for i in range(1, len(row.ids)) if row.positions[i] <= row.positions[i - 1]]
    shared = row.ids[: int(row.positions[later[0]])]
    losses, count = torch.zeros(()), 0
    for start, end in itertools.pairwise([len(shared), *later, len(row.ids)]):
        ids = torch.cat([shared, row.ids[start:end]])
        with torch.no_grad():
            logits = apart(ids[None]).logits[0, len(shared) - 1 : -1]
        each = torch.nn.functional.cross_entropy(logits, ids[len(shared) :], reduction="none")
        losses += (each * row.weights[start:end]).sum()
        count += int(row.weights[start:end].sum())
    assert count > 50
    with torch.no_grad():
        assert loss_of(model, row).item() == pytest.approx((losses / count).item(), rel=0.03)
