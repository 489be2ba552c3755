"""Golden texts and ids of every family, on its own vocabulary and template."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import vocabularies
from mistral_common.protocol.instruct.messages import (
    AssistantMessage as TheirAnswer,
)
from mistral_common.protocol.instruct.messages import SystemMessage as TheirSystem
from mistral_common.protocol.instruct.messages import ToolMessage as TheirResult
from mistral_common.protocol.instruct.messages import UserMessage as TheirUser
from mistral_common.protocol.instruct.request import ChatCompletionRequest as TheirRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from transformers import LlamaConfig, Qwen2Config

from distill.chat import to_chat
from distill.errors import StudentError
from distill.serve.template import served_template
from distill.student.families import FAMILIES, LLAMA31, MISTRAL, QWEN3, Family
from distill.student.render import Sample, render, template_message
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

RING = Tool(
    name="ring",
    description='Ring the "bell".',
    parameters={
        "type": "object",
        "properties": {"times": {"type": "integer"}, "name": {"type": "string"}},
        "required": ["times"],
    },
)
RING_JSON = (
    '{"type": "function", "function": {"name": "ring", "description": "Ring the \\"bell\\".", '
    '"parameters": {"type": "object", "properties": {"times": {"type": "integer"}, "name": '
    '{"type": "string"}}, "required": ["times"]}}}'
)
GREETING = '{"times": 3, "name": "Gr\u00fc\u00df \\"Gott\\""}'


def call(call_id: str, arguments: str) -> AssistantMessage:
    return AssistantMessage(tool_calls=(ToolCall(id=call_id, name="ring", arguments=arguments),))


MESSAGES: tuple[Message, ...] = (
    SystemMessage(content="You ring bells."),
    UserMessage(content="Ring 3 times"),
    call("call_a", json.dumps(json.loads(GREETING), separators=(",", ":"))),  # escaped, no spaces
    ToolMessage(tool_call_id="call_a", name="ring", content='{"rung": 3}'),
    AssistantMessage(content="Rang it."),
    UserMessage(content="Again"),
    call("call_b", '{"times":1}'),
    ToolMessage(tool_call_id="call_b", name="ring", content='"ok"'),
    AssistantMessage(content="Done."),
)
TURNS = [n for n, message in enumerate(MESSAGES) if isinstance(message, AssistantMessage)]
EXAMPLE = Example(messages=MESSAGES, tools=(RING,), weights=(1.0,) * 4)

QWEN_PROMPT = f"""\
<|im_start|>system
You ring bells.

# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{RING_JSON}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call><|im_end|>
<|im_start|>user
Ring 3 times<|im_end|>
<|im_start|>assistant
<tool_call>
{{"name": "ring", "arguments": {GREETING}}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
{{"rung": 3}}
</tool_response><|im_end|>
<|im_start|>assistant
Rang it.<|im_end|>
<|im_start|>user
Again<|im_end|>
<|im_start|>assistant
<tool_call>
{{"name": "ring", "arguments": {{"times": 1}}}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
"ok"
</tool_response><|im_end|>
<|im_start|>assistant
"""
LLAMA_TOOL = json.dumps(RING.as_function(), indent=4)
LLAMA_PROMPT = f"""\
<|begin_of_text|><|start_header_id|>system<|end_header_id|>

Environment: ipython
Cutting Knowledge Date: December 2023
Today Date: 26 Jul 2024

You ring bells.<|eot_id|><|start_header_id|>user<|end_header_id|>

Given the following functions, please respond with a JSON for a function call with its proper \
arguments that best answers the given prompt.

Respond in the format {{"name": function name, "parameters": dictionary of argument name and its \
value}}.Do not use variables.

{LLAMA_TOOL}

Ring 3 times<|eot_id|><|start_header_id|>assistant<|end_header_id|>

{{"name": "ring", "parameters": {GREETING}}}<|eot_id|><|start_header_id|>ipython<|end_header_id|>

"{{\\"rung\\": 3}}"<|eot_id|><|start_header_id|>assistant<|end_header_id|>

Rang it.<|eot_id|><|start_header_id|>user<|end_header_id|>

Again<|eot_id|><|start_header_id|>assistant<|end_header_id|>

{{"name": "ring", "parameters": {{"times": 1}}}}<|eot_id|><|start_header_id|>ipython\
<|end_header_id|>

"\\"ok\\""<|eot_id|><|start_header_id|>assistant<|end_header_id|>

"""
MISTRAL_PROMPT = (
    "<s>[INST] Ring 3 times[/INST]"
    f'[TOOL_CALLS] [{{"name": "ring", "arguments": {GREETING}, "id": "05f49740f"}}]</s>'
    '[TOOL_RESULTS] {"content": "{\\"rung\\": 3}", "call_id": "05f49740f"}[/TOOL_RESULTS]'
    f" Rang it.</s>[AVAILABLE_TOOLS] [{RING_JSON}][/AVAILABLE_TOOLS]"
    "[INST] You ring bells.\n\nAgain[/INST]"
    '[TOOL_CALLS] [{"name": "ring", "arguments": {"times": 1}, "id": "9d60374e1"}]</s>'
    '[TOOL_RESULTS] {"content": "\\"ok\\"", "call_id": "9d60374e1"}[/TOOL_RESULTS]'
)
GOLDEN = {
    "qwen2.5": (
        QWEN_PROMPT,
        f'<tool_call>\n{{"name": "ring", "arguments": {GREETING}}}\n</tool_call><|im_end|>',
        "Done.<|im_end|>",
    ),
    "qwen3": (
        QWEN_PROMPT + "<think>\n\n</think>\n\n",
        f'<tool_call>\n{{"name": "ring", "arguments": {GREETING}}}\n</tool_call><|im_end|>',
        "Done.<|im_end|>",
    ),
    "llama3.1": (
        LLAMA_PROMPT,
        f'{{"name": "ring", "parameters": {GREETING}}}<|eot_id|>',
        "Done.<|eot_id|>",
    ),
    "mistral": (
        MISTRAL_PROMPT,
        f'[TOOL_CALLS] [{{"name": "ring", "arguments": {GREETING}, "id": "05f49740f"}}]</s>',
        "Done.</s>",
    ),
}
"""Family -> the prompt of the last turn, the first completion, the last."""
ENDS = {"qwen2.5": 151645, "qwen3": 151645, "llama3.1": 128009, "mistral": 2}
CALLS = {"qwen2.5": 151657, "qwen3": 151657, "llama3.1": 5018, "mistral": 5}
"""Family -> first id of a call: `<tool_call>`, `{"`, `[TOOL_CALLS]`."""

TOKENIZERS: dict[str, Callable[[], Any]] = {
    "qwen2.5": vocabularies.qwen25,
    "qwen3": vocabularies.qwen3,
    "llama3.1": vocabularies.llama31,
    "mistral": vocabularies.mistral,
}
each_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


def prompt_of(sample: Sample) -> list[int]:
    return sample.ids[sample.weights == 0].tolist()


def completion_of(sample: Sample) -> list[int]:
    return sample.ids[sample.weights > 0].tolist()


@each_family
def test_prompt_and_completions_are_those_of_the_checkpoint(family: Family) -> None:
    tokenizer = TOKENIZERS[family.name]()
    prompt, called, said = GOLDEN[family.name]
    samples = render(EXAMPLE, tokenizer, family)
    assert tokenizer.decode(prompt_of(samples[-1])) == prompt
    assert tokenizer.decode(completion_of(samples[0])) == called
    assert tokenizer.decode(completion_of(samples[-1])) == said
    assert {int(sample.ids[-1]) for sample in samples} == {ENDS[family.name]}
    assert [completion_of(samples[n])[0] for n in (0, 2)] == [CALLS[family.name]] * 2


def test_the_tools_of_mistral_stand_before_the_last_user_message_only() -> None:
    tokenizer = vocabularies.mistral()
    texts = [tokenizer.decode(sample.ids) for sample in render(EXAMPLE, tokenizer, MISTRAL)]
    assert [text.count("[AVAILABLE_TOOLS]") for text in texts] == [1, 1, 1, 1]
    assert [text.startswith("<s>[AVAILABLE_TOOLS]") for text in texts] == [True, True, False, False]


def test_llama_ids_are_those_of_its_own_tokenizer() -> None:
    reference = vocabularies.llama3.Tokenizer.get_instance()
    tokenizer = vocabularies.llama31()
    for sample in render(EXAMPLE, tokenizer, LLAMA31):
        text = tokenizer.decode(sample.ids)
        expected = reference.encode(text, bos=False, eos=False, allowed_special="all")
        assert sample.ids.tolist() == expected


def test_mistral_ids_are_those_of_mistral_common() -> None:
    """For results in words: one that is JSON it puts in as such, which no template can do."""
    reference: Any = MistralTokenizer.from_file(str(vocabularies.MISTRAL_V3))
    messages = tuple(
        m.model_copy(update={"content": "It rang."}) if isinstance(m, ToolMessage) else m
        for m in MESSAGES
    )
    example = EXAMPLE.model_copy(update={"messages": messages})
    for turn, sample in zip(TURNS, render(example, vocabularies.mistral(), MISTRAL), strict=True):
        rows = [theirs(message) for message in messages[:turn]]
        request = TheirRequest(messages=rows, tools=[RING.as_function()])
        assert reference.encode_chat_completion(request).tokens == prompt_of(sample)


def theirs(message: Message) -> Any:
    row = template_message(message, MISTRAL)
    if isinstance(message, AssistantMessage) and message.tool_calls:
        return TheirAnswer(content=None, tool_calls=row["tool_calls"])
    if isinstance(message, ToolMessage):
        return TheirResult(content=row["content"], tool_call_id=row["tool_call_id"])
    kinds = {"system": TheirSystem, "user": TheirUser, "assistant": TheirAnswer}
    return kinds[message.role](content=row["content"])


def test_thoughts_of_earlier_answers_are_dropped_and_cannot_be_trained_on() -> None:
    thought = AssistantMessage(content="<think>\nA bell.\n</think>\n\nHello.")
    messages = (UserMessage(content="Hi"), thought, *MESSAGES[5:])
    row = Example(messages=messages, tools=(RING,), weights=(0.0, 1.0, 1.0))
    tokenizer = vocabularies.qwen3()
    for sample in render(row, tokenizer, QWEN3):
        text = tokenizer.decode(sample.ids)
        assert "A bell." not in text and "<|im_start|>assistant\nHello.<|im_end|>" in text
    with pytest.raises(StudentError, match=r"in another way than it prompts for it"):
        render(Example(messages=messages[:2], tools=(RING,), weights=(1.0,)), tokenizer, QWEN3)


@each_family
@pytest.mark.filterwarnings("ignore")
def test_vllm_renders_the_prompt_and_reads_the_completion(family: Family, tmp_path: Path) -> None:
    """vLLM's own request model, renderer and parser, without an engine behind them."""
    from vllm.config import ModelConfig, VllmConfig
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.renderers.online_renderer import OnlineRenderer
    from vllm.renderers.registry import renderer_from_config
    from vllm.tool_parsers import ToolParserManager

    tokenizer = TOKENIZERS[family.name]()
    tokenizer.save_pretrained(tmp_path)
    name, shape = ("Qwen2", Qwen2Config) if "qwen" in family.name else ("Llama", LlamaConfig)
    shape(architectures=[f"{name}ForCausalLM"]).save_pretrained(tmp_path)  # decides the tokenizer
    folder = str(tmp_path)
    model = ModelConfig(model=folder, tokenizer=folder, tokenizer_mode="hf", dtype="float32")
    renderer = renderer_from_config(VllmConfig(model_config=model))
    server = OnlineRenderer(
        model,
        renderer,
        request_logger=None,
        chat_template=served_template(tokenizer.chat_template),
        chat_template_content_format="auto",
        enable_auto_tools=True,
        tool_parser=family.parser,
        default_chat_template_kwargs=dict(family.template_kwargs),
    )
    parser = ToolParserManager.get_tool_parser(family.parser)
    for turn, sample in zip(TURNS, render(EXAMPLE, tokenizer, family), strict=True):
        for mark in ({}, {"strict": False}, {"strict": True}):  # for the decoder, not the model
            tool = {"type": "function", "function": RING.as_function()["function"] | mark}
            body = {"messages": served(MESSAGES[:turn], family), "tools": [tool]}
            request = ChatCompletionRequest.model_validate(body | {"model": "student"})
            _, (prompt,) = asyncio.run(server.render_chat(request))
            assert prompt["prompt_token_ids"] == prompt_of(sample), mark
        text = tokenizer.decode(completion_of(sample)[:-1])
        read = parser(renderer.tokenizer, request.tools).extract_tool_calls(text, request)
        calls = [(c.function.name, json.loads(c.function.arguments)) for c in read.tool_calls]
        meant = MESSAGES[turn]
        assert isinstance(meant, AssistantMessage)
        assert calls == [(c.name, c.parsed()) for c in meant.tool_calls]
        assert (read.content or None) == meant.content


def served(messages: Sequence[Message], family: Family) -> list[dict[str, Any]]:
    """Return the messages as a client sends them back, with ids that the server gave out."""
    rows = []
    for message in messages:
        row, shown = to_chat(message), template_message(message, family)
        for call, given in zip(row.get("tool_calls", ()), shown.get("tool_calls", ()), strict=True):
            call["id"] = given["id"]
        if "tool_call_id" in row:
            row["tool_call_id"] = shown["tool_call_id"]
        rows.append(row)
    return rows
