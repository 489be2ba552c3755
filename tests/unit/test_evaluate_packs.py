"""Packs in the shape their projects publish them; the logs of the harness read back."""

from __future__ import annotations

import json

import pytest

from distill.config import load_config
from distill.dataset import write_rows
from distill.errors import DatasetError
from distill.evaluate.runner import prepare
from distill.evaluate.suites.packs import AceBench, Hammer, When2Call
from distill.evaluate.suites.registry import chosen, prepared
from distill.evaluate.suites.regression import _samples
from distill.types import AssistantMessage, ToolCall
from tests.unit.evaluate_world import lamp, workspace

TOOL = {
    "name": "QueryScene",
    "description": "Find a scene.",
    "parameters": {"name": {"type": "str", "description": "Its name."}},
}


def said(content=None, *calls):
    made = tuple(
        ToolCall(id=str(n), name=name, arguments=json.dumps(given))
        for n, (name, given) in enumerate(calls)
    )
    return (AssistantMessage(content=content, tool_calls=made),)


def configured(tmp_path, **files):
    config = workspace(tmp_path, [lamp(1)])
    return load_config(config.source, [f"eval.files.{k}={v}" for k, v in files.items()])


def test_when2call_judges_the_decision(tmp_path):
    tool = {**TOOL, "parameters": {"type": "dict", "properties": TOOL["parameters"]}}
    row = {
        "source_id": "live_simple_1-1-0",
        "question": "Which scene?",
        "tools": [json.dumps(tool)],
    }
    rights = ["tool_call", "request_for_info", "cannot_answer", "direct"]
    rows = [
        {**row, "uuid": right, "correct_answer": right, "target_tool": json.dumps(tool)}
        for right in rights
    ]
    write_rows(tmp_path / "w.jsonl", rows)
    config = configured(tmp_path, when2call="w.jsonl")
    questions = {q.part: q for q in When2Call().questions(config)}
    assert list(questions) == rights
    called, asked, words = said(None, ("QueryScene", {})), said("Which one?"), said("I cannot.")
    verdicts = {
        part: [q.judge(answer).ok for answer in (called, asked, words)]
        for part, q in questions.items()
    }
    assert verdicts["tool_call"] == [True, False, False]
    assert verdicts["request_for_info"] == [False, True, False]
    assert verdicts["cannot_answer"][0] is False and verdicts["cannot_answer"][2] is True
    schema = questions["tool_call"].tools[0].parameters
    assert (schema["type"], schema["properties"]["name"]["type"]) == ("object", "string")


def test_acebench_wants_questions_and_named_values(tmp_path):
    folder = tmp_path / "ace"
    (folder / "possible_answer").mkdir(parents=True)
    row = {"question": "user: do it\n", "function": [TOOL], "time": "It is Monday."}
    right = {"incomplete": {"f": ["x"]}, "error_param": {"id": ["12@4"]}, "irrelevant": "none"}
    for part, truth in right.items():
        name = f"data_special_{part}.json"
        write_rows(folder / name, [{**row, "id": f"special_{part}_0"}])
        answers = [{"id": f"special_{part}_0", "ground_truth": truth}]
        write_rows(folder / "possible_answer" / name, answers)
    config = configured(tmp_path, acebench="ace")
    by_part = {q.part: q for q in AceBench().questions(config)}
    assert [m.content for m in by_part["incomplete"].messages] == ["It is Monday.", "do it"]
    assert by_part["incomplete"].judge(said("Which x?")).ok
    assert by_part["incomplete"].judge(said("Done.")).code == "no_question"
    assert by_part["error_param"].judge(said("The id 12@4 is not valid.")).ok
    assert by_part["error_param"].judge(said("Something is wrong.")).code == "missing_mention"
    assert not by_part["irrelevant"].judge(said(None, ("QueryScene", {}))).ok


def test_hammers_conversations_end_with_the_user(tmp_path):
    call = {"name": "QueryScene", "arguments": {"name": "Evening"}}
    query = [
        {"role": "user", "content": "Find a scene"},
        {"role": "agent", "content": "Which one?"},
        {"role": "user", "content": "Morning"},
        {"role": "assistant", "content": f"```{json.dumps([call])}```"},
        {"role": "tool", "content": "none"},
        {"role": "agent", "content": "There is none."},
        {"role": "user", "content": "Evening then"},
        {"role": "agent", "content": "Sure.\nGenerate API Request:"},
    ]
    (tmp_path / "h").mkdir()
    rows = [{"query": query, "tools": [TOOL], "answers": [call]}]
    (tmp_path / "h" / "apibank_l1.json").write_text(json.dumps(rows))
    (question,) = Hammer().questions(configured(tmp_path, hammer="h"))
    roles = [message.role for message in question.messages]
    assert roles == ["user", "assistant", "user", "assistant", "tool", "assistant", "user"]
    assert question.messages[3].tool_calls[0].id == question.messages[4].tool_call_id
    assert question.part == "apibank_l1"
    assert question.judge(said(None, ("QueryScene", {"name": "Evening"}))).ok
    assert question.judge(said(None, ("QueryScene", {"name": "Night"}))).code == "wrong_arguments"


def test_a_pack_that_is_not_there_says_what_to_do(tmp_path):
    config = configured(tmp_path)
    with pytest.raises(DatasetError, match=r"set eval.files.hammer to the folder"):
        prepared(chosen(["hammer"]), prepare(config))
    missing = load_config(config.source, ["eval.files.hammer=nowhere"])
    with pytest.raises(DatasetError, match="no '"):
        prepared(chosen(["hammer"]), prepare(missing))
    (tmp_path / "bad.jsonl").write_text('{"uuid": "1"}\n')
    bad = load_config(config.source, ["eval.files.when2call=bad.jsonl"])
    with pytest.raises(DatasetError, match="not a file of 'when2call'"):
        prepared(chosen(["when2call"]), prepare(bad))


def test_the_harness_logs_are_read_once_per_document(tmp_path):
    rows = [
        {"doc_id": 0, "filter": "strict", "exact_match": 1.0, "resps": ["one\u2028line"]},
        {"doc_id": 0, "filter": "flexible", "exact_match": 0.0},
        {"doc_id": 1, "filter": "strict", "exact_match": 0.0},
    ]
    write_rows(tmp_path / "samples_gsm8k_2026-11-22T10-00-00.jsonl", rows)
    found = list(_samples(tmp_path))
    assert [(one.id, one.part, one.verdict.ok) for one in found] == [
        ("gsm8k/0", "gsm8k", True),
        ("gsm8k/1", "gsm8k", False),
    ]
