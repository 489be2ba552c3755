"""The data set on disk and the OpenAI message shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.chat import from_chat, to_chat
from distill.dataset import (
    Pair,
    example_from_row,
    example_to_row,
    pair_to_row,
    read_cases,
    read_examples,
    read_pairs,
    read_rows,
    write_rows,
)
from distill.errors import DatasetError
from distill.types import (
    AssistantMessage,
    Example,
    Message,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)

CALL = ToolCall(id="c1", name="f", arguments='{"a": 1}')
MESSAGES: tuple[Message, ...] = (
    SystemMessage(content="s"),
    UserMessage(content="u"),
    AssistantMessage(tool_calls=(CALL,)),
    ToolMessage(tool_call_id="c1", name="f", content='{"error": "x"}', is_error=True),
    AssistantMessage(content="done"),
)
EXAMPLE = Example(
    messages=MESSAGES,
    tools=(Tool(name="f", description="d", parameters={"type": "object"}),),
    weights=(0.0, 1.0),
    meta={"task": "t"},
)


def test_an_example_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    assert write_rows(path, [example_to_row(EXAMPLE)]) == 1
    assert read_examples(path) == [EXAMPLE]


def pair_row() -> dict[str, object]:
    pair = Pair(
        messages=MESSAGES[:2],
        tools=EXAMPLE.tools,
        chosen=AssistantMessage(tool_calls=(CALL,)),
        rejected=AssistantMessage(tool_calls=(CALL.model_copy(update={"name": "g"}),)),
        kind="wrong_tool",
        key="5d0c",
    )
    return pair_to_row(pair)


def test_a_pair_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    write_rows(path, [pair_row()])
    (pair,) = read_pairs(path)
    assert pair_to_row(pair) == pair_row()
    assert (pair.chosen.tool_calls[0].name, pair.rejected.tool_calls[0].name) == ("f", "g")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rejected": pair_row()["chosen"]}, "same answer"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "end before the answer"),
        ({"chosen": {"role": "user", "content": "x"}}, "pairs.jsonl:1"),
        ({"kind": 3}, "kind"),
    ],
)
def test_a_bad_pair_is_named_by_its_line(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = tmp_path / "pairs.jsonl"
    write_rows(path, [pair_row() | changes])
    with pytest.raises(DatasetError, match=message):
        read_pairs(path)


def test_only_a_weight_other_than_one_is_written() -> None:
    weights = [m.get("weight") for m in example_to_row(EXAMPLE)["messages"]]
    assert weights == [None, None, 0.0, None, None]


def test_an_endpoint_sees_no_extra_fields() -> None:
    assert set(to_chat(MESSAGES[3])) == {"role", "tool_call_id", "content"}
    assert to_chat(MESSAGES[2])["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'


@pytest.mark.parametrize(
    "row",
    [{"role": "narrator", "content": "x"}, {"role": "tool", "content": "x"}, {"role": "user"}],
)
def test_a_malformed_message_is_refused(row: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"role|without"):
        from_chat(row)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "train.jsonl:2"),
        ("[]", "not a JSON object"),
        ('{"messages": [{"role": "user"}]}', "train.jsonl:2: a user without 'content'"),
        ("{}", "train.jsonl:2: missing"),
    ],
)
def test_a_malformed_row_is_named_by_line(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(example_to_row(EXAMPLE)) + "\n" + line + "\n")
    with pytest.raises(DatasetError, match=r"train\.jsonl:2") as caught:
        read_examples(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_malformed_case_is_named_by_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": "a", "toolset": "s", "kind": "odd", "family": "f", "turns": []}\n')
    with pytest.raises(DatasetError, match=r"cases.jsonl:1: kind: .*'odd'"):
        read_cases(path)


def test_rows_replace_the_file_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("old\n")

    def failing() -> object:
        yield {"a": 1}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_rows(path, failing())  # type: ignore[arg-type]
    assert path.read_text() == "old\n"


def test_unknown_example_fields_do_not_pass_silently() -> None:
    row = example_to_row(EXAMPLE)
    row["tools"][0]["function"]["surprise"] = 1
    with pytest.raises(ValueError, match="surprise"):
        example_from_row(row)


def test_a_row_may_hold_any_line_separator(tmp_path):
    """JSON leaves U+2028, U+2029 and U+0085 as they are inside a string."""
    rows = [{"text": "a\u2028b\u2029c\x85d\r\ne"}, {"text": "f"}]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert [row for _, row in read_rows(tmp_path / "rows.jsonl")] == rows


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DatasetError, match=r"cannot read .*rows\.jsonl"):
        list(read_rows(tmp_path / "rows.jsonl"))
