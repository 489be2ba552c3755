from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from train_world import byte_tokenizer, call, example, save_base, trl_template
from vocabularies import qwen25

from distill.config import Config
from distill.errors import StudentError
from distill.student.base import base_hash, find_base, load_tokenizer
from distill.student.families import FAMILIES, LLAMA31, MISTRAL, QWEN3, QWEN25, family_of
from distill.student.render import Renderer, render, template_message
from distill.types import (
    AssistantMessage,
    Example,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)

RING = Tool(
    name="ring",
    description='Ring the "bell".',
    parameters={"type": "object", "properties": {"times": {"type": "integer"}}},
)

PROMPT = (
    "<|im_start|>system\nYou ring bells.\n\n# Tools\n\nYou may call one or more functions to "
    "assist with the user query.\n\nYou are provided with function signatures within "
    '<tools></tools> XML tags:\n<tools>\n{"type": "function", "function": {"name": "ring", '
    '"description": "Ring the \\"bell\\".", "parameters": {"type": "object", "properties": '
    '{"times": {"type": "integer"}}}}}\n</tools>\n\nFor each function call, return a json object '
    "with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n'
    "<|im_start|>user\nRing 3 times<|im_end|>\n<|im_start|>assistant\n"
)
CALLED = '<tool_call>\n{"name": "ring", "arguments": {"times": 3}}\n</tool_call><|im_end|>'
RESULT = (
    '\n<|im_start|>user\n<tool_response>\n"rung"\n</tool_response><|im_end|>\n'
    "<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def qwen() -> Any:
    """Qwen2.5's own tokenizer."""
    return qwen25()


def test_qwen25_is_rendered_as_the_checkpoint_writes_it(qwen: Any) -> None:
    first, second = render(example(3, (RING,)), qwen, QWEN25)
    start = int((first.weights == 0).sum())
    assert qwen.decode(first.ids[:start]) == PROMPT
    assert qwen.decode(first.ids[start:]) == CALLED
    # Token ids of Qwen2.5: <|im_start|>, system, line break; <tool_call>; </tool_call>, <|im_end|>
    assert first.ids[:3].tolist() == [151644, 8948, 198]
    assert first.ids[start] == 151657
    assert first.ids[-2:].tolist() == [151658, 151645]
    start = int((second.weights == 0).sum())
    assert qwen.decode(second.ids[:start]) == PROMPT + CALLED + RESULT
    assert qwen.decode(second.ids[start:]) == "Rang it 3 times.<|im_end|>"
    assert second.ids[: len(first.ids)].tolist() == first.ids.tolist()


def test_qwen25_ids_are_those_of_the_whole_text(qwen: Any) -> None:
    for sample in render(example(12, (RING,)), qwen, QWEN25):
        text = qwen.decode(sample.ids)
        assert qwen(text, add_special_tokens=False)["input_ids"] == sample.ids.tolist()


def test_remembered_beginnings_change_nothing(qwen: Any) -> None:
    renderer = Renderer(qwen, QWEN25)
    many = [renderer.render(example(n, (RING,))) for n in (1, 2, 3)]
    alone = [render(example(n, (RING,)), qwen, QWEN25) for n in (1, 2, 3)]
    for left, right in zip(many, alone, strict=True):
        assert [s.ids.tolist() for s in left] == [s.ids.tolist() for s in right]


def test_the_prompt_is_what_the_server_tokenizes_even_before_a_line_break(qwen: Any) -> None:
    messages = (UserMessage(content="Hi"), AssistantMessage(content="\n\nHello"))
    (sample,) = render(Example(messages=messages, tools=(), weights=(1.0,)), qwen, QWEN25)
    prompt = Renderer(qwen, QWEN25).prompt(messages[:1], ())
    assert sample.ids[sample.weights == 0].tolist() == qwen(prompt)["input_ids"]
    assert qwen.decode(sample.ids[sample.weights > 0]) == "\n\nHello<|im_end|>"


def test_weights_choose_the_turns() -> None:
    original = example(3, (RING,))
    (only,) = render(original.model_copy(update={"weights": (0.0, 0.5)}), byte_tokenizer(), QWEN25)
    assert set(only.weights.tolist()) == {0.0, 0.5}
    assert byte_tokenizer().decode(only.ids[only.weights > 0]) == "Rang it 3 times.<|im_end|>"


def test_parallel_calls_and_text_before_them() -> None:
    calls = tuple(ToolCall(id=f"c{n}", name="ring", arguments=f'{{"times":{n}}}') for n in (1, 2))
    turn = AssistantMessage(content="Both.", tool_calls=calls)
    row = Example(messages=(UserMessage(content="Twice"), turn), tools=(RING,), weights=(1.0,))
    (sample,) = render(row, byte_tokenizer(), QWEN25)
    assert byte_tokenizer().decode(sample.ids[sample.weights > 0]) == (
        'Both.\n<tool_call>\n{"name": "ring", "arguments": {"times": 1}}\n</tool_call>'
        '\n<tool_call>\n{"name": "ring", "arguments": {"times": 2}}\n</tool_call><|im_end|>'
    )


def test_a_malformed_call_in_the_history_is_shown_as_the_server_shows_it() -> None:
    broken = AssistantMessage(tool_calls=(ToolCall(id="c", name="ring", arguments="{oops"),))
    messages = (
        UserMessage(content="Ring"),
        broken,
        ToolMessage(tool_call_id="c", name="ring", content='{"error": "bad JSON"}', is_error=True),
        call("ring", times=1),
    )
    row = Example(messages=messages, tools=(RING,), weights=(0.0, 1.0))
    (sample,) = render(row, byte_tokenizer(), QWEN25)
    assert '{"name": "ring", "arguments": {}}' in byte_tokenizer().decode(sample.ids)


def test_qwen3_history_has_no_thoughts_and_the_prompt_an_empty_one() -> None:
    tokenizer = byte_tokenizer("qwen3")
    messages = (
        UserMessage(content="Hi"),
        AssistantMessage(content="Hello."),
        UserMessage(content="Ring"),
        call("ring", times=1),
    )
    row = Example(messages=messages, tools=(RING,), weights=(1.0, 1.0))
    first, second = render(row, tokenizer, QWEN3)
    assert tokenizer.decode(first.ids[first.weights > 0]) == "Hello.<|im_end|>"
    text = tokenizer.decode(second.ids[second.weights == 0])
    assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert text.count("<think>") == 1
    assert tokenizer.decode(second.ids[second.weights > 0]).startswith("<tool_call>")


def test_llama_makes_one_call_a_turn() -> None:
    tokenizer = byte_tokenizer("llama3_1")
    messages = (SystemMessage(content="S"), UserMessage(content="Ring"), call("ring", times=1))
    row = Example(messages=messages, tools=(RING,), weights=(1.0,))
    (sample,) = render(row, tokenizer, LLAMA31)
    assert tokenizer.decode(sample.ids[sample.weights > 0]) == (
        '{"name": "ring", "parameters": {"times": 1}}<|eot_id|>'
    )
    twice = AssistantMessage(tool_calls=messages[2].tool_calls * 2)
    with pytest.raises(StudentError, match=r"llama3.1 makes 1 call a turn"):
        render(row.model_copy(update={"messages": (*messages[:2], twice)}), tokenizer, LLAMA31)


def test_mistral_call_ids_are_nine_characters_in_call_and_result() -> None:
    turn = template_message(call("ring", times=1), MISTRAL)
    result = ToolMessage(tool_call_id="c1", name="ring", content="x")
    call_id = turn["tool_calls"][0]["id"]
    assert template_message(result, MISTRAL)["tool_call_id"] == call_id
    assert len(call_id) == 9 and call_id.isalnum()


def test_a_template_that_rewrites_the_turn_is_refused() -> None:
    tokenizer = byte_tokenizer()
    template = "{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}{{ 'A:' if "
    template += "add_generation_prompt }}"
    row = Example(
        messages=(UserMessage(content="hi"), AssistantMessage(content="yes")),
        tools=(),
        weights=(1.0,),
    )
    original, tokenizer.chat_template = tokenizer.chat_template, template
    try:
        with pytest.raises(StudentError, match="in another way than it prompts for it: 'A:'"):
            render(row, tokenizer, QWEN25)
    finally:
        tokenizer.chat_template = original


def config(tmp_path: Path, **student: str) -> Config:
    teacher = {"provider": "openai_chat", "model": "m", "base_url": "http://127.0.0.1:1"}
    loaded = Config.model_validate(
        {"name": "x", "toolset": "t", "teacher": teacher, "student": student}
    )
    loaded._workspace = tmp_path
    return loaded


@pytest.mark.parametrize(
    ("base", "family"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5"),
        ("Qwen/Qwen3-8B", "qwen3"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3.1"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral"),
    ],
)
def test_family_from_a_hub_id(tmp_path: Path, base: str, family: str) -> None:
    assert family_of(config(tmp_path, base=base)).name == family


def test_family_from_a_folder_and_by_name(tmp_path: Path) -> None:
    save_base(tmp_path / "base")
    assert family_of(config(tmp_path, base="base")) is QWEN25
    (tmp_path / "base/chat_template.jinja").write_text(trl_template("llama3_1"))
    assert family_of(config(tmp_path, base="base")) is LLAMA31
    assert family_of(config(tmp_path, base="base", family="qwen3")) is QWEN3
    with pytest.raises(StudentError, match=r"'gpt' is not one of qwen2.5, qwen3"):
        family_of(config(tmp_path, base="base", family="gpt"))
    with pytest.raises(StudentError, match=r"set student.family to one of"):
        family_of(config(tmp_path, base="somebody/else"))


def test_a_base_folder_and_its_hash(tmp_path: Path) -> None:
    save_base(tmp_path / "base")
    base = find_base(config(tmp_path, base="base"))
    assert (base.family, base.parser, base.revision) == (QWEN25, "hermes", None)
    assert load_tokenizer(base).chat_template == trl_template("qwen2_5")
    before = base_hash(base)
    weights = tmp_path / "base/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert base_hash(base) != before


@pytest.mark.parametrize("base", ["no/such/folder", "./missing"])
def test_a_missing_base_says_what_to_give(tmp_path: Path, base: str) -> None:
    with pytest.raises(StudentError, match=r"student.base: no folder .* hub id such as"):
        find_base(config(tmp_path, base=base))


def test_a_base_the_hub_does_not_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise OSError("no connection")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(StudentError, match=r"'Qwen/Qwen2.5-7B-Instruct' is no folder .* hub"):
        find_base(config(tmp_path, base="Qwen/Qwen2.5-7B-Instruct"))


def test_a_base_without_template_or_end_of_turn(tmp_path: Path) -> None:
    save_base(tmp_path / "base")
    given = config(tmp_path, base="base", family="mistral")
    (tmp_path / "base/chat_template.jinja").unlink()
    with pytest.raises(StudentError, match=r"no chat template; set student.template"):
        find_base(given)
    with pytest.raises(StudentError, match=r"student.template: cannot read"):
        find_base(config(tmp_path, base="base", family="qwen3", template="gone.jinja"))


def test_every_family_has_its_own_parser_settings() -> None:
    assert {name: family.parser for name, family in FAMILIES.items()} == {
        "qwen2.5": "hermes",
        "qwen3": "hermes",
        "llama3.1": "llama3_json",
        "mistral": "mistral",
    }
